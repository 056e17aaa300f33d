"""Clients that hang up while they are answered: what is still sent to them is dropped, and no fault of ours."""

from typing import TYPE_CHECKING

from litestar.enums import ScopeType

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

CLOSED = "the handler is closed"
"""How uvloop says that there is nobody to write to any more."""


class HangUps:
    """ASGI around the whole application.

    uvicorn drops what is sent once it knows that the client is gone. uvloop knows it a moment earlier, and raises:
    a trace in the log for everybody who leaves just then.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return

        async def send_if_there(message: "Message") -> None:
            try:
                await send(message)
            except RuntimeError as error:
                if CLOSED not in str(error):
                    raise

        await self._app(scope, receive, send_if_there)
