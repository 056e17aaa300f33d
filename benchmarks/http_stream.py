"""One HTTP/1.1 request on a connection of its own, with the moment at which each piece of the answer came in.

A general client adds milliseconds of its own to every request, as much as what is measured here.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE = 65_536
"""Bytes read at once, at most."""


class BrokenTransferError(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A piece of the body that came in."""

    seconds: float
    """Since the request was begun, before its connection was opened."""
    size: int
    """Bytes of the body so far, this piece included."""


@dataclass(slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    arrivals: list[Arrival] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    """Empty when it was not to be kept."""
    seconds: float = 0.0
    """Until the end of the body."""


async def fetch(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    keep_body: bool = True,
    bytes_per_second: float | None = None,
) -> Answer:
    """Send one request and read its whole answer.

    Raises OSError when there is no connection, BrokenTransferError when the answer is cut short or no HTTP.
    A body of an error status is kept always. `bytes_per_second` bounds how fast the body is read.
    """
    began = time.perf_counter()
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=secure or None
    )
    try:
        writer.write(_head(method, parts.path or "/", {"host": parts.netloc, **headers}, len(body)) + body)
        answer = await _read_head(reader)
        keep = keep_body or answer.status >= 400
        size = 0
        async with contextlib.aclosing(_pieces(reader, answer.headers)) as pieces:
            async for piece in pieces:
                size += len(piece)
                answer.arrivals.append(Arrival(time.perf_counter() - began, size))
                if keep:
                    answer.body += piece
                if bytes_per_second is not None:
                    await asyncio.sleep(began + size / bytes_per_second - time.perf_counter())
        answer.seconds = time.perf_counter() - began
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise BrokenTransferError(str(error)) from error
    except ConnectionError as error:
        raise BrokenTransferError(error.strerror or str(error)) from error
    else:
        return answer
    finally:
        writer.close()


def _head(method: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
    fields = {**headers, "content-length": str(length), "connection": "close"}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _read_head(reader: asyncio.StreamReader) -> Answer:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1]) if lines[0].startswith("HTTP/1.") else 0
    if not status:
        raise ValueError(f"no HTTP answer: {lines[0][:80]}")
    named = (line.partition(":") for line in lines[1:] if line)
    return Answer(status, {name.strip().lower(): value.strip() for name, _, value in named})


async def _pieces(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
    """Yield the body as it comes in, however long the server's own chunks are."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        while length := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            async for piece in _exactly(reader, length):
                yield piece
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    elif "content-length" in headers:
        async for piece in _exactly(reader, int(headers["content-length"])):
            yield piece
    else:
        while piece := await reader.read(PIECE):
            yield piece


async def _exactly(reader: asyncio.StreamReader, length: int) -> AsyncGenerator[bytes]:
    left = length
    while left:
        piece = await reader.read(min(left, PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece
