"""Orpheus itself: a token source continues the prompt, SNAC decodes what it says."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import Model, OwnVoice, Voice
from orpheus_openai.errors import EngineError, ModelUnavailableError
from orpheus_openai.gpu.device import cuda_device
from orpheus_openai.gpu.policy import Card
from orpheus_openai.models.orpheus.budget import Budget
from orpheus_openai.models.orpheus.codec import SnacDecoder
from orpheus_openai.models.orpheus.frames import FrameAssembler
from orpheus_openai.models.orpheus.gguf_file import means_gguf
from orpheus_openai.models.orpheus.pace import Pace
from orpheus_openai.models.orpheus.prompt import PromptForm, build_prompt, prompt_text
from orpheus_openai.models.orpheus.recordings import Recordings
from orpheus_openai.models.orpheus.snac_noise import Noise
from orpheus_openai.models.orpheus.tokenizer import CheckpointTokenizer, load_tokenizer
from orpheus_openai.models.orpheus.tokens import TokenSource
from orpheus_openai.models.orpheus.tokens_llama import LlamaOptions, LlamaTokenSource, load_llama
from orpheus_openai.models.orpheus.tokens_remote import RemoteTokenSource
from orpheus_openai.models.orpheus.tokens_vllm import VLLMTokenSource, load_vllm
from orpheus_openai.settings import Settings, checkpoint_variable
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
        recordings: Recordings | None = None,
        release_decoder: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._encode = encode
        self._form: PromptForm = form
        self._recordings = recordings
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


class OrpheusLoader:
    """Makes OrpheusSpeechModels for one server; they share one decoder, loaded with the first, gone with the last."""

    def __init__(self, settings: Settings, budget: Budget, cards: Callable[[], Sequence[Card]]) -> None:
        self._settings = settings
        self._budget = budget
        self._cards = cards
        self._decoder: SnacDecoder | None = None
        self._recordings = Recordings(partial(_encode_recording, settings.snac))
        self._users = 0
        self._lock = asyncio.Lock()

    async def load(self, model: Model, checkpoints: Sequence[str], gpu: int | None) -> OrpheusSpeechModel:
        """The model, ready to speak.

        `gpu` is the card it comes to. `checkpoints` are places of the same weights, in the order they are tried; there
        may be none where a remote engine holds them. Raises
        ModelUnavailableError, with what to set, when something is missing.
        """
        async with contextlib.AsyncExitStack() as undo:
            decoder = await self._acquire_decoder(gpu)
            undo.push_async_callback(self._release_decoder)
            source: TokenSource
            if self._settings.remote_url:
                source = remote = self._remote(CheckpointTokenizer(*checkpoints))
                encode: Encode = remote.encode
            elif not checkpoints:
                raise ModelUnavailableError(
                    f"{model.id} has no checkpoint here: set {checkpoint_variable(model.id)} to a folder or a repo id."
                )
            elif means_gguf(checkpoints[0]):
                source = llama = await load_llama(checkpoints[0], self._llama_options())
                encode = llama.encode
            else:
                found = str((await self._budget.prepare(model, *checkpoints)).directory)
                encode = _at_once((await asyncio.to_thread(load_tokenizer, found)).encode)
                source = await self._source(model, found, gpu)
            undo.pop_all()
        return OrpheusSpeechModel(
            source,
            decoder,
            encode,
            form=model.prompt,
            recordings=self._recordings,
            release_decoder=self._release_decoder,
        )

    def _remote(self, tokenizer: CheckpointTokenizer) -> RemoteTokenSource:
        settings = self._settings
        return RemoteTokenSource(
            settings.remote_url,
            settings.remote_api_key or None,
            settings.remote_model or None,
            tokenizer=tokenizer,
        )

    def _llama_options(self) -> LlamaOptions:
        settings = self._settings
        return LlamaOptions(
            max_streams=self._budget.wished_streams,
            max_model_len=settings.max_model_len,
            gpu_layers=0 if settings.device == "cpu" else settings.gpu_layers,
            program=settings.llama_server,
        )

    async def _source(self, model: Model, checkpoint: str, gpu: int | None) -> TokenSource:
        cards = [] if gpu is None else await asyncio.to_thread(self._cards)
        card = next((each for each in cards if each.index == gpu), None)
        options = self._budget.fitted(model, card)
        return await load_vllm(checkpoint, options)

    async def _acquire_decoder(self, gpu: int | None) -> SnacDecoder:
        async with self._lock:
            if self._decoder is None:
                settings = self._settings
                self._decoder = await asyncio.to_thread(
                    SnacDecoder.load,
                    settings.snac,
                    _device(settings, gpu),
                    _noise(settings),
                    settings.snac_precision,
                )
            self._users += 1
            return self._decoder

    async def _release_decoder(self) -> None:
        async with self._lock:
            self._users -= 1
            if self._users == 0 and self._decoder is not None:
                decoder, self._decoder = self._decoder, None
                await decoder.close()


def _encode_recording(source: str, pcm: PCM) -> NDArray[np.int16]:
    from orpheus_openai.models.orpheus.snac_encoder import encode_recording  # noqa: PLC0415  where it is needed

    return encode_recording(source, pcm)


def _at_once(encode: Callable[[str], list[int]]) -> Encode:
    async def encoded(text: str) -> list[int]:
        return encode(text)

    return encoded


def _device(settings: Settings, gpu: int | None) -> str:
    """The codec sits on the model's card where there is one: a stream costs it next to nothing there."""
    if "cpu" in (settings.device, settings.snac_device):
        return "cpu"
    import torch  # noqa: PLC0415  where models load

    if settings.device == "auto" and not torch.cuda.is_available():
        return "cpu"
    return cuda_device(gpu)


def _noise(settings: Settings) -> Noise:
    match settings.snac_noise:
        case "on" | "off" as word:
            return word
        case seed:
            return int(seed)
