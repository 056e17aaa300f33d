"""Request bodies, read up to a limit."""

from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException

from orpheus_openai.delivery import ClientGoneError
from orpheus_openai.errors import RequestTooLargeError

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A million characters, the longest input that can be set, fit in with JSON's escapes for most of them."""

MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""What is read and thrown away so that the client, still sending, gets to see why it was refused."""


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """The whole body; raises RequestTooLargeError beyond MAX_BODY_BYTES, without keeping what is beyond."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size <= MAX_BODY_BYTES:
                parts.append(part)
            else:
                parts.clear()
            if size > MAX_DISCARDED_BYTES:
                break
    except InternalServerException as error:  # Litestar's word for a client that hung up while sending
        raise ClientGoneError from error
    if size > MAX_BODY_BYTES:
        limit = MAX_BODY_BYTES // (1024 * 1024)
        raise RequestTooLargeError(f"The body is larger than {limit} MiB; send the text in parts.")
    return b"".join(parts)
