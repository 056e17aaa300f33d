"""What every door with WebSockets shares: a socket's messages, with an end to waiting, and its speeches' accounts."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
from litestar.connection import WebSocket

from orpheus_openai.errors import AuthenticationError, RequestTimeoutError, SpeechError
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.delivery import ListenerTooSlowError, SlowestPace
from orpheus_openai.http.middleware.keys import KEY_PROTOCOL
from orpheus_openai.limits.caller import Caller
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech

if TYPE_CHECKING:
    from litestar.types import Message

AnySocket = WebSocket[Any, Any, Any]

IDLE_SECONDS = 300.0
"""How long nothing may be said on a socket, and nothing spoken."""
FIRST_SECONDS = 10.0
"""How long its first message may take."""

NORMAL, GOING_AWAY, POLICY, RESTART = 1000, 1001, 1008, 1012
"""Codes with which a socket is closed (RFC 6455, section 7.4.1, and IANA's registry)."""

Account = Callable[[Speech, int, float], None]
"""Told of a speech that ended: its status as an answer over HTTP would have it, and how many seconds it took."""


class SocketClosedError(Exception):
    """Whoever was at the other end has gone."""


class Line:
    """One socket that is open."""

    def __init__(self, socket: AnySocket) -> None:
        state = socket.app.state
        self.scope: Mapping[str, Any] = cast("Mapping[str, Any]", socket.scope)
        self.pace: SlowestPace = state.get("pace", SlowestPace())
        self.limit: float | None = state.get("request_timeout", 0.0) or None
        """Seconds for one speech."""
        self._draining: asyncio.Event = state.get("draining") or asyncio.Event()
        self._socket = socket
        self._receiving: asyncio.Task[Any] | None = None

    @property
    def account(self) -> str:
        """Whose share counts."""
        return caller_of(self.scope).account

    @property
    def draining(self) -> bool:
        """Whether the server stops: what is under way ends, and nothing begins."""
        return self._draining.is_set()

    async def accept(self) -> None:
        """Open it, in the first subprotocol that is not a key; a browser insists on one if it offered any."""
        offered: list[str] = list(self.scope.get("subprotocols", ()))
        chosen = next((name for name in offered if not name.startswith(KEY_PROTOCOL)), None)
        await self._socket.accept(subprotocols=chosen or (offered[0] if offered else None))

    async def receive(self, seconds: float) -> str | bytes | None:
        """The next message; None where none comes for so long, or the server stops.

        Raises SocketClosedError.
        """
        if self._receiving is None:
            self._receiving = asyncio.create_task(cast("Any", self._socket.receive()))
        stopping = None if self.draining else asyncio.create_task(self._draining.wait())
        try:
            awaited: list[asyncio.Task[Any]] = [self._receiving, *([stopping] if stopping else [])]
            await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if stopping is not None:
                stopping.cancel()
        if not self._receiving.done():
            return None
        received, self._receiving = self._receiving, None
        message = received.result()
        if message["type"] == "websocket.disconnect":
            raise SocketClosedError
        text: str | None = message.get("text")
        return text if text is not None else cast("bytes", message.get("bytes") or b"")

    async def send(self, message: object) -> None:
        """Send a JSON object; raises SocketClosedError, ListenerTooSlowError if it cannot be sent for too long."""
        await self._send({"type": "websocket.send", "text": msgspec.json.encode(message).decode()})

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes; raises as `send` does."""
        await self._send({"type": "websocket.send", "bytes": data})

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close it in order, if anybody is there."""
        with contextlib.suppress(SocketClosedError, ListenerTooSlowError):
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def forget(self) -> None:
        """Nothing more is received."""
        if self._receiving is not None:
            self._receiving.cancel()

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self.pace.grace or None):
                await self._socket.send(cast("Message", message))
        except TimeoutError:
            raise ListenerTooSlowError from None
        except Exception as error:  # every server says in its own way that nobody is there
            raise SocketClosedError from error


def prepare_utterance(
    line: Line, service: SpeechService, wanted: SpeechRequest, feed: TextFeed | None, *, number: int
) -> Speech:
    """Ask for speech number `number` on this socket, in the name of whoever opened it; raises as `prepare` does."""
    request_id = f"{line.scope['state'].get('request_id', 'socket')}.{number}"
    return service.prepare(wanted, account=line.account, request_id=request_id, feed=feed)


@contextlib.asynccontextmanager
async def accounted(line: Line, speech: Speech) -> AsyncGenerator[None]:
    """What becomes of `speech` inside is logged, counted and audited; RequestTimeoutError after the line's limit."""
    began, status = time.monotonic(), 499
    try:
        async with asyncio.timeout(line.limit) as limit:
            yield
        status = 200
    except TimeoutError:
        status = RequestTimeoutError.status
        if not limit.expired():
            raise
        raise RequestTimeoutError(
            f"The speech was given up: it took longer than the {line.limit:g} s that a request may take."
        ) from None
    except SpeechError as error:
        status = error.status
        raise
    finally:
        accounts: list[Account] = line.scope["state"].get("accounts", [])
        for account in accounts:
            account(speech, status, time.monotonic() - began)


@contextlib.asynccontextmanager
async def beside(
    wait: Callable[[], Awaitable[None]], tell: Callable[[], Awaitable[None]]
) -> AsyncGenerator[None]:
    """Beside what is inside, and no longer, `wait` for what is to be told, and `tell` it, again and again.

    What is being told when the inside ends in order is told to its end: it is not there a second time. What either
    raises is raised after the inside.
    """
    telling = asyncio.Lock()

    async def again() -> None:
        while True:
            await wait()
            async with telling:
                await tell()

    task = asyncio.create_task(again())
    try:
        yield
        async with telling:
            task.cancel()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        task.result()


def admit(line: Line, token: str) -> Caller:
    """Take the key that came in a message, on the paths where that may be (see `middleware.keys`).

    Returns who it is; raises AuthenticationError.
    """
    unlock: Callable[[bytes], Caller] | None = line.scope["state"].get("unlock")
    if unlock is None:
        raise AuthenticationError("The key must come with the request for the socket.")
    return unlock(token.encode())
