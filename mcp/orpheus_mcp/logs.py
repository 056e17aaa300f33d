"""FastMCP's log goes where ours goes, and only what matters of it."""

import logging

from starlette.requests import ClientDisconnect


def join_our_log() -> None:
    """Undo the handlers that FastMCP installs when it is imported, and leave out its sessions' small talk."""
    fastmcp = logging.getLogger("fastmcp")
    fastmcp.handlers.clear()
    fastmcp.propagate = True
    for name in ("fastmcp", "mcp", "httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mcp.server.streamable_http").addFilter(_is_no_hangup)


def _is_no_hangup(record: logging.LogRecord) -> bool:
    """Whether it is more than a client that left while it was sending, of which the SDK makes an error with a trace."""
    return not (record.exc_info and isinstance(record.exc_info[1], ClientDisconnect))
