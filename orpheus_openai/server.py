"""The process that serves: one socket, one event loop, and a word on where everything is."""

import contextlib
import ctypes
import errno
import functools
import gc
import math
import signal
import socket
import sys
import time
from collections.abc import Generator
from types import FrameType
from typing import TYPE_CHECKING, cast

import uvicorn
from litestar.datastructures import State

from orpheus_openai.app import create_app
from orpheus_openai.banner import announce, warn_if_open
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.http.connections import BACKLOG, LOOPBACK, Connections, make_room_for
from orpheus_openai.http.protocol import BoundedProtocol
from orpheus_openai.http.socket_protocol import socket_settings
from orpheus_openai.logs import configure_logging
from orpheus_openai.settings import Settings

if TYPE_CHECKING:
    import asyncio

DRAIN_SECONDS = 120
"""How long streams may go on after SIGTERM. Whoever sends it waits longer than that before SIGKILL."""

INTERRUPT_SECONDS = 10
"""How long streams may go on after SIGINT, which a person sends who waits."""

NOTICE_SECONDS = 5
"""How long `/ready` says no before the port closes: time for a load balancer to ask, and to look elsewhere."""

TURN_SECONDS = 0.001
"""After which a thread lets others have the interpreter. The event loop needs it several times for one answer, and by
Python's own 5 ms each a text that is read in a thread would hold up everybody's by as much."""

M_ARENA_MAX = -8
"""As in glibc's malloc.h."""
ARENAS = 2

WATCHED_SECONDS = 30
"""Whoever asked `/ready` so recently is taken to watch it."""

UNSENT_BYTES = 128 * 1024
"""What the kernel holds back for a slow reader, beside what is on its way to it."""


def serve(settings: Settings) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; streams that are under way then are finished, within limits.

    Raises ConfigurationError when the address cannot be listened on.
    """
    configure_logging(settings)
    bound_arenas()
    app = create_app(settings)
    listener = _listen(settings.host, settings.port, settings.stall_timeout)
    warn_if_open(listener, settings)
    connections = Connections(
        in_all=make_room_for(settings.max_connections),
        per_address=settings.max_connections_per_address,
        exempt=(*LOOPBACK, *settings.trusted_proxies),
    )
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", functools.partial(BoundedProtocol, connections)),
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=_believed_proxies(settings),
        **socket_settings(settings.stall_timeout),
    )
    _Server(config, app.state, settings.log_format).run(sockets=[listener])


def bound_arenas() -> None:
    """Have all threads share two of glibc's arenas of memory, not eight for each core.

    What lies free in one is lost to the others: 5 MiB with 64 listeners on two cores. Without glibc this does nothing.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def settle() -> None:
    """See to it that threads give the event loop its turn soon, and that looks for garbage are short.

    A look at all that was made for the start, none of which is ever garbage, would hold every stream for 30 ms.
    """
    sys.setswitchinterval(TURN_SECONDS)
    gc.collect()
    gc.freeze()


def _believed_proxies(settings: Settings) -> list[str]:
    """Whose X-Forwarded-For counts.

    Without keys rates are counted by address: a client on this machine shall not invent some where no proxy is named.
    """
    if not settings.trusted_proxies and not settings.api_keys:
        return []
    return [*LOOPBACK, *settings.trusted_proxies]


class _Server(uvicorn.Server):
    """Stops in three steps: `/ready` says no, the port closes, and the last stream ends."""

    def __init__(self, config: uvicorn.Config, state: State, log_format: str) -> None:
        super().__init__(config)
        self._log_format = log_format
        self.state = state
        self._closes_at = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        settle()
        if self.started and sockets:
            announce(
                sockets[0],
                self.state.default_model,
                self.state.unmet,
                self._log_format,
                speaks=self.state.default_speaks,
                pace=self.state.pace_here,
            )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """As uvicorn does, and SIGHUP too: it comes when a terminal is closed, and need not cut anybody short."""
        with super().capture_signals():
            if (
                sys.platform == "win32" or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            ):  # as nohup has it
                yield
                return
            before = signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            now = time.monotonic()
            watched = now - self.state.get("ready_asked_at", -math.inf) < WATCHED_SECONDS
            terminated = sig != signal.SIGINT
            self._closes_at = now + (NOTICE_SECONDS if watched and terminated else 0)
            self.config.timeout_graceful_shutdown = DRAIN_SECONDS if terminated else INTERRUPT_SECONDS
            self.state.stopping = True
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        leaving = await super().on_tick(counter)
        return leaving and (self.force_exit or time.monotonic() >= self._closes_at)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.state.draining.set()
        self.state.events.close()  # listeners would stay for ever, and the server wait to its limit for them
        await super().shutdown(sockets=sockets)


def _listen(host: str, port: int, stall_timeout: float) -> socket.socket:
    try:
        address_family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        listener = socket.socket(address_family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # two may bind to a port that is free, only one listens
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} is taken by another program; set PORT to a free one"
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigurationError(
                f"port {port} may not be opened by this user; set PORT above 1023"
            ) from error
        raise ConfigurationError(f"ORPHEUS_HOST={host}: cannot listen there ({error})") from error
    # The first bytes of audio must not wait for more to fill a packet.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Accepted sockets inherit both. What is closed with bytes unsent would stay as long as the client likes;
        # and a writer must hear of each step of a slow reader, not of every other megabyte.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(stall_timeout * 1000))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return listener
