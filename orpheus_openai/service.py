"""The one way to speech: a request is checked, cut, spoken by a leased model, joined, brought to tempo."""

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.join import PARAGRAPH_PAUSE, SENTENCE_PAUSE, Joiner
from orpheus_openai.audio.tempo import make_tempo
from orpheus_openai.catalog import DEFAULT_MODEL, Catalog, Model, Voice, load_catalog
from orpheus_openai.errors import EngineError, InvalidRequestError, SpeechError
from orpheus_openai.events import EventHub
from orpheus_openai.gate import Gate
from orpheus_openai.gpu.manager import GPUManager, Residency
from orpheus_openai.logs import current_request_id
from orpheus_openai.models.base import Sampling, SpeechModel, Usage
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.settings import Settings
from orpheus_openai.text import Segment, has_speech, normalise, split
from orpheus_openai.timeline import Timeline
from orpheus_openai.visit import Visit, Visits

SEGMENTS_AT_ONCE = 4
"""Segments of one request that are spoken at the same time: the one that sounds, and those after it."""

CHUNKS_AHEAD = 64
"""PCM chunks that a segment may be ahead of its listener; with the codec's chunks a few seconds."""

MIN_SPEED, MAX_SPEED = 0.25, 4.0


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said, by whom, and how."""

    text: str
    model: str = DEFAULT_MODEL
    voice: str = "tara"
    speed: Annotated[float, Meta(ge=MIN_SPEED, le=MAX_SPEED)] = 1.0
    sampling: Sampling = Sampling()


class Speech:
    """A request that was accepted: who will speak, and, once it is streamed, what it took."""

    def __init__(
        self,
        manager: GPUManager,
        events: EventHub,
        gate: Gate,
        request: SpeechRequest,
        *,
        visit: Visit | None,
        text: str,
        model: Model,
        voice: Voice,
        segments: Sequence[Segment],
    ) -> None:
        self.id = current_request_id.get() or f"spk_{uuid.uuid4().hex}"
        """The request's id, which names the speech in events and log."""
        self.model = model
        self.voice = voice
        self.segments = segments
        self.usage = Usage()
        self.samples = 0
        """Samples yielded so far, at 24 kHz."""
        self.timeline = Timeline()
        self.outcome: str | None = None
        """`completed`, `cancelled` or an error's message, once it has ended."""
        self.error: str | None = None
        """What kind of error that is."""
        self.real_time_factor: float | None = None
        """Seconds of work for a second of audio, once completed; waiting for turn, model and reader is no work."""
        self.input = request.text
        """The text as it came."""
        self._manager = manager
        self._events = events
        self._gate = gate
        self._visit = visit
        self._text = text
        self._speed = request.speed
        self._sampling = request.sampling
        self._held = 0.0
        """Seconds in which there was a sound, and nobody took it."""

    @property
    def queue_seconds(self) -> float:
        """How long the request waited for its turn."""
        return self.timeline.seconds("asked", "admitted") or 0.0

    @property
    def load_seconds(self) -> float:
        """How long the request waited for its model, after that."""
        return self.timeline.seconds("admitted", "ready") or 0.0

    @property
    def first_audio_seconds(self) -> float | None:
        """From when it was first asked for a sound until there was one."""
        return self.timeline.seconds("asked", "first_audio")

    async def stream(self) -> AsyncGenerator[PCM]:
        """The speech as PCM, from the first sample the model meant to the last.

        Closing the generator stops the work and gives turn and lease back. Raises a SpeechError when the text or
        the caller is refused, the line is full, or the model cannot be had, fails, or says nothing at all.
        """
        self.timeline.mark("asked")
        await self._gate.check(self._text, len(self.input), self._visit)
        events = self._events
        events.publish(
            "speech.queued", id=self.id, model=self.model.id, voice=self.voice.id, segments=len(self.segments)
        )
        try:
            async with self._gate.turn(self._tell_position):
                self.timeline.mark("admitted")
                async with contextlib.aclosing(self._paced()) as paced:
                    async for pcm in paced:
                        if self.samples == 0:
                            self._tell_start()
                        self.samples += len(pcm)
                        offered = time.monotonic()
                        yield pcm
                        self._held += time.monotonic() - offered
                        events.publish(
                            "speech.progress", id=self.id, audio_seconds=round(self.samples / SAMPLE_RATE, 3)
                        )
            self._complete()
        except SpeechError as error:
            self.outcome, self.error = error.message, error.kind
            raise
        except Exception:
            self.outcome, self.error = "The server failed.", "internal_error"
            raise
        finally:
            self.outcome = self.outcome or "cancelled"
            self._tell_end()

    def tell_underrun(self, silence: float) -> None:
        """Whoever plays the stream as it comes heard nothing for so many seconds."""
        at = round(self.samples / SAMPLE_RATE, 3)
        self._events.publish(
            "speech.underrun",
            id=self.id,
            model=self.model.id,
            audio_seconds=at,
            silence_seconds=round(silence, 3),
        )

    def _complete(self) -> None:
        if self.samples == 0:
            raise EngineError(f"The model {self.model.id} ended without a sound; try again.", code="no_audio")
        self.outcome = "completed"
        worked = time.monotonic() - (self.timeline.at("ready") or 0.0) - self._held
        self.real_time_factor = round(worked * SAMPLE_RATE / self.samples, 4)

    def _tell_start(self) -> None:
        if self.usage.first_token_at is not None:
            self.timeline.mark("first_token", self.usage.first_token_at)
        self.timeline.mark("first_audio")
        self._events.publish(
            "speech.started",
            id=self.id,
            model=self.model.id,
            queue_seconds=round(self.queue_seconds, 3),
            load_seconds=round(self.load_seconds, 3),
            first_audio_seconds=round(self.first_audio_seconds or 0.0, 4),
        )

    def _tell_end(self) -> None:
        self._events.publish(
            "speech.ended",
            id=self.id,
            model=self.model.id,
            outcome=self.outcome,
            error=self.error,
            audio_seconds=round(self.samples / SAMPLE_RATE, 3),
            real_time_factor=self.real_time_factor,
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            dropped_frames=self.usage.dropped_frames,
        )

    def _tell_position(self, position: int) -> None:
        self._events.publish("speech.waiting", id=self.id, position=position)

    async def _paced(self) -> AsyncGenerator[PCM]:
        """The joined segments at the tempo that was asked for; the lease lasts as long as they do."""
        async with (
            self._manager.get_model(self.model) as speaker,
            contextlib.aclosing(self._joined(speaker)) as joined,
        ):
            self.timeline.mark("ready")
            tempo = make_tempo(self._speed)
            async for pcm in joined:
                paced = pcm if self._speed == 1.0 else await asyncio.to_thread(tempo.process, pcm)
                if len(paced):
                    yield paced
            rest = await asyncio.to_thread(tempo.flush)
            if len(rest):
                yield rest

    async def _joined(self, speaker: SpeechModel) -> AsyncGenerator[PCM]:
        joiner = Joiner()
        async with contextlib.aclosing(
            _spoken(speaker, self.segments, self.voice, self._sampling, self.usage)
        ) as spoken:
            async for item in spoken:
                if isinstance(item, Segment):
                    at = round(self.samples / SAMPLE_RATE, 3)
                    self._events.publish("speech.segment", id=self.id, text=item.text, audio_seconds=at)
                    ready = joiner.start_segment(PARAGRAPH_PAUSE if item.paragraph else SENTENCE_PAUSE)
                else:
                    ready = joiner.push(item)
                if len(ready):
                    yield ready
        yield joiner.finish()


