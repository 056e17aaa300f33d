"""Where MCP is mounted in the server: FastMCP is imported and started when somebody first knocks."""

import asyncio
import contextlib
import contextvars
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from litestar import asgi

from orpheus_mcp.hang_up import GONE
from orpheus_mcp.sessions import IDLE_SECONDS, Sessions
from orpheus_openai.errors import ShuttingDownError
from orpheus_openai.fields import require_small
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of
from orpheus_openai.models.imports import lasting_import
from orpheus_openai.outputs import OutputFolder
from orpheus_openai.speech.service import SpeechService

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastmcp.server.http import StarletteWithLifespan
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

PATH = "/mcp"

SESSION_ID = b"mcp-session-id"
_INITIALIZES = re.compile(rb'"method"\s*:\s*"initialize"')


class MCPDoor:
    """MCP over streamable HTTP. Costs nothing until its first request: FastMCP takes a second and 45 MiB."""

    def __init__(
        self, service: SpeechService, outputs: OutputFolder, folder: Path, monitor: GPUMonitor
    ) -> None:
        self._create = partial(_create, service, outputs, folder.resolve(), monitor)
        self._sessions = Sessions()
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
            require_small(body, "params", "arguments", "text")
            gone = asyncio.Event()
            scope.setdefault("state", {})[GONE] = gone
            await self._within_bounds(app, scope, body, _replaying(body, receive, gone), send)

        return mcp

    async def _within_bounds(
        self, app: "ASGIApp", scope: "Scope", body: bytes, receive: "Receive", send: "Send"
    ) -> None:
        """Pass a request on, and know of the session it belongs to, opens or ends."""
        sessions, caller = self._sessions, caller_of(scope)
        session_id = _header(scope["headers"], SESSION_ID)

        async def send_noted(message: "Message") -> None:
            if message["type"] == "http.response.start" and session_id is None:
                opened = _header(message["headers"], SESSION_ID)
                if opened is not None:
                    sessions.opened(opened, caller)
            await send(message)

        if session_id is not None:
            with sessions.used(session_id, caller):
                await app(scope, receive, send)
            if scope.get("method") == "DELETE":
                sessions.forget(session_id)
            return
        with sessions.opening(caller) if _INITIALIZES.search(body) else contextlib.nullcontext():
            await app(scope, receive, send_noted)
        for surplus in sessions.surplus(caller):
            await _end(app, scope, surplus)
            sessions.forget(surplus)

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


async def _end(app: "ASGIApp", scope: "Scope", session_id: str) -> None:
    """End a session as its client would."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
    ending = {**scope, "method": "DELETE", "headers": [*headers, (SESSION_ID, session_id.encode())]}

    async def answered(_message: "Message") -> None:
        pass

    await app(ending, _replaying(b"", _nothing_more, asyncio.Event()), answered)  # type: ignore[arg-type]


async def _nothing_more() -> "HTTPReceiveMessage":
    return await asyncio.Future()


def _header(headers: "Iterable[tuple[bytes, bytes]]", wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name.lower() == wanted), None)


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


def _create(
    service: SpeechService, outputs: OutputFolder, folder: Path, monitor: GPUMonitor
) -> "StarletteWithLifespan":
    with lasting_import("fastmcp"):
        from orpheus_mcp.server import create_mcp  # noqa: PLC0415  see MCPDoor

    # Which names and sites may ask is decided for all doors alike, in http/middleware/browsers.py.
    return create_mcp(service, outputs, folder, monitor).http_app(
        path="/", host_origin_protection=False, session_idle_timeout=IDLE_SECONDS
    )
