"""Forms with files, as browsers and SDKs upload them: multipart/form-data, read up to a limit."""

import asyncio
import io
from collections.abc import Mapping
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

    def field(self, name: str) -> str:
        """A text that has to be there; raises InvalidRequestError where it is not."""
        if name not in self.fields:
            raise _missing(name)
        return self.fields[name]

    def file(self, name: str) -> bytes:
        """A file that has to be there; raises InvalidRequestError where it is not."""
        if name not in self.files:
            raise _missing(name)
        return self.files[name]


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
            _take(part, fields, files)
    except (MultipartError, ValueError, LookupError) as error:  # the last: a part in an encoding nobody knows
        raise InvalidRequestError(f"The form cannot be read: {error}.", code="invalid_form") from error
    return Form(fields, files)


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
