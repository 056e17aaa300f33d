"""Orpheus as an engine: whether it can run here, in vLLM, llama.cpp or elsewhere, and what it takes."""

import asyncio
import shutil
from typing import TYPE_CHECKING

from orpheus_openai.catalog import Catalog, Model, OwnVoice, Voice
from orpheus_openai.gpu.device import gpu_count, number_as_listed
from orpheus_openai.models.cards import Cards
from orpheus_openai.models.engine import AVAILABLE, Availability, Engine, missing
from orpheus_openai.models.imports import lasting_import
from orpheus_openai.models.orpheus.budget import Budget
from orpheus_openai.models.orpheus.gguf_file import downloaded_gguf, gguf_at_hand, is_missing, means_gguf
from orpheus_openai.models.orpheus.machine import machine_gaps
from orpheus_openai.models.orpheus.pace import kept
from orpheus_openai.settings import Settings, checkpoint_variable
from orpheus_openai.synthesis import SpeechModel

if TYPE_CHECKING:
    from orpheus_openai.models.orpheus.loader import OrpheusLoader

ORPHEUS = "medium-3b"
"""The model that settings mean which ask for Orpheus and name none."""

WAYS_OUT = (
    "Ask for the model 'preview', or set ORPHEUS_REMOTE_URL to a server that runs Orpheus, "
    "or take a GGUF file (see docs/hardware.md), or start this server on a machine with a GPU."
)


