"""What each model is to have of a card: known from its checkpoint once that is here, and fitted to what is free."""

import asyncio
import logging

import msgspec

from orpheus_openai.catalog import Model
from orpheus_openai.errors import RETRY_SECONDS, NotReadyError
from orpheus_openai.gpu.policy import GIB, Card
from orpheus_openai.models.orpheus.checkpoint import Checkpoint, fetch_checkpoint
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf
from orpheus_openai.models.orpheus.gguf_header import GGUFHeader
from orpheus_openai.models.orpheus.memory import CODEC, margin
from orpheus_openai.models.orpheus.vllm_options import EngineOptions
from orpheus_openai.models.threads import in_thread
from orpheus_openai.settings import Settings, checkpoint_variable

AUTO = "auto"

MODEST_STREAMS = 8
"""Where `auto` has no card to fill: on a CPU, and for each of several models that share a card."""

MOST_STREAMS = 64
"""As many as `auto` takes of the largest card: what is more is for whoever has measured that it is in real time."""

logger = logging.getLogger(__name__)


class Budget:
    """The settings' wishes, and what they come to for each model."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, Checkpoint] = {}
        self._files: dict[str, GGUFHeader] = {}

    async def prepare(self, model: Model, *names: str) -> Checkpoint:
        """Fetch the model's checkpoint, if need be, and read what it will take; raises as `fetch_checkpoint` does."""
        variable = checkpoint_variable(model.id)
        checkpoint = await asyncio.to_thread(fetch_checkpoint, *names, setting=variable)
        self._known[model.id] = checkpoint
        return checkpoint

    async def prepare_file(self, model: Model, checkpoint: str) -> None:
        """The same for a GGUF file, which llama.cpp holds; raises as `fetch_gguf` does."""
        self._files[model.id] = await in_thread(lambda: fetch_gguf(checkpoint))

    def footprint(self, model: Model) -> int:
        """Bytes on all its cards with as many streams as wished for; the catalog's figure until it is fetched."""
        return self._total(model, self.wished_streams)

    def least_footprint(self, model: Model) -> int:
        """Bytes on all its cards with one stream."""
        return self._total(model, 1)

    def fitted(self, model: Model, card: Card | None) -> EngineOptions:
        """The options with as many streams as fit into what `card` has free now, with the codec already there.

        A number that was set is lowered, and the log says so. Raises NotReadyError where not one stream fits.
        """
        wish = self._settings.max_streams
        if card is None:
            return self._options(self.wished_streams, model)
        cards = (card.index, *card.also)
        free, total = card.free // len(cards), card.total // len(cards)
        fills = wish == AUTO and self._settings.mode == "single"
        wished = self._options(MOST_STREAMS if fills else self.wished_streams, model)
        checkpoint = self._known[model.id]
        fitted = wished.fitted(checkpoint, free - margin(total)) or wished.with_streams(1).fitted(
            checkpoint, free
        )
        if fitted is None:
            needed = wished.with_streams(1).footprint(checkpoint).of_engine
            raise NotReadyError(
                f"{model.id} needs {needed / GIB:.1f} GiB of GPU memory for its first stream, and GPU {card.index} has "
                f"{free / GIB:.1f} GiB free. Free some, or set ORPHEUS_QUANTIZATION=fp8 or a smaller "
                "ORPHEUS_MAX_MODEL_LEN.",
                code="insufficient_gpu_memory",
                retry_after=RETRY_SECONDS,
            )
        tell = logger.warning if wish != AUTO and fitted.max_streams < wished.max_streams else logger.info
        tell(
            "%s speaks %d streams at once%s: GPU %s has %.1f GiB free",
            model.id,
            fitted.max_streams,
            "" if wish == AUTO else f" of the {wish} that ORPHEUS_MAX_STREAMS asks for",
            ", ".join(map(str, cards)),
            free / GIB,
        )
        return msgspec.structs.replace(fitted, gpus=cards)

    @property
    def wished_streams(self) -> int:
        """The number that was set, or what `auto` means where there is no card to fill."""
        wish = self._settings.max_streams
        return MODEST_STREAMS if wish == AUTO else int(wish)

    def _total(self, model: Model, streams: int) -> int:
        if file := self._files.get(model.id):
            return self._in_llama_cpp(file, streams)
        checkpoint = self._known.get(model.id)
        if checkpoint is None:
            return round(model.memory_gib * GIB)
        options = self._options(streams, model)
        return options.footprint(checkpoint).total * options.tensor_parallel

    def _in_llama_cpp(self, file: GGUFHeader, streams: int) -> int:
        settings = self._settings
        context = min(settings.max_model_len, file.context or settings.max_model_len)
        codec = 0 if "cpu" in (settings.device, settings.snac_device) else CODEC
        return file.memory_bytes(context * streams, settings.adapters, settings.adapter_rank) + codec

    def _options(self, streams: int, model: Model) -> EngineOptions:
        settings = self._settings
        return EngineOptions(
            max_streams=streams,
            max_model_len=settings.max_model_len,
            dtype=settings.dtype,
            quantization=settings.quantization or None,
            kv_cache_dtype=settings.kv_cache_dtype,
            tensor_parallel=settings.tensor_parallel,
            adapters=settings.adapters,
            adapter_rank=settings.adapter_rank,
            prefix_caching=model.voices == "own",  # whose voices are recordings, in every prompt
            codec_on_card=settings.snac_device != "cpu",
            enforce_eager=settings.device == "cpu",  # compiling takes longer there than it ever saves
        )
