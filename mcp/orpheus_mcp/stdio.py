"""`orpheus-openai mcp`: MCP on standard input and output, for clients that start programs."""

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from orpheus_mcp.backend import API_KEY, Backend

if TYPE_CHECKING:
    from fastmcp import FastMCP


def main() -> None:
    """Serve until standard input ends.

    Raises ConfigurationError when ORPHEUS_URL names a server that does not answer, or none can be started.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())


async def _serve() -> None:
    backend = Backend.choose(os.environ)
    async with backend.closing():
        # FastMCP takes as long to import as a server takes to start.
        proxy, _ = await asyncio.gather(asyncio.to_thread(_make_proxy, backend), backend.ensure())
        await proxy.run_stdio_async(show_banner=False)


def _make_proxy(backend: Backend) -> "FastMCP":
    from orpheus_mcp.proxy import make_proxy  # noqa: PLC0415  see above

    return make_proxy(backend, os.environ.get(API_KEY, "").strip())
