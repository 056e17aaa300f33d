"""WebSocket /v1/audio/speech/stream: text in while speech comes out, in vLLM-Omni's and SGLang-Omni's protocol."""

import asyncio
from collections import deque
from functools import partial
from typing import Any

from litestar import websocket
from litestar.di import NamedDependency

from orpheus_compat.live_messages import Interrupt, UtteranceConfig, failure, interrupted, parsed
from orpheus_compat.live_utterance import Utterance
from orpheus_openai.errors import (
    InvalidRequestError,
    RequestTimeoutError,
    SpeechError,
    SpeechInterruptedError,
)
from orpheus_openai.fields import from_values
from orpheus_openai.http.delivery import ListenerTooSlowError
from orpheus_openai.http.sockets import (
    FIRST_SECONDS,
    IDLE_SECONDS,
    NORMAL,
    POLICY,
    RESTART,
    AnySocket,
    Line,
    SocketClosedError,
    accounted,
)
from orpheus_openai.speech.service import SpeechService

MOST_AHEAD = 32
"""Utterances of one socket that wait for those before them; more are not read before one has ended."""
MOST_AHEAD_CHARACTERS = 100_000
"""Characters of theirs."""


class LiveSession:
    """One socket: a task reads messages, another speaks the utterances in their order."""

    def __init__(self, line: Line, service: SpeechService) -> None:
        self._line = line
        self._service = service
        self._config: UtteranceConfig | None = None
        self._utterances = 0
        self._writing: Utterance | None = None
        """The one that text is added to."""
        self._waiting: deque[Utterance] = deque()
        """Those that have not ended, in order; the first is being spoken."""
        self._latest: Utterance | None = None
        """The last that has begun to sound."""
        self._changed = asyncio.Event()
        self._closing: int | None = None
        """The code with which the socket is closed when all is said."""

    async def run(self) -> None:
        """Serve until one side closes the socket."""
        speaking = asyncio.create_task(self._speak_all())
        reading = asyncio.create_task(self._read_all())
        try:
            await asyncio.wait([speaking, reading], return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and reading.exception() is None:
                await asyncio.wait([speaking])
            for task in (speaking, reading):
                if task.done() and (error := task.exception()) is not None:
                    raise error
            await self._line.close(self._closing or NORMAL)
        except (SocketClosedError, ListenerTooSlowError):
            pass
        finally:
            for task in (speaking, reading):
                task.cancel()
            await asyncio.gather(speaking, reading, return_exceptions=True)
            self._line.forget()

    # --- what comes -------------------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        while self._closing is None:
            await self._until_there_is_room()
            seconds = FIRST_SECONDS if self._config is None else IDLE_SECONDS
            message = None if self._is_over() else await self._line.receive(seconds)
            if self._is_over():
                self._close(RESTART)
            elif message is None:
                await self._idle(seconds)
            else:
                try:
                    await self._take(parsed(message))
                except SpeechError as error:
                    await self._line.send(failure(error))
                    if self._config is None:
                        self._close(POLICY)

    def _is_over(self) -> bool:
        """Whether the server stops, and no text is being written that it has begun to speak."""
        return self._line.draining and self._writing is None

    async def _until_there_is_room(self) -> None:
        while len(self._waiting) > 1 and (
            len(self._waiting) > MOST_AHEAD
            or sum(utterance.length for utterance in self._waiting) > MOST_AHEAD_CHARACTERS
        ):
            self._changed.clear()
            await self._changed.wait()

    async def _idle(self, seconds: float) -> None:
        if self._waiting or self._line.draining:
            return
        over = RequestTimeoutError(
            f"Nothing came for {seconds:g} s: the socket is closed.", code="idle_timeout"
        )
        await self._line.send(failure(over))
        self._close(POLICY if self._config is None else NORMAL)

    def _close(self, code: int) -> None:
        self._closing = code
        self._done()
        self._changed.set()

    async def _take(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "session.config":
            self._configure(message)
        elif self._config is None:
            raise InvalidRequestError(f"Expected session.config, got: {kind}", code="unexpected_message")
        elif kind == "input.text":
            await self._write(message.get("text"))
        elif kind == "input.flush":
            if self._writing is not None and self._writing.feed is not None:
                self._writing.feed.flush()
        elif kind == "input.done":
            if self._writing is None:
                self._begin()
            self._done()
        elif kind == "interrupt":
            await self._interrupt(from_values(message, Interrupt))
        elif kind == "session.close":
            self._close(NORMAL)
        else:
            raise InvalidRequestError(f"Unknown message type: {kind}", code="unknown_message")

    def _configure(self, message: dict[str, Any]) -> None:
        if self._writing is not None:
            raise InvalidRequestError(
                "session.config cannot be applied while an utterance is in progress; send input.done first.",
                code="utterance_in_progress",
            )
        config = UtteranceConfig.of(message)
        self._service.check(config.wanted, account=self._line.account)
        self._config = config

    async def _write(self, text: object) -> None:
        if not isinstance(text, str):
            raise InvalidRequestError(
                "input.text requires a string value.", param="text", code="invalid_type"
            )
        if text and self._writing is None:
            self._writing = self._begin()
            if self._config is not None:  # which `_take` has seen to
                self._writing.prepare(self._line, self._service, self._config)
        writing = self._writing
        if writing is not None and writing.feed is not None:
            try:
                await writing.feed.put(text)
            except InvalidRequestError:
                writing.end()
                writing.feed = None
                raise

    def _begin(self) -> Utterance:
        utterance = Utterance(self._utterances)
        self._utterances += 1
        self._waiting.append(utterance)
        self._changed.set()
        return utterance

    def _done(self) -> None:
        if self._writing is not None:
            self._writing.end()
            self._writing = None

    async def _interrupt(self, message: Interrupt) -> None:
        """Stop an utterance, and all after it: nobody wants to hear them in its place."""
        target = self._named(message.utterance_index)
        played_for = message.played_ms / 1_000
        self._writing = None
        if target not in self._waiting and target.speech is not None:
            told = await target.speech.sounded().told(played_for)
            await self._line.send(interrupted(target.index, told))
        for utterance in [each for each in self._waiting if each.index >= target.index]:
            if utterance.speech is not None:
                await utterance.speech.interrupt(played_for if utterance is target else 0.0)

    def _named(self, index: int | None) -> Utterance:
        known = [*([self._latest] if self._latest else []), *self._waiting]
        fitting = [each for each in known if each.speech and index in (None, each.index)]
        if not fitting:
            raise InvalidRequestError("There is nothing to interrupt.", code="nothing_to_interrupt")
        return fitting[0]

    # --- what goes out ----------------------------------------------------------------------------------------

    async def _speak_all(self) -> None:
        while self._waiting or self._closing is None:
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
                continue
            await self._speak(self._waiting[0])
            self._waiting.popleft()
            self._changed.set()

    async def _speak(self, utterance: Utterance) -> None:
        index, failed = utterance.index, False
        try:
            if utterance.speech is not None:
                async with accounted(self._line, utterance.speech):
                    await utterance.say(self._line, begun=partial(self._sounds, utterance))
        except SpeechInterruptedError:
            pass  # who cut in, here or over HTTP, has said how much was heard
        except SpeechError as error:
            failed = True
            await self._line.send(failure(error, index, partial=utterance.sounds))
        finally:
            if utterance.feed is not None:
                utterance.feed.close()
        told = await utterance.speech.interruption() if utterance.speech is not None else None
        if utterance is self._writing and (failed or told is not None):
            utterance.feed = None  # what follows until input.done is nobody's
        if told is not None:
            await self._line.send(interrupted(index, told))
        done: dict[str, Any] = {"type": "session.done", "utterance_index": index}
        done["total_sentences"] = utterance.parts
        await self._line.send(done)

    def _sounds(self, utterance: Utterance) -> None:
        self._latest = utterance


@websocket("/audio/speech/stream")
async def stream_speech(socket: AnySocket, service: NamedDependency[SpeechService]) -> None:
    """Serve one socket."""
    line = Line(socket)
    await line.accept()
    await LiveSession(line, service).run()
