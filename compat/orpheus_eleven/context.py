"""One stream of text on a socket of ElevenLabs': what is written is spoken, and when its characters sound is told."""

import asyncio
import base64
import contextlib
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from orpheus_eleven.alignment import Alignment
from orpheus_eleven.messages import error_message
from orpheus_eleven.output import Output
from orpheus_eleven.speech import CharacterTimes
from orpheus_openai.errors import SpeechError, SpeechInterruptedError
from orpheus_openai.http.delivery import delivered
from orpheus_openai.http.responses import played
from orpheus_openai.http.sockets import Line, accounted, beside
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.interruption import Interruption
from orpheus_openai.speech.speech import Speech

IDLE_SECONDS = 5.0
"""After so long without text a speech ends, and others have its place; what follows is spoken by another one."""

MOST_REMEMBERED = 64
"""Speeches of one context whose texts an interruption can tell of."""

Prepare = Callable[[TextFeed], Speech]
"""Asks the service for a speech of what is written to the feed; raises as `SpeechService.prepare` does."""


class Context:
    """What is said with one `context_id`, or on one socket without. Closing it lets what was written be spoken."""

    def __init__(
        self,
        context_id: str | None,
        line: Line,
        tasks: asyncio.TaskGroup,
        *,
        prepare: Prepare,
        output: Output,
        broken_off: "Callable[[Context], None]",
    ) -> None:
        """Speeches are made by `prepare`, delivered as `output` on `line`, and spoken in `tasks`.

        `broken_off` is told when one fails, or is interrupted by somebody else.
        """
        self.id = context_id
        self.heard_from = time.monotonic()
        """When the last message for it came."""
        self.closed = False
        self.telling = asyncio.Lock()
        """Held by whoever tells what came of it, so that its end is told last."""
        self._line = line
        self._tasks = tasks
        self._prepare = prepare
        self._output = output
        self._broken_off = broken_off
        self._feed: TextFeed | None = None
        self._written_at = 0.0
        self._speeches: deque[Speech] = deque()
        self._forgotten = 0.0
        """Seconds of audio of those before them."""
        self._offset = 0.0
        """Seconds of audio of the speeches that have ended."""
        self._told = 0
        """Milliseconds of it whose characters' times were told."""
        self.error: SpeechError | None = None
        """What has ended it, which was told."""
        self._speaking: asyncio.Task[None] | None = None

    @property
    def name(self) -> dict[str, str]:
        """What messages about it bear; ElevenLabs has written it both ways."""
        return {} if self.id is None else {"contextId": self.id, "context_id": self.id}

    # --- what comes -------------------------------------------------------------------------------------------

    async def write(self, text: str) -> None:
        """More of the text; white space before any is nothing to wait for. Raises SocketClosedError."""
        if self.closed or self.error or (self._feed is None and not text.strip()):
            return
        try:
            if self._feed is None:
                self._begin()
            assert self._feed is not None  # noqa: S101  it has begun
            await self._feed.put(text)
        except SpeechError as error:
            await self._fail(error)
        if text.strip():
            self._written_at = time.monotonic()

    def flush(self) -> None:
        """Speak what was written, also where no sentence has ended."""
        if self._feed is not None:
            self._feed.flush()

    def rest(self) -> None:
        """No more text comes for now: give the speech's place back when all is said."""
        if self._feed is not None:
            self._feed.end()
            self._feed = None

    @property
    def rests_at(self) -> float | None:
        """When it should, unless there is more text; None: it does already."""
        return None if self._feed is None else self._written_at + IDLE_SECONDS

    def close(self) -> None:
        """No more text comes at all."""
        self.closed = True
        self.rest()

    async def interrupt(self, played_seconds: float) -> Interruption:
        """Close it and stop at once; the listener has heard so much of it. Returns what that was."""
        self.closed = True
        self._feed = None
        before, told = self._forgotten, None
        spoken = remaining = ""
        for speech in self._speeches:
            of_it = await speech.interrupt(max(0.0, played_seconds - before))
            before += speech.audio_seconds
            if remaining:
                of_it = msgspec.structs.replace(of_it, text_spoken="", text_remaining=speech.input)
            else:
                told = of_it
            spoken, remaining = spoken + of_it.text_spoken, remaining + of_it.text_remaining
        if told is None:
            return Interruption(played_ms=0, text_spoken="", text_remaining="", timing="estimated")
        most = round(min(played_seconds, before) * 1_000)
        return msgspec.structs.replace(told, played_ms=most, text_spoken=spoken, text_remaining=remaining)

    async def ended(self) -> None:
        """Wait until all that was written is said."""
        if self._speaking is not None:
            await asyncio.wait([self._speaking])

    # --- what goes out ----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        feed = TextFeed()
        speech = self._prepare(feed)
        self._feed, before = feed, self._speaking
        self._speeches.append(speech)
        if len(self._speeches) > MOST_REMEMBERED:
            self._forgotten += self._speeches.popleft().audio_seconds
        self._speaking = self._tasks.create_task(self._speak(speech, feed, before))

    async def _speak(self, speech: Speech, feed: TextFeed, before: "asyncio.Task[None] | None") -> None:
        try:
            if before is not None:
                await before
            if self.error:
                return
            async with accounted(self._line, speech):
                await self._say(speech)
        except SpeechInterruptedError:
            if not self.closed:
                self._broken_off(self)
        except SpeechError as error:
            await self._fail(error)
        finally:
            feed.close()
            if self._feed is feed:
                self._feed = None
            self._offset += speech.audio_seconds

    async def _say(self, speech: Speech) -> None:
        times = CharacterTimes(speech)
        chunks = delivered(speech, self._output.audio_format, bit_rate=self._output.bit_rate)
        async with (
            beside(times.wait, partial(self._tell, times)),
            contextlib.aclosing(played(speech, chunks, self._line.pace)) as pieces,
        ):
            async for chunk in pieces:
                await self._line.send(self._message(chunk, times.ready()))
        if (rest := await times.rest()) is not None:
            await self._line.send(self._message(b"", rest))

    async def _tell(self, times: CharacterTimes) -> None:
        """As soon as they are known, though more of the text may have to be written first."""
        if (alignment := times.ready()) is not None:
            await self._line.send(self._message(b"", alignment))

    def _message(self, chunk: bytes, alignment: Alignment | None) -> dict[str, Any]:
        told = self._timed(alignment)
        message: dict[str, Any] = {
            "audio": base64.b64encode(chunk).decode("ascii") if chunk else None,
            "isFinal": None,
            "normalizedAlignment": told,
            "alignment": told,
        }
        return {**message, **self.name}

    def _timed(self, alignment: Alignment | None) -> dict[str, Any] | None:
        """Times count from the end of the characters that were told before, as ElevenLabs' do."""
        if alignment is None:
            return None

        def milliseconds(seconds: list[float]) -> list[int]:
            return [round((self._offset + second) * 1_000) for second in seconds]

        starts = milliseconds(alignment.character_start_times_seconds)
        ends = milliseconds(alignment.character_end_times_seconds)
        before, self._told = self._told, ends[-1]
        return {
            "chars": alignment.characters,
            "charStartTimesMs": [start - before for start in starts],
            "charDurationsMs": [end - start for start, end in zip(starts, ends, strict=True)],
        }

    async def _fail(self, error: SpeechError) -> None:
        self.error = error
        self.rest()
        await self._line.send(error_message(error, self.id))
        self._broken_off(self)
