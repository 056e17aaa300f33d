"""uvicorn's HTTP/1.1 protocol, with an end to what can come before there is a request.

httptools parses quickly and sets no limit of its own: not for a head's bytes, nor for its time, nor for how many
requests may be sent ahead. What comes is therefore given to it in small pieces, and counted.
"""

import asyncio
import base64
import binascii
import http
import socket
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from orpheus_openai.errors import RETRY_SECONDS
from orpheus_openai.http.connections import Connections
from orpheus_openai.http.error_body import ErrorBody, ErrorDetail

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

MAX_HEAD_BYTES = 64 * 1024
"""Request line, headers and trailers together."""

HEAD_SECONDS = 10.0
"""From the first byte of a head, or from the connection's beginning, until the head is complete."""

PIECE_BYTES = 4096
"""What the parser is given at once: more would hold thousands of requests that are sent ahead."""

LINGER_SECONDS = 2.0
"""How long a client that is turned away while it sends may go on: a connection reset would cost it the answer."""

FLUSH_SECONDS = 30.0
"""How long a client may take to read what was written before an answer broke off."""

SOCKET_KEY_BYTES = 16
"""What the key of a WebSocket's handshake holds."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self, connections: Connections, *, head_seconds: float = HEAD_SECONDS, **uvicorns: Any
    ) -> None:
        super().__init__(**uvicorns)
        self._application = self.app
        self._counted_in = connections
        self._head_seconds = head_seconds
        self._host = ""
        self._counted = False
        self._refused = False
        self._unparsed = memoryview(b"")
        """What has come and is not given to the parser yet; requests are only read one ahead."""
        self._in_head = True
        self._begun = False
        self._ended = False
        """Whether a request ended in the piece that is being parsed."""
        self._head_bytes = 0
        self._since_body = 0
        """Bytes since the last of a body: trailers, or what stands about its chunks."""
        self._timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        """The request whose answer goes out; `cycle` is the one that came last."""

    # --- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, or turn it away."""
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self._host = self.client[0] if self.client else ""
        if why := self._counted_in.enter(self._host):
            self._answer(503, "overloaded", f"This server takes no more connections: {why}.")
            self._counted_in.tell(why, self._host)
            self._refused = True
            transport.close()
            return
        self._counted = True
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        self._leave()
        self._unparsed = memoryview(b"")
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn tells the one that came last, though that may not have begun.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def _should_upgrade(self) -> bool:
        """Only for a whole handshake (RFC 6455, 4.1): all else is a request like any, which the application answers.

        So is one that comes while another request is being answered, whose answer would go on amid the frames, with
        nobody to hear that its reader is slow or has gone.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        return bool(super()._should_upgrade()) and _is_handshake(self.scope["method"], self.headers)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to another protocol; it counts for as long as it is open."""
        self._unparsed = memoryview(b"")
        super().handle_websocket_upgrade()
        heir: Any = self.transport.get_protocol()
        if not heir.handshake_initiated:
            # What websockets reads of a head is less than we do, and it would not answer at all.
            heir.connections.discard(heir)
            self.connections.add(self)
            self.transport.set_protocol(self)
            self._refuse(
                431,
                "head_too_large",
                f"a WebSocket's head may have {MAX_NUM_HEADERS} headers, and no line over {MAX_LINE_LENGTH} bytes",
            )
            return
        lost = heir.connection_lost

        def connection_lost(exc: Exception | None) -> None:
            self._leave()
            lost(exc)

        heir.connection_lost = connection_lost

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self._counted_in.leave(self._host)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what the limits allow."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        self._unparsed = memoryview(self._unparsed.tobytes() + data if self._unparsed else data)
        self._parse()

    def on_response_complete(self) -> None:
        """Go on with what was sent ahead."""
        super().on_response_complete()
        if self._unparsed and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._parse()

    def _parse(self) -> None:
        while self._unparsed and not self.pipeline and not self._refused and not self.transport.is_closing():
            room = MAX_HEAD_BYTES - self._head_bytes if self._in_head else PIECE_BYTES
            if room <= 0:
                self._refuse(431, "head_too_large", f"head and trailers are larger than {_limit()}")
                return
            size = min(room, PIECE_BYTES)
            piece, self._unparsed = self._unparsed[:size], self._unparsed[size:]
            self._parse_piece(piece)
        if self._refused or self.transport.is_closing():
            self._unparsed = memoryview(b"")
            return
        self._flow.hold(held=bool(self._unparsed), ahead=bool(self.pipeline))
        if self._in_head and self._head_bytes and self._timer is None:
            self._start_timer()

    def _parse_piece(self, piece: memoryview) -> None:
        was_in_head, self._ended = self._in_head, False
        self._since_body += len(piece)
        super().data_received(cast("bytes", piece))  # the parser takes any buffer
        if self._in_head:
            self._since_body = 0
            # Of a piece in which a request ended nobody knows how much belongs to the next.
            self._head_bytes = int(self._begun) if self._ended else self._head_bytes + len(piece)
        elif was_in_head:
            self._since_body = 0
        elif self._head_bytes + self._since_body > MAX_HEAD_BYTES:
            self._refuse(431, "head_too_large", f"head and trailers are larger than {_limit()}")

    def send_400_response(self, _msg: str) -> None:
        """Say in our words that this is not HTTP; uvicorn's would stand in the middle of an answer under way."""
        self._refuse(400, "invalid_http", "what came is not HTTP/1.1")

    def _unsupported_upgrade_warning(self) -> None:
        # Another protocol than HTTP/1.1 follows, or nothing does: it is answered as HTTP/1.1.
        self._unparsed = memoryview(b"")

    def on_message_begin(self) -> None:
        """Tell a head that has begun from an idle connection."""
        self._begun = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep headers; trailers, which uvicorn would put among the headers of a request under way, are dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head."""
        self._in_head = False
        self._stop_timer()
        exchange = self.app = _Exchange(self._application, self._begin_to_answer)
        super().on_headers_complete()
        exchange.cycle = self.cycle

    def _begin_to_answer(self, cycle: RequestResponseCycle) -> None:
        self._answering = cycle

    def on_body(self, body: bytes) -> None:
        """Take note that it moves."""
        self._since_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin to count for the next."""
        self._in_head, self._begun, self._ended = True, False, True
        self._head_bytes = 0
        super().on_message_complete()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._head_seconds, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # what was asked for before is still answered
        elif not self._head_bytes:
            self.transport.close()  # a browser keeps connections ready; an answer to nothing would confuse it
        else:
            self._refuse(408, "request_timeout", f"the head was not complete within {self._head_seconds:g} s")

    # --- those turned away --------------------------------------------------------------------------------------------

    def _refuse(self, status: int, code: str, why: str) -> None:
        """Answer with an error, where there is nothing else to be answered, and close."""
        self._refused = True
        self._unparsed = memoryview(b"")
        self._stop_timer()
        self._counted_in.tell(why, self._host)
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if answering and (self._in_head or cycle.response_started or self.pipeline):
            self.transport.abort()
            return
        if answering:
            cycle.disconnected = True
            cycle.message_event.set()
        self._answer(status, code, f"{why[0].upper()}{why[1:]}.")
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._flow.hold(held=False, ahead=False)
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _answer(self, status: int, code: str, message: str) -> None:
        kind = "server_error" if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        body = msgspec.json.encode(ErrorBody(ErrorDetail(message, kind, None, code)))
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"%d" % RETRY_SECONDS))
        first = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode()
        self.transport.write(b"\r\n".join([first, *(b"%s: %s" % pair for pair in headers), b"", body]))


