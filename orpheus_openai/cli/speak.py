"""`orpheus-openai speak`."""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from orpheus_openai.audio import MAX_SPEED, MIN_SPEED
from orpheus_openai.audio.formats import FORMATS, FORMATS_BY_SUFFIX, HIGHEST_RATE, LOWEST_RATE, rate_of
from orpheus_openai.catalog import DEFAULT_MODEL, DEFAULT_VOICE, load_catalog
from orpheus_openai.cli.captions import captions_file, write_captions
from orpheus_openai.cli.terminal import say
from orpheus_openai.cli.texts import given_text, typed
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.settings import load_settings
from orpheus_openai.target import check

if TYPE_CHECKING:
    from orpheus_openai.audio import PCM
    from orpheus_openai.cli.player import Player

HELP = "speak a text into a file, or aloud"
EXAMPLES = """\
  orpheus-openai speak "Oh no. <sigh> I left the tickets at home." -o tickets.mp3
  orpheus-openai speak --file chapter.txt -o chapter.flac --voice leo --json
  orpheus-openai speak "Hello there." -o hello.wav --captions hello.srt
  echo "Dinner is ready." | orpheus-openai speak - --play
  orpheus-openai speak "To a player." -o - | ffplay -

The server that ORPHEUS_URL names speaks, else the one on this machine's PORT; where none runs, this
process loads the model itself."""

STANDARD_OUTPUT = "-"
FORMAT_OF_STANDARD_OUTPUT = "wav"
"""What every player and converter recognizes in a pipe."""


