"""Request bodies, read up to a limit."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from orpheus_openai.errors import RequestTimeoutError, RequestTooLargeError
from orpheus_openai.http.delivery import ClientGoneError

if TYPE_CHECKING:
    from litestar.types import Receive

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A million characters, the longest input that can be set, fit in with JSON's escapes for most of them."""

BODY_SECONDS = 120.0
"""How long a body may take to come: it is held in memory as far as it has, on every connection."""

MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""What is read and thrown away so that the client, still sending, gets to see why it was refused."""


async def read_body(
    receive: "Receive", limit: int = MAX_BODY_BYTES, cure: str = "send the text in parts"
) -> bytes:
    """Return the whole body that ASGI's `receive` gives.

    Raises RequestTooLargeError beyond `limit` bytes, and keeps nothing then, with what would help; RequestTimeoutError
    after BODY_SECONDS; ClientGoneError when the client hangs up while it is sending.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS) as deadline:
            return await _read(receive, limit, cure)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise RequestTimeoutError(
            f"The body took longer than the {BODY_SECONDS:g} s that it may take."
        ) from error


async def parts(receive: "Receive") -> AsyncGenerator[bytes]:
    """A body as it comes; raises ClientGoneError when the client hangs up while it is sending."""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        yield message["body"]
        more = message["more_body"]


async def _read(receive: "Receive", limit: int, cure: str) -> bytes:
    kept: list[bytes] = []
    size = 0
    async with contextlib.aclosing(parts(receive)) as coming:
        async for part in coming:
            size += len(part)
            if size <= limit:
                kept.append(part)
            else:
                kept.clear()
            if size > MAX_DISCARDED_BYTES:
                break
    if size > limit:
        raise RequestTooLargeError(f"The body is larger than {limit // (1024 * 1024)} MiB; {cure}.")
    return b"".join(kept)
