"""HEAD, on every URL that answers GET: the same status and headers, and nothing after them."""

from typing import TYPE_CHECKING, cast

from litestar.enums import ScopeType

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send


class Heads:
    """ASGI around the application, which only ever sees the GET."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on; of a HEAD's answer only the head is sent, and its body told that nobody is there."""
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered = False

        async def send_head(message: "Message") -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                await send(message)
                # At once: of events, say, the first may be long in coming.
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            elif message["type"] != "http.response.body":
                await send(message)

        async def receive_until_answered() -> "HTTPReceiveMessage":
            return {"type": "http.disconnect"} if answered else cast("HTTPReceiveMessage", await receive())

        await self._app(cast("Scope", {**scope, "method": "GET"}), receive_until_answered, send_head)
