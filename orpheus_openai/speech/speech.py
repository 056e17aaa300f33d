"""One request that is being spoken: its turn, its model, its end, and what is told of it meanwhile."""

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.catalog import Model, Voice
from orpheus_openai.errors import EngineError, SpeechError
from orpheus_openai.events import EventHub
from orpheus_openai.gpu.manager import GPUManager
from orpheus_openai.limits.gate import Gate
from orpheus_openai.speech.breakable import Breakable
from orpheus_openai.speech.casting import Casting
from orpheus_openai.speech.heard import Heard
from orpheus_openai.speech.interruption import Interruption, Playing, Sounded
from orpheus_openai.speech.report import SpeechReport, audio_seconds, report_of
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.script import AnyScript
from orpheus_openai.speech.sound import Sound
from orpheus_openai.speech.timeline import Timeline
from orpheus_openai.speech.verification import SegmentVerdict, Verification
from orpheus_openai.speech.words import WordTimes
from orpheus_openai.synthesis import Sampling, Usage
from orpheus_openai.text.warnings import Warned

if TYPE_CHECKING:
    from orpheus_openai.speech.takes import Take

NOTHING_TO_SAY: PCM = np.zeros(SAMPLE_RATE // 5, np.int16)
"""What a text sounds like that holds nothing to speak, such as a dash that was sent as a sentence of its own."""


class Speech:
    """A request that was accepted: who will speak, and, once it is streamed, what it took."""

    def __init__(
        self,
        manager: GPUManager,
        events: EventHub,
        gate: Gate,
        request: SpeechRequest,
        *,
        request_id: str | None,
        account: str,
        model: Model,
        voice: Voice,
        casting: Casting,
        sampling: Sampling,
        script: AnyScript,
        warnings: list[Warned],
        heard: Heard,
        buffer: str = "off",
        word_times: WordTimes | None = None,
        verification: Verification | None = None,
        playing: Playing | None = None,
    ) -> None:
        self.id = request_id or f"spk_{uuid.uuid4().hex}"
        """The request's id, which names the speech in events and log."""
        self.account = account
        """Whose speech it is, and whose share it counts against."""
        self.share: dict[str, str] = {}
        """What is left of that share, as headers, once it was charged."""
        self.take: Take | None = None
        """Where the speech is kept, if its request asked for that."""
        self.word_times = word_times
        """When its words sound, if its request asked for that."""
        self.verification = verification
        """Whether its segments are spoken as they should be, if anybody looks."""
        if verification is not None:
            verification.tell = self._tell_verdict
        self.model = model
        self.voice = voice
        self.usage = Usage()
        self.sample_rate = request.sample_rate
        """What it is delivered at, in Hz, whatever its samples are; None: as the format has it."""
        self.samples = 0
        """Samples yielded so far, at 24 kHz."""
        self.timeline = Timeline()
        self.error: str | None = None
        """What kind of error it ended in."""
        self._manager = manager
        self._events = events
        self._gate = gate
        self._script = script
        self._warnings = warnings
        """What the text asks for and is not done; known with the first segment."""
        self._playing = playing
        self.heard = heard
        """Which of its segments have begun to sound."""
        self._sound = Sound(
            request,
            script,
            casting,
            sampling,
            usage=self.usage,
            heard=self.heard,
            word_times=word_times,
            verification=verification,
            buffer=buffer,
            tell=self._tell,
        )
        self._sounds = Breakable(self._in_turn())
        self._outcome: str | None = None
        self._real_time_factor: float | None = None
        """Of a model's work alone: waiting for turn or reader is none."""
        self._stalled = 0.0
        """Seconds in which there was a sound, and nobody took it."""

    def report(self) -> SpeechReport:
        """What is known of it now."""
        return report_of(
            self.timeline,
            self.usage,
            self.samples,
            id=self.id,
            model=self.model.id,
            voice=self.voice.id,
            characters=len(self.input),
            segments=self.heard.count,
            real_time_factor=self._real_time_factor,
            verdicts=self.verification.verdicts if self.verification else None,
            warnings=list(self._warnings),
            outcome=self._outcome,
            error=self.error,
        )

    @property
    def input(self) -> str:
        """The text as it came, or as far as it has."""
        return self._script.input

    @property
    def expected_real_time_factor(self) -> float | None:
        """Seconds of work for a second of it, as its model was measured; None: it was not, or it is not ready."""
        return self._sound.expected_real_time_factor

    @property
    def audio_seconds(self) -> float:
        """Speech so far."""
        return audio_seconds(self.samples)

    async def stream(self) -> AsyncGenerator[PCM]:
        """The speech as PCM, from the first sample the model meant to the last.

        Closing the generator stops the work and gives turn and lease back. Raises a SpeechError when the text or
        the caller is refused, the queue is full, or the model cannot be had, fails, or says nothing at all.
        """
        self.timeline.mark("asked")
        if self._playing is not None:
            self._playing.begin(self)
        try:
            self.share = await self._script.admit(self._gate, self.account)
        except BaseException:
            self._let_go()
            raise
        self._tell("queued", model=self.model.id, voice=self.voice.id, characters=len(self.input))
        try:
            async with contextlib.aclosing(self._sounds) as sounds:
                async for pcm in sounds:
                    if self.samples == 0:
                        self._tell_start()
                    self.samples += len(pcm)
                    offered = time.monotonic()
                    yield pcm
                    self._stalled += time.monotonic() - offered
                    self._tell("progress", audio_seconds=self.audio_seconds)
            self._complete()
        except SpeechError as error:
            self._outcome, self.error = error.message, error.kind
            raise
        except Exception:
            self._outcome, self.error = "The server failed.", "internal_error"
            raise
        finally:
            self._let_go()
            self._outcome = self._outcome or "cancelled"
            for ears in (self.word_times, self.verification):
                if ears is not None and self._outcome != "completed":
                    ears.cancel()
            self._tell("ended", **msgspec.structs.asdict(self.report()))

    async def interrupt(self, played: float) -> Interruption:
        """Stop, as the listener has cut in after `played` seconds of it; returns what was heard of the text.

        The model is free when this returns. Whoever reads the stream gets a SpeechInterruptedError, if it goes on.
        """
        self.heard.played = played
        if self._outcome is None:
            await self._sounds.break_off()
        return await self.sounded().told(played)

    async def interruption(self) -> Interruption | None:
        """What was heard when its listener cut in, if they did."""
        return None if self.heard.played is None else await self.sounded().told(self.heard.played)

    def sounded(self) -> Sounded:
        """What there is to know for interruptions."""
        return Sounded(
            account=self.account,
            text=self.input,
            heard=self.heard,
            word_times=self.word_times,
            sent=self.samples / SAMPLE_RATE,
            complete=self._outcome == "completed",
        )

    def tell_underrun(self, silence: float) -> None:
        """Whoever plays the stream as it comes heard nothing for so many seconds."""
        self._tell(
            "underrun",
            model=self.model.id,
            audio_seconds=self.audio_seconds,
            silence_seconds=round(silence, 3),
        )

    def _let_go(self) -> None:
        self._script.close()
        if self._playing is not None:
            self._playing.end(self)

    def _complete(self) -> None:
        if self.samples == 0:
            raise EngineError(f"The model {self.model.id} ended without a sound; try again.", code="no_audio")
        self._outcome = "completed"
        if (ready := self.timeline.at("ready")) is not None:
            worked = time.monotonic() - ready - self._stalled
            self._real_time_factor = round(worked * SAMPLE_RATE / self.samples, 4)

    def _tell_start(self) -> None:
        if self.usage.first_token_at is not None:
            self.timeline.mark("first_token", self.usage.first_token_at)
        self.timeline.mark("first_audio")
        self._tell("started", **msgspec.structs.asdict(self.report()))

    def _tell_verdict(self, found: SegmentVerdict) -> None:
        self._tell("verified", model=self.model.id, **msgspec.structs.asdict(found))

    def _tell_position(self, position: int) -> None:
        self._tell("waiting", position=position)

    def _tell(self, what: str, **data: Any) -> None:
        """Publish an event about this speech, for its owner's eyes."""
        self._events.publish(f"speech.{what}", owner=self.account, **{"id": self.id, **data})

    async def _in_turn(self) -> AsyncGenerator[PCM]:
        """What is heard: silence where there is nothing to say, else the model, when it is this speech's turn."""
        if await self._script.peek() is None:
            yield NOTHING_TO_SAY
            return
        if self._script.is_live:
            self.timeline.mark("asked")  # how long somebody took to write it is nobody's queue
        async with self._gate.turn(self._tell_position, self.account):
            self.timeline.mark("admitted")
            async with self._manager.get_model(self.model) as speaker:
                self.timeline.mark("ready")
                async with contextlib.aclosing(self._sound.of(speaker)) as sounds:
                    async for pcm in sounds:
                        yield pcm
