"""An error answered before the application sees the request, as it would answer it."""

from typing import TYPE_CHECKING, Any

import msgspec
from litestar.enums import ScopeType

from orpheus_openai.errors import SpeechError
from orpheus_openai.http.errors import body_of, headers_of

if TYPE_CHECKING:
    from litestar.types import Scope, Send


POLICY_VIOLATION = 1008
"""The code with which a WebSocket is closed (RFC 6455, section 7.4.1); before it is accepted, that is a 403."""

MAX_REASON = 123
"""Bytes of the words that go with such a code (section 5.5)."""


async def refuse(scope: "Scope", send: "Send", error: SpeechError) -> None:
    """Send the whole answer; whoever asks for a WebSocket is given it where the server can, else it is closed."""
    scope["state"]["error"] = error.kind
    prefix = "http"
    if scope["type"] == ScopeType.WEBSOCKET:
        prefix = "websocket.http"
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            reason = error.message.encode()[:MAX_REASON].decode(errors="ignore")
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})
            return
    body = msgspec.json.encode(body_of(error, scope["state"]))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
    start: Any = {"type": f"{prefix}.response.start", "status": error.status, "headers": headers}
    end: Any = {"type": f"{prefix}.response.body", "body": body, "more_body": False}
    await send(start)
    await send(end)
