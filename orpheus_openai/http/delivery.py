"""Speech on its way to one listener: encoded off the event loop, and held back until its first bytes are there."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.encode import make_encoder
from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.outputs import OutputFolder, SavedFile
from orpheus_openai.speech.captions import CaptionFormat, captions_of
from orpheus_openai.speech.speech import Speech

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client hung up before there was anything to send."""


class ListenerTooSlowError(Exception):
    """Whoever reads a speech takes so long that others should have its place."""


class SlowestPace(msgspec.Struct, frozen=True):
    """How slowly a speech may be read before its place is given to others.

    Nothing is asked of a listener but to keep up with half the speed of playing, say, over the whole time: players
    read in bursts, pause, and fill their buffers first. `grace` is what they may be behind that, in seconds.
    """

    least: float = 0.0
    """Multiples of real time; 0: any pace will do."""
    grace: float = 0.0
    """0: any pause will do."""

    def require(self, waited: float, audio: float) -> None:
        """Raise ListenerTooSlowError if `audio` seconds of speech were waited for too long, all waits together."""
        if self.least and self.grace and waited > audio / self.least + self.grace:
            raise ListenerTooSlowError


async def encoded(
    pcm: AsyncGenerator[PCM],
    audio_format: str,
    *,
    sample_rate: int | None = None,
    bit_rate: int | None = None,
) -> AsyncGenerator[bytes]:
    """`pcm` in one of `audio.formats.FORMATS`, each chunk as soon as the codec gives it.

    For `sample_rate` and `bit_rate`, and what is raised where they cannot be, see `make_encoder`.
    """
    encoder = make_encoder(audio_format, sample_rate=sample_rate, bit_rate=bit_rate)
    cheap = FORMATS[audio_format].cheap and sample_rate in (None, SAMPLE_RATE)
    try:
        async with contextlib.aclosing(pcm):
            async for samples in pcm:
                chunk = encoder.encode(samples) if cheap else await asyncio.to_thread(encoder.encode, samples)
                if chunk:
                    yield chunk
        if chunk := await asyncio.to_thread(encoder.flush):
            yield chunk
    finally:
        encoder.close()


async def noted(speech: Speech, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The encoded `chunks` of a speech, or of a part of it; notes when its first bytes were there."""
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            if speech.timeline.at("first_bytes") is None:
                speech.timeline.mark("first_bytes")
            yield chunk


async def delivered(
    speech: Speech, audio_format: str, *, bit_rate: int | None = None
) -> AsyncGenerator[bytes]:
    """`speech` in one of `audio.formats.FORMATS`, at its sample rate, for whichever door.

    Notes when its first bytes were there.
    """
    pcm = speech.stream() if speech.take is None else speech.take.keep(speech.stream())
    encoding = encoded(pcm, audio_format, sample_rate=speech.sample_rate, bit_rate=bit_rate)
    async with contextlib.aclosing(noted(speech, encoding)) as chunks:
        async for chunk in chunks:
            yield chunk


async def save_captions(
    outputs: OutputFolder, file: SavedFile, speech: Speech, formats: Sequence[CaptionFormat]
) -> dict[str, str]:
    """Put captions of a speech that has ended beside its file; returns their names by format.

    Raises OutputError.
    """
    if speech.word_times is None or not formats:
        return {}
    captions = await captions_of(speech.word_times, formats, speech.audio_seconds)
    return await outputs.save_captions(file.name, {str(each): whole for each, whole in captions.items()})


class Started(Generic[T]):
    """A stream whose first item is in hand; closing it closes what is behind, however far it was read."""

    def __init__(self, first: T, rest: AsyncGenerator[T]) -> None:
        self._first: T | None = first
        self._rest = rest

    def __aiter__(self) -> "Started[T]":
        return self

    async def __anext__(self) -> T:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        """End the stream."""
        await self._rest.aclose()


async def start(stream: AsyncGenerator[T]) -> Started[T]:
    """Wait for the first item: what goes wrong before it is raised here, while a status line can still say so."""
    try:
        return Started(await anext(stream), stream)
    except BaseException:
        await stream.aclose()
        raise


async def while_connected(receive: Callable[[], Awaitable[Any]], work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up first (ClientGoneError).

    `receive` is ASGI's, after the request's body has been read.
    """
    task = asyncio.ensure_future(work)
    listener = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait([task, listener], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        for each in (task, listener):
            each.cancel()
        await asyncio.gather(task, listener, return_exceptions=True)


async def _disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
