"""An error answered before the application sees the request, in OpenAI's shape as everywhere."""

import math
from typing import TYPE_CHECKING

import msgspec

from orpheus_openai.error_body import ErrorBody, ErrorDetail
from orpheus_openai.errors import AuthenticationError, SpeechError

if TYPE_CHECKING:
    from litestar.types import Send


async def refuse(send: "Send", error: SpeechError) -> None:
    """Send the whole answer."""
    body = msgspec.json.encode(ErrorBody(ErrorDetail(error.message, error.type, error.param, error.code)))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if isinstance(error, AuthenticationError):
        headers.append((b"www-authenticate", b"Bearer"))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