class OrpheusEngine(Engine):
    """All checkpoints of Orpheus, wherever their tokens come from."""

    def __init__(self, settings: Settings, catalog: Catalog, cards: Cards) -> None:
        self._settings = settings
        self._catalog = catalog
        self._cards = cards
        self._budget = Budget(settings)
        self._loader: OrpheusLoader | None = None

    def wish(self) -> str:
        """The setting that asks for Orpheus by name."""
        settings = self._settings
        models = self._catalog.models
        pinned = [name for name in settings.pinned if models[name].engine == models[ORPHEUS].engine]
        own = checkpoint_variable(ORPHEUS)
        wishes = {
            "ORPHEUS_REMOTE_URL": ",".join(settings.remote_url),
            "ORPHEUS_PINNED": ",".join(pinned),
            "ORPHEUS_DEVICE": "" if settings.device == "auto" else settings.device,
            own: settings.checkpoints.get(own, ""),
        }
        return next((f"{name}={value}" for name, value in wishes.items() if value), "")

    def checkpoint(self, model: Model) -> str | None:
        """The first place where the model's weights may be."""
        return next(iter(self._checkpoints(model)), None)

    def availability(self, model: Model) -> Availability:
        """Whether there is a checkpoint, and what it takes to run it."""
        checkpoints = self._checkpoints(model)
        if not checkpoints and self._local:
            return Availability(
                "coming_soon",
                "Its authors have not released it. With a checkpoint of your own, set "
                f"{checkpoint_variable(model.id)}.",
            )
        if not self._local:
            return missing(("torch", "snac"), "orpheus") or AVAILABLE
        found = self._llama_availability() if self._in_llama_cpp(model) else self._vllm_availability()
        if found.status == "available" and all(map(is_missing, checkpoints)):
            words = f"There is no file or folder {checkpoints[0]}: correct {checkpoint_variable(model.id)}."
            return Availability("unavailable", words)
        return found

    def use_of_download(self, model: Model) -> Availability:  # noqa: ARG002
        """Whether llama.cpp is there to speak with it."""
        if not self._local:
            return Availability("unavailable", "The weights are those of the servers in ORPHEUS_REMOTE_URL.")
        return self._llama_availability()

    def pace(self, model: Model) -> str:
        """As llama.cpp was measured, where its file is on this machine."""
        checkpoint = self.checkpoint(model)
        path = gguf_at_hand(checkpoint) if checkpoint and self._in_llama_cpp(model) else None
        pace = kept(path) if path else None
        return "" if pace is None else f"{1 / pace.real_time_factor:.1f} × real time. {pace.advice}".strip()

    def voice_availability(self, model: Model, voice: Voice) -> Availability:
        """All where the engine is here; adapters where it was told to hold some."""
        if isinstance(voice, OwnVoice) and voice.kind == "prompt" and model.prompt != "standard":
            return Availability("unavailable", "A recording needs a checkpoint with the standard prompt.")
        if isinstance(voice, OwnVoice) and voice.kind == "adapter":
            return self._adapter_availability(model)
        return AVAILABLE

    def _adapter_availability(self, model: Model) -> Availability:
        if not self._local:
            return Availability(
                "unavailable",
                "Adapters are loaded on this machine, and not by the servers in ORPHEUS_REMOTE_URL.",
            )
        if not self._settings.adapters:
            return Availability(
                "unavailable", "Set ORPHEUS_ADAPTERS to how many adapters are to be held at once."
            )
        return (missing(("gguf",), "gguf") if self._in_llama_cpp(model) else None) or AVAILABLE

    async def prepare(self, model: Model) -> None:
        """Fetch the model's checkpoint where its weights are held here."""
        checkpoint = self.checkpoint(model)
        if not self._local or checkpoint is None:
            return
        if means_gguf(checkpoint):
            await self._budget.prepare_file(model, checkpoint)
        else:
            await self._budget.prepare(model, *self._checkpoints(model))

    def footprint(self, model: Model) -> int:
        """Bytes it is to have on a GPU here, or of the host, where Orpheus runs on the CPU."""
        return self._budget.footprint(model) if self._takes_room(model) else 0

    def least_footprint(self, model: Model) -> int:
        """Bytes of it with one stream."""
        return self._budget.least_footprint(model) if self._takes_room(model) else 0

    async def load(self, model: Model, gpu: int | None) -> SpeechModel:
        """The model with its token source, and the decoder that all share."""
        if self._loader is None:
            self._loader = await asyncio.to_thread(self._make_loader)
        return await self._loader.load(model, self._checkpoints(model), gpu)

    def _checkpoints(self, model: Model) -> tuple[str, ...]:
        """What the settings say; without a GPU what was pulled; else all places that the catalog knows."""
        named = self._settings.checkpoints.get(checkpoint_variable(model.id))
        if named is None and model.gguf and self._local and gpu_count() == 0:
            named = downloaded_gguf(model.gguf)
        return (named,) if named else model.checkpoints

    @property
    def _local(self) -> bool:
        return not self._settings.remote_url

    def _takes_room(self, model: Model) -> bool:
        """Whether it is to be placed: llama.cpp's own build holds it in the host's memory, beside what is on cards."""
        in_host = self._in_llama_cpp(model) and not self._settings.llama_server and bool(self._cards.look())
        return self._local and not in_host

    def _in_llama_cpp(self, model: Model) -> bool:
        """Whether its checkpoint is a GGUF file, which llama.cpp holds here."""
        checkpoint = self.checkpoint(model)
        return self._local and checkpoint is not None and means_gguf(checkpoint)

    def _llama_availability(self) -> Availability:
        program = self._settings.llama_server
        if not program:
            return missing(("torch", "snac", "xllamacpp"), "gguf") or AVAILABLE
        if shutil.which(program) is None:
            return Availability(
                "unavailable", f"ORPHEUS_LLAMA_SERVER={program}: there is no such program that can be run."
            )
        return missing(("torch", "snac"), "orpheus") or AVAILABLE

    def _vllm_availability(self) -> Availability:
        on_gpu = self._settings.device != "cpu"
        width = self._settings.tensor_parallel
        if on_gpu and gpu_count() == 0:
            return Availability("unavailable", f"This machine has no NVIDIA GPU. {WAYS_OUT}")
        if on_gpu and gpu_count() < width:
            words = f"ORPHEUS_TENSOR_PARALLEL={width} takes as many GPUs, and {gpu_count()} may be used here."
            return Availability("unavailable", words)
        if absent := missing(("torch", "snac", "vllm"), "gpu"):
            return absent
        if on_gpu and (gaps := machine_gaps()):
            return Availability(
                "unavailable", " ".join(f"{gap.what[0].upper()}{gap.what[1:]}. {gap.cure}" for gap in gaps)
            )
        return AVAILABLE

    def _make_loader(self) -> "OrpheusLoader":
        """Importing torch takes seconds, so it happens in a thread."""
        if self._settings.device != "cpu" and self._local:
            number_as_listed()  # before CUDA is asked for the first time
        with lasting_import("torch"):
            from orpheus_openai.models.orpheus.loader import OrpheusLoader  # noqa: PLC0415

        return OrpheusLoader(self._settings, self._catalog, self._budget, self._cards.look)
