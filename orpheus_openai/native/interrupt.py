"""POST /api/speech/{id}/interrupt: the listener cuts in."""

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIResponse
from litestar.params import PathParameter
from msgspec import Meta

from orpheus_openai.fields import from_json
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.openapi import operation, schema
from orpheus_openai.speech.interruption import Interruption
from orpheus_openai.speech.service import SpeechService

PlayedMs = Annotated[
    float,
    Meta(
        ge=0,
        le=1e9,
        description="Milliseconds of the speech that were played; what was not sent cannot have been.",
        examples=[1234],
    ),
]


class InterruptRequest(msgspec.Struct, frozen=True):
    """How much was heard."""

    played_ms: PlayedMs


_OPERATION = operation(
    body=schema(InterruptRequest),
    answers={
        "200": OpenAPIResponse(
            description="What of the text was heard.",
            content={"application/json": schema(Interruption)},
        )
    },
    problems={
        "400": "The body is not as it should be.",
        "404": "There is no such speech under way, or it is somebody else's.",
    },
)


@post(
    "/speech/{speech_id:str}/interrupt",
    status_code=200,
    tags=["Speech"],
    operation_id="interruptSpeech",
    summary="Interrupt a speech",
    response_description="What of the text was heard.",
    operation_class=_OPERATION,
)
async def interrupt(
    request: Request[Any, Any, Any],
    speech_id: Annotated[str, PathParameter(description="The `x-request-id` of the answer that speaks.")],
    service: NamedDependency[SpeechService],
) -> Interruption:
    """Stop a speech of your own, or with an admin's key anybody's, and learn what of its text was heard.

    It does not matter which door it came through.

    The text is cut before the word that was sounding and not yet half said. The answer with the speech breaks off; its
    place is free at once. That word is looked for in what was sent, whether or not words were asked for; `timing` says
    how well it is known.
    What was spoken faster than it is played can be interrupted for as long as it may still sound.
    """
    body = from_json(await read_body(request.receive), InterruptRequest)
    return await service.playing.interrupt(speech_id, caller_of(request.scope), body.played_ms / 1_000)
