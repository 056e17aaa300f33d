"""`orpheus-openai align`."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orpheus_openai.cli.captions import captions_file, write_captions
from orpheus_openai.cli.texts import given_text

if TYPE_CHECKING:
    from orpheus_openai.speech.timed import TimedSegment

HELP = "say when each word of a recording sounds"
EXAMPLES = """\
  orpheus-openai align hello.mp3 --text "Hello there." --json
  orpheus-openai align chapter.flac --file chapter.txt --captions chapter.srt
  orpheus-openai align bonjour.wav --text "Bonjour." --language fr"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe its options."""
    parser.add_argument("recording", metavar="FILE", help="an audio file of any kind")
    parser.add_argument("--text", help="what is said in it; - reads standard input")
    parser.add_argument("--file", help="a text file (UTF-8) in place of the text")
    parser.add_argument("--language", default="en", help="ISO 639-1 (default: %(default)s)")
    parser.add_argument(
        "--captions",
        type=captions_file,
        metavar="FILE",
        help="subtitles, .srt or .vtt, or .json with all words",
    )
    parser.add_argument("--json", action="store_true", help="print the words as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the words and their times."""
    from orpheus_openai.audio import SAMPLE_RATE  # noqa: PLC0415  NumPy and PyAV, for this alone
    from orpheus_openai.audio.decode import recording  # noqa: PLC0415
    from orpheus_openai.catalog import load_catalog  # noqa: PLC0415
    from orpheus_openai.settings import load_settings  # noqa: PLC0415
    from orpheus_openai.speech.recordings import align_recording  # noqa: PLC0415

    text = given_text(options.text, options.file)
    with Path(options.recording).open("rb"):  # an error of the file's own is told in the system's words
        pcm = recording(options.recording)
    catalog = load_catalog(load_settings().catalog)
    segments = asyncio.run(align_recording(pcm, text, options.language.lower(), catalog))
    if options.captions:
        duration = round(pcm.size / SAMPLE_RATE, 3)
        write_captions(options.captions, segments, text=text, duration=duration, catalog=catalog)
    _print(segments, as_json=options.json)
    return 0


def _print(segments: list["TimedSegment"], *, as_json: bool) -> None:
    words = [word for segment in segments for word in segment.words]
    if as_json:
        # In ASCII: what other programs read shall not depend on the terminal.
        print(json.dumps({"words": msgspec.to_builtins(words), "timing": segments[0].timing}))
        return
    for word in words:
        print(f"{word.start:9.3f} {word.end:9.3f}  {word.word}")
