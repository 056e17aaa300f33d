"""One segment being spoken, a bounded number of samples ahead of its listener; again, where it failed unheard."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.tempo import make_tempo
from orpheus_openai.errors import SpeechError
from orpheus_openai.speech.timer import LONGEST_SEGMENT
from orpheus_openai.speech.trial import Trial
from orpheus_openai.speech.verification import MOST_TRIES, Examination, another
from orpheus_openai.synthesis import Sampling
from orpheus_openai.text.split import Segment

SEGMENT_AHEAD = 30 * SAMPLE_RATE
"""Samples that one segment may be ahead of its listener, 1.4 MB, so that whoever speaks faster than they are heard is
soon done with it. Its last chunk may go over it. Where it is spoken again the best try so far is kept as well."""

MOST_HELD = LONGEST_SEGMENT
"""Samples of the segment that is to sound next and is held until it is whole, 5.8 MB: more than a text of 280
characters takes in any language. Once it sounds it is no further ahead than the others, so that a request has three and
a half minutes in hand at the most, 10 MB."""

LEAST_ANEW = SAMPLE_RATE // 2
"""Samples of another try with which it may begin to sound, though it is not known yet whether it is better."""

Speak = Callable[[Sampling, Trial], AsyncGenerator[PCM]]
"""Speaks the segment, while the trial watches if it can."""


class Producer:
    """Speaks one segment."""

    def __init__(
        self, segment: Segment, speak: Speak, sampling: Sampling, examination: Examination | None
    ) -> None:
        """`examination`: what looks at it; None: nobody does."""
        self.segment = segment
        self._speak = speak
        self._sampling = sampling
        self._examination = examination
        self._trial = Trial() if examination is None else examination.trial()
        self._best: Trial | None = None
        self._heard = False
        self._most = SEGMENT_AHEAD
        self._changed = asyncio.Event()
        self._trying: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _task: self._changed.set())

    @property
    def ahead(self) -> int:
        """Samples that are ready and were not taken yet."""
        return round(self._trial.ahead / self.segment.manner.rate)

    @property
    def speaking(self) -> bool:
        """Whether there is more to come."""
        return not self._task.done()

    async def chunks(self, patience: Callable[[], float | None]) -> AsyncGenerator[PCM]:
        """What is said; where it is looked at, first when all is there and good, or as good as can be.

        `patience` tells how many seconds the listener can still wait for that; None: as long as it takes.
        """
        if self._examination is not None:
            await self._until_good(patience)
        async with contextlib.aclosing(self._taken()) as taken:
            async for pcm in _at_rate(taken, self.segment.manner.rate):
                yield pcm

    def cancel(self) -> None:
        """Stop the work."""
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until its work is over, however that ended."""
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()

    async def _run(self) -> None:
        if not self.segment.prompt:
            return  # a silence
        if self._examination is None:
            await self._try(self._trial, self._sampling)
        else:
            await self._run_examined(self._examination)

    async def _run_examined(self, examination: Examination) -> None:
        sampling = self._sampling
        for tries in range(1, MOST_TRIES + 1):
            if not await self._tried(examination, sampling, tries):
                break
            if self._trial.fault is None or self._heard or not examination.again(tries):
                break
            self._keep_best()
            sampling = another(sampling)
            self._trial = examination.trial()
        if self._best is not None and not self._heard:
            self._keep_best()
            self._trial = self._best
        examination.settle(self._trial, tries)

    async def _tried(self, examination: Examination, sampling: Sampling, tries: int) -> bool:
        """Speak and judge the segment once; whether it came to that."""
        trial = self._trial
        self._trying = asyncio.create_task(self._try(trial, sampling))
        try:
            await self._trying
        except asyncio.CancelledError:
            if self._trial is trial or _is_cancelled():
                raise
            return False  # the listener could not wait for it, and hears the best one
        except SpeechError as error:
            rescued = self._best is not None and self._best.samples > 0
            anew = error.code == "no_audio" and examination.again(tries)
            if self._heard or not (rescued or anew):
                raise
        await examination.judge(trial, heard=lambda: self._heard)
        return True

    async def _try(self, trial: Trial, sampling: Sampling) -> None:
        async with contextlib.aclosing(self._speak(sampling, trial)) as spoken:
            async for pcm in spoken:
                wanted = trial.add(pcm)
                if self._examination is not None:
                    self._examination.hear()
                self._changed.set()
                if not wanted:
                    break
                while trial.ahead >= self._most:
                    await self._change()

    def _keep_best(self) -> None:
        if self._best is None or self._trial.better_than(self._best):
            self._best = self._trial

    async def _until_good(self, patience: Callable[[], float | None]) -> None:
        """Wait for the whole segment, as long as the listener can; then settle for what there is."""
        self._most = MOST_HELD
        self._changed.set()  # it may have waited to go on
        while self.speaking and self._trial.ahead < MOST_HELD:
            left = patience()
            if left is not None and left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._change()
        self._most = SEGMENT_AHEAD
        if self._best is not None and self.speaking and self._trial.ahead < LEAST_ANEW:
            self._trial = self._best
            if self._trying is not None:
                self._trying.cancel()

    async def _taken(self) -> AsyncGenerator[PCM]:
        while self._trial.pieces or self.speaking:
            if self._trial.pieces:
                pcm = self._trial.take()
                self._heard = True
                if self._examination is not None:
                    self._examination.heard = True
                self._changed.set()
                yield pcm
            else:
                await self._change()
        await self._task

    async def _change(self) -> None:
        """Wait until something is put in or taken out, or the work is over; one side waits at a time."""
        self._changed.clear()
        await self._changed.wait()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _at_rate(sounds: AsyncGenerator[PCM], rate: float) -> AsyncGenerator[PCM]:
    """What is said faster or slower than the rest."""
    async with contextlib.aclosing(sounds):
        if rate == 1.0:
            async for pcm in sounds:
                yield pcm
            return
        tempo = make_tempo(rate)
        async for pcm in sounds:
            if len(paced := await asyncio.to_thread(tempo.process, pcm)):
                yield paced
        if len(rest := await asyncio.to_thread(tempo.flush)):
            yield rest
