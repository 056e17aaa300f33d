"""Whether the client that sent a call over HTTP is still there."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

GONE = "mcp_client_gone"
"""In the state of a request's scope: the event that its client has hung up."""


async def hang_up(scope: "Mapping[str, Any]") -> dict[str, str]:
    """Wait until the client that sent a request over HTTP has hung up, as ASGI's `receive` would.

    FastMCP lets calls of a session run on: it might have sent what it has to say elsewhere.
    """
    await scope["state"][GONE].wait()
    return {"type": "http.disconnect"}
