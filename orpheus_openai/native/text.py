"""POST /api/text: what would be said of a text, without saying it."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example, OpenAPIResponse
from litestar.response.base import ASGIResponse

from orpheus_openai.fields import from_json
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of, name_text_field
from orpheus_openai.http.delivery import while_connected
from orpheus_openai.http.openapi import SPEECH_PROBLEMS, operation, schema
from orpheus_openai.native.generate import GenerateRequest, asked_for
from orpheus_openai.speech.plan import Plan
from orpheus_openai.speech.service import SpeechService

_EXAMPLES = {
    "marked up": Example(
        summary="Markdown, money and a pause",
        value={"text": "## Prices\n\nIt is **$5**. [pause 1s] &lt;laugh&gt;", "voice": "tara"},
    ),
    "cast": Example(
        summary="Two speakers",
        value={"text": "Anna: Hello!\nBen: Hi.", "cast": {"Anna": "tara", "Ben": "leo"}},
    ),
}

_OPERATION = operation(
    body=schema(GenerateRequest, _EXAMPLES),
    answers={
        "200": OpenAPIResponse(
            description="The segments, and what of the text is changed.",
            content={"application/json": schema(Plan)},
        )
    },
    problems={
        status: words for status, words in SPEECH_PROBLEMS.items() if status in ("400", "404", "429", "503")
    },
)


@post(
    "/text",
    status_code=200,
    tags=["Speech"],
    operation_id="planText",
    summary="What would be said of a text",
    operation_class=_OPERATION,
)
async def plan_text(request: Request[Any, Any, Any], service: NamedDependency[SpeechService]) -> ASGIResponse:
    """Show how a text is read, without speaking it: the same body as `/api/generate`, and no model is needed.

    Each segment tells what is said, by whom, where that stands in the request's text, how long the silence after it
    is, and what was changed on the way, and why.
    """
    body = from_json(await read_body(request.receive), GenerateRequest, text="text")
    wanted, text_field = asked_for(body)
    name_text_field(request.scope, text_field)
    plan = await while_connected(
        request.receive, service.plan(wanted, account=caller_of(request.scope).account)
    )
    return ASGIResponse(
        body=msgspec.json.encode(plan), media_type="application/json", headers={"cache-control": "no-store"}
    )
