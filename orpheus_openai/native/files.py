"""/api/files: the speech that was saved, to list, play, download and remove."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote

import msgspec
from litestar import Controller, HttpMethod, Request, delete, get, route
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIResponse
from litestar.params import PathParameter
from litestar.response.base import ASGIResponse
from msgspec import Meta

from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.delivery import start
from orpheus_openai.http.openapi import FOREIGN_PAGE, audio, operation
from orpheus_openai.http.responses import StreamResponse
from orpheus_openai.outputs import OutputFolder

PATH = "/api/files"
CHUNK_BYTES = 256 * 1024

AnyRequest = Request[Any, Any, Any]

Name = Annotated[str, PathParameter(description="A file's name, as the list has it.")]


class FileEntry(msgspec.Struct, frozen=True):
    """A file that can be fetched."""

    name: Annotated[str, Meta(examples=["2026-11-23-tara-hello-there-1a2b3c.wav"])]
    url: Annotated[str, Meta(examples=["/api/files/2026-11-23-tara-hello-there-1a2b3c.wav"])]
    bytes: Annotated[int, Meta(examples=[96_044])]
    created: Annotated[float, Meta(description="Unix time in seconds.", examples=[1795428000.0])]
    format: Annotated[str, Meta(examples=["wav"])]


class FileList(msgspec.Struct, frozen=True):
    """The output folder, newest first."""

    files: list[FileEntry]


_UNREADABLE = {"500": "The output folder cannot be read or changed."}
_NOT_FOUND = {"404": "There is no such file.", **_UNREADABLE}
_DOWNLOAD = operation(
    answers={
        "200": OpenAPIResponse(description="The whole file.", content=audio()),
        "206": OpenAPIResponse(description="The part that the header `Range` asks for.", content=audio()),
        "416": OpenAPIResponse(description="The range lies beyond the end of the file."),
    },
    problems=_NOT_FOUND,
)


class FileController(Controller):
    """What `save: true` has left behind."""

    path = "/files"
    tags = ("Files",)

    @get(
        "/",
        operation_id="listFiles",
        summary="List saved speech",
        response_description="The files.",
        operation_class=operation(problems=_UNREADABLE),
    )
    async def list_files(self, request: AnyRequest, outputs: NamedDependency[OutputFolder]) -> FileList:
        """Every file of the output folder, newest first; with keys, those of your key, and all for an admin."""
        found = await asyncio.to_thread(outputs.list_files, caller_of(request.scope).may_see)
        return FileList([FileEntry(f.name, url_of(f.name), f.bytes, f.created, f.format) for f in found])

    @route("/{name:str}", http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
    def allow(self, name: Name) -> ASGIResponse:  # noqa: ARG002  the same for every file
        """Tell what can be done with a file.

        Litestar's own answer would be that of the first handler alone; this one has to come before it, by its name.
        """
        return ASGIResponse(status_code=204, headers={"allow": "DELETE, GET, OPTIONS"})

    @get("/{name:str}", operation_id="downloadFile", summary="Download a file", operation_class=_DOWNLOAD)
    async def download(
        self, request: AnyRequest, name: Name, outputs: NamedDependency[OutputFolder]
    ) -> ASGIResponse:
        """Answer with the file, or with a `Range` header the part of it that a player seeks to."""
        file, found = await asyncio.to_thread(outputs.open, name, caller_of(request.scope).may_see)
        headers = {
            "accept-ranges": "bytes",
            "content-disposition": f"inline; filename*=utf-8''{quote(name, safe='')}",
            "x-content-type-options": "nosniff",
        }
        first, last = _wanted(request.headers.get("range", ""), found.bytes) or (0, found.bytes - 1)
        if first >= found.bytes > 0:
            file.close()
            return ASGIResponse(
                status_code=416, headers={**headers, "content-range": f"bytes */{found.bytes}"}
            )
        partial = (first, last) != (0, found.bytes - 1)
        if partial:
            headers["content-range"] = f"bytes {first}-{last}/{found.bytes}"
        headers["content-length"] = str(last - first + 1)
        chunks = await start(_read(file, first, last - first + 1))
        media_type = found.media_type
        return StreamResponse(
            chunks, media_type=media_type, headers=headers, status_code=206 if partial else 200
        )

    @delete(
        "/{name:str}",
        operation_id="deleteFile",
        summary="Delete a file",
        response_description="The file has been deleted.",
        operation_class=operation(problems={**_NOT_FOUND, **FOREIGN_PAGE}),
    )
    async def remove(self, request: AnyRequest, name: Name, outputs: NamedDependency[OutputFolder]) -> None:
        """Remove a file for good."""
        await asyncio.to_thread(outputs.delete, name, caller_of(request.scope).may_see)


def url_of(name: str) -> str:
    """Where a file of the output folder is served, from this server's root."""
    return f"{PATH}/{quote(name, safe='')}"


def _wanted(header: str, size: int) -> tuple[int, int] | None:
    """Read a `Range` header of one range (RFC 9110, section 14.1.2): its first and last byte; None: all."""
    asked = re.fullmatch(r"bytes=\s*(\d{1,18})?-(\d{1,18})?\s*", header.strip())
    if asked is None or asked.group(1) is asked.group(2) is None:
        return None
    first, last = asked.groups()
    if first is None:
        return (max(0, size - int(last)), size - 1) if int(last) else (size, size)
    if last is not None and int(last) < int(first):
        return None
    return int(first), size - 1 if last is None else min(int(last), size - 1)


async def _read(file: BinaryIO, offset: int, length: int) -> AsyncGenerator[bytes]:
    """`length` bytes, in chunks; at least one chunk, even of an empty file."""
    with contextlib.closing(file):
        await asyncio.to_thread(file.seek, offset)
        while True:
            chunk = await asyncio.to_thread(file.read, min(CHUNK_BYTES, length))
            yield chunk
            length -= len(chunk)
            if not chunk or length <= 0:
                return
