"""WebSocket /v1/audio/speech/stream: text in while speech comes out, in vLLM-Omni's and SGLang-Omni's protocol."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from litestar import websocket
from litestar.di import NamedDependency
from msgspec import Meta

from orpheus_compat.schemas import CreateSpeechRequest
from orpheus_openai.audio import PCM
from orpheus_openai.audio.formats import rate_of
from orpheus_openai.catalog import DEFAULT_VOICE
from orpheus_openai.errors import (
    InvalidRequestError,
    RequestTimeoutError,
    SpeechError,
    SpeechInterruptedError,
)
from orpheus_openai.fields import from_values
from orpheus_openai.http.delivery import ListenerTooSlowError, encoded
from orpheus_openai.http.responses import played
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
    prepare_utterance,
)
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.interruption import Interruption
from orpheus_openai.speech.request import SpeechRequest, tuned
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech
from orpheus_openai.text.pieces import Clauses

DEFAULT_FORMAT = "wav"
DEFAULT_MODEL = "tts-1"

MOST_AHEAD = 32
"""Utterances of one socket that wait for those before them; more are not read before one has ended."""
MOST_AHEAD_CHARACTERS = 100_000
"""Characters of theirs."""
MOST_WHOLE_BYTES = 32 * 1024 * 1024
"""Bytes of audio that are sent as one message, where the client asks for that."""

_CLAUSES: Mapping[str, Clauses] = {"none": "first", "sentence": "none", "clause": "all"}


class SocketConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `session.config` holds beside the fields of /v1/audio/speech."""

    stream_audio: bool | None = None
    """Audio is sent as it is made; else each part as one message, when it is whole."""
    split_granularity: Literal["none", "sentence", "clause"] | None = None
    """What is a part: the whole utterance, or each sentence or clause, as a file of its own."""


class Interrupt(msgspec.Struct, frozen=True, kw_only=True):
    """What `interrupt` holds."""

    played_ms: Annotated[float, Meta(ge=0, le=1e9)]
    utterance_index: int | None = None
    """Which utterance was played; None: the last that has begun to sound."""


class Config(msgspec.Struct, frozen=True):
    """What holds for the utterances that follow."""

    wanted: SpeechRequest
    audio_format: str
    sample_rate: int
    stream_audio: bool
    split: str
    granularities: tuple[str, ...]

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "Config":
        """The configuration in a message; raises InvalidRequestError."""
        fields = {name: value for name, value in message.items() if name != "type"}
        own = from_values(fields, SocketConfig)
        if fields.get("voice") is None:
            fields["voice"] = fields.get("speaker") or DEFAULT_VOICE
        body = from_values(
            {**fields, "input": "", "model": fields.get("model") or DEFAULT_MODEL}, CreateSpeechRequest
        )
        voice = body.voice if isinstance(body.voice, str) else body.voice.id
        granularities = tuple(body.timestamp_granularities or ())
        wanted = tuned(body, text="", model=body.model, voice=voice)
        audio_format = body.response_format or DEFAULT_FORMAT
        return cls(
            msgspec.structs.replace(wanted, word_times=bool(granularities)),
            audio_format,
            rate_of(audio_format, wanted.sample_rate),
            bool(own.stream_audio),
            own.split_granularity or "none",
            granularities,
        )


class Utterance:
    """What is spoken for one `input.done`; without a speech where it was refused or has no text."""

    def __init__(self, index: int, config: Config | None) -> None:
        self.index = index
        self.config = config
        self.feed: TextFeed | None = None
        self.speech: Speech | None = None
        self.sounds = False
        """Audio of it was sent."""
        self.parts = 0

    @property
    def length(self) -> int:
        """Characters that were written to it."""
        return len(self.feed.text) if self.feed is not None else 0

    def end(self) -> None:
        """No more text of it comes."""
        if self.feed is not None:
            self.feed.end()


