"""A trace of each request, stage by stage, for an OpenTelemetry collector.

It is written when the request has ended, from moments that are noted anyway: no listener waits for it.
"""

import asyncio
import importlib.util
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from orpheus_openai import NAME, __version__
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.installation import installing
from orpheus_openai.speech.speech import Speech

EXPORT_SECONDS = 5.0
"""How long the collector may take for a batch, and for the last ones when the server ends."""

FAULTS = 500
"""Statuses from here on are the server's fault; those below are the client's, and no error in a server's trace."""

logger = logging.getLogger(__name__)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A request, or one utterance on a socket, that has ended just now."""

    id: str
    method: str
    path: str
    route: str
    """The path with the names of its parameters in place of their values; empty: there is no such route."""
    status: int
    """0: the client left before there was an answer."""
    seconds: float
    error: str | None
    """The kind of error it ended in."""
    headers: Mapping[str, str]
    """Those of the request: they may name the trace that it belongs to."""
    speech: Speech | None
    measured: Mapping[str, Any]
    """What is known of that speech."""


class Tracing:
    """Sends traces until it is closed."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is the base URL of a collector that takes OTLP over HTTP."""
        from opentelemetry import propagate, trace  # noqa: PLC0415  an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self._otel = trace
        self._extract = propagate.extract
        named = Resource({"service.name": NAME, "service.version": __version__})
        self._provider = TracerProvider(
            resource=named.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(NAME, __version__)

    @classmethod
    def create(cls, endpoint: str) -> Self | None:
        """None without an endpoint and, with a word in the log, where the packages for it are missing.

        Raises ConfigurationError when the endpoint is not a URL.
        """
        if not endpoint:
            return None
        if not endpoint.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}: not a URL; write, for example, http://127.0.0.1:4318"
            )
        if not _installed():
            logger.warning(
                "no traces are sent to %s: OpenTelemetry is not installed: %s", endpoint, installing("otel")
            )
            return None
        return cls(endpoint)

    def record(self, answered: Answered) -> None:
        """Write the trace; it is sent later, by a thread of its own."""
        clock, now = time.monotonic(), time.time_ns()

        def wall(at: float) -> int:
            return now - round((clock - at) * 1e9)

        span = self._tracer.start_span(
            f"{answered.method} {answered.route}".strip(),
            self._extract(answered.headers),
            self._otel.SpanKind.SERVER,
            _attributes(answered),
            start_time=wall(clock - answered.seconds),
        )
        speech = answered.speech
        broken = speech.error if speech else None
        if broken or answered.status >= FAULTS:
            span.set_status(self._otel.StatusCode.ERROR, broken or answered.error)
        inside = self._otel.set_span_in_context(span)
        for stage in speech.timeline.stages() if speech else ():
            part = self._tracer.start_span(stage.name, inside, start_time=wall(stage.start))
            part.end(now if stage.end is None else wall(stage.end))
        span.end(now)

    async def close(self) -> None:
        """Send what is left, if the collector takes it soon."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, EXPORT_SECONDS)


def _installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # of one of its parents
        return False


def _attributes(answered: Answered) -> dict[str, Any]:
    """What the spans say, in OpenTelemetry's names where it has some (semantic conventions for HTTP)."""
    found: dict[str, Any] = {
        "http.request.method": answered.method if answered.method == "POST" else "_OTHER",
        "http.route": answered.route or None,
        "url.path": answered.path,
        "http.response.status_code": answered.status or None,
        "error.type": answered.error,
        "orpheus.request_id": answered.id,
    }
    found |= {f"orpheus.{name}": value for name, value in answered.measured.items()}
    if verdicts := answered.measured.get("verification"):
        found["orpheus.verification"] = [each.verdict for each in verdicts]
    return {name: value for name, value in found.items() if value is not None}
