"""GET /metrics, for Prometheus and whoever reads its format."""

from litestar import Request, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import OpenAPIResponse
from litestar.response.base import ASGIResponse

from orpheus_openai.http.openapi import TEXT, operation
from orpheus_openai.observability.metrics import Metrics

_OPERATION = operation(
    answers={
        "200": OpenAPIResponse(description="Every metric with its explanation.", content={"text/plain": TEXT})
    },
)


def metrics_route(metrics: Metrics) -> HTTPRouteHandler:
    """The route that shows `metrics`."""

    @get(
        "/metrics",
        tags=["Server"],
        operation_id="metrics",
        summary="Measurements, for Prometheus",
        operation_class=_OPERATION,
    )
    async def show(request: Request[None, None, State]) -> ASGIResponse:
        """Times to first audio, real-time factors, underruns, queue, models, GPU memory, errors.

        Prometheus' text format 0.0.4, or OpenMetrics where the `Accept` header asks for it. What each metric means,
        and which to watch, is described in docs/observability.md.
        """
        body, media_type = await metrics.exposition(request.headers.get("accept", ""))
        return ASGIResponse(body=body, headers={"content-type": media_type, "cache-control": "no-store"})

    return show
