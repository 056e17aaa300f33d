"""How long a request may take, and how long its connection may stand still."""

import asyncio
import logging
from typing import TYPE_CHECKING

from litestar.enums import ScopeType

from orpheus_openai.errors import RequestTimeoutError
from orpheus_openai.http.refusal import refuse

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

LISTENING = frozenset({"GET", "HEAD"})
"""Methods of those who may stay as long as they like: listeners to events, downloads."""

logger = logging.getLogger(__name__)


class Deadlines:
    """ASGI around the application; seconds, 0 for no limit."""

    def __init__(self, app: "ASGIApp", *, request: float, stall: float) -> None:
        self._app = app
        self._request = request
        self._stall = stall

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on and cancel it at its deadline: with 408, or if its answer has begun by breaking off."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        limit = self._request if scope["method"] not in LISTENING else 0.0
        passage = _Passage(receive, send, self._stall)
        try:
            async with asyncio.timeout(limit or None) as passage.deadline:
                passage.end = passage.deadline.when()
                await self._app(scope, passage.receive, passage.send)
        except TimeoutError:
            if not passage.deadline.expired():
                raise
            words = (
                f"nothing moved on its connection for {self._stall:g} s"
                if passage.standing
                else f"it took longer than the {limit:g} s that a request may take"
            )
            if passage.answered:
                logger.info("the answer breaks off: %s", words)
            else:
                await refuse(scope, send, RequestTimeoutError(f"The request was given up: {words}."))


class _Passage:
    """One request's way in and its answer's way out; each step has `stall` seconds."""

    deadline: asyncio.Timeout
    end: float | None

    def __init__(self, receive: "Receive", send: "Send", stall: float) -> None:
        self._receive = receive
        self._send = send
        self._stall = stall
        self._whole_body = False
        self.answered = False
        self.standing = False

    async def receive(self) -> "HTTPReceiveMessage":
        if self._whole_body:  # what is waited for now is that the client leaves
            return await self._receive()  # type: ignore[return-value]
        self._begin()
        message = await self._receive()
        self._done()
        self._whole_body = message["type"] != "http.request" or not message.get("more_body", False)
        return message  # type: ignore[return-value]

    async def send(self, message: "Message") -> None:
        self.answered = True
        self._begin()
        await self._send(message)
        self._done()

    def _begin(self) -> None:
        if not self._stall or self.deadline.expired():
            return
        until = asyncio.get_running_loop().time() + self._stall
        self.standing = self.end is None or until < self.end
        if self.standing:
            self.deadline.reschedule(until)

    def _done(self) -> None:
        if self.standing and not self.deadline.expired():
            self.deadline.reschedule(self.end)
            self.standing = False
