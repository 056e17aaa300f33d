"""The server's own lexicon: a file that says how words are said, for all languages or for one."""

import tomllib
from pathlib import Path

import msgspec

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.text.lexicon import Lexicon

ALL = "all"


class ServerLexicon:
    """What the file of ORPHEUS_LEXICON says; without a file, nothing."""

    def __init__(self, file: Path | None) -> None:
        """Raises ConfigurationError for a file that cannot be read or is not of the form."""
        self._by_language = {name: Lexicon(words) for name, words in (_read(file) if file else {}).items()}

    def get(self, language: str) -> list[Lexicon]:
        """The lexicons for a language, its own first."""
        return [self._by_language[name] for name in (language, ALL) if name in self._by_language]


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        table = tomllib.loads(file.expanduser().read_text(encoding="utf-8"))
        return msgspec.convert(table, dict[str, dict[str, str]])
    except OSError as error:
        raise ConfigurationError(f"ORPHEUS_LEXICON={file}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"ORPHEUS_LEXICON={file}: not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"ORPHEUS_LEXICON={file}: {error}; it has tables by language, or [all], with lines such as "
            'nginx = "engine x"'
        ) from error
