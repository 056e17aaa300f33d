"""What can run here, and how a model of the catalog becomes one that speaks."""

import asyncio
import importlib.util
import logging
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from orpheus_openai.catalog import PREVIEW, Catalog, Model
from orpheus_openai.errors import ConfigurationError, ModelUnavailableError
from orpheus_openai.gpu.device import gpu_count, list_gpus, number_as_listed
from orpheus_openai.gpu.policy import Card
from orpheus_openai.installation import installing
from orpheus_openai.models.imports import lasting_import
from orpheus_openai.models.orpheus.budget import Budget
from orpheus_openai.models.orpheus.gguf_file import downloaded_gguf, means_gguf
from orpheus_openai.models.orpheus.machine import machine_gaps
from orpheus_openai.settings import Settings, checkpoint_variable
from orpheus_openai.synthesis import SpeechModel

if TYPE_CHECKING:
    from orpheus_openai.models.orpheus.model import OrpheusLoader

WAYS_OUT = (
    f"Ask for the model '{PREVIEW}', or set ORPHEUS_REMOTE_URL to a server that runs Orpheus, "
    "or take a GGUF file (see docs/hardware.md), or start this server on a machine with a GPU."
)

AUTO = "auto"
ORPHEUS = "medium-3b"
"""What `auto` stands for where it can run, or is asked for in another setting."""

logger = logging.getLogger(__name__)


class Availability(msgspec.Struct, frozen=True):
    """Whether a model can speak on this machine, and if not, what would make it."""

    status: Literal["available", "unavailable", "coming_soon"]
    reason: str = ""


