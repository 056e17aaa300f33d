"""Request bodies: read up to a limit and turned into values, or into words about what would do."""

import re
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from orpheus_openai.errors import InvalidRequestError, RequestTooLargeError
from orpheus_openai.http.delivery import ClientGoneError
from orpheus_openai.speech.request import SpeechRequest

if TYPE_CHECKING:
    from litestar.types import Receive

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A million characters, the longest input that can be set, fit in with JSON's escapes for most of them."""

MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""What is read and thrown away so that the client, still sending, gets to see why it was refused."""

Body = TypeVar("Body", bound=msgspec.Struct)


async def read_body(receive: "Receive") -> bytes:
    """Return the whole body that ASGI's `receive` gives.

    Raises RequestTooLargeError beyond MAX_BODY_BYTES, and keeps nothing then; ClientGoneError when the client hangs
    up while it is sending.
    """
    parts: list[bytes] = []
    size = 0
    more = True
    while more and size <= MAX_DISCARDED_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        part = message["body"]
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        else:
            parts.clear()
        more = message["more_body"]
    if size > MAX_BODY_BYTES:
        limit = MAX_BODY_BYTES // (1024 * 1024)
        raise RequestTooLargeError(f"The body is larger than {limit} MiB; send the text in parts.")
    return b"".join(parts)


def parse_body(body: bytes, kind: type[Body]) -> Body:
    """Read JSON as `kind`; raises InvalidRequestError with the field's name and what was expected of it."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error), kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(
            f"The body is not valid JSON: {_flaw(body, error)}.", code="invalid_json"
        ) from error


def to_speech_request(
    *, text: str, model: str, voice: str, speed: float | None, **sampling: float | None
) -> SpeechRequest:
    """Put a request into the core's terms; None stands for the default.

    `sampling` holds fields of `orpheus_openai.synthesis.Sampling`. Raises InvalidRequestError.
    """
    fields: dict[str, Any] = {
        "text": text,
        "model": model,
        "voice": voice,
        "sampling": {name: value for name, value in sampling.items() if value is not None},
    }
    if speed is not None:
        fields["speed"] = speed
    try:
        return msgspec.convert(fields, SpeechRequest)
    except msgspec.ValidationError as error:
        raise _explain(str(error), SpeechRequest) from error


def _flaw(body: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if re.search(rb"\\u[dD][89abcdefABCDEF]", body):
        return "a \\ud800 to \\udfff escape stands without its partner"
    return str(error)


_JSON_NAMES = {
    "str": "a string",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "an array",
}


def _explain(message: str, kind: type[msgspec.Struct]) -> InvalidRequestError:
    """Turn msgspec's finding into a sentence about one field."""
    where = re.search(r" - at `\$\.?([^`]*)`$", message)
    path = where.group(1).removeprefix("sampling.") if where else ""
    what = message[: where.start()] if where else message
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        param = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return InvalidRequestError(
            f"Missing required field '{param}'.", param=param, code="missing_required_parameter"
        )
    if wrong := re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", what):
        expected = " or ".join(
            _JSON_NAMES.get(kind, kind) for kind in wrong.group(1).split(" | ") if kind != "null"
        )
        got = _JSON_NAMES.get(wrong.group(2), wrong.group(2))
        place = f"for '{path}'" if path else "as the body"
        return InvalidRequestError(
            f"Expected {expected} {place}, got {got}.", param=path or None, code="invalid_type"
        )
    if what.startswith("Invalid enum value") and (choices := _choices(kind, path)):
        return InvalidRequestError(
            f"Invalid value for '{path}'; expected one of: {', '.join(choices)}.",
            param=path,
            code="invalid_value",
        )
    words = what.replace("`", "").replace("float", "a number").replace("int ", "a whole number ")
    for sign, phrase in (("<= ", "of at most "), (">= ", "of at least "), ("> ", "above ")):
        words = words.replace(sign, phrase)
    return InvalidRequestError(
        f"Invalid value for '{path}': {words}.", param=path or None, code="invalid_value"
    )


def _choices(kind: type[msgspec.Struct], path: str) -> tuple[str, ...]:
    """List what may stand in a field that takes only certain strings."""
    return next(
        (_literals(field.type) for field in msgspec.structs.fields(kind) if field.encode_name == path), ()
    )


def _literals(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(literal for part in get_args(annotation) for literal in _literals(part))
