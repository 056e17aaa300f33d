"""`orpheus-openai serve`."""

import argparse
import logging
import os
import signal
import threading

from orpheus_openai.models.imports import lasting_import
from orpheus_openai.settings import load_settings

HELP = "start the server"
EXAMPLES = """\
  orpheus-openai serve
  ORPHEUS_MODEL=preview orpheus-openai serve --host 127.0.0.1 --port 8000"""

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe its options."""
    parser.add_argument("--host", help="address to listen on (ORPHEUS_HOST)")
    parser.add_argument("--port", help="port to listen on (PORT)")
    parser.add_argument(
        "--until-stdin-ends",
        action="store_true",
        help="stop when standard input ends, as when whoever holds its other end has gone",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
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
