"""uvicorn's WebSockets, with an end to what it would keep, and an end of its own for whoever is served."""

import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE_BYTES = 1024 * 1024
"""Text and configuration are far smaller, however they are escaped."""
MAX_FRAGMENTS = 1_000
"""Frames of one message: empty ones weigh nothing on the wire, but each is kept."""
PING_SECONDS = 20.0
"""A socket that is silent for a minute is closed by most that stand between."""
NOT_UTF_8, TOO_BIG = 1007, 1009

_quiet = logging.getLogger("orpheus_openai.http.socket_protocol.frames")
_quiet.setLevel(logging.WARNING)


class BoundedSocket(WebSocketsSansIOProtocol):
    """One socket."""

    def __init__(self, *uvicorns: Any, **and_more: Any) -> None:
        super().__init__(*uvicorns, **and_more)
        # It would log every head with its key, and every frame with its text.
        self.conn.logger, self.conn.debug = _quiet, False
        self._owed_pong = b""

    def handle_ping(self) -> None:
        """Answer, but while the other end does not read only the last one: RFC 6455, section 5.5.3, allows that."""
        pongs = [frame for frame in self.conn.data_to_send() if frame]
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._owed_pong = pongs[-1]

    def resume_writing(self) -> None:
        """What was held back may go out."""
        super().resume_writing()
        owed, self._owed_pong = self._owed_pong, b""
        if owed and not self.transport.is_closing():
            self.transport.write(owed)

    def handle_cont(self, event: Any) -> None:
        """Keep one more part of a message, if it has not too many."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self.conn.fail(TOO_BIG, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Hand a message over, if it is text where it says so; uvicorn would write a traceback for each that is not."""
        if self.curr_msg_data_type == "text":
            try:
                self.frames = [b"".join(self.frames)]
                self.frames[0].decode()
            except UnicodeDecodeError:
                self.conn.fail(NOT_UTF_8, "text that is not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def keepalive_timeout(self) -> None:
        """Close a socket whose other end is dead, and none that cannot answer: we do not read, or it reads slowly."""
        if self.read_paused or not self.writable.is_set() or self.transport.get_write_buffer_size():
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()

    def shutdown(self) -> None:
        """The server stops: whoever is served is served to the end, by the door, which then closes the socket."""
        if not self.handshake_complete:
            super().shutdown()


def socket_settings(stall_timeout: float) -> dict[str, Any]:
    """What uvicorn has to know of sockets, where nothing may stand still for so many seconds; 0: for ever."""
    return {
        "ws": BoundedSocket,
        "ws_max_size": MAX_MESSAGE_BYTES,
        "ws_ping_interval": PING_SECONDS,
        "ws_ping_timeout": stall_timeout or None,  # a pong waits behind all the audio that is on its way
        "ws_per_message_deflate": False,  # audio does not shrink, and each socket would keep two windows for it
    }
