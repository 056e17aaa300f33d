"""The file of captions that a command writes."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orpheus_openai.catalog import Catalog

if TYPE_CHECKING:
    from orpheus_openai.speech.timed import TimedSegment

SUFFIXES = (".srt", ".vtt", ".json")


def captions_file(name: str) -> str:
    """A name whose suffix tells the format; raises ArgumentTypeError for any other."""
    if Path(name).suffix.lower() not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"end its name with one of {', '.join(SUFFIXES)}")
    return name


def write_captions(
    name: str, segments: Sequence["TimedSegment"], *, text: str, duration: float, catalog: Catalog
) -> None:
    """Write them in the format that the name tells, whole or not at all."""
    from orpheus_openai.speech.captions import CAPTION_FORMATS, render  # noqa: PLC0415  NumPy, and what needs it
    from orpheus_openai.target import written  # noqa: PLC0415

    suffix = Path(name).suffix.lower()
    caption_format = next(each for each in CAPTION_FORMATS if suffix == f".{each}")
    content = render(
        caption_format, segments, text=text, duration=duration, emotion_tags=catalog.emotion_tags
    )
    with written(Path(name)) as file:
        file.write(content.encode())