class _Exchange:
    """The application as one request meets it: what uvicorn makes of its answer is put right here."""

    cycle: RequestResponseCycle

    def __init__(self, app: "ASGI3Application", begin: Callable[[RequestResponseCycle], None]) -> None:
        self._app = app
        self._begin = begin

    async def __call__(
        self, scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable"
    ) -> None:
        cycle, old = self.cycle, scope.get("http_version") == "1.0"
        self._begin(cycle)
        until_closed = False

        async def send_until_closed(message: "ASGISendEvent") -> None:
            # HTTP/1.0 knows no chunks (RFC 9112, section 6.1): where there is no length, the end of the connection
            # is the end of the body.
            nonlocal until_closed
            if message["type"] == "http.response.start":
                until_closed = all(
                    name.lower() != b"content-length" for name, _ in message.get("headers", ())
                )
                if until_closed:
                    cycle.chunked_encoding = False
            elif message["type"] == "http.response.body" and until_closed:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_until_closed if old else send)
        finally:
            if cycle.response_started and not cycle.response_complete and not cycle.disconnected:
                # Whoever broke the answer off has told why; uvicorn would call it an error once more.
                cycle.disconnected = True
                if until_closed:
                    _reset(cycle.transport)  # closed in order, half would look whole
                else:
                    cycle.transport.close()  # when what is written has been read, in time
                    asyncio.get_running_loop().call_later(FLUSH_SECONDS, cycle.transport.abort)


def _reset(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Flow(FlowControl):
    """Does not read on while requests wait that were sent ahead, whoever asks for it."""

    _held = False

    def hold(self, *, held: bool, ahead: bool) -> None:
        was, self._held = self._held, held
        if held:
            self.pause_reading()
        elif was and not ahead:
            self.resume_reading()

    def resume_reading(self) -> None:
        if not self._held:
            super().resume_reading()


def _limit() -> str:
    return f"{MAX_HEAD_BYTES // 1024} KiB"


def _is_handshake(method: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    given = dict(headers)
    try:
        key = base64.b64decode(given.get(b"sec-websocket-key", b"").strip(), validate=True)
    except binascii.Error:
        return False
    version = given.get(b"sec-websocket-version", b"").strip()
    return method == "GET" and len(key) == SOCKET_KEY_BYTES and version == b"13"