class ModelFactory:
    """Knows the settings and this machine; makes models that speak."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._orpheus: OrpheusLoader | None = None
        self._budget = Budget(settings)
        self._group: list[int] = []
        self._checkpoints = self._resolve_checkpoints()
        self._check_pinned()
        self._resolve_default()  # a name that is wrong stops the start

    @property
    def default_model(self) -> str:
        """The model for which OpenAI's names stand now: with `auto` it changes when what Orpheus needs has come."""
        return self._resolve_default()

    def checkpoint(self, model: Model) -> str | None:
        """Where the model's weights are: what the settings say; without a GPU what was pulled; else the catalog."""
        named = self._checkpoints.get(model.id)
        if named is None and model.gguf and self._local(model) and gpu_count() == 0:
            named = downloaded_gguf(model.gguf)
        return named or model.checkpoint

    def availability(self, model: Model) -> Availability:
        """Whether `model` can be loaded here; cheap, so that it can be asked at every request."""
        if model.engine == "preview":
            if _installed("espeakng_loader"):
                return Availability("available")
            return Availability(
                "unavailable", f"The embedded voice is not installed: {installing('preview')}."
            )
        if self.checkpoint(model) is None and not self._settings.remote_url:
            return Availability(
                "coming_soon",
                "Its authors have not released it. With a checkpoint of your own, set "
                f"{checkpoint_variable(model.id)}.",
            )
        if self._in_llama_cpp(model):
            return self._llama_availability()
        return self._orpheus_availability()

    def require(self, model: Model) -> None:
        """Raise ModelUnavailableError, with the ways out, unless `model` can be loaded here."""
        found = self.availability(model)
        if found.status != "available":
            raise ModelUnavailableError(
                f"The model {model.id} cannot speak here. {found.reason}", param="model"
            )

    async def prepare(self, model: Model) -> None:
        """Fetch the model's checkpoint where its weights are held here, so that its footprints are known."""
        self.require(model)
        checkpoint = self.checkpoint(model)
        if self._local(model) and checkpoint is not None and not means_gguf(checkpoint):
            await self._budget.prepare(model, checkpoint)

    def footprint(self, model: Model) -> int:
        """Bytes it is to have on a GPU here (or of the host, where Orpheus runs on the CPU); 0 if it runs elsewhere."""
        return self._budget.footprint(model) if self._takes_room(model) else 0

    def least_footprint(self, model: Model) -> int:
        """Bytes with which it can just speak here; 0 for what runs elsewhere."""
        return self._budget.least_footprint(model) if self._takes_room(model) else 0

    def cards(self) -> list[Card]:
        """The GPUs as they are now; none where Orpheus does not run on them.

        Those that a model is spread over are one: the idlest, whole and seen at the first call, for as long as this
        server runs. Of each it can take as much as the fullest has free.
        """
        if self._settings.device == "cpu":
            return []
        found = {
            gpu.index: Card(gpu.index, gpu.memory_total - gpu.memory_used, gpu.memory_total)
            for gpu in list_gpus()
            if gpu.memory_total is not None and gpu.memory_used is not None
            if gpu.slice_of is None or self._settings.tensor_parallel == 1
        }
        if (width := self._settings.tensor_parallel) == 1:
            return list(found.values())
        self._group = self._group or sorted(found, key=lambda index: -found[index].free)[:width]
        group = [found[index] for index in self._group if index in found]
        if len(group) < width:
            return []
        free, total = min(card.free for card in group), min(card.total for card in group)
        first, *others = self._group
        return [Card(first, free * width, total * width, also=tuple(others))]

    def preloads(self) -> list[Model]:
        """What is to be loaded at the start."""
        models = self._catalog.models.values()
        chosen = [m for m in models if m.id in self._settings.pinned or self._settings.mode == "multi"]
        return [m for m in chosen if self.footprint(m) and self.availability(m).status == "available"]

    def unmet(self) -> list[str]:
        """What the settings ask for by name and cannot have here, each in one line with the way out.

        Nothing else takes its place: whoever set it would take the stand-in for the thing.
        """
        settings = self._settings
        asked = {
            self.default_model: f"ORPHEUS_MODEL={settings.model}" if settings.model != AUTO else self._wish()
        }
        asked |= {name: f"ORPHEUS_PINNED={name}" for name in settings.pinned if not asked.get(name)}
        found = {name: self.availability(self._catalog.models[name]) for name in asked}
        return [
            f"{asked[name] or 'no model for the default'}: {name} cannot speak here. {each.reason}"
            + (
                " To be served by the preview, set ORPHEUS_MODEL=preview."
                if name == self.default_model
                else ""
            )
            for name, each in found.items()
            if each.status != "available"
        ]

    async def load(self, model: Model, gpu: int | None) -> SpeechModel:
        """A model that is ready to speak. Heavy packages are imported here and nowhere before."""
        self.require(model)
        if model.engine == "preview":
            from orpheus_openai.models.preview.model import PreviewModel  # noqa: PLC0415

            logger.warning("the preview speaks: eSpeak NG, a synthetic stand-in that is not Orpheus")
            return await asyncio.to_thread(PreviewModel, self._catalog.emotion_tags)
        if self._orpheus is None:
            self._orpheus = await asyncio.to_thread(_orpheus_loader, self._settings, self._budget, self.cards)
        return await self._orpheus.load(model, self.checkpoint(model), gpu)

    def _local(self, model: Model) -> bool:
        return model.engine == "orpheus" and not self._settings.remote_url

    def _takes_room(self, model: Model) -> bool:
        """Whether it is to be placed: llama.cpp's own build holds it in the host's memory, beside what is on cards."""
        in_host = self._in_llama_cpp(model) and not self._settings.llama_server and bool(self.cards())
        return self._local(model) and not in_host

    def _in_llama_cpp(self, model: Model) -> bool:
        """Whether its checkpoint is a GGUF file, which llama.cpp holds here."""
        checkpoint = self.checkpoint(model)
        return self._local(model) and checkpoint is not None and means_gguf(checkpoint)

    def _llama_availability(self) -> Availability:
        program = self._settings.llama_server
        if program and shutil.which(program) is None:
            return Availability(
                "unavailable", f"ORPHEUS_LLAMA_SERVER={program}: there is no such program that can be run."
            )
        needed = ("torch", "snac") if program else ("torch", "snac", "xllamacpp")
        if missing := [name for name in needed if not _installed(name)]:
            extra = "orpheus" if program else "gguf"
            return Availability("unavailable", f"Missing: {', '.join(missing)}; {installing(extra)}.")
        return Availability("available")

    def _orpheus_availability(self) -> Availability:
        remote = bool(self._settings.remote_url)
        if not remote and self._settings.device != "cpu" and gpu_count() == 0:
            return Availability("unavailable", f"This machine has no NVIDIA GPU. {WAYS_OUT}")
        width = self._settings.tensor_parallel
        if not remote and self._settings.device != "cpu" and gpu_count() < width:
            words = f"ORPHEUS_TENSOR_PARALLEL={width} takes as many GPUs, and {gpu_count()} may be used here."
            return Availability("unavailable", words)
        needed = ("torch", "snac") if remote else ("torch", "snac", "vllm")
        if missing := [name for name in needed if not _installed(name)]:
            extra = "orpheus" if remote else "gpu"
            packages = ", ".join(missing)
            return Availability("unavailable", f"Missing: {packages}; {installing(extra)}.")
        if not remote and self._settings.device != "cpu" and (gaps := machine_gaps()):
            return Availability(
                "unavailable", " ".join(f"{gap.what[0].upper()}{gap.what[1:]}. {gap.cure}" for gap in gaps)
            )
        return Availability("available")

    def _resolve_checkpoints(self) -> dict[str, str]:
        variables = {checkpoint_variable(model.id): model.id for model in self._catalog.models.values()}
        for name in self._settings.checkpoints.keys() - variables.keys():
            logger.warning(
                "%s is for no model of the catalog; models: %s", name, ", ".join(self._catalog.models)
            )
        return {
            variables[name]: path for name, path in self._settings.checkpoints.items() if name in variables
        }

    def _wish(self) -> str:
        """The setting that asks for Orpheus by name, beside ORPHEUS_MODEL; empty where none does."""
        settings = self._settings
        pinned = [name for name in settings.pinned if self._catalog.models[name].engine == "orpheus"]
        own = checkpoint_variable(ORPHEUS)
        wishes = {
            "ORPHEUS_REMOTE_URL": ",".join(settings.remote_url),
            "ORPHEUS_PINNED": ",".join(pinned),
            "ORPHEUS_DEVICE": "" if settings.device == AUTO else settings.device,
            own: settings.checkpoints.get(own, ""),
        }
        return next((f"{name}={value}" for name, value in wishes.items() if value), "")

    def _check_pinned(self) -> None:
        for name in self._settings.pinned:
            if name not in self._catalog.models:
                known = ", ".join(self._catalog.models)
                raise ConfigurationError(
                    f"ORPHEUS_PINNED={name}: there is no such model; expected one of {known}"
                )

    def _resolve_default(self) -> str:
        wanted = self._settings.model
        if wanted == AUTO:
            orpheus = self._catalog.models[ORPHEUS]
            available = self.availability(orpheus).status == "available"
            return orpheus.id if available or self._wish() else PREVIEW
        if wanted not in self._catalog.models:
            known = ", ".join([AUTO, *self._catalog.models])
            raise ConfigurationError(
                f"ORPHEUS_MODEL={wanted}: there is no such model; expected one of {known}"
            )
        return wanted


def _orpheus_loader(
    settings: Settings, budget: Budget, cards: Callable[[], Sequence[Card]]
) -> "OrpheusLoader":
    """Importing torch takes seconds, so it happens in a thread."""
    if settings.device != "cpu" and not settings.remote_url:
        number_as_listed()  # before CUDA is asked for the first time
    with lasting_import("torch"):
        from orpheus_openai.models.orpheus.model import OrpheusLoader  # noqa: PLC0415

    return OrpheusLoader(settings, budget, cards)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
