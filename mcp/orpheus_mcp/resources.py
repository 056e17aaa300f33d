"""Saved audio as MCP resources: listed, and read by name."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO
from urllib.parse import quote

from fastmcp.exceptions import ResourceError
from fastmcp.resources import Resource, ResourceContent, ResourceResult
from fastmcp.server.dependencies import get_http_request
from fastmcp.server.providers import Provider

from orpheus_openai.errors import SpeechError
from orpheus_openai.http.caller import caller_of
from orpheus_openai.limits.caller import Caller
from orpheus_openai.outputs import OutputFolder
from orpheus_openai.outputs.owners import MaySee

BASE = "orpheus://outputs/"
TEMPLATE = BASE + "{name}"

LISTED = 100
"""The newest files; an agent has no use for a longer list, and older ones can still be read by name."""

MIB = 2**20
MAX_READ_BYTES = 16 * MIB
"""A resource is read whole and sent as base64; longer audio is for the file's URL."""


def output_uri(name: str) -> str:
    """Return the resource of a saved file."""
    return BASE + quote(name)


def url_path(name: str) -> str:
    """Return where the server has a saved file, from its root."""
    return f"/api/files/{quote(name)}"


class SavedAudio(Provider):
    """The files of the output folder, as they are when somebody asks."""

    def __init__(self, outputs: OutputFolder) -> None:
        super().__init__()
        self._outputs = outputs

    async def read(self, name: str) -> ResourceResult:
        """Read one file. Raises ResourceError if there is no such file, or if it is too large to send."""
        try:
            file, saved = await asyncio.to_thread(self._outputs.open, name, _may_see())
        except SpeechError as error:
            raise ResourceError(error.message, log_level=logging.DEBUG) from error
        content = await asyncio.to_thread(_read_and_close, file)
        if saved.bytes > MAX_READ_BYTES:
            raise ResourceError(
                f"{name} has {saved.bytes / MIB:.0f} MiB; at most {MAX_READ_BYTES / MIB:.0f} are sent as a "
                f"resource. Download it from the server: /api/files/{quote(name)}.",
                log_level=logging.DEBUG,
            )
        return ResourceResult([ResourceContent(content, mime_type=saved.media_type)])

    async def _list_resources(self) -> Sequence[Resource]:
        return [
            Resource.from_function(
                partial(self.read, saved.name),
                output_uri(saved.name),
                name=saved.name,
                mime_type=saved.media_type,
                description=f"Saved speech, {saved.bytes} bytes",
            )
            for saved in (await asyncio.to_thread(self._outputs.list_files, _may_see()))[:LISTED]
        ]


def _may_see() -> MaySee:
    try:
        return caller_of(get_http_request().scope).may_see
    except RuntimeError:  # FastMCP looks round before anybody has asked for anything
        return Caller().may_see


def _read_and_close(file: BinaryIO) -> bytes:
    with file:
        return file.read(MAX_READ_BYTES)
