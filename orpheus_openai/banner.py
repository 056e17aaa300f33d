"""What a server says when it starts: where everything is, and who may use it."""

import ipaddress
import logging
import socket
import sys
from collections.abc import Sequence

from orpheus_openai.catalog import PREVIEW
from orpheus_openai.settings import Settings

READY = "orpheus-openai is ready"
NOT_READY = "orpheus-openai is serving, but not ready: {} cannot speak, so /ready answers 503, and tts-1 404"

logger = logging.getLogger(__name__)


def announce(
    listener: socket.socket,
    default_model: str,
    unmet: Sequence[str],
    log_format: str,
    *,
    speaks: bool = True,
    pace: str = "",
) -> None:
    """Say where the server is: to people in lines, to machines in one record of the log, at whatever level that is.

    Each of `unmet` is a wish of the settings that this machine cannot meet; `speaks` is whether the default model can
    speak here, and `pace` tells how fast it did when it was loaded last.
    """
    for wish in unmet:
        logger.warning(wish)
    headline = READY if speaks else NOT_READY.format(default_model)
    host, port = listener.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104
    shown = "localhost" if everywhere else f"[{host}]" if ":" in host else host
    base = f"http://{shown}:{port}"
    what = ": eSpeak NG, a synthetic stand-in that is not Orpheus" if default_model == PREVIEW else ""
    places = {
        "Page": f"{base}/",
        "API": f"{base}/v1",
        "MCP": f"{base}/mcp",
        "Docs": f"{base}/apidocs",
        "Health": f"{base}/health",
        "Model": default_model + what,
    } | ({"Speed": pace} if pace else {})
    if log_format == "json":
        fields = {"fields": {name.lower(): place for name, place in places.items()}}
        logger.handle(
            logger.makeRecord(logger.name, logging.INFO, __file__, 0, headline, (), None, extra=fields)
        )
        return
    lines = [f"  {name:<6} {place}" for name, place in places.items()]
    sys.stderr.write("\n".join(["", headline, *lines, "", ""]))
    sys.stderr.flush()


def warn_if_open(listener: socket.socket, settings: Settings) -> None:
    """Say so where everybody who reaches the server may use it."""
    host = listener.getsockname()[0]
    if settings.api_keys or ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        return
    logger.warning(
        "NO KEYS: everybody who can reach %s can use this server, its files and its GPU. Set ORPHEUS_API_KEYS, "
        "or ORPHEUS_HOST=127.0.0.1 to serve this machine alone.",
        "this machine" if ipaddress.ip_address(host).is_unspecified else host,
    )
