"""What every door says on the API page of bodies that are read and answered as bytes, and of errors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.http.error_body import ErrorBody

_REFERENCE = "#/{name}"

SPEECH_PROBLEMS = {
    "400": "A field is missing, of the wrong type or out of its range; `param` names it.",
    "404": "There is no such model, or it cannot run on this server; the message says what would help.",
    "429": "The caller's rate limit is reached, or the server is busy; `Retry-After` says when to try again.",
    "502": "The engine failed before the first sound.",
    "503": "The model is not ready, or memory is short; `Retry-After` says when to try again.",
}
"""What can go wrong with a request for speech, by status."""

FOREIGN_PAGE = {"403": "The request came from a web page of another site. Only where the server has no keys."}
"""What keeps pages of other sites from changing anything."""

_NO_KEY = {"401": "The API key is missing or wrong. Only where the server has keys."}
_NO_NAME = {"421": "The host name is one that anybody could own. Only where the server has no keys."}
_BODY_PROBLEMS = {
    **FOREIGN_PAGE,
    "408": "The request took too long to arrive, or to be served.",
    "413": "The body is too large.",
}

_BAD_REQUEST = {
    "invalid": Example(
        value={
            "error": {
                "message": "Expected a number for 'speed', got a string.",
                "type": "invalid_request_error",
                "param": "speed",
                "code": "invalid_type",
            }
        }
    )
}

BINARY = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY))
TEXT = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))


def schema(kind: type[msgspec.Struct], examples: Mapping[str, Example] | None = None) -> OpenAPIMediaType:
    """Describe a JSON body that Litestar does not see."""
    # In place of named components, which Litestar replaces by those it has found itself.
    _, named = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    described = cast("Schema", _inline(named[kind.__name__], named))
    return OpenAPIMediaType(schema=described, examples=dict(examples) if examples else None)


def audio() -> dict[str, OpenAPIMediaType]:
    """Describe the content of an answer that is audio in one of our formats."""
    return {audio_format.media_type: BINARY for audio_format in FORMATS.values()}


def event_stream(example: Example) -> OpenAPIMediaType:
    """Describe server-sent events by an example: OpenAPI 3.1 knows no schema for a stream of them."""
    return OpenAPIMediaType(examples={"events": example})


def form(
    fields: Mapping[str, str], files: Mapping[str, str], optional: Mapping[str, str]
) -> OpenAPIMediaType:
    """Describe a form by its fields, each with a sentence: texts, files, and texts that may be left out."""
    text, binary = (
        Schema(type=OpenAPIType.STRING),
        Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY),
    )
    kinds = [*((text, each) for each in (fields, optional)), (binary, files)]
    return OpenAPIMediaType(
        schema=Schema(
            type=OpenAPIType.OBJECT,
            properties={
                name: replace(kind, description=words)
                for kind, named in kinds
                for name, words in named.items()
            },
            required=[*fields, *files],
        )
    )


def operation(
    *,
    body: OpenAPIMediaType | None = None,
    body_required: bool = True,
    body_type: str = "application/json",
    answers: Mapping[str, OpenAPIResponse] | None = None,
    problems: Mapping[str, str] | None = None,
    error: OpenAPIMediaType | None = None,
    public: bool = False,
) -> type[Operation]:
    """Describe a route for its `operation_class`: JSON body, errors, answers where its types do not tell.

    What befalls every route, or every one that needs a key or reads a body, need not be among its `problems`; their
    body is OpenAI's, or else an `error`.
    """
    everywhere = {**_NO_NAME, **({} if public else _NO_KEY), **({} if body is None else _BODY_PROBLEMS)}
    described = {
        status: OpenAPIResponse(
            description=words,
            content={
                "application/json": error or schema(ErrorBody, _BAD_REQUEST if status == "400" else None)
            },
        )
        for status, words in sorted({**everywhere, **(problems or {})}.items())
    }

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            if body is not None:
                self.request_body = RequestBody(required=body_required, content={body_type: body})
            if public:
                self.security = []
            # Of Litestar's own only the success: its 400 has another body than the one that is sent.
            success = {status: answer for status, answer in (self.responses or {}).items() if status < "300"}
            self.responses = {**(success if answers is None else answers), **described}

    return Described


def _inline(described: Any, named: Mapping[str, Any]) -> Any:
    """Put what a reference refers to in its place."""
    if isinstance(described, dict):
        if "$ref" in described:
            return _inline(named[described["$ref"].removeprefix(_REFERENCE.format(name=""))], named)
        return {key: _inline(value, named) for key, value in described.items()}
    return [_inline(value, named) for value in described] if isinstance(described, list) else described
