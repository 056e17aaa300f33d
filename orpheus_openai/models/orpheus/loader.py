"""How an Orpheus is loaded: what continues its prompts, by its checkpoint and the settings, and the shared decoder."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import Catalog, Model, OwnVoice
from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.gpu.device import cuda_device
from orpheus_openai.gpu.policy import Card
from orpheus_openai.models.orpheus.adapters import require_base
from orpheus_openai.models.orpheus.budget import Budget
from orpheus_openai.models.orpheus.codec import SnacDecoder
from orpheus_openai.models.orpheus.gguf_file import means_gguf
from orpheus_openai.models.orpheus.llama_engine import LlamaOptions
from orpheus_openai.models.orpheus.model import Encode, OrpheusSpeechModel
from orpheus_openai.models.orpheus.recordings import RecordedPrompts
from orpheus_openai.models.orpheus.snac_noise import Noise
from orpheus_openai.models.orpheus.tokenizer import CheckpointTokenizer, load_tokenizer
from orpheus_openai.models.orpheus.tokens import TokenSource
from orpheus_openai.models.orpheus.tokens_llama import load_llama
from orpheus_openai.models.orpheus.tokens_remote import RemoteTokenSource
from orpheus_openai.models.orpheus.tokens_vllm import load_vllm
from orpheus_openai.models.threads import in_thread
from orpheus_openai.settings import Settings, checkpoint_variable


class OrpheusLoader:
    """Makes OrpheusSpeechModels for one server; they share one decoder, loaded with the first, gone with the last."""

    def __init__(
        self, settings: Settings, catalog: Catalog, budget: Budget, cards: Callable[[], Sequence[Card]]
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._budget = budget
        self._cards = cards
        self._decoder: SnacDecoder | None = None
        self._recordings = RecordedPrompts(partial(_encode_recording, settings.snac))
        self._adapters: dict[str, dict[str, float]] = {}
        """When adapters were used last in llama.cpp, for the next time that a model is loaded."""
        self._of_base: set[tuple[str, str]] = set()
        """Repositories of adapters, and the models on which they were trained as far as they say."""
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
                source = llama = await load_llama(
                    checkpoints[0], self._llama_options(), self._adapters.setdefault(model.id, {})
                )
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
            require_adapter=self._require_base,
            release_decoder=self._release_decoder,
        )

    async def _require_base(self, voice: OwnVoice) -> None:
        """Raise as `adapters.require_base` does for an adapter of a repository, which is here only when it is used.

        Of a folder it was asked when the folder was read.
        """
        known = (voice.adapter, voice.models[0])
        if not Path(voice.adapter).is_absolute() and not voice.any_base and known not in self._of_base:
            await in_thread(lambda: require_base(voice, self._catalog))
            self._of_base.add(known)

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
            adapters=settings.adapters,
            adapter_rank=settings.adapter_rank,
            threads=settings.llama_threads,
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
