"""Around every request: an id, how long it took until the answer began, and a line in the log."""

import logging
import time
import uuid
from typing import TYPE_CHECKING

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType

from orpheus_openai.logs import current_request_id

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

QUIET_PATHS = frozenset({"/health", "/ready"})
"""Asked every few seconds by whoever watches over the process."""

logger = logging.getLogger(__name__)


class Telemetry:
    """ASGI around the whole application, so that errors before routing have their headers too."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, timed and named."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        path = scope["path"]  # routing shortens it for what is mounted
        request_id = f"req_{uuid.uuid4().hex}"
        scope["state"]["request_id"] = request_id
        token = current_request_id.set(request_id)
        status = 0

        async def send_named(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableScopeHeaders.from_message(message)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            seconds = time.perf_counter() - started
            level = logging.DEBUG if path in QUIET_PATHS else logging.INFO
            shown = ascii(path)[1:-1]  # a line break in it would forge a line of the log
            logger.log(level, "%s %s %s in %.3f s", scope["method"], shown, status or "unanswered", seconds)
            current_request_id.reset(token)
