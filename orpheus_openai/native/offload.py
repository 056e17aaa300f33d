"""POST /api/offload: give GPU memory back now."""

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from msgspec import Meta

from orpheus_openai.fields import from_json
from orpheus_openai.gpu.manager import LONGEST_OFFLOAD, OFFLOAD_SECONDS, Offloaded
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.delivery import while_connected
from orpheus_openai.http.openapi import operation, schema
from orpheus_openai.speech.service import SpeechService


class OffloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /api/offload; `{}` unloads everything that is not in use."""

    model: Annotated[
        str | None,
        Meta(description="A model's id or alias; without it, all of them.", examples=["medium-3b"]),
    ] = None
    force: Annotated[
        bool, Meta(description="Unload at once, even while somebody is listening; their stream breaks off.")
    ] = False
    wait_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=LONGEST_OFFLOAD)] | None,
        Meta(
            description=f"How long running speech may go on before; {OFFLOAD_SECONDS:g} where it is not given.",
            examples=[30],
        ),
    ] = None


_OPERATION = operation(
    body=schema(
        OffloadRequest,
        {
            "all": Example(summary="Everything, once running speech has ended", value={}),
            "now": Example(summary="One model, at once", value={"model": "medium-3b", "force": True}),
        },
    ),
    body_required=False,
    problems={
        "400": "A field is of the wrong type or out of its range.",
        "403": "The request came from a web page of another site, or the key is not an admin's.",
        "404": "There is no such model.",
    },
)


@post(
    "/offload",
    status_code=200,
    tags=["Models"],
    operation_id="offload",
    summary="Free the GPU",
    response_description="Which models were unloaded, and which were not.",
    operation_class=_OPERATION,
)
async def offload(request: Request[Any, Any, Any], service: NamedDependency[SpeechService]) -> Offloaded:
    """Unload models. Running speech gets time to finish; the next request loads the model again.

    Answers when it is done, or when the time is over. Meanwhile new requests for the model wait for at most 5 s and
    are then told to retry (503 with Retry-After). If the client hangs up, the wait ends and the model stays.
    """
    caller_of(request.scope).require_admin("Freeing the GPU")
    body = from_json(await read_body(request.receive) or b"{}", OffloadRequest)
    wait = OFFLOAD_SECONDS if body.wait_seconds is None else body.wait_seconds
    return await while_connected(request.receive, service.offload(body.model, force=body.force, wait=wait))
