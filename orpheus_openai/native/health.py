"""GET /health, for whoever watches over the process."""

import msgspec
from litestar import get

from orpheus_openai import NAME, __version__
from orpheus_openai.http.openapi import operation


class Health(msgspec.Struct, frozen=True):
    """The process answers; whether a model can speak is another question."""

    status: str = "ok"
    name: str = NAME
    version: str = __version__


@get(
    "/health",
    tags=["Server"],
    operation_id="health",
    summary="Is the server alive?",
    response_description="The server is alive.",
    operation_class=operation(public=True),
    sync_to_thread=False,
)
def health() -> Health:
    """Answers as long as the process does; loads nothing."""
    return Health()