class LiveSession:
    """One socket: a task reads messages, another speaks the utterances in their order."""

    def __init__(self, line: Line, service: SpeechService) -> None:
        self._line = line
        self._service = service
        self._config: Config | None = None
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
                    await self._take(_parsed(message))
                except SpeechError as error:
                    await self._tell_error(error)
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
        await self._tell_error(
            RequestTimeoutError(f"Nothing came for {seconds:g} s: the socket is closed.", code="idle_timeout")
        )
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
            self._write(message.get("text"))
        elif kind == "input.flush":
            if self._writing is not None and self._writing.feed is not None:
                self._writing.feed.flush()
        elif kind == "input.done":
            if self._writing is None:
                self._begin(None)
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
        config = Config.of(message)
        self._service.check(config.wanted, account=self._line.account)
        self._config = config

    def _write(self, text: object) -> None:
        if not isinstance(text, str):
            raise InvalidRequestError(
                "input.text requires a string value.", param="text", code="invalid_type"
            )
        if text and self._writing is None:
            self._writing = self._begin(self._config)
            try:
                self._prepare(self._writing)
            except SpeechError:
                self._writing.feed = self._writing.speech = None
                raise
        if self._writing is not None and self._writing.feed is not None:
            try:
                self._writing.feed.put(text)
            except InvalidRequestError:
                self._writing.end()
                self._writing.feed = None
                raise

    def _begin(self, config: Config | None) -> Utterance:
        utterance = Utterance(self._utterances, config)
        self._utterances += 1
        self._waiting.append(utterance)
        self._changed.set()
        return utterance

    def _prepare(self, utterance: Utterance) -> None:
        config = utterance.config
        assert config is not None  # noqa: S101  text is taken with one only
        utterance.feed = TextFeed(clauses=_CLAUSES[config.split], packed=config.split == "none")
        utterance.speech = prepare_utterance(
            self._line, self._service, config.wanted, utterance.feed, number=utterance.index
        )

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
            await self._line.send(_told(target, target.speech.sounded().told(played_for)))
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
                    await self._say(utterance, utterance.speech)
        except SpeechInterruptedError:
            pass  # who cut in, here or over HTTP, has said how much was heard
        except SpeechError as error:
            failed = True
            await self._tell_error(error, index, partial=utterance.sounds)
        finally:
            if utterance.feed is not None:
                utterance.feed.close()
        told = utterance.speech.interruption if utterance.speech is not None else None
        if utterance is self._writing and (failed or told is not None):
            utterance.feed = None  # what follows until input.done is nobody's
        if told is not None:
            await self._line.send(_told(utterance, told))
        done: dict[str, Any] = {"type": "session.done", "utterance_index": index}
        done["total_sentences"] = utterance.parts
        await self._line.send(done)

    async def _say(self, utterance: Utterance, speech: Speech) -> None:
        config = utterance.config
        assert config is not None  # noqa: S101  it has a speech
        async with contextlib.aclosing(played(speech, speech.stream(), self._line.pace)) as stream:
            parts = _Parts(stream, speech, split=config.split != "none")
            while await parts.begin():
                await self._say_part(utterance, speech, config, parts)
        for segment in await speech.word_times.rest() if speech.word_times else ():
            await self._line.send(_words(utterance, segment, config.granularities))

    async def _say_part(self, utterance: Utterance, speech: Speech, config: Config, parts: "_Parts") -> None:
        place = {"utterance_index": utterance.index, "sentence_index": utterance.parts}
        start: dict[str, Any] = {"type": "audio.start", **place, "sentence_text": parts.text}
        start |= {"format": config.audio_format, "sample_rate": config.sample_rate, "channels": 1}
        await self._line.send({**start, "speech_id": speech.id})
        utterance.parts += 1
        self._latest = utterance
        total, whole, failed = 0, bytearray(), True
        try:
            chunks = encoded(parts.pcm(), config.audio_format, sample_rate=speech.sample_rate)
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    if speech.timeline.at("first_bytes") is None:
                        speech.timeline.mark("first_bytes")
                    total += len(chunk)
                    if config.stream_audio:
                        await self._line.send_bytes(chunk)
                        utterance.sounds = True
                    else:
                        whole += chunk
                        _require_small(whole)
                    for segment in speech.word_times.ready() if speech.word_times else ():
                        await self._line.send(_words(utterance, segment, config.granularities))
            if whole:
                await self._line.send_bytes(bytes(whole))
                utterance.sounds = True
            failed = False
        except SpeechInterruptedError:
            failed = False
            raise
        finally:
            done = {"type": "audio.done", **place, "total_bytes": total, "error": failed}
            with contextlib.suppress(SocketClosedError, ListenerTooSlowError):
                await self._line.send(done)

    async def _tell_error(
        self, error: SpeechError, index: int | None = None, *, partial: bool = False
    ) -> None:
        told: dict[str, Any] = {"type": "error", "message": error.message, "code": error.kind}
        if error.param is not None:
            told["param"] = error.param
        if index is not None:
            told["utterance_index"] = index
        if error.retry_after is not None:
            told["retry_after"] = error.retry_after
        if partial:
            told |= {"partial_audio": True, "action": "discard"}
        await self._line.send(told)


