"""Where MCP is mounted in the server: FastMCP is imported and started when somebody first knocks."""

import asyncio
import contextvars
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litestar import asgi

from orpheus_openai.errors import ShuttingDownError
from orpheus_openai.http.body import read_body
from orpheus_openai.models.imports import lasting_import
from orpheus_openai.outputs import OutputFolder
from orpheus_openai.speech.service import SpeechService

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastmcp.server.http import StarletteWithLifespan
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

PATH = "/mcp"

GONE = "mcp_client_gone"
"""In the state of a request's scope: the event that its client has hung up."""


class MCPDoor:
    """MCP over streamable HTTP. Costs nothing until its first request: FastMCP takes a second and 45 MiB."""

    def __init__(self, service: SpeechService, outputs: OutputFolder, folder: Path) -> None:
        self._create = partial(_create, service, outputs, folder.resolve())
        self._life: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[ASGIApp] | None = None
        self._closing = asyncio.Event()

    def handler(self) -> "ASGIRouteHandler":
        """Make the route handler that the application mounts."""

        @asgi(PATH, is_mount=True, copy_scope=True)
        async def mcp(scope: "Scope", receive: "Receive", send: "Send") -> None:
            app = await self._open()
            # Of a client that leaves while it is sending FastMCP makes an error with a trace; read_body does not.
            body = await read_body(receive)
            gone = asyncio.Event()
            scope.setdefault("state", {})[GONE] = gone
            await app(scope, _replaying(body, receive, gone), send)

        return mcp

    async def close(self) -> None:
        """End all sessions and refuse what comes later."""
        self._closing.set()
        if self._life is not None:
            await asyncio.wait([self._life])

    async def _open(self) -> "ASGIApp":
        if self._closing.is_set():
            raise ShuttingDownError("The server is shutting down.")
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            # What lives on must not carry the id of the request that came first.
            nobody = contextvars.Context()
            self._life = asyncio.create_task(self._live(self._opened), name="mcp", context=nobody)
        return await asyncio.shield(self._opened)

    async def _live(self, opened: "asyncio.Future[ASGIApp]") -> None:
        """Hold the app's lifespan open; one task enters and leaves it, as its cancel scopes demand."""
        try:
            app = await asyncio.to_thread(self._create)
            async with app.lifespan(app):
                opened.set_result(app)  # type: ignore[arg-type]  # Starlette's names for ASGI's types
                await self._closing.wait()
        except Exception as error:
            if opened.done():
                raise
            self._opened = None
            opened.set_exception(error)


async def hang_up(scope: "Mapping[str, Any]") -> dict[str, str]:
    """Wait until the client that sent a request over HTTP has hung up, as ASGI's `receive` would.

    FastMCP lets calls of a session run on: it might have sent what it has to say elsewhere.
    """
    await scope["state"][GONE].wait()
    return {"type": "http.disconnect"}


def _replaying(body: bytes, receive: "Receive", gone: asyncio.Event) -> "Receive":
    """Give a body that was read once more, and then what comes after it; `gone` is set when the client hangs up."""
    whole: list[HTTPReceiveMessage] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> "HTTPReceiveMessage":
        if whole:
            return whole.pop()
        message = await receive()
        if message["type"] == "http.disconnect":
            gone.set()
        return message  # type: ignore[return-value]

    return replay


def _create(service: SpeechService, outputs: OutputFolder, folder: Path) -> "StarletteWithLifespan":
    with lasting_import("fastmcp"):
        from orpheus_mcp.server import create_mcp  # noqa: PLC0415  see MCPDoor

    # Which names and sites may ask is decided for all doors alike, in http/middleware/browsers.py.
    return create_mcp(service, outputs, folder).http_app(path="/", host_origin_protection=False)
