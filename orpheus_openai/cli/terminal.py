"""What the commands print, on whatever terminal: ASCII ones, too."""

import codecs
import io
import sys
import unicodedata
from collections.abc import Sequence

ASCII_FOR = str.maketrans({"×": "x", "→": "->", "…": "...", "–": "-", "—": "-", "’": "'"})
"""What stands for our own signs where a terminal has no letter for them."""

FALLBACK = "orpheus-fallback"


def prepare_terminal() -> None:
    """Let both outputs take every text: what their encoding lacks is spelled in ASCII, and never an error."""
    codecs.register_error(FALLBACK, _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=FALLBACK)


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end].translate(ASCII_FOR)
    return missing.encode("ascii", "backslashreplace").decode("ascii"), error.end


def say(words: str) -> None:
    """Tell the person at the terminal, whose standard output may be a file."""
    print(f"orpheus-openai: {words}", file=sys.stderr)


def print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table, its columns as wide as what stands in them."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    print("\n".join(lines))
    encoding = sys.stdout.encoding or "ascii"
    try:
        "".join(lines).translate(ASCII_FOR).encode(encoding)
    except UnicodeEncodeError:
        say(f"this terminal's encoding, {encoding}, lacks some of these letters; PYTHONUTF8=1 shows them")


def _width(text: str) -> int:
    """Columns of a terminal: East Asian characters take two, combining ones none."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )
