"""One utterance of a live socket: its text as it is written, its sound as it is made, cut where the client wants."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from orpheus_compat.live_messages import UtteranceConfig, words
from orpheus_openai.audio import PCM
from orpheus_openai.errors import InvalidRequestError, SpeechInterruptedError
from orpheus_openai.http.delivery import ListenerTooSlowError, encoded, noted
from orpheus_openai.http.responses import played
from orpheus_openai.http.sockets import Line, SocketClosedError, beside, prepare_utterance
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech
from orpheus_openai.speech.words import WordTimes
from orpheus_openai.text.pieces import Clauses

MOST_WHOLE_BYTES = 32 * 1024 * 1024
"""Bytes of audio that are sent as one message, where the client asks for that."""

_CLAUSES: Mapping[str, Clauses] = {"none": "first", "sentence": "none", "clause": "all"}


class Utterance:
    """What is spoken for one `input.done`; without a speech where it was refused or has no text."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.feed: TextFeed | None = None
        self.speech: Speech | None = None
        self.sounds = False
        """Audio of it was sent."""
        self.parts = 0
        self._config: UtteranceConfig | None = None

    @property
    def length(self) -> int:
        """Characters that were written to it."""
        return len(self.feed.text) if self.feed is not None else 0

    def prepare(self, line: Line, service: SpeechService, config: UtteranceConfig) -> None:
        """Ask for a speech of what will be written; raises as `SpeechService.prepare` does."""
        feed = TextFeed(clauses=_CLAUSES[config.split], packed=config.split == "none")
        self.speech = prepare_utterance(line, service, config.wanted, feed, number=self.index)
        self.feed, self._config = feed, config

    def end(self) -> None:
        """No more text of it comes."""
        if self.feed is not None:
            self.feed.end()

    async def say(self, line: Line, *, begun: Callable[[], None]) -> None:
        """Speak it on `line`; `begun` is called when a part begins to sound. Raises what its speech does."""
        speech, config = self.speech, self._config
        if speech is None or config is None:
            return
        times = speech.word_times
        telling = partial(self._tell_words, line, times, config)
        async with (
            beside(times.wait, telling) if times else contextlib.nullcontext(),
            contextlib.aclosing(played(speech, speech.stream(), line.pace)) as stream,
            contextlib.aclosing(
                _Parts(stream, speech, self._is_exact, split=config.split != "none")
            ) as parts,
        ):
            while await parts.begin():
                begun()
                await self._say_part(line, speech, config, parts)
        for segment in await times.rest() if times else ():
            await line.send(words(self.index, segment, config.granularities))

    def _is_exact(self) -> bool:
        """Whether a part ends with its last sample, and not as soon as all that is heard of it is there.

        At another speed than its own its last samples, which are silent, come together with the next part: they are
        waited for where that is written already.
        """
        assert self._config is not None  # noqa: S101  it is being said
        return self._config.wanted.speed != 1.0 and (self.feed is None or self.feed.is_complete)

    async def _tell_words(self, line: Line, times: WordTimes | None, config: UtteranceConfig) -> None:
        """As soon as they are known, though more of the text may have to be written first."""
        for segment in times.ready() if times else ():
            await line.send(words(self.index, segment, config.granularities))

    async def _say_part(self, line: Line, speech: Speech, config: UtteranceConfig, parts: "_Parts") -> None:
        place = {"utterance_index": self.index, "sentence_index": self.parts}
        start: dict[str, Any] = {"type": "audio.start", **place, "sentence_text": parts.text}
        start |= {"format": config.audio_format, "sample_rate": config.sample_rate, "channels": 1}
        await line.send({**start, "speech_id": speech.id})
        self.parts += 1
        total, whole, failed = 0, bytearray(), True
        try:
            encoding = encoded(parts.pcm(), config.audio_format, sample_rate=speech.sample_rate)
            async with contextlib.aclosing(noted(speech, encoding)) as chunks:
                async for chunk in chunks:
                    total += len(chunk)
                    if config.stream_audio:
                        await line.send_bytes(chunk)
                        self.sounds = True
                    else:
                        whole += chunk
                        _require_small(whole)
            if whole:
                await line.send_bytes(bytes(whole))
                self.sounds = True
            failed = False
        except SpeechInterruptedError:
            failed = False
            raise
        finally:
            done = {"type": "audio.done", **place, "total_bytes": total, "error": failed}
            with contextlib.suppress(SocketClosedError, ListenerTooSlowError):
                await line.send(done)


