"""OpenAI's error body, which every door answers with."""

from typing import Annotated

import msgspec
from msgspec import Meta


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong."""

    message: Annotated[str, Meta(description="In words, and with what would do.")]
    type: Annotated[str, Meta(description="`invalid_request_error` or `server_error`.")]
    param: Annotated[str | None, Meta(description="The field that is wrong.")]
    code: Annotated[str | None, Meta(description="A name for the error, for programs.")]


class ErrorBody(msgspec.Struct, frozen=True):
    """What OpenAI's SDKs turn into an exception."""

    error: ErrorDetail
