"""The one reader of `.env`, for the server and for start.sh, which needs it before anything is installed.

    python -I orpheus_openai/settings/dotenv.py NAME     prints a setting, from the environment or else from .env

Standard library only. Strict: a line that other programs would read differently is refused, not guessed at.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

FILE = Path(".env")

_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=(?P<value>.*)", re.DOTALL)
_SINGLE_QUOTED = re.compile(r"'(?P<text>[^']*)'(?P<rest>.*)", re.DOTALL)
_DOUBLE_QUOTED = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"(?P<rest>.*)', re.DOTALL)
_COMMENT = re.compile(r"[ \t]+#.*", re.DOTALL)
_VARIABLE = re.compile(r"\$[A-Za-z_{$(]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class UnreadableError(ValueError):
    """`.env` cannot be read; says in which line and why, and never quotes it, as it may hold keys."""


def effective(environ: Mapping[str, str], file: Path | None = FILE) -> dict[str, str]:
    """What is set: by the environment, else by `file`. Blank is not set, wherever it stands.

    So a variable that is there and empty opens nothing that the file closes. Raises UnreadableError.
    """
    values = read_file(file) if file else {}
    values |= {name: text for name, text in environ.items() if text.strip()}
    return {name: text.strip() for name, text in values.items() if text.strip()}


def read_file(file: Path) -> dict[str, str]:
    """The assignments of `file`, the last of each name; none where there is no such file.

    Raises UnreadableError with the number of the first line that is no blank, comment or assignment.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnreadableError(f"{file}: cannot be read ({error.strerror})") from error
    values = {}
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            if assignment := read_line(line.removesuffix(b"\r").decode()):
                name, value = assignment
                values[name] = value
        except UnicodeDecodeError as error:
            raise UnreadableError(
                f"{file}, line {number}: this is not UTF-8; save the file as UTF-8"
            ) from error
        except ValueError as error:
            raise UnreadableError(f"{file}, line {number}: {error}") from error
    return values


def read_line(line: str) -> tuple[str, str] | None:
    """Name and value of `NAME=value`, quoted or not; None of a blank or a comment. Raises ValueError."""
    if _CONTROL.search(line):
        raise ValueError("there is a control character in it; rewrite the line")
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    found = _ASSIGNMENT.fullmatch(line)
    if found is None:
        raise ValueError("expected NAME=value, a comment that begins with #, or nothing")
    return found["name"], _value(found["value"])


def _value(text: str) -> str:
    bare = text.lstrip()
    if bare.startswith("'"):
        return _single_quoted(bare)
    if bare.startswith('"'):
        return _double_quoted(bare)
    if text.startswith("#"):
        raise ValueError("a value that begins with # must stand in single quotes")
    value = _COMMENT.sub("", text).strip()
    _refuse_variables(value)
    return value


def _single_quoted(text: str) -> str:
    found = _SINGLE_QUOTED.fullmatch(text)
    if found is None:
        raise ValueError("a quote is opened and never closed")
    if found["text"].endswith("\\"):
        raise ValueError("a backslash before a quote; leave the value's own quotes out")
    _refuse_rest(found["rest"])
    return found["text"]


def _double_quoted(text: str) -> str:
    found = _DOUBLE_QUOTED.fullmatch(text)
    if found is None:
        raise ValueError("a quote is opened and never closed")
    _refuse_rest(found["rest"])
    escapes = re.findall(r"\\(.)", found["text"])
    if any(escaped not in '"\\' for escaped in escapes):
        raise ValueError('in double quotes a backslash stands only before " and \\; take single quotes')
    _refuse_variables(found["text"])
    return re.sub(r"\\(.)", r"\1", found["text"])


def _refuse_rest(rest: str) -> None:
    if rest.strip() and not _COMMENT.fullmatch(rest):
        raise ValueError("something follows the closing quote; only a comment may, after a space")


def _refuse_variables(value: str) -> None:
    """Docker Compose and shells would put a variable's value there; a key must not differ between them and us."""
    if _VARIABLE.search(value):
        raise ValueError("a $ like that of a variable; no variables are filled in, so take single quotes")


def main() -> None:
    """Print the setting that the first argument names; of all that begin so where it ends in `*`, one a line."""
    name = sys.argv[1]
    try:
        values = effective(os.environ)
        several = (value for each, value in values.items() if each.startswith(name[:-1]))
        value = "\n".join(several) if name.endswith("*") else values.get(name, "")
    except UnreadableError as error:
        sys.exit(f"orpheus-openai: {error}")
    sys.stdout.buffer.write(value.encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main()
