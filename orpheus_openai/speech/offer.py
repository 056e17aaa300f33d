"""What may be asked for: the one view of the models that every door shows."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from orpheus_openai.catalog import Catalog, Gender, Model, OwnVoice, Voice, VoiceKind, name_of, speaks
from orpheus_openai.gpu.manager import GPUManager
from orpheus_openai.gpu.slot import ModelState
from orpheus_openai.models.engine import Status
from orpheus_openai.models.factory import ModelFactory


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model, whether it can speak here or not."""

    id: Annotated[str, Meta(examples=["medium-3b"])]
    title: Annotated[str, Meta(examples=["Orpheus 3B, English"])]
    family: Annotated[str, Meta(description="The size it is a language of.", examples=["medium-3b"])]
    languages: Annotated[tuple[str, ...], Meta(description="ISO 639-1.", examples=[["en"]])]
    engine: Annotated[
        str, Meta(description="preview: eSpeak NG, which is not Orpheus.", examples=["orpheus"])
    ]
    memory_gib: Annotated[float, Meta(description="GPU memory it needs; 0 for none.", examples=[8.0])]
    status: Annotated[Status, Meta(description="Whether it can speak on this machine.")]
    status_detail: Annotated[
        str, Meta(description="Why it cannot, and what would make it; empty where it can.")
    ]
    state: Annotated[
        ModelState,
        Meta(description="Where it is in its life; unloaded: the first request for it waits while it loads."),
    ]
    voices: Annotated[
        list[str], Meta(description="Ids of the voices it speaks with.", examples=[["tara", "leo"]])
    ]
    checkpoint: Annotated[
        str | None,
        Meta(
            description="Path or Hugging Face repo id.", examples=["canopylabs/orpheus-tts-0.1-finetune-prod"]
        ),
    ]


class VoiceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A voice that somebody may speak with."""

    id: Annotated[str, Meta(examples=["tara"])]
    name: Annotated[str, Meta(description="What people call it; a request may, too.", examples=["tara"])]
    language: Annotated[str, Meta(description="The one it reads a text in.", examples=["en"])]
    languages: Annotated[tuple[str, ...], Meta(description="ISO 639-1.", examples=[["en"]])]
    gender: Annotated[Gender, Meta(description="neutral: nobody has said.")]
    kind: Annotated[
        Literal["built_in"] | VoiceKind,
        Meta(description="built_in; or added: a name of a fine-tuned model's, an adapter, or a recording."),
    ] = "built_in"
    model: Annotated[
        str | None, Meta(description="The only model that speaks it, where there is but one.")
    ] = None
    memory_mib: Annotated[
        int, Meta(description="What it takes beside its model while it speaks; 0 for built-in ones.")
    ] = 0
    shared: Annotated[bool, Meta(description="Whether others may speak with it.")] = True


def voice_entry(voice: Voice) -> VoiceEntry:
    """How a voice is shown."""
    entry = VoiceEntry(
        id=voice.id,
        name=name_of(voice),
        language=voice.language,
        languages=(voice.language,),
        gender=voice.gender,
    )
    if not isinstance(voice, OwnVoice):
        return entry
    return msgspec.structs.replace(
        entry,
        languages=voice.languages,
        kind=voice.kind,
        model=voice.models[0],
        memory_mib=round(voice.memory / 2**20),
        shared=voice.shared or voice.owner is None,
    )


class Offer:
    """The catalog's models as they are on this machine now."""

    def __init__(self, catalog: Catalog, factory: ModelFactory, manager: GPUManager) -> None:
        self._catalog = catalog
        self._factory = factory
        self._manager = manager

    @property
    def default(self) -> str:
        """The id of the model that speaks where none is named, and for OpenAI's names."""
        return self._factory.default_model

    def models(self, catalog: Catalog | None = None) -> dict[str, ModelEntry]:
        """All models by their ids; cheap enough for each request that lists them.

        `catalog` has the voices that are there for whoever asks; None: those that are built in.
        """
        voices = (catalog or self._catalog).voices.values()
        states = {status.id: status.state for status in self._manager.get_status()}
        return {
            model.id: self._entry(model, states.get(model.id, ModelState.UNLOADED), voices)
            for model in self._catalog.models.values()
        }

    def names(self) -> dict[str, str]:
        """The other names that models answer to, such as OpenAI's, and the id of the model that answers."""
        return {alias: self.resolve(alias).id for alias in self._catalog.model_aliases}

    def resolve(self, name: str) -> Model:
        """The model that answers to `name`, as things are now; raises NotFoundError where there is none."""
        return self._catalog.model(name, self.default)

    def _entry(self, model: Model, state: ModelState, voices: Iterable[Voice]) -> ModelEntry:
        availability = self._factory.availability(model)
        return ModelEntry(
            id=model.id,
            title=model.title,
            family=model.family or model.id,
            languages=model.languages,
            engine=model.engine,
            memory_gib=model.memory_gib,
            status=availability.status,
            status_detail=availability.reason,
            state=state,
            voices=[voice.id for voice in voices if speaks(model, voice)],
            checkpoint=self._factory.checkpoint(model),
        )
