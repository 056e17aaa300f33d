"""The command line: a module for each command, and what they share."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from orpheus_openai import __version__
from orpheus_openai.cli import align, completion, doctor, mcp, models, pull, serve, speak, voices
from orpheus_openai.cli.terminal import prepare_terminal, say
from orpheus_openai.errors import ConfigurationError, InvalidRequestError, SpeechError

EXIT_FAILED = 1
EXIT_USAGE = 2
"""The command, a setting or the text was wrong; argparse's own code."""
EXIT_INTERRUPTED = 130


class Command(Protocol):
    """What the module of a command holds."""

    HELP: str
    """One line, without a full stop."""
    EXAMPLES: str
    """Lines that can be typed; empty where there is nothing to show."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe its options."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; the exit code."""
        ...


COMMANDS: dict[str, Command] = {
    "serve": serve,
    "speak": speak,
    "align": align,
    "pull": pull,
    "voices": voices,
    "models": models,
    "doctor": doctor,
    "mcp": mcp,
    "completion": completion,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; every expected failure is one line on standard error and an exit code."""
    prepare_terminal()
    options = make_parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
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
    say(str(error))
    return code


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="orpheus-openai", description="OpenAI's speech API from your own GPU."
    )
    parser.add_argument("--version", action="version", version=f"orpheus-openai {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = command.HELP
        subparser = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=f"examples:\n{command.EXAMPLES}" if command.EXAMPLES else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run, parser=parser)
    return parser
