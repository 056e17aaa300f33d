"""The text that `speak` is given: as an argument, in a file, or on standard input."""

import codecs
import os
import sys
from pathlib import Path

from orpheus_openai.errors import InvalidRequestError

LONGEST_BYTES = 4_000_000
"""No server takes more: a million characters, which UTF-8 writes in four bytes each at most."""

STANDARD_INPUT = "-"


def given_text(text: str | None, file: str | None) -> str:
    """The text of an argument or of a file; `-` is standard input for both.

    Raises InvalidRequestError where there are both or neither, or where it is not UTF-8 (or UTF-16 that says so).
    """
    if (text is None) == (file is None):
        raise InvalidRequestError("give one thing to say: a text, - for standard input, or --file FILE")
    if STANDARD_INPUT in (text, file):
        return decoded_text(sys.stdin.buffer.read(LONGEST_BYTES + 1), "standard input")
    if file is not None:
        with Path(file).open("rb") as source:
            return decoded_text(source.read(LONGEST_BYTES + 1), file)
    assert text is not None  # noqa: S101  one of the two is there
    return decoded_text(os.fsencode(text), "the text") if _hides_bytes(text) else text


def typed(argument: str) -> str:
    """An argument as it was typed, in UTF-8, where the locale reads no more than ASCII."""
    if not _hides_bytes(argument):
        return argument
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError:
        return argument


def _hides_bytes(argument: str) -> bool:
    """Whether Python keeps what it could not read of an argument in half characters."""
    return any("\ud800" <= char <= "\udfff" for char in argument)


def decoded_text(content: bytes, source: str) -> str:
    """`content` as text; `source` says in an error where it came from."""
    if len(content) > LONGEST_BYTES:
        raise InvalidRequestError(f"{source} is longer than {LONGEST_BYTES:,} bytes; speak it in parts")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{source} is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start}); convert it first, "
            "for example with: iconv -f WINDOWS-1252 -t UTF-8"
        ) from error
