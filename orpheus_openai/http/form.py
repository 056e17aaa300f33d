"""Forms with files, as browsers and SDKs upload them: multipart/form-data, read up to a limit."""

import asyncio
import io
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request
from multipart import MultipartError, MultipartParser, parse_options_header

from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.http.body import read_body

if TYPE_CHECKING:
    from multipart import MultipartPart

MAX_FORM_BYTES = 10 * 1024 * 1024
MAX_FIELDS = 32
LONGEST_FIELD = 64 * 1024
"""Characters of a field that is no file."""


class Form(msgspec.Struct, frozen=True):
    """What was sent: texts and files by the names of their fields."""

    fields: Mapping[str, str]
    files: Mapping[str, bytes]
    repeated: AbstractSet[str]
    """Fields that are there twice: which of the two was meant nobody knows."""

    def field(self, name: str) -> str:
        """A text that has to be there; raises InvalidRequestError where it is not."""
        if (text := self.optional(name)) is None:
            raise _missing(name)
        return text

    def optional(self, name: str) -> str | None:
        """A text that may be there; raises InvalidRequestError where there are two."""
        self._require_one(name)
        return self.fields.get(name)

    def file(self, name: str) -> bytes:
        """A file that has to be there; raises InvalidRequestError where it is not."""
        self._require_one(name)
        if name not in self.files:
            raise _missing(name)
        return self.files[name]

    def _require_one(self, name: str) -> None:
        if name in self.repeated:
            raise InvalidRequestError(f"The field '{name}' is there twice.", param=name, code="invalid_value")


async def read_form(request: Request[Any, Any, Any]) -> Form:
    """The form in a request's body.

    Raises InvalidRequestError for what is none, RequestTooLargeError beyond MAX_FORM_BYTES.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get("boundary", "")
    body = await read_body(request.receive, MAX_FORM_BYTES, "send a shorter recording, or a compressed one")
    if kind.lower() != "multipart/form-data" or not boundary:
        raise InvalidRequestError(
            "Expected a form with a file: content-type multipart/form-data with its boundary.",
            code="invalid_form",
        )
    return await asyncio.to_thread(_parsed, body, boundary)


def _parsed(body: bytes, boundary: str) -> Form:
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    repeated: set[str] = set()
    try:
        parser = MultipartParser(
            io.BytesIO(body),
            boundary,
            content_length=len(body),
            part_limit=MAX_FIELDS,
            spool_limit=MAX_FORM_BYTES,
            memory_limit=2 * MAX_FORM_BYTES,
        )
        for part in parser:
            if part.name in fields or part.name in files:
                repeated.add(part.name)
            _take(part, fields, files)
    except (MultipartError, ValueError, LookupError) as error:  # the last: a part in an encoding nobody knows
        raise InvalidRequestError(f"The form cannot be read: {error}.", code="invalid_form") from error
    return Form(fields, files, repeated)


def _take(part: "MultipartPart", fields: dict[str, str], files: dict[str, bytes]) -> None:
    name = part.name or ""
    if part.filename is not None:
        files[name] = part.raw
    elif part.size > LONGEST_FIELD:
        raise ValueError(f"the field {name[:64]!r} is longer than {LONGEST_FIELD // 1024} KiB")
    else:
        fields[name] = part.value


def _missing(name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"Missing required field '{name[:64]}'.", param=name, code="missing_required_parameter"
    )
