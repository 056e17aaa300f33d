"""The tools of a running server, passed on: they exist once, and so does the GPU manager they use."""

from functools import partial
from typing import Any

import httpx2
from fastmcp import FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError
from fastmcp.server import create_proxy
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext

from orpheus_mcp.backend import Backend
from orpheus_mcp.logs import join_our_log
from orpheus_openai.errors import ConfigurationError

CONNECT_SECONDS = 30.0
SILENT_SECONDS = 300.0
"""A call that works reports progress every second."""


def make_proxy(backend: Backend) -> FastMCP:
    """Make the server that passes everything on to `backend`."""
    join_our_log()
    transport = StreamableHttpTransport(
        f"{backend.url}/mcp",
        headers=backend.headers,
        httpx_client_factory=partial(_http_client, trust_env=not backend.local),
    )
    return create_proxy(transport, name="orpheus-openai", middleware=[Revival(backend)])


def _http_client(*, timeout: Any = None, **options: Any) -> httpx2.AsyncClient:
    """Make a client that is as patient as MCP's own, where httpx would give up on a call after 5 s."""
    return httpx2.AsyncClient(
        timeout=timeout or httpx2.Timeout(CONNECT_SECONDS, read=SILENT_SECONDS), **options
    )


class Revival(Middleware):
    """Before each request: the server may have been another client's, and gone with it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def on_request(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:
        """Pass the request on to a server that is there."""
        try:
            await self._backend.ensure()
        except ConfigurationError as error:
            raise ToolError(str(error)) from error
        return await call_next(context)
