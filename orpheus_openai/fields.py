"""What comes from outside, read as the struct it shall be, or refused in words about one field."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from orpheus_openai.errors import InvalidRequestError, RequestTooLargeError

T = TypeVar("T", bound=msgspec.Struct)

LARGEST_BESIDE = 64 * 1024
"""Bytes of JSON beside the text it holds. Reading it holds everybody up: a text is one value, however long, but eight
million bytes of brackets are millions of objects, and seconds."""

_JSON_NAMES = {
    "str": "a string",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "an array",
}


def require_small(message: bytes | str, *path: str) -> None:
    """Raise RequestTooLargeError where JSON has more than LARGEST_BESIDE beside the text at `path`; makes no object."""
    if len(message) <= LARGEST_BESIDE:
        return
    text: bytes | str | msgspec.Raw = message if path else b""
    for name in path:
        try:
            text = getattr(msgspec.json.decode(text, type=_only(name)), name)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            text = b""
    found = b"" if isinstance(text, str) else memoryview(text)
    if len(message) - (len(found) if found[:1] == b'"' else 0) > LARGEST_BESIDE:
        place = f"beside its '{path[-1]}'" if path else "in it"
        raise RequestTooLargeError(f"There are more than {LARGEST_BESIDE // 1024} KiB {place}.")


@functools.cache
def _only(name: str) -> type[msgspec.Struct]:
    """What reads the JSON of one field and passes over all others."""
    return msgspec.defstruct("Only", [(name, msgspec.Raw, msgspec.Raw())])


def from_json(body: bytes, kind: type[T], *, text: str = "") -> T:
    """Read JSON as `kind`, whose field `text` may be long.

    Raises InvalidRequestError with the field's name and what was expected of it, RequestTooLargeError where anything
    else is too large.
    """
    require_small(body, *filter(None, [text]))
    try:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError:
            values = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(
            f"The body is not valid JSON: {_flaw(body, error)}.", code="invalid_json"
        ) from error
    return from_values(values, kind)


def from_values(values: Any, kind: type[T]) -> T:
    """Take `values` for `kind`; raises InvalidRequestError as `from_json` does.

    A number without a fraction is a whole number, however it is written: JSON makes no difference between 5 and 5.0.
    A word out of a few may be written in any case, and with white space around it.
    """
    if isinstance(values, Mapping):
        kinds = {field.encode_name: _parts(field.type) for field in msgspec.structs.fields(kind)}
        values = {name: _written_otherwise(value, kinds.get(name, ())) for name, value in values.items()}
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error), kind) from error


def _written_otherwise(value: Any, kinds: Sequence[Any]) -> Any:
    """What is meant by a value in a field of these types that is right but for the way it is written."""
    if isinstance(value, float) and value.is_integer() and int in kinds:
        return int(value)
    if isinstance(value, str) and any(get_origin(kind) is Literal for kind in kinds):
        return value.strip().lower()
    if isinstance(value, list):
        return [_written_otherwise(each, kinds) for each in value]
    return value


def _flaw(body: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if re.search(rb"\\u[dD][89abcdefABCDEF]", body):
        return "a \\ud800 to \\udfff escape stands without its partner"
    return str(error)


def _explain(message: str, kind: type[msgspec.Struct]) -> InvalidRequestError:
    """Turn msgspec's finding into a sentence about one field."""
    where = re.search(r" - at (?:`?key`? in )?`\$\.?([^`]*)`$", message)
    path = where.group(1) if where else ""
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


def _choices(kind: type[msgspec.Struct], path: str) -> list[str]:
    """List what may stand in a field that takes only certain strings."""
    found = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == path), None)
    return [choice for part in _parts(found) if get_origin(part) is Literal for choice in get_args(part)]


def _parts(annotation: Any) -> list[Any]:
    """The types that a field may have, each without what is said about it."""
    if get_origin(annotation) is Literal:
        return [annotation]
    return [annotation, *(found for part in get_args(annotation) for found in _parts(part))]