class _Parts:
    """The sound of an utterance, cut where the client wants files of their own."""

    def __init__(self, stream: AsyncGenerator[PCM], speech: Speech, *, split: bool) -> None:
        self._stream = stream
        self._speech = speech
        self._split = split
        self._next: PCM | None = None
        self._taken = 0
        self.text = ""
        """What of the text the part begins with."""

    async def begin(self) -> bool:
        """Wait for the next part; False after the last."""
        if self._next is None:
            self._next = await anext(self._stream, None)
        if self._next is None:
            return False
        self._at_mark()
        if not self._split:
            self.text = self._speech.input
        return True

    async def pcm(self) -> AsyncGenerator[PCM]:
        """The sound of the part that has begun."""
        while self._next is not None:
            pcm, self._next = self._next, None
            self._taken += len(pcm)
            yield pcm
            self._next = await anext(self._stream, None)
            if self._next is not None and self._split and self._at_mark():
                return

    def _at_mark(self) -> bool:
        """Whether a segment begins with the next sound."""
        begun, found = self._speech.heard.marks, False
        while begun and begun[0][0] <= self._taken:
            segment = begun.popleft()[1]
            self.text, found = self._speech.input[segment.start : segment.end], True
        return found


def _require_small(whole: bytearray) -> None:
    if len(whole) > MOST_WHOLE_BYTES:
        raise InvalidRequestError(
            f"One message would have more than {MOST_WHOLE_BYTES // 1024 // 1024} MiB of audio; set stream_audio.",
            param="stream_audio",
            code="too_long",
        )


def _parsed(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise InvalidRequestError("Messages are JSON objects, sent as text.", code="invalid_message")
    try:
        parsed = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequestError("Invalid JSON message", code="invalid_message") from None
    if not isinstance(parsed, dict):
        raise InvalidRequestError("WebSocket messages must be JSON objects", code="invalid_message")
    return parsed


def _told(utterance: Utterance, told: Interruption) -> dict[str, Any]:
    return {**msgspec.structs.asdict(told), "utterance_index": utterance.index}


def _words(utterance: Utterance, segment: Any, granularities: tuple[str, ...]) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "words", "utterance_index": utterance.index, "timing": segment.timing}
    if "word" in granularities:
        told["words"] = segment.words
    if "segment" in granularities:
        told["segments"] = [{name: getattr(segment, name) for name in ("text", "start", "end", "span")}]
    return told


@websocket("/audio/speech/stream")
async def stream_speech(socket: AnySocket, service: NamedDependency[SpeechService]) -> None:
    """Serve one socket."""
    line = Line(socket)
    await line.accept()
    await LiveSession(line, service).run()
