"""The HTTP response that carries a stream: it breaks off where that fails, so that half never looks whole."""

import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from litestar import Request
from litestar.response.streaming import ASGIStreamingResponse

from orpheus_openai.errors import SpeechError, SpeechInterruptedError
from orpheus_openai.http.delivery import ListenerTooSlowError, SlowestPace, Started, start, while_connected
from orpheus_openai.speech.speech import Speech
from orpheus_openai.speech.timeline import Timeline
from orpheus_openai.speech.underrun import Underruns

if TYPE_CHECKING:
    from litestar.types import Receive, Send

T = TypeVar("T")

TAKES = "/api/takes"
"""Where speech that was kept is fetched, by its take's id."""

logger = logging.getLogger(__name__)


class StreamResponse(ASGIStreamingResponse):
    """Chunks of bytes whose first is in hand."""

    def __init__(
        self, chunks: Started[bytes], *, media_type: str, headers: dict[str, str], status_code: int = 200
    ) -> None:
        super().__init__(iterator=chunks, media_type=media_type, headers=headers, status_code=status_code)
        self._chunks = chunks

    async def send_body(self, send: "Send", receive: "Receive") -> None:
        """Send chunk by chunk; the client's leaving ends the work at once, a failure ends the connection."""
        async with anyio.create_task_group() as tasks, contextlib.aclosing(self._chunks):
            tasks.start_soon(self._listen_for_disconnect, tasks.cancel_scope, receive)
            try:
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except SpeechInterruptedError:
                logger.info("the answer breaks off: the speech was interrupted, as was asked for")
            except SpeechError as error:
                # Without the terminating chunk the server closes the connection, and every client sees that.
                logger.error("the stream broke off: %s", error.message)  # noqa: TRY400  the trace is the engine's own
            except ListenerTooSlowError:
                logger.info("the answer breaks off: it is read too slowly (ORPHEUS_MIN_READ_SPEED)")
            else:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()


async def answer_with_speech(
    request: Request[Any, Any, Any], speech: Speech, chunks: AsyncGenerator[bytes], media_type: str
) -> StreamResponse:
    """Answer with `speech` as `chunks`, once the first of them is there; headers say who speaks.

    Raises ClientGoneError when the client hangs up first, and whatever goes wrong before the first chunk.
    """
    pace: SlowestPace = request.app.state.get("pace", SlowestPace())
    started = await while_connected(request.receive, start(played(speech, chunks, pace)))
    headers = {
        "x-orpheus-model": speech.model.id,
        "x-orpheus-voice": speech.voice.id.encode("ascii", "xmlcharrefreplace").decode(),
        "x-orpheus-load-seconds": f"{speech.report().load_seconds:.3f}",
        "cache-control": "no-store",
        "server-timing": _server_timing(speech.timeline),
    }
    if speech.expected_real_time_factor is not None:
        headers["x-orpheus-real-time-factor"] = f"{speech.expected_real_time_factor:.3f}"
    if speech.take is not None:
        headers["x-orpheus-take"] = f"{TAKES}/{speech.take.id}"
    return StreamResponse(started, media_type=media_type, headers=headers)


def _server_timing(timeline: Timeline) -> str:
    """The stages that are over, in milliseconds, as browsers show them (W3C Server Timing)."""
    return ", ".join(
        f"{stage.name.replace(' ', '-')};dur={(stage.end - stage.start) * 1000:.1f}"
        for stage in timeline.stages()
        if stage.end is not None
    )


async def played(speech: Speech, chunks: AsyncGenerator[T], pace: SlowestPace) -> AsyncGenerator[T]:
    """The chunks on their way out, each heard at once by somebody who notices every silence.

    Raises ListenerTooSlowError when whoever really reads them does not keep `pace`.
    """
    underruns = Underruns()
    waited = 0.0
    asked = time.monotonic()
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            now = time.monotonic()
            if silence := underruns.sent(speech.audio_seconds, asked=asked, now=now):
                speech.tell_underrun(silence)
            yield chunk
            asked = time.monotonic()
            waited += asked - now
            pace.require(waited, speech.audio_seconds)