class _Parts:
    """The sound of an utterance, cut where the client wants files of their own."""

    def __init__(
        self, stream: AsyncGenerator[PCM], speech: Speech, is_exact: Callable[[], bool], *, split: bool
    ) -> None:
        self._stream = stream
        self._speech = speech
        self._is_exact = is_exact
        self._split = split
        self._next: PCM | None = None
        self._coming: asyncio.Task[PCM | None] | None = None
        self._rest: PCM | None = None
        """What came together with the end of the part before it."""
        self._taken = 0
        self._marked = False
        """A segment begins with the next sound, and its part has not begun."""
        self.text = ""
        """What of the text the part begins with."""

    async def begin(self) -> bool:
        """Wait for the next part; False after the last."""
        silence = []
        if self._next is None:
            self._next = await self._arrived()
        while self._next is not None and self._split and self._taken and not self._at_mark():
            # It follows a part that has ended, and belongs to the pause before the next, if there is one.
            silence.append(self._next)
            self._taken += len(self._next)
            self._next = await self._arrived()
        if self._next is None:
            return False
        if silence:
            self._taken -= sum(map(len, silence))
            self._next = np.concatenate([*silence, self._next])
        if not self._taken:
            self._at_mark()
        self._marked = False
        if not self._split:
            self.text = self._speech.input
        return True

    async def pcm(self) -> AsyncGenerator[PCM]:
        """The sound of the part that has begun."""
        while self._next is not None:
            pcm, self._next = self._next, None
            self._taken += len(pcm)
            yield pcm
            if self._split and not await self._goes_on():
                return
            self._next = await self._arrived()
            if self._next is not None and self._split and self._at_mark():
                return

    async def aclose(self) -> None:
        """Nothing more is taken."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)

    async def _arrived(self) -> PCM | None:
        arrived: PCM | None = self._rest
        if arrived is not None:
            self._rest = None
        elif self._coming is None:
            arrived = await anext(self._stream, None)
        else:
            coming, self._coming = self._coming, None
            arrived = await coming
        return None if arrived is None else self._up_to_a_mark(arrived)

    def _up_to_a_mark(self, pcm: PCM) -> PCM:
        """As much of what has arrived as belongs to one part: at another speed than its own one may end within it."""
        for mark, _ in self._speech.heard.marks:
            if self._split and self._taken < mark < self._taken + len(pcm):
                self._rest = pcm[mark - self._taken :]
                return pcm[: mark - self._taken]
        return pcm

    async def _goes_on(self) -> bool:
        """Wait for more of the part; False where there is none, though the next may still have to be written."""
        if self._rest is not None or self._is_exact():
            return True
        self._coming = asyncio.create_task(anext(self._stream, None))
        ended = asyncio.create_task(self._speech.heard.ended(self._taken))
        try:
            await asyncio.wait([self._coming, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        return self._coming.done()

    def _at_mark(self) -> bool:
        """Whether a segment begins with the next sound."""
        begun = self._speech.heard.marks
        while begun and begun[0][0] <= self._taken:
            segment = begun.popleft()[1]
            self.text, self._marked = self._speech.input[segment.start : segment.end], True
        return self._marked


def _require_small(whole: bytearray) -> None:
    if len(whole) > MOST_WHOLE_BYTES:
        raise InvalidRequestError(
            f"One message would have more than {MOST_WHOLE_BYTES // 1024 // 1024} MiB of audio; set stream_audio.",
            param="stream_audio",
            code="too_long",
        )
