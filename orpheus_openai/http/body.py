"""Request bodies, read up to a limit."""

from typing import TYPE_CHECKING

from orpheus_openai.errors import RequestTooLargeError
from orpheus_openai.http.delivery import ClientGoneError

if TYPE_CHECKING:
    from litestar.types import Receive

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A million characters, the longest input that can be set, fit in with JSON's escapes for most of them."""

MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""What is read and thrown away so that the client, still sending, gets to see why it was refused."""


async def read_body(
    receive: "Receive", limit: int = MAX_BODY_BYTES, cure: str = "send the text in parts"
) -> bytes:
    """Return the whole body that ASGI's `receive` gives.

    Raises RequestTooLargeError beyond `limit` bytes, and keeps nothing then, with what would help; ClientGoneError when
    the client hangs up while it is sending.
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
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
        more = message["more_body"]
    if size > limit:
        raise RequestTooLargeError(f"The body is larger than {limit // (1024 * 1024)} MiB; {cure}.")
    return b"".join(parts)
