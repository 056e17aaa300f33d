"""The moment in which an answer begins, over HTTP or to whoever asks for a WebSocket: its status and its headers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType

if TYPE_CHECKING:
    from litestar.types import Message, Scope, Send

ACCEPTED, REFUSED = 101, 403
"""What a WebSocket's handshake is answered with where it is accepted, and where it is closed before that."""

SWITCHED = {"websocket.accept": ACCEPTED, "websocket.close": REFUSED}


class Answer:
    """What is sent passes through `send`; `begin` is told the status and may still change the headers."""

    def __init__(self, send: "Send", begin: Callable[[int, MutableScopeHeaders], None] | None = None) -> None:
        self._send = send
        self._begin = begin
        self.status = 0
        """0: nothing was answered yet."""

    async def send(self, message: "Message") -> None:
        """ASGI's `send`: takes note of the first status on its way out, then passes everything on."""
        if not self.status:
            told: Any = message
            self.status = SWITCHED.get(told["type"], 0) or told.get("status", 0)
            if self.status and self._begin is not None:
                headers = MutableScopeHeaders()
                if told["type"] != "websocket.close":  # which has none
                    told.setdefault("headers", [])
                    headers = MutableScopeHeaders.from_message(told)
                self._begin(self.status, headers)
        await self._send(message)


def is_request(scope: "Scope") -> bool:
    """Whether it is somebody who asks for something, over HTTP or for a WebSocket."""
    return scope["type"] in (ScopeType.HTTP, ScopeType.WEBSOCKET)


def path_of(scope: "Scope") -> str:
    """The path below what a proxy has put in front of ours, as Litestar's router reads it."""
    path = scope["path"]
    if root_path := scope.get("root_path", ""):
        path = path.split(root_path, maxsplit=1)[-1]
    return path


def method_of(scope: "Scope") -> str:
    """The HTTP method; who asks for a WebSocket has none of their own in ASGI's eyes."""
    return scope["method"] if scope["type"] == ScopeType.HTTP else "WEBSOCKET"
