"""Around every request: an id, how long it took until the answer began, and a line in the log."""

import logging
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from orpheus_openai.http.caller import speech_of
from orpheus_openai.http.middleware.answer import Answer, is_request, method_of
from orpheus_openai.http.redaction import Redaction
from orpheus_openai.logs import current_request_id
from orpheus_openai.observability.metrics import Metrics
from orpheus_openai.observability.tracing import Answered, Tracing
from orpheus_openai.speech.speech import Speech

if TYPE_CHECKING:
    from litestar.datastructures import MutableScopeHeaders
    from litestar.types import ASGIApp, Receive, Scope, Send

QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by whoever watches over the process."""

DOORS = {
    "/v1/text-to-speech/": "elevenlabs",
    "/v1/voices/": "elevenlabs",
    "/v2/": "elevenlabs",
    "/v1/": "openai",
    "/api/": "native",
    "/mcp/": "mcp",
}
"""By how a path begins, the first that fits; the quiet ones are `probe`, all else is `page`."""

UTTERANCE = "UTTERANCE"
"""In place of a method, for one speech of many on a socket."""

logger = logging.getLogger(__name__)


class Telemetry:
    """ASGI around the whole application, so that errors before routing have their headers too."""

    def __init__(
        self, app: "ASGIApp", metrics: Metrics, tracing: Tracing | None, redaction: Redaction
    ) -> None:
        self._app = app
        self._redaction = redaction
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, timed and named."""
        if not is_request(scope):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        path = scope["path"]  # routing shortens it for what is mounted
        request_id = f"req_{uuid.uuid4().hex}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["shown_path"] = self._redaction.path(path)
        state["accounts"] = [partial(self._tell_utterance, scope, path)]
        token = current_request_id.set(request_id)

        def name(_status: int, headers: "MutableScopeHeaders") -> None:
            headers["x-request-id"] = request_id
            headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))

        answer = Answer(send, name)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            self._close(scope, path, answer.status, time.perf_counter() - started)
            current_request_id.reset(token)

    def _tell_utterance(self, scope: "Scope", path: str, speech: Speech, status: int, seconds: float) -> None:
        """Count one speech of many on a socket, and log it."""
        self._metrics.count_request(_door(path), status, None)  # the speech tells of its own errors
        measured = speech.report().facts()
        fields = {"method": UTTERANCE, "path": scope["state"]["shown_path"], "speech": speech.id}
        fields |= {"status": status, "seconds": round(seconds, 4)}
        logger.info(
            "an utterance on a socket: %s in %.3f s",
            status,
            seconds,
            extra={"fields": {**fields, **measured}},
        )
        self._trace(scope, UTTERANCE, status, seconds, name=speech.id, speech=speech)

    def _close(self, scope: "Scope", path: str, status: int, seconds: float) -> None:
        """Count the request, log it and write its trace."""
        state: dict[str, Any] = scope["state"]
        speech, method = speech_of(scope), method_of(scope)
        error, told = state.get("error"), bool(speech and speech.error)
        self._metrics.count_request(_door(path), status, None if told else error)
        measured = speech.report().facts() if speech else {}
        shown = state["shown_path"]
        line = ascii(shown)[1:-1]  # a line break in it would forge a line of the log
        fields = {"method": method, "path": shown, "status": status, "seconds": round(seconds, 4)}
        logger.log(
            logging.DEBUG if path in QUIET_PATHS else logging.INFO,
            "%s %s %s in %.3f s",
            method,
            line,
            status or "unanswered",
            seconds,
            extra={"fields": {**fields, **measured}},
        )
        if method == "POST":
            self._trace(scope, method, status, seconds, name=state["request_id"], speech=speech)

    def _trace(
        self,
        scope: "Scope",
        method: str,
        status: int,
        seconds: float,
        *,
        name: str,
        speech: Speech | None,
    ) -> None:
        """Write the trace of a request, or of one utterance on a socket, that has just ended."""
        if self._tracing is None:
            return
        state: dict[str, Any] = scope["state"]
        self._tracing.record(
            Answered(
                id=name,
                method=method,
                path=state["shown_path"],
                route=scope.get("path_template", ""),
                status=status,
                seconds=seconds,
                error=speech.error if method == UTTERANCE and speech is not None else state.get("error"),
                headers={key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]},
                speech=speech,
                measured=speech.report().facts() if speech else {},
            )
        )


def _door(path: str) -> str:
    if path in QUIET_PATHS:
        return "probe"
    return next((door for start, door in DOORS.items() if f"{path}/".startswith(start)), "page")
