"""`orpheus-openai mcp`."""

import argparse

HELP = "serve MCP over standard input and output, by way of the server"
EXAMPLES = """\
  orpheus-openai mcp                  the server on this machine; one is started where none runs
  ORPHEUS_URL=http://gpu:8899 orpheus-openai mcp"""


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Describe its options: there are none."""


def run(_options: argparse.Namespace) -> int:
    """Serve until standard input ends."""
    from orpheus_mcp.stdio import main as serve_mcp  # noqa: PLC0415  FastMCP takes a second to import

    serve_mcp()
    return 0
