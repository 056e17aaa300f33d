"""Models, voices and languages, the names they answer to, and which model speaks with which voice."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from orpheus_openai.errors import InvalidRequestError, NotFoundError

DEFAULT_MODEL = "default"
"""What OpenAI's model names stand for: whichever model the settings make the default."""

DEFAULT_VOICE = "tara"
"""Who speaks where a request does not say."""

PREVIEW = "preview"


Gender: TypeAlias = Literal["female", "male", "neutral"]

VoiceKind: TypeAlias = Literal["named", "adapter", "prompt"]
"""What makes a checkpoint speak with a voice: a name it was trained on, an adapter, or a recording in the prompt."""


class EspeakVoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the preview lets a voice be told from the others."""

    language: str
    """eSpeak NG's name for the language, e.g. `en-us`, `cmn`."""
    variant: str = ""
    """A file in eSpeak NG's `voices/!v`, e.g. `f2`; empty for none."""
    pitch: Annotated[int, Meta(ge=0, le=99)] = 50
    rate: Annotated[int, Meta(ge=80, le=450)] = 170
    """Words a minute."""


class Voice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A voice of Orpheus; the preview has a stand-in of the same name."""

    id: str
    language: str
    """ISO 639-1."""
    gender: Gender
    espeak: EspeakVoice | None = None
    """None: the preview reads it as the language and the gender say."""
    models: tuple[str, ...] = ()
    """Those that know it, each by its id or by that of its family; none: all of its language but those with `voices`
    of their own."""
    prefix: str | None = None
    """The name that stands before the text in the prompt; None: the id, "": no name at all."""


class OwnVoice(Voice, frozen=True, kw_only=True):
    """A voice that somebody has added (see `voices`); it belongs to the one model that it was made for."""

    kind: VoiceKind
    place: str
    """The name of its folder among the voices; the id is the same in lower case."""
    title: str
    """Its name as it was given; the id where a request may name it by another."""
    languages: tuple[str, ...]
    """ISO 639-1; a text is read in the first one."""
    adapter: str = ""
    """The folder of its LoRA adapter, or a repository's name; empty unless it is of that kind."""
    any_base: bool = False
    """Whether its model was named, so that it is not asked which one the adapter was trained on."""
    recording: Path | None = None
    """The recording that stands before what it says; None unless it is of that kind."""
    transcript: str = ""
    """What is said in the recording."""
    memory: int = 0
    """Bytes that it takes beside its model while it speaks, as far as they are known."""
    owner: str | None = None
    """The account that added it; None: nobody's, so everybody's."""
    shared: bool = True
    """Whether others than its owner may speak with it."""
    created: int = 0
    """Unix time."""

    def seen_by(self, account: str) -> bool:
        """Whether it is there for this account."""
        return self.shared or self.owner is None or self.owner == account


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model of the catalog, whether it can run here or not."""

    id: str
    title: str
    engine: str = "orpheus"
    """The family of engines that runs it; see `models.factory.ENGINES`."""
    family: str = ""
    """The size this is a language of, e.g. `medium-3b` for `medium-3b-fr`; empty: the model itself."""
    checkpoint: str | tuple[str, ...] | None = None
    """Path or Hugging Face repo id, or several of the same weights; None: not released, served once one is named."""
    gguf: tuple[str, ...] = ()
    """Repositories that hold it as GGUF files, in the order in which `pull` tries them."""
    languages: tuple[str, ...] = ("en",)
    voices: Literal["all", "own"] = "all"
    """`own`: only those whose `models` name it, as it knows none of Orpheus' voices."""
    memory_gib: Annotated[float, Meta(ge=0, le=10_000)] = 0.0
    """GPU memory it needs to speak well, weights and cache."""
    prompt: Literal["standard", "smaller"] = "standard"
    """Which of the two published prompt forms its checkpoint was trained on."""
    emotion_tags: tuple[str, ...] | None = None
    """Those it can act; None: all of the catalog's."""
    created: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Unix time, as OpenAI's model list shows it."""
    owned_by: str = "canopylabs"

    @property
    def is_preview(self) -> bool:
        """Whether eSpeak NG speaks it, which reads phonemes and knows when its words sound."""
        return self.engine == PREVIEW

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Where the weights are, in the order the places are tried."""
        named = self.checkpoint
        return () if named is None else (named,) if isinstance(named, str) else named


class Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A language, named in English and in itself."""

    id: str
    english: str
    native: str
    example: str


