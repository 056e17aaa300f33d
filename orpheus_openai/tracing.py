"""A trace of each request, stage by stage, for an OpenTelemetry collector; written when the request has ended.

Nothing is recorded on the way but moments that are taken anyhow, so that tracing costs a listener no time.
"""

import importlib.util
import logging
import time
from collections.abc import Mapping
from typing import Self

from orpheus_openai import __version__
from orpheus_openai.service import Speech
from orpheus_openai.timeline import Stage

NAME = "orpheus-openai"
EXPORT_SECONDS = 5.0
"""How long a collector may take for a batch; also how long the server's end waits for it."""

logger = logging.getLogger(__name__)


class Tracing:
    """Sends traces until it is closed."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is a collector's base URL for OTLP over HTTP."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        named = Resource({"service.name": NAME, "service.version": __version__})
        self._provider = TracerProvider(
            resource=named.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._processor = BatchSpanProcessor(exporter)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer(NAME, __version__)

    @classmethod
    def create(cls, endpoint: str) -> Self | None:
        """None without an endpoint, or, with a word in the log, where the packages are missing."""
        if not endpoint:
            return None
        if importlib.util.find_spec("opentelemetry.exporter") is None:
            logger.warning(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, and no traces are sent: pip install 'orpheus-openai[otel]'"
            )
            return None
        return cls(endpoint)
