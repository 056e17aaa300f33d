"""What can run here, and how a model of the catalog becomes one that speaks, in whichever engine it belongs to."""

import logging
from collections.abc import Callable

from orpheus_openai.catalog import PREVIEW, Catalog, Model, Voice, name_of
from orpheus_openai.errors import ConfigurationError, ModelUnavailableError
from orpheus_openai.gpu.policy import Card
from orpheus_openai.models.cards import Cards
from orpheus_openai.models.engine import Availability, Engine
from orpheus_openai.models.orpheus.engine import ORPHEUS, OrpheusEngine
from orpheus_openai.models.preview.engine import PreviewEngine
from orpheus_openai.settings import Settings, checkpoint_variable
from orpheus_openai.synthesis import Sampling, SpeechModel

ENGINES: dict[str, Callable[[Settings, Catalog, Cards], Engine]] = {
    "orpheus": OrpheusEngine,
    "preview": PreviewEngine,
}
"""The families there are, by the name that a model's `engine` has in the catalog."""

AUTO = "auto"

logger = logging.getLogger(__name__)


class ModelFactory:
    """Knows the settings and this machine; makes models that speak."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._cards = Cards(settings)
        self._engines = {name: make(settings, catalog, self._cards) for name, make in ENGINES.items()}
        self._check_names()
        self._resolve_default()  # a name that is wrong stops the start

    @property
    def default_model(self) -> str:
        """The model for which OpenAI's names stand now: with `auto` it changes when what Orpheus needs has come."""
        return self._resolve_default()

    def checkpoint(self, model: Model) -> str | None:
        """Where the model's weights are; None where it has none, or they are not known."""
        return self._engine(model).checkpoint(model)

    def require_use_of_download(self, model: Model) -> None:
        """Raise ModelUnavailableError, with the way out, unless a file that is downloaded for it could speak here."""
        found = self._engine(model).use_of_download(model)
        if found.status != "available":
            raise ModelUnavailableError(
                f"A file of {model.id} could not speak here. {found.reason}", param="model"
            )

    def after_download(self, model: Model, name: str) -> str:
        """What is to be done to speak with a file that has come, by its name; empty: nothing."""
        if self.checkpoint(model) == name and self.availability(model).status == "available":
            return ""
        return f"To speak with it, set {checkpoint_variable(model.id)}={name} and restart the server."

    def pace(self, model: Model) -> str:
        """How fast it spoke here when it was loaded last, in words; empty: nobody knows."""
        return self._engine(model).pace(model)

    def sampling(self, model: Model) -> Sampling:
        """How it is drawn from where a request does not say."""
        return self._engine(model).sampling

    def availability(self, model: Model) -> Availability:
        """Whether `model` can be loaded here; cheap, so that it can be asked at every request."""
        return self._engine(model).availability(model)

    def require(self, model: Model) -> None:
        """Raise ModelUnavailableError, with the ways out, unless `model` can be loaded here."""
        found = self.availability(model)
        if found.status != "available":
            raise ModelUnavailableError(
                f"The model {model.id} cannot speak here. {found.reason}", param="model"
            )

    def require_voice(self, model: Model, voice: Voice) -> None:
        """Raise ModelUnavailableError, with the ways out, unless `model` can be loaded here and speak with `voice`."""
        self.require(model)
        found = self._engine(model).voice_availability(model, voice)
        if found.status != "available":
            raise ModelUnavailableError(
                f"The voice '{name_of(voice)}' cannot be spoken with here. {found.reason}", param="voice"
            )

    async def prepare(self, model: Model) -> None:
        """Fetch what must be here of the model before room is made for it, so that its footprints are known."""
        self.require(model)
        await self._engine(model).prepare(model)

    def footprint(self, model: Model) -> int:
        """Bytes it is to have on a GPU here (or of the host, where Orpheus runs on the CPU); 0 if it runs elsewhere."""
        return self._engine(model).footprint(model)

    def least_footprint(self, model: Model) -> int:
        """Bytes with which it can just speak here; 0 for what runs elsewhere."""
        return self._engine(model).least_footprint(model)

    def cards(self) -> list[Card]:
        """The cards that a model can come to, as they are now."""
        return self._cards.look()

    def preloads(self) -> list[Model]:
        """What is to be loaded at the start."""
        models = self._catalog.models.values()
        every = self._settings.mode == "multi"
        chosen = [m for m in models if m.id in self._settings.pinned or (every and m.voices == "all")]
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
        return await self._engine(model).load(model, gpu)

    def _engine(self, model: Model) -> Engine:
        return self._engines[model.engine]

    def _wish(self) -> str:
        return self._engine(self._catalog.models[ORPHEUS]).wish()

    def _check_names(self) -> None:
        """Engines, pinned models and checkpoints that are named exist."""
        for model in self._catalog.models.values():
            if model.engine not in self._engines:
                raise ConfigurationError(
                    f"{self._settings.catalog}: [models.{model.id}] engine: there is no engine '{model.engine}'; "
                    f"expected one of {', '.join(self._engines)}"
                )
        known = ", ".join(self._catalog.models)
        for name in self._settings.pinned:
            if name not in self._catalog.models:
                raise ConfigurationError(
                    f"ORPHEUS_PINNED={name}: there is no such model; expected one of {known}"
                )
        for name in self._settings.checkpoints.keys() - set(map(checkpoint_variable, self._catalog.models)):
            logger.warning("%s is for no model of the catalog; models: %s", name, known)

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
