"""The HTTP response that carries a stream: it breaks off where the stream fails, so that half never looks whole."""

import contextlib
import logging
from typing import TYPE_CHECKING

import anyio
from litestar.response.streaming import ASGIStreamingResponse

from orpheus_openai.delivery import Started
from orpheus_openai.errors import SpeechError

if TYPE_CHECKING:
    from litestar.types import Receive, Send

logger = logging.getLogger(__name__)


class AudioStreamResponse(ASGIStreamingResponse):
    """Chunks of audio (or of events that hold them) whose first is in hand."""

    def __init__(self, chunks: Started[bytes], *, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(iterator=chunks, media_type=media_type, headers=headers, status_code=200)
        self._chunks = chunks

    async def send_body(self, send: "Send", receive: "Receive") -> None:
        """Send chunk by chunk; the client's leaving ends the work at once, a failure ends the connection."""
        async with anyio.create_task_group() as tasks, contextlib.aclosing(self._chunks):
            tasks.start_soon(self._listen_for_disconnect, tasks.cancel_scope, receive)
            try:
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except SpeechError as error:
                # Without the terminating chunk the server closes the connection: every client sees a broken transfer.
                logger.error("the stream broke off: %s", error.message)  # noqa: TRY400  the trace is the engine's own
            else:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()
