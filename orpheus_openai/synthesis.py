"""The one thing a model must do: turn text into PCM, and stop when nobody listens."""

import sys
from collections.abc import AsyncGenerator
from typing import Annotated, Final, Protocol, runtime_checkable

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import Voice
from orpheus_openai.text.lexicon import Lexicon

Temperature = Annotated[float, Meta(ge=0.0, le=2.0)]
TopP = Annotated[float, Meta(gt=0.0, le=1.0)]
RepetitionPenalty = Annotated[float, Meta(ge=1.0, le=2.0)]
MaxTokens = Annotated[int, Meta(ge=7, le=32_768)]
NO_SEED = -1
"""What clients send for a draw that nobody can repeat, beside sending none."""

Seed = Annotated[int, Meta(ge=NO_SEED, le=2**63 - 1)]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is drawn. The defaults are the ones Orpheus' authors publish."""

    temperature: Temperature = 0.6
    top_p: TopP = 0.9
    repetition_penalty: RepetitionPenalty = 1.1
    max_tokens: MaxTokens | None = None
    """Audio tokens for one segment; None lets the model choose from its context length."""
    seed: Seed | None = None
    spelt: tuple[Lexicon, ...] = ()
    """Words that have phonemes, in eSpeak NG's names, for an engine that knows them."""
    ahead: bool = False
    """Nobody waits for this segment yet, as another of its speech is to be heard first: those that are waited for go
    before it where the engine can choose."""


class Usage(msgspec.Struct):
    """What one request has consumed so far; the model adds to it while it speaks."""

    input_tokens: int = 0
    output_tokens: int = 0
    dropped_frames: int = 0
    """Frames that misplaced tokens made unplayable."""
    first_token_at: float | None = None
    """When the first token came, in seconds of `time.monotonic`; None where speech is not made of tokens."""


class SpeechModel(Protocol):
    """A voice that is loaded and ready."""

    @property
    def alive(self) -> bool:
        """False once the engine behind it has died: the next request loads it anew."""
        ...

    def synthesize(self, text: str, voice: Voice, sampling: Sampling, usage: Usage) -> AsyncGenerator[PCM]:
        """Speak one segment: yields PCM as soon as there is some, and counts into `usage` as it goes.

        Several calls may run at once. Closing the generator, or cancelling the task that waits for it,
        stops the work behind it. Raises `orpheus_openai.errors.SpeechError` when the engine fails.
        """
        ...

    async def close(self) -> None:
        """Give everything back: memory, threads, processes. Called once, when no call is running."""
        ...


class Watch(Protocol):
    """Looks at the frames of one segment while a model speaks it."""

    def look(self, frames: NDArray[np.int16], lost: int) -> bool:
        """Take note of more frames, shape `(n, codes)`, before they are decoded, and of how many were lost so far.

        False: these frames and all after them are not wanted, and the model is to stop.
        """
        ...

    def over(self, *, ended: bool) -> None:
        """No more will come; `ended`: because the model said that this was all."""
        ...


@runtime_checkable
class Watched(SpeechModel, Protocol):
    """A model that may repeat itself, run on or leave words out, and whose frames can be looked at for that."""

    def watched(
        self, text: str, voice: Voice, sampling: Sampling, usage: Usage, watch: Watch | None
    ) -> AsyncGenerator[PCM]:
        """Like `synthesize`, while `watch` looks on; all of it is told before the last PCM."""
        ...


@runtime_checkable
class Sleepable(SpeechModel, Protocol):
    """A model that can leave the GPU's memory and be back in under a second."""

    @property
    def can_sleep(self) -> bool:
        """Whether its engine really can, on this machine."""
        ...

    async def sleep(self) -> None:
        """Move the weights to host memory. Called while nobody speaks."""
        ...

    async def wake(self) -> None:
        """Be ready again when this returns."""
        ...


UNLIMITED: Final = sys.maxsize
"""Streams of a model whose engine counts for itself, elsewhere."""


@runtime_checkable
class Counted(SpeechModel, Protocol):
    """A model that knows how much it can do at once."""

    @property
    def streams(self) -> int | None:
        """Segments that it speaks at the same time, more wait their turn; None where it does not say."""
        ...


@runtime_checkable
class Measured(SpeechModel, Protocol):
    """A model whose speed is known before it speaks."""

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of audio, for one stream alone; None where nobody has measured it."""
        ...


@runtime_checkable
class OneByOne(SpeechModel, Protocol):
    """A model that may gain nothing from speaking several segments of a request at the same time."""

    @property
    def one_by_one(self) -> bool:
        """Whether it does not: then the next one is started when little of those before it is left to be heard."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a segment that is not needed at once should rather wait."""
        ...
