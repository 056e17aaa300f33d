"""An error answered before the application sees the request, in OpenAI's shape as everywhere."""

import math
from typing import TYPE_CHECKING

import msgspec

from orpheus_openai.errors import AuthenticationError, RequestTimeoutError, SpeechError
from orpheus_openai.http.error_body import ErrorBody, ErrorDetail

if TYPE_CHECKING:
    from litestar.types import Scope, Send


async def refuse(scope: "Scope", send: "Send", error: SpeechError) -> None:
    """Send the whole answer."""
    scope["state"]["error"] = error.kind
    body = msgspec.json.encode(ErrorBody(ErrorDetail(error.message, error.type, error.param, error.code)))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if isinstance(error, AuthenticationError):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, RequestTimeoutError):
        headers.append((b"connection", b"close"))  # what of its body still comes is no new request
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
