"""GET /health, for whoever watches over the process, and GET /, which tells where everything is."""

import msgspec
from litestar import get

from orpheus_openai import __version__


class Health(msgspec.Struct, frozen=True):
    """The process answers; whether a model can speak is another question."""

    status: str = "ok"
    version: str = __version__


class Doors(msgspec.Struct, frozen=True):
    """Where to go from here."""

    name: str = "orpheus-openai"
    version: str = __version__
    openai: str = "/v1"
    docs: str = "/apidocs"
    health: str = "/health"


@get("/health", tags=["Server"], operation_id="health", summary="Is the server alive?", sync_to_thread=False)
def health() -> Health:
    """Answers as long as the process does; loads nothing."""
    return Health()


@get("/", tags=["Server"], operation_id="doors", summary="Where everything is", sync_to_thread=False)
def doors() -> Doors:
    """The paths of the API and its docs."""
    return Doors()
