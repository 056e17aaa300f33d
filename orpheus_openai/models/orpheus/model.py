"""Orpheus itself: a token source continues the prompt, SNAC decodes what it says."""

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import OwnVoice, Voice
from orpheus_openai.errors import EngineError
from orpheus_openai.models.orpheus.codec import SnacDecoder
from orpheus_openai.models.orpheus.frames import FrameAssembler
from orpheus_openai.models.orpheus.pace import Pace
from orpheus_openai.models.orpheus.prompt import PromptForm, build_prompt, prompt_text
from orpheus_openai.models.orpheus.recordings import RecordedPrompts
from orpheus_openai.models.orpheus.tokens import TokenSource
from orpheus_openai.models.orpheus.tokens_llama import LlamaTokenSource
from orpheus_openai.models.orpheus.tokens_vllm import VLLMTokenSource
from orpheus_openai.synthesis import UNLIMITED, Sampling, Usage, Watch

logger = logging.getLogger(__name__)


Encode: TypeAlias = Callable[[str], Awaitable[list[int]]]
"""Text to ids, none of them special whatever the text spells."""


class OrpheusSpeechModel:
    """A `SpeechModel`: one checkpoint's token source, and the decoder it shares with the others of its device."""

    def __init__(
        self,
        source: TokenSource,
        decoder: SnacDecoder,
        encode: Encode,
        *,
        form: PromptForm = "standard",
        recordings: RecordedPrompts | None = None,
        require_adapter: Callable[[OwnVoice], Awaitable[None]] | None = None,
        release_decoder: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._encode = encode
        self._form: PromptForm = form
        self._recordings = recordings
        self._require_adapter = require_adapter
        self._release_decoder = release_decoder

    @property
    def alive(self) -> bool:
        """False once the engine has died."""
        return not self._source.dead

    def synthesize(self, text: str, voice: Voice, sampling: Sampling, usage: Usage) -> AsyncGenerator[PCM]:
        """Speak one segment: yields PCM from the first sample of the first frame to the last of the last.

        Counts the prompt's tokens and the generated ones. Raises EngineError when the engine fails, also when it
        ends without a single frame.
        """
        return self.watched(text, voice, sampling, usage, None)

    async def watched(
        self, text: str, voice: Voice, sampling: Sampling, usage: Usage, watch: Watch | None
    ) -> AsyncGenerator[PCM]:
        """Like `synthesize`, while `watch` looks at the frames; the engine stops where it wants no more."""
        if self._require_adapter is not None and isinstance(voice, OwnVoice) and voice.adapter:
            await self._require_adapter(voice)
        prompt = await self._prompt(text, voice)
        usage.input_tokens += len(prompt)
        frames = _Frames(self._tokens(prompt, voice, sampling), usage, watch)
        async with (
            contextlib.aclosing(frames.read()) as read,
            contextlib.aclosing(self._decoder.decode(read, seed=sampling.seed)) as pcm,
        ):
            async for samples in pcm:
                yield samples
        usage.dropped_frames += frames.assembler.dropped
        if frames.assembler.dropped or frames.assembler.stray:
            counts = frames.assembler
            logger.warning(
                "%d frames lost to misplaced tokens, %d tokens astray", counts.dropped, counts.stray
            )
        if frames.count == 0:
            raise EngineError("The model ended without a sound; send the request again.", code="no_audio")

    def _tokens(self, prompt: list[int], voice: Voice, sampling: Sampling) -> AsyncGenerator[list[int]]:
        if isinstance(voice, OwnVoice) and voice.adapter:
            return self._source.generate(prompt, sampling, voice.adapter)
        return self._source.generate(prompt, sampling)

    async def _prompt(self, text: str, voice: Voice) -> list[int]:
        text_ids = await self._encode(prompt_text(text, voice, self._form))
        if self._recordings is not None and isinstance(voice, OwnVoice) and voice.kind == "prompt":
            return await self._recordings.prompt(text_ids, voice, self._encode)
        return build_prompt(text_ids, self._form)

    @property
    def streams(self) -> int:
        """Segments that its engine speaks at once; where the engine is elsewhere, that one counts."""
        return (
            self._source.streams
            if isinstance(self._source, VLLMTokenSource | LlamaTokenSource)
            else UNLIMITED
        )

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of audio, where its engine was measured when it was loaded."""
        return self._pace.real_time_factor if self._pace else None

    @property
    def advice(self) -> str | None:
        """How far off it is and what would help, where it will not keep up with a listener."""
        return (self._pace.advice or None) if self._pace else None

    @property
    def _pace(self) -> Pace | None:
        return self._source.pace if isinstance(self._source, LlamaTokenSource) else None

    @property
    def engine(self) -> str:
        """What continues its prompts, for people."""
        return self._source.engine

    @property
    def can_sleep(self) -> bool:
        """Whether the engine runs here, and can leave the GPU's memory."""
        return isinstance(self._source, VLLMTokenSource) and self._source.can_sleep

    async def sleep(self) -> None:
        """Move the weights to host memory; only where `can_sleep`."""
        if isinstance(self._source, VLLMTokenSource):
            await self._source.sleep()

    async def wake(self) -> None:
        """Bring the weights back."""
        if isinstance(self._source, VLLMTokenSource):
            await self._source.wake()

    async def close(self) -> None:
        """End the token source, and the decoder with the last model that uses it."""
        await self._source.close()
        if self._release_decoder is not None:
            await self._release_decoder()


class _Frames:
    """The frames of one utterance, read from its tokens."""

    def __init__(self, tokens: AsyncGenerator[list[int]], usage: Usage, watch: Watch | None) -> None:
        self.assembler = FrameAssembler()
        self.count = 0
        self._tokens = tokens
        self._usage = usage
        self._watch = watch

    async def read(self) -> AsyncGenerator[NDArray[np.int16]]:
        """Arrays of shape (n, 7), n at least 1."""
        async with contextlib.aclosing(self._tokens) as tokens:
            async for ids in tokens:
                if self._usage.first_token_at is None:
                    self._usage.first_token_at = time.monotonic()
                self._usage.output_tokens += len(ids)
                frames = self.assembler.push(ids)
                self.count += len(frames)
                if self._watch is not None and not self._watch.look(frames, self.assembler.lost):
                    break
                if len(frames):
                    yield frames
        if self._watch is not None:
            self._watch.over(ended=self.assembler.ended)
