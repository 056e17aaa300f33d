"""GET /ready: whether a request for the default model can be served, for load balancers and orchestrators."""

import time
from typing import Literal

import msgspec
from litestar import get
from litestar.datastructures import State
from litestar.di import NamedDependency

from orpheus_openai.errors import (
    RETRY_SECONDS,
    ModelUnavailableError,
    NotReadyError,
    ServerUnreadyError,
    ShuttingDownError,
)
from orpheus_openai.gpu.slot import ModelState, offloading_error
from orpheus_openai.http.openapi import operation
from orpheus_openai.speech.service import SpeechService


class Ready(msgspec.Struct, frozen=True):
    """The default model is loaded, or will be when it is first asked for."""

    model: str
    state: ModelState
    ready: Literal[True] = True


def require_ready(service: SpeechService) -> Ready:
    """Raise an error of status 503 unless the default model can speak; loads nothing."""
    model = service.catalog.models[service.factory.default_model]
    try:
        service.factory.require(model)
    except ModelUnavailableError as error:
        raise ServerUnreadyError(error.message) from error
    found = next((status for status in service.manager.get_status() if status.id == model.id), None)
    if found is not None and found.state is ModelState.FAILED:
        reason = (found.error or "").removesuffix(".")
        raise NotReadyError(
            f"The model {model.id} could not be loaded: {reason}. The next request for it tries again.",
            code="model_load_failed",
            retry_after=RETRY_SECONDS,
        )
    if found is not None and found.draining_seconds is not None:
        raise offloading_error(model.id, found.draining_seconds)
    return Ready(model.id, ModelState.UNLOADED if found is None else found.state)


@get(
    "/ready",
    tags=["Server"],
    operation_id="ready",
    summary="Can the server speak?",
    response_description="The server can speak.",
    operation_class=operation(
        public=True,
        problems={
            "503": "The default model cannot speak right now, or the server is stopping; the message says why."
        },
    ),
    sync_to_thread=False,
)
def ready(service: NamedDependency[SpeechService], state: State) -> Ready:
    """Answers 200 while the default model is loaded or can be loaded on demand, and loads nothing itself.

    Use `/health` to decide whether to restart the server, and this to decide whether to send it requests. When the
    server is told to stop, this answers 503 first; what is under way is finished.
    """
    state.ready_asked_at = time.monotonic()  # the server's stop waits for those who watch
    if state.get("stopping"):
        raise ShuttingDownError(
            "The server is stopping: it finishes what it is speaking, and exits.", retry_after=10
        )
    return require_ready(service)
