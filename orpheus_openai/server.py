"""The process that serves: one socket, one event loop, and a word on where everything is."""

import errno
import logging
import socket
import sys

import uvicorn

from orpheus_openai.app import create_app
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.events import EventHub
from orpheus_openai.logs import configure_logging
from orpheus_openai.settings import Settings

logger = logging.getLogger(__name__)

GRACE_SECONDS = 10
"""How long streams may go on after the server was told to stop."""


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigurationError when the address cannot be listened on."""
    configure_logging(settings)
    app = create_app(settings)
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _Server(config, app.state.events).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, events: EventHub) -> None:
        super().__init__(config)
        self.events = events

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and sockets:
            _announce(sockets[0])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.events.close()  # listeners would stay for ever, and the server wait its whole grace for them
        await super().shutdown(sockets=sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
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
    return listener


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104
    shown = "localhost" if everywhere else f"[{host}]" if ":" in host else host
    base = f"http://{shown}:{port}"
    lines = (f"Page   {base}/", f"API    {base}/v1", f"Docs   {base}/apidocs", f"Health {base}/health")
    words = "\n".join(["", "orpheus-openai is ready", *(f"  {line}" for line in lines), "", ""])
    sys.stderr.write(words)
    sys.stderr.flush()
