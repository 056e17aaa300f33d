"""The socket for engines: what a family of models gives the server, in one protocol.

A family is a package beside this module, whose class stands in one line of `models.factory.ENGINES`; the models and the
voices that it speaks with stand in the catalog.
"""

import importlib.util
from collections.abc import Iterable
from typing import ClassVar, Literal, Protocol, TypeAlias

import msgspec

from orpheus_openai.catalog import Catalog, Model, OwnVoice, Voice
from orpheus_openai.installation import installing
from orpheus_openai.models.cards import Cards
from orpheus_openai.settings import Settings
from orpheus_openai.synthesis import Sampling, SpeechModel

Status: TypeAlias = Literal["available", "unavailable", "coming_soon"]


class Availability(msgspec.Struct, frozen=True):
    """Whether a model can speak on this machine, and if not, what would make it."""

    status: Status
    reason: str = ""


AVAILABLE = Availability("available")


class Engine(Protocol):
    """A family of models, as this server is set up and on this machine.

    Only `availability` and `load` must be written by one that inherits from this; the other answers are those of an
    engine without weights of its own on a GPU. Its module is imported at every start, so what is heavy is imported in
    `load`.
    """

    sampling: ClassVar[Sampling] = Sampling()
    """What holds where a request does not say."""

    def __init__(self, settings: Settings, catalog: Catalog, cards: Cards) -> None:
        """Look at nothing that takes time; raise ConfigurationError where the settings make no sense."""

    def availability(self, model: Model) -> Availability:
        """Whether `model` can be loaded here; cheap, as it is asked at every request."""
        ...

    def voice_availability(self, model: Model, voice: Voice) -> Availability:  # noqa: ARG002
        """Whether `model`, which can be loaded here, can speak with `voice` here."""
        if isinstance(voice, OwnVoice) and voice.kind != "named":
            return Availability(
                "unavailable", f"This engine cannot speak with voices of the kind {voice.kind}."
            )
        return AVAILABLE

    async def load(self, model: Model, gpu: int | None) -> SpeechModel:
        """A model that is ready to speak, on the card of that index; `gpu` is None where it needs none.

        Raises ModelUnavailableError, with what to do, when something is missing.
        """
        ...

    def wish(self) -> str:
        """The setting that asks for this family by name, beside ORPHEUS_MODEL, as NAME=value; empty where none does."""
        return ""

    def checkpoint(self, model: Model) -> str | None:
        """The first place where the weights may be: a path or a name on the hub; None where none is known."""
        return next(iter(model.checkpoints), None)

    def use_of_download(self, model: Model) -> Availability:
        """Whether a file that is downloaded for it could speak here."""
        return Availability("unavailable", f"{model.id} has no file to download.")

    def pace(self, model: Model) -> str:  # noqa: ARG002
        """How fast it spoke here when it was loaded last, in words, with what would help; empty: nobody knows."""
        return ""

    async def prepare(self, model: Model) -> None:
        """Fetch what must be here before room is made for `model`: then its footprints are known, not estimated."""

    def footprint(self, model: Model) -> int:  # noqa: ARG002
        """Bytes it is to have on its card; 0 for what needs none."""
        return 0

    def least_footprint(self, model: Model) -> int:
        """Bytes with which it can just speak; no more than `footprint`."""
        return self.footprint(model)


def installed(package: str) -> bool:
    """Whether it can be imported, found out without doing so."""
    return importlib.util.find_spec(package) is not None


def missing(packages: Iterable[str], extra: str) -> Availability | None:
    """What to say where one of `packages` is not installed: they come with `extra`. None where all are."""
    if not (names := [name for name in packages if not installed(name)]):
        return None
    return Availability("unavailable", f"Missing: {', '.join(names)}; {installing(extra)}.")