class Catalog(msgspec.Struct, frozen=True):
    """Everything that has a name."""

    models: dict[str, Model]
    voices: dict[str, Voice]
    languages: dict[str, Language]
    emotion_tags: tuple[str, ...]
    directions: dict[str, dict[str, list[str]]]
    """Stage directions by language: those that mean an emotion, by its tag, and those under `left_out`."""
    model_aliases: dict[str, str]
    voice_aliases: dict[str, str]
    own_names: dict[str, str] = {}
    """Ids of voices that were added, by the names they were given, in lower case."""

    def with_voices(self, voices: Iterable[OwnVoice]) -> "Catalog":
        """This catalog and these; where two have one name, the first one has it."""
        added = {voice.id: voice for voice in voices}
        names: dict[str, str] = {}
        for voice in added.values():
            names.setdefault(voice.title.lower(), voice.id)
        return msgspec.structs.replace(self, voices={**self.voices, **added}, own_names=names)

    def voice(self, name: str) -> Voice:
        """The voice of that name, or of OpenAI's that stands for it; case does not matter."""
        key = name.strip().lower()
        voice = self.voices.get(self.voice_aliases.get(key) or self.own_names.get(key, key))
        if voice is None:
            own = {voice_id: name for name, voice_id in self.own_names.items()}
            known = ", ".join([*(own.get(each, each) for each in self.voices), *self.voice_aliases])
            raise InvalidRequestError(
                f"There is no voice {_quoted(name)}. Voices: {known}.", param="voice", code="voice_not_found"
            )
        return voice

    def model(self, name: str, default: str) -> Model:
        """The model of that name; OpenAI's names stand for the model called `default`."""
        key = name.strip().lower()
        key = self.model_aliases.get(key, key)
        model = self.models.get(default if key == DEFAULT_MODEL else key)
        if model is None:
            known = ", ".join([*self.models, *self.model_aliases])
            raise NotFoundError(
                f"The model {_quoted(name)} does not exist. Models: {known}.",
                param="model",
                code="model_not_found",
            )
        return model

    def answering(self, name: str, default: str, voice: Voice) -> Model:
        """The model that speaks with `voice` where one of that name is asked for; raises as `model` and `speaking` do.

        OpenAI's names, which stand for any, stand for the only one that a voice of somebody's own belongs to.
        """
        key = name.strip().lower()
        if isinstance(voice, OwnVoice) and self.model_aliases.get(key, key) == DEFAULT_MODEL:
            return self.models[voice.models[0]]
        return self.speaking(self.model(name, default), voice)

    def other_names(self, voice: Voice) -> list[str]:
        """Those that stand for `voice`, such as OpenAI's."""
        return [alias for alias, target in self.voice_aliases.items() if target == voice.id]

    def voices_of(self, model: Model) -> list[Voice]:
        """The voices that `model`, or a sibling of the same family, speaks with."""
        return [voice for voice in self.voices.values() if self._speaking(model, voice)]

    def _speaking(self, model: Model, voice: Voice) -> Model | None:
        family = model.family or model.id
        siblings = (each for each in self.models.values() if each.family == family)
        return next((each for each in (model, *siblings) if speaks(each, voice)), None)

    def speaking(self, model: Model, voice: Voice) -> Model:
        """`model`, or its sibling of the same family that speaks the voice's language."""
        if found := self._speaking(model, voice):
            return found
        family = model.family or model.id
        language = self.languages[voice.language].english
        fitting = ", ".join(each.id for each in self.models.values() if speaks(each, voice))
        if voice.models or model.voices == "own":
            raise InvalidRequestError(
                f"{model.id} does not know the voice {_quoted(name_of(voice))}. Models that do: {fitting or 'none'}.",
                param="voice",
                code="voice_not_supported",
            )
        raise InvalidRequestError(
            f"The voice '{voice.id}' speaks {language}, and there is no {language} model of the size {family}. "
            f"Models that speak it: {fitting}. One of your own can be added in the file that ORPHEUS_CATALOG names, "
            f'with family = "{family}" and languages = ["{voice.language}"].',
            param="voice",
            code="voice_not_supported",
        )


def name_of(voice: Voice) -> str:
    """What people call it."""
    return voice.title if isinstance(voice, OwnVoice) else voice.id


def speaks(model: Model, voice: Voice) -> bool:
    """Whether `model` itself, rather than a sibling of its family, can speak with `voice`."""
    if isinstance(voice, OwnVoice):
        return model.id in voice.models
    if voice.language not in model.languages:
        return False
    if voice.models:
        return model.id in voice.models or model.family in voice.models
    return model.voices == "all"


def _quoted(name: str, limit: int = 64) -> str:
    """What the user wrote, short enough for an error message."""
    return repr(name if len(name) <= limit else name[:limit] + "…")
