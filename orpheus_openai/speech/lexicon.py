"""The server's own lexicon: a file that says how words are said, in all languages or one, for everybody or a key."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.limits.caller import key_account
from orpheus_openai.text.lexicon import Lexicon

ALL = "all"
KEYS = "keys"
"""The table with those of single keys, by the keys' names."""

_FORM = 'it has tables by language, or [all], or for one key [keys.NAME.all], with lines such as nginx = "engine x"'

Tables = Mapping[str, Lexicon]
"""Lexicons by language."""


class ServerLexicon:
    """What the file of ORPHEUS_LEXICON says; without a file, nothing."""

    def __init__(self, file: Path | None, key_names: Iterable[str] = ()) -> None:
        """Raises ConfigurationError for a file that cannot be read, is not of the form, or names a key there is not."""
        tables = _read(file) if file else {}
        own = tables.pop(KEYS, {})
        if unknown := sorted(own.keys() - set(key_names)):
            raise ConfigurationError(
                f"ORPHEUS_LEXICON={file}: [keys.{unknown[0]}]: there is no key of that name in ORPHEUS_API_KEYS"
            )
        self._everybodys = _lexicons(file, tables)
        self._own = {key_account(name): _lexicons(file, table) for name, table in own.items()}

    def get(self, language: str, account: str = "") -> list[Lexicon]:
        """The lexicons for a language, the account's own before everybody's, and the language's before [all]."""
        tables = [*filter(None, [self._own.get(account)]), self._everybodys]
        return [table[name] for table in tables for name in (language, ALL) if name in table]


def _lexicons(file: Path | None, tables: Mapping[str, Any]) -> Tables:
    found: dict[str, Lexicon] = {}
    for name, entries in tables.items():
        try:
            found[name] = Lexicon(msgspec.convert(entries, dict[str, str]))
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"ORPHEUS_LEXICON={file}: [{name}]: {error}; {_FORM}") from error
        except ValueError as error:
            raise ConfigurationError(f"ORPHEUS_LEXICON={file}: [{name}]: {error}") from error
    return found


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        table = tomllib.loads(file.expanduser().read_text(encoding="utf-8"))
        found = msgspec.convert(table, dict[str, dict[str, Any]])
        msgspec.convert(found.get(KEYS, {}), dict[str, dict[str, Any]])
    except OSError as error:
        raise ConfigurationError(f"ORPHEUS_LEXICON={file}: cannot be read ({error.strerror})") from error
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"ORPHEUS_LEXICON={file}: {error}; {_FORM}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"ORPHEUS_LEXICON={file}: not valid TOML: {error}") from error
    return found
