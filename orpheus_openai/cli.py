"""The command line: serve, speak, pull, voices, models, doctor, mcp."""

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import BinaryIO

from orpheus_openai import __version__
from orpheus_openai.catalog import DEFAULT_MODEL, DEFAULT_VOICE, load_catalog
from orpheus_openai.errors import ConfigurationError, InvalidRequestError, SpeechError
from orpheus_openai.models.imports import lasting_import
from orpheus_openai.settings import Settings, checkpoint_variable, load_settings

logger = logging.getLogger(__name__)

GGUF_PACKAGES = (
    "./start.sh does it when the setting is in .env; elsewhere: pip install 'orpheus-openai[gguf]'"
)

EXIT_FAILED = 1
EXIT_USAGE = 2
"""The command, a setting or the text was wrong; argparse's own code."""
EXIT_INTERRUPTED = 130

FORMATS_BY_SUFFIX = {
    ".mp3": "mp3",
    ".opus": "opus",
    ".ogg": "opus",
    ".aac": "aac",
    ".flac": "flac",
    ".wav": "wav",
    ".pcm": "pcm",
    ".raw": "pcm",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; every expected failure is one line on standard error and an exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
    except (ConfigurationError, InvalidRequestError) as error:
        code = _complain(error, EXIT_USAGE)
    except BrokenPipeError:
        # Whoever read standard output has had enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except (SpeechError, OSError) as error:
        code = _complain(error, EXIT_FAILED)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _complain(error: Exception, code: int) -> int:
    print(f"orpheus-openai: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orpheus-openai", description="OpenAI's speech API from your own GPU."
    )
    parser.add_argument("--version", action="version", version=f"orpheus-openai {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=help_text, description=help_text[0].upper() + help_text[1:] + "."
        )

    serve = command("serve", "start the server")
    serve.add_argument("--host", help="address to listen on (ORPHEUS_HOST)")
    serve.add_argument("--port", help="port to listen on (PORT)")
    serve.add_argument(
        "--until-stdin-ends",
        action="store_true",
        help="stop when standard input ends, as it does with its writer",
    )
    serve.set_defaults(run=_serve)

    speak = command("speak", "speak a text into a file")
    speak.add_argument("text", help="what to say; - reads standard input")
    speak.add_argument("-o", "--output", required=True, help="the file; - writes to standard output")
    speak.add_argument("--voice", default=DEFAULT_VOICE, help="who says it (default: %(default)s)")
    speak.add_argument(
        "--model", default=DEFAULT_MODEL, help="which model (default: what ORPHEUS_MODEL says)"
    )
    speak.add_argument(
        "--format",
        type=str.lower,
        choices=sorted(set(FORMATS_BY_SUFFIX.values())),
        help="default: by the suffix",
    )
    speak.add_argument("--speed", type=float, default=1.0, help="0.25 to 4, the pitch stays (default: 1)")
    speak.set_defaults(run=_speak)

    pull = command("pull", "download a model as a GGUF file, which speaks without an NVIDIA GPU")
    pull.add_argument("model", nargs="?", default="medium-3b", help="which model (default: %(default)s)")
    pull.add_argument("--quant", help="its quantisation, e.g. q4_k_m (the default) or q8_0")
    pull.add_argument("--save", action="store_true", help="write the setting that names it into .env")
    pull.set_defaults(run=_pull)

    command("voices", "list the voices").set_defaults(run=_voices)
    command("models", "list the models and what each needs").set_defaults(run=_models)
    command("doctor", "look at what is here and say what is missing").set_defaults(run=_doctor)
    command("mcp", "serve MCP over standard input and output, by way of the server").set_defaults(run=_mcp)
    return parser


def _serve(options: argparse.Namespace) -> int:
    with lasting_import("litestar"):
        from orpheus_openai.logs import configure_logging  # noqa: PLC0415
        from orpheus_openai.server import serve  # noqa: PLC0415  the other commands need no server

    if options.until_stdin_ends:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    given = {"ORPHEUS_HOST": options.host, "PORT": options.port}
    environ = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    doubts: list[str] = []
    settings = load_settings(environ, warn=doubts.append)
    configure_logging(settings)
    for doubt in doubts:  # in the form that the settings ask for, which were not known before
        logger.warning(doubt)
    serve(settings)
    return 0


def _stop_with_stdin() -> None:
    # Not through sys.stdin, whose lock a thread that reads would still hold when the interpreter ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _speak(options: argparse.Namespace) -> int:
    audio_format = options.format or _format_of(options.output)
    text = sys.stdin.read() if options.text == "-" else options.text
    asyncio.run(_speak_to(text, audio_format, options, load_settings()))
    return 0


def _format_of(output: str) -> str:
    suffix = "" if output == "-" else Path(output).suffix.lower()
    if suffix not in FORMATS_BY_SUFFIX:
        what = f"'{suffix}' is no audio format" if suffix else "the output's name does not tell the format"
        raise InvalidRequestError(
            f"{what}; end it with one of {', '.join(FORMATS_BY_SUFFIX)}, or give --format"
        )
    return FORMATS_BY_SUFFIX[suffix]


async def _speak_to(text: str, audio_format: str, options: argparse.Namespace, settings: Settings) -> None:
    from orpheus_openai.http.delivery import delivered, start  # noqa: PLC0415
    from orpheus_openai.limits.caller import PROGRAM  # noqa: PLC0415
    from orpheus_openai.speech.request import speech_request  # noqa: PLC0415
    from orpheus_openai.speech.service import SpeechService  # noqa: PLC0415

    service = SpeechService.create(settings)
    wanted = speech_request(text=text, model=options.model, voice=options.voice, speed=options.speed)
    speech = service.prepare(wanted, account=PROGRAM)
    began = time.monotonic()
    try:
        async with contextlib.aclosing(await start(delivered(speech, audio_format))) as chunks:
            with _output(options.output, audio_format) as file:
                async for chunk in chunks:
                    file.write(chunk)
                    _progress(speech.audio_seconds, time.monotonic() - began)
    finally:
        await service.manager.close()
    if sys.stderr.isatty():
        print(f"  {speech.model.id}, {speech.voice.id}", file=sys.stderr)


@contextlib.contextmanager
def _output(name: str, audio_format: str) -> Generator[BinaryIO]:
    """Standard output, as a stream, or a file that in the end tells its length."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from orpheus_openai.audio.lengths import write_lengths  # noqa: PLC0415
    from orpheus_openai.target import written  # noqa: PLC0415

    with written(Path(name)) as file:
        yield file
        if file.readable() and file.seekable():
            write_lengths(file, audio_format)


def _progress(audio_seconds: float, seconds: float) -> None:
    if sys.stderr.isatty():
        speed = audio_seconds / max(seconds, 1e-3)
        print(f"\r{audio_seconds:7.1f} s of audio, {speed:5.1f} × real time", end="", file=sys.stderr)


def _pull(options: argparse.Namespace) -> int:
    try:
        import huggingface_hub  # noqa: F401, PLC0415

        from orpheus_openai.models.pull import pull, save_setting  # noqa: PLC0415
    except ImportError:
        print(f"What downloads is not installed: {GGUF_PACKAGES}", file=sys.stderr)
        return EXIT_FAILED
    model = load_catalog(load_settings().catalog).model(options.model, options.model)
    name = pull(model, options.quant, lambda line: print(line, file=sys.stderr))
    setting = checkpoint_variable(model.id)
    if options.save:
        save_setting(Path(".env"), setting, name)
        print(f"{setting}={name} is in .env now", file=sys.stderr)
    else:
        print(f"{setting}={name}")
    missing = [
        package for package in ("xllamacpp", "torch", "snac") if importlib.util.find_spec(package) is None
    ]
    if missing:
        print(f"To speak with it, install {', '.join(missing)}: {GGUF_PACKAGES}", file=sys.stderr)
    return 0


def _voices(_options: argparse.Namespace) -> int:
    catalog = load_catalog(load_settings().catalog)
    rows = [("VOICE", "LANGUAGE", "GENDER", "OPENAI'S NAMES")]
    for voice in catalog.voices.values():
        names = ", ".join(alias for alias, target in catalog.voice_aliases.items() if target == voice.id)
        rows.append((voice.id, catalog.languages[voice.language].english, voice.gender, names))
    _print_columns(rows)
    return 0


def _models(_options: argparse.Namespace) -> int:
    from orpheus_openai.speech.service import SpeechService  # noqa: PLC0415

    service = SpeechService.create(load_settings())
    rows = [("MODEL", "STATUS", "MEMORY", "LANGUAGES", "")]
    for model in service.catalog.models.values():
        found = service.factory.availability(model)
        memory = f"{model.memory_gib:g} GiB" if model.memory_gib else ""
        default = "default; " if model.id == service.factory.default_model else ""
        rows.append(
            (
                model.id,
                found.status,
                memory,
                " ".join(model.languages),
                default + (found.reason or model.title),
            )
        )
    _print_columns(rows)
    return 0


def _doctor(_options: argparse.Namespace) -> int:
    from orpheus_openai.doctor import examine  # noqa: PLC0415

    findings = examine()
    for finding in findings:
        print(
            f"{'ok  ' if finding.ok else 'MISSING' if finding.needed else 'note'}\t{finding.what}".expandtabs(
                9
            )
        )
        if finding.advice:
            print(f"\t→ {finding.advice}".expandtabs(9))
    return EXIT_FAILED if any(finding.needed and not finding.ok for finding in findings) else 0


def _mcp(_options: argparse.Namespace) -> int:
    from orpheus_mcp.stdio import main as serve_mcp  # noqa: PLC0415  FastMCP takes a second to import

    serve_mcp()
    return 0


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


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
