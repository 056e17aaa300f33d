"""POST /api/offload: give GPU memory back now."""

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from msgspec import Meta

from orpheus_openai.http.body import parse_body, read_body
from orpheus_openai.http.openapi import operation, schema
from orpheus_openai.speech.service import SpeechService

DRAIN_SECONDS = 30.0
LONGEST_DRAIN = 3600.0


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
        Annotated[float, Meta(ge=0, le=LONGEST_DRAIN)] | None,
        Meta(
            description=f"How long running speech may go on before; {DRAIN_SECONDS:g} where it is not given.",
            examples=[30],
        ),
    ] = None


class OffloadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What has left the GPU and what has not."""

    offloaded: Annotated[
        list[str], Meta(description="Ids of the models that were unloaded.", examples=[["medium-3b"]])
    ]
    still_busy: Annotated[
        list[str],
        Meta(
            description="Ids of models that were still speaking, or being loaded, at the end; they stay.",
            examples=[[]],
        ),
    ]
    freed_bytes: Annotated[
        int | None,
        Meta(description="GPU memory that was freed; null where it is not known.", examples=[8_589_934_592]),
    ]


_OPERATION = operation(
    body=schema(
        OffloadRequest,
        {
            "all": Example(summary="Everything, once nobody speaks", value={}),
            "now": Example(summary="One model, at once", value={"model": "medium-3b", "force": True}),
        },
    ),
    body_required=False,
    problems={"400": "A field is of the wrong type or out of its range.", "404": "There is no such model."},
)


@post(
    "/offload",
    status_code=200,
    tags=["Models"],
    operation_id="offload",
    summary="Free the GPU",
    response_description="What has left and what has not.",
    operation_class=_OPERATION,
)
async def offload(request: Request[Any, Any, Any], service: NamedDependency[SpeechService]) -> OffloadResult:
    """Unload models. Running speech gets time to end; the next request loads the model anew.

    Answers when it is done, or when the time is over.
    """
    body = parse_body(await read_body(request.receive) or b"{}", OffloadRequest)
    name = None if body.model is None else service.catalog.model(body.model, service.factory.default_model).id
    wait = DRAIN_SECONDS if body.wait_seconds is None else body.wait_seconds
    left = await service.manager.force_offload(name, force=body.force, wait=wait)
    return OffloadResult(offloaded=left.offloaded, still_busy=left.still_busy, freed_bytes=left.freed_bytes)