class SpeechService:
    """Takes requests from every door."""

    def __init__(
        self,
        catalog: Catalog,
        manager: GPUManager,
        factory: ModelFactory,
        events: EventHub,
        gate: Gate,
        *,
        max_input_chars: int,
    ) -> None:
        self.visits = Visits()
        """The requests that are being served; whoever serves them opens a visit for each."""
        self.gate = gate
        self.catalog = catalog
        self.events = events
        self.manager = manager
        self.factory = factory
        self._max_input_chars = max_input_chars

    @classmethod
    def create(cls, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """The whole core, without any door; nothing is loaded yet. `clock` is what idle times are counted by.

        Raises ConfigurationError when a setting or the user's catalog makes no sense.
        """
        catalog = load_catalog(settings.catalog)
        factory = ModelFactory(settings, catalog)
        events = EventHub()
        rules = Residency(
            mode=settings.mode,
            pinned=frozenset(settings.pinned),
            idle_timeout=settings.gpu_idle_timeout,
            unload_timeout=settings.unload_timeout,
            load_wait=settings.load_wait,
        )
        manager = GPUManager(factory, events, rules, clock=clock)
        gate = Gate.create(settings)
        return cls(catalog, manager, factory, events, gate, max_input_chars=settings.max_input_chars)

    def prepare(self, request: SpeechRequest) -> Speech:
        """Check a request and choose who speaks it; nothing is loaded yet.

        Raises InvalidRequestError or NotFoundError with the field's name, ModelUnavailableError when the model
        cannot speak on this machine, OverloadedError when the line before it is full.
        """
        self.gate.admission.require_room()  # in a rush to refuse must cost next to nothing
        if len(request.text) > self._max_input_chars:
            raise InvalidRequestError(
                f"The text has {len(request.text)} characters; at most {self._max_input_chars} are spoken in one "
                "request. Send it in parts.",
                param="input",
                code="string_above_max_length",
            )
        voice = self.catalog.voice(request.voice)
        model = self.catalog.speaking(self.catalog.model(request.model, self.factory.default_model), voice)
        self.factory.require(model)
        text = normalise(request.text, self.catalog.emotion_tags)
        if not has_speech(text):
            raise InvalidRequestError(
                "There is nothing to speak in the text.", param="input", code="empty_input"
            )
        segments = split(text, voice.language)
        visit = self.visits.get(current_request_id.get())
        speech = Speech(
            self.manager,
            self.events,
            self.gate,
            request,
            visit=visit,
            text=text,
            model=model,
            voice=voice,
            segments=segments,
        )
        if visit is not None:
            visit.speech = speech
        return speech

    def stream(self, request: SpeechRequest) -> AsyncGenerator[PCM]:
        """The request as PCM, 24 kHz mono int16; see `prepare` and `Speech.stream` for what can go wrong."""
        return self.prepare(request).stream()


async def _spoken(
    speaker: SpeechModel, segments: Sequence[Segment], voice: Voice, sampling: Sampling, usage: Usage
) -> AsyncGenerator[PCM | Segment]:
    """The PCM of all segments in order; each segment itself comes before its first sample.

    The later segments start when the first one sounds, so that they never delay it.
    """
    waiting = deque(segments)
    running: deque[_Producer] = deque()
    try:
        while waiting or running:
            if not running:
                running.append(_Producer(speaker, waiting.popleft(), voice, sampling, usage))
            yield running[0].segment
            async for pcm in running[0].chunks():
                yield pcm
                while waiting and len(running) < SEGMENTS_AT_ONCE:
                    running.append(_Producer(speaker, waiting.popleft(), voice, sampling, usage))
            running.popleft()
    finally:
        for producer in running:
            producer.cancel()  # all of them before the first wait: a scope that is cancelled cuts every wait short
        for producer in running:
            await producer.ended()


class _Producer:
    """One segment being spoken, a bounded number of chunks ahead of its listener."""

    def __init__(
        self, speaker: SpeechModel, segment: Segment, voice: Voice, sampling: Sampling, usage: Usage
    ) -> None:
        self.segment = segment
        self._queue: asyncio.Queue[PCM | None] = asyncio.Queue(CHUNKS_AHEAD)
        self._task = asyncio.create_task(self._run(speaker, voice, sampling, usage))

    async def _run(self, speaker: SpeechModel, voice: Voice, sampling: Sampling, usage: Usage) -> None:
        try:
            async with contextlib.aclosing(
                speaker.synthesize(self.segment.text, voice, sampling, usage)
            ) as spoken:
                async for pcm in spoken:
                    await self._queue.put(pcm)
        finally:
            # A full queue has a reader that will see the task's end after emptying it.
            with contextlib.suppress(asyncio.QueueFull):
                self._queue.put_nowait(None)

    async def chunks(self) -> AsyncGenerator[PCM]:
        while (pcm := await self._next()) is not None:
            yield pcm
        await self._task

    async def _next(self) -> PCM | None:
        if self._task.done() and self._queue.empty():
            return None
        return await self._queue.get()

    def cancel(self) -> None:
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until its work is over, however that ended."""
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()
