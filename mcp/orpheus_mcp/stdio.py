"""`orpheus-openai mcp`: MCP on standard input and output, for clients that start programs."""

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from orpheus_mcp.backend import Backend
from orpheus_openai.models.imports import lasting_import

if TYPE_CHECKING:
    from fastmcp import FastMCP


def main() -> None:
    """Serve until standard input ends.

    Raises ConfigurationError when ORPHEUS_URL names a server that does not answer, when the server wants another
    key, or when none can be started.
    """
    # The thread that reads standard input cannot be interrupted in another way. A server of ours ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(_serve())


async def _serve() -> None:
    backend = Backend.choose(os.environ)
    async with backend.closing():
        # FastMCP takes as long to import as a server takes to start.
        proxy, _ = await asyncio.gather(asyncio.to_thread(_make_proxy, backend), backend.ensure())
        await backend.check_key()
        await proxy.run_stdio_async(show_banner=False)


def _make_proxy(backend: Backend) -> "FastMCP":
    with lasting_import("fastmcp"):
        from orpheus_mcp.proxy import make_proxy  # noqa: PLC0415  see above

    return make_proxy(backend)