class Spoken(msgspec.Struct, kw_only=True):
    """What `--json` prints."""

    file: str | None
    format: str | None
    bytes: int = 0
    model: str = ""
    voice: str = ""
    server: str | None = None
    """Who spoke; null: this process."""
    audio_seconds: float = 0.0
    first_audio_seconds: float | None = None
    total_seconds: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe its options."""
    parser.add_argument("text", nargs="?", help="what to say; - reads standard input")
    parser.add_argument("--file", help="a text file (UTF-8) in place of the text")
    parser.add_argument(
        "-o", "--output", help="the file to write; - is standard output (as WAV, unless --format says else)"
    )
    parser.add_argument("--play", action="store_true", help="play it, if this machine has a player")
    parser.add_argument(
        "--voice", type=typed, default=DEFAULT_VOICE, help="who says it (default: %(default)s)"
    )
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="which model (default: what ORPHEUS_MODEL says)"
    )
    parser.add_argument(
        "--format",
        type=str.lower,
        choices=sorted(FORMATS),
        help="default: by the suffix",
    )
    parser.add_argument(
        "--sample-rate",
        type=int,
        metavar="HZ",
        help=f"of the file, {LOWEST_RATE} to {HIGHEST_RATE} (default: the format's)",
    )
    parser.add_argument(
        "--speed", type=float, help=f"{MIN_SPEED:g} to {MAX_SPEED:g}, the pitch stays (default: 1)"
    )
    parser.add_argument("--temperature", type=float, help="how freely the model varies, 0 to 2")
    parser.add_argument("--seed", type=int, help="the same seed draws the same tokens")
    parser.add_argument(
        "--captions",
        type=captions_file,
        metavar="FILE",
        help="subtitles beside it, .srt or .vtt, or .json with every word's time",
    )
    parser.add_argument(
        "--cast",
        type=typed,
        action="append",
        metavar="NAME=VOICE",
        help="who speaks the lines that begin with NAME and a colon; may be given several times",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="say nothing; print what would be said, and what is changed, as JSON",
    )
    parser.add_argument("--json", action="store_true", help="print what was spoken, by whom, as JSON")
    parser.add_argument(
        "--here", action="store_true", help="load the model in this process, whether or not a server runs"
    )


def run(options: argparse.Namespace) -> int:
    """Speak, and say who did; or explain what would be said."""
    if options.explain:
        asyncio.run(_explain(given_text(options.text, options.file), options))
        return 0
    audio_format = _format_of(options.output, options.format)
    _check_outputs(options)
    if audio_format is not None:
        rate_of(audio_format, options.sample_rate)
    text = given_text(options.text, options.file)
    spoken = Spoken(file=options.output, format=audio_format)
    asyncio.run(_speak(text, options, spoken))
    if options.json:
        # In ASCII: what other programs read shall not depend on the terminal.
        to = sys.stderr if options.output == STANDARD_OUTPUT else sys.stdout
        print(json.dumps(msgspec.to_builtins(spoken)), file=to)
    return 0


def _cast(given: list[str] | None) -> dict[str, str] | None:
    pairs = [each.partition("=") for each in given or ()]
    if wrong := next((name for name, _, voice in pairs if not (name.strip() and voice.strip())), None):
        raise InvalidRequestError(f"--cast {wrong}: write NAME=VOICE, such as --cast Anna=tara")
    return {name.strip(): voice.strip() for name, _, voice in pairs} or None


def _format_of(output: str | None, wanted: str | None) -> str | None:
    if output is None or wanted is not None:
        return wanted
    if output == STANDARD_OUTPUT:
        return FORMAT_OF_STANDARD_OUTPUT
    suffix = Path(output).suffix.lower()
    if suffix not in FORMATS_BY_SUFFIX:
        what = (
            f"'{suffix}' is not an audio format" if suffix else "the output's name does not tell the format"
        )
        raise InvalidRequestError(
            f"{what}; end it with one of {', '.join(FORMATS_BY_SUFFIX)}, or give --format"
        )
    return FORMATS_BY_SUFFIX[suffix]


def _check_outputs(options: argparse.Namespace) -> None:
    if options.output is None and not options.play:
        raise InvalidRequestError("say where the speech goes: -o FILE, or --play")
    if options.output == STANDARD_OUTPUT and sys.stdout.isatty():
        raise InvalidRequestError("a terminal cannot show audio; send it to a file or a pipe, or give --play")
    for target in (options.output, options.captions):
        if target not in (None, STANDARD_OUTPUT):
            check(Path(target))


def _wanted(text: str, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "text": text,
        "model": options.model,
        "voice": options.voice,
        "speed": options.speed,
        "temperature": options.temperature,
        "seed": options.seed,
        "cast": _cast(options.cast),
    }


async def _explain(text: str, options: argparse.Namespace) -> None:
    from orpheus_openai.cli.speakers import plan  # noqa: PLC0415

    planned = await plan(_wanted(text, options), here=options.here, tell=say)
    print(json.dumps(planned, indent=2))


async def _speak(text: str, options: argparse.Namespace, spoken: Spoken) -> None:
    from orpheus_openai.cli.player import playing  # noqa: PLC0415  NumPy, and what needs it
    from orpheus_openai.cli.speakers import speaker  # noqa: PLC0415

    wanted = _wanted(text, options)
    async with contextlib.AsyncExitStack() as stack:
        source = await stack.enter_async_context(
            speaker(
                wanted,
                here=options.here,
                tell=say,
                timed=bool(options.captions),
                whole=not options.play and options.output != "-",
            )
        )
        spoken.model, spoken.voice, spoken.server = source.model, source.voice, source.server
        player = await stack.enter_async_context(playing()) if options.play else None
        sound = _heard(source.sound, player, spoken)
        if spoken.format is None or options.output is None:
            await stack.enter_async_context(contextlib.aclosing(sound))
            async for _ in sound:
                pass
        else:
            await _write(sound, options.output, spoken.format, options.sample_rate, spoken)
        if options.captions:
            catalog = load_catalog(load_settings().catalog)
            write_captions(
                options.captions,
                await source.times(),
                text=text,
                duration=spoken.audio_seconds,
                catalog=catalog,
            )
    if sys.stderr.isatty():
        print(f"  {spoken.model}, {spoken.voice}", file=sys.stderr)


async def _heard(
    sound: AsyncGenerator["PCM"], player: "Player | None", spoken: Spoken
) -> AsyncGenerator["PCM"]:
    """`sound` on its way, counted and played."""
    from orpheus_openai.audio import SAMPLE_RATE  # noqa: PLC0415

    began = time.monotonic()
    samples = 0
    async with contextlib.aclosing(sound):
        async for pcm in sound:
            if spoken.first_audio_seconds is None:
                spoken.first_audio_seconds = round(time.monotonic() - began, 3)
            if player is not None:
                await player.play(pcm)
            yield pcm
            samples += len(pcm)
            spoken.audio_seconds = round(samples / SAMPLE_RATE, 3)
            spoken.total_seconds = round(time.monotonic() - began, 3)
            _progress(spoken)


async def _write(
    sound: AsyncGenerator["PCM"], output: str, audio_format: str, sample_rate: int | None, spoken: Spoken
) -> None:
    """Nothing of `output` is touched before there is audio."""
    from orpheus_openai.http.delivery import encoded, start  # noqa: PLC0415

    async with contextlib.aclosing(
        await start(encoded(sound, audio_format, sample_rate=sample_rate))
    ) as chunks:
        with _opened(output, audio_format) as file:
            async for chunk in chunks:
                spoken.bytes += file.write(chunk)


@contextlib.contextmanager
def _opened(name: str, audio_format: str) -> Generator[BinaryIO]:
    """Standard output, as a stream, or a file that in the end tells its length."""
    if name == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from orpheus_openai.audio.lengths import write_lengths  # noqa: PLC0415
    from orpheus_openai.target import written  # noqa: PLC0415

    with written(Path(name)) as file:
        yield file
        if file.readable() and file.seekable():
            write_lengths(file, audio_format)


def _progress(spoken: Spoken) -> None:
    if sys.stderr.isatty():
        speed = spoken.audio_seconds / max(spoken.total_seconds, 1e-3)
        print(f"\r{spoken.audio_seconds:7.1f} s of audio, {speed:5.1f} × real time", end="", file=sys.stderr)
