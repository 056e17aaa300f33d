"""FastMCP's log goes where ours goes, and only what matters of it."""

import logging


def join_our_log() -> None:
    """Undo the handlers that FastMCP installs when it is imported, and leave out its sessions' small talk."""
    fastmcp = logging.getLogger("fastmcp")
    fastmcp.handlers.clear()
    fastmcp.propagate = True
    for name in ("fastmcp", "mcp", "httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
