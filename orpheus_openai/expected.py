"""What a field of a setting or of the catalog must hold, in words, derived from its type and its limits."""

import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

NOUNS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "a table"}


def expected(kind: Any) -> str:
    """In words what `kind` takes, e.g. `Annotated[int, Meta(ge=1, le=9)]` → `a whole number from 1 to 9`.

    `Meta(extra={"expected": …})` says it where a pattern does not.
    """
    metas: list[Meta] = []
    while get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        metas += [each for each in more if isinstance(each, Meta)]
    for meta in metas:
        if words := (meta.extra or {}).get("expected"):
            return str(words)
    origin = get_origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if origin in (Union, types.UnionType):
        return " or ".join(expected(each) for each in get_args(kind) if each is not type(None))
    if origin in (tuple, list):
        return f"a list, each entry {expected(get_args(kind)[0])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return NOUNS[dict]
    return NOUNS.get(origin or kind, "another value") + "".join(_limits(meta) for meta in metas)


def complaint(error: msgspec.ValidationError, kind: Any) -> str:
    """What msgspec found wrong in a `kind`, with its place in it, e.g. `espeak.pitch: expected a whole number …`."""
    what, _, place = str(error).partition(" - at `$")
    place = place.rstrip("`").removeprefix(".")
    inner = _type_at(kind, place)
    if missing := re.search("missing required field `(.+)`", what):
        words = f"{missing[1]} is missing; expected {expected(_type_at(inner, missing[1]))}"
    elif unknown := re.search("unknown field `(.+)`", what):
        names = ", ".join(field.encode_name for field in msgspec.structs.fields(inner))
        words = f"there is no field {unknown[1]}; there are {names}"
    else:
        words = f"expected {expected(inner)}"
    return f"{place}: {words}" if place else words


def _type_at(kind: Any, place: str) -> Any:
    """The type at a place such as `espeak.pitch` or `languages[0]`."""
    for step in re.findall(r"[^.\[\]]+", place):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = next(field.type for field in msgspec.structs.fields(kind) if field.encode_name == step)
        else:
            kind = get_args(kind)[0]
        kind = _given(kind)
    return kind


def _given(kind: Any) -> Any:
    """What stands beside None in `kind`, where that is one thing."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    kinds = [each for each in get_args(kind) if each is not type(None)]
    return kinds[0] if len(kinds) == 1 else kind


def _limits(meta: Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f" from {meta.ge} to {meta.le}"
    bounds = {
        "of at least": meta.ge,
        "above": meta.gt,
        "of at most": meta.le,
        "below": meta.lt,
        "of at least this many characters:": meta.min_length,
        "of at most this many characters:": meta.max_length,
        "of the form": meta.pattern,
    }
    said = [f"{words} {bound}" for words, bound in bounds.items() if bound is not None]
    return "".join(f" {each}" for each in said[:1]) + "".join(f" and {each}" for each in said[1:])
