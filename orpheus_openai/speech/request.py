"""A request for speech, in the core's own terms: each field, its limits and its default, for every door."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from orpheus_openai.audio import MAX_SPEED, MIN_SPEED, SAMPLE_RATE
from orpheus_openai.audio.formats import FORMATS, HIGHEST_RATE, LOWEST_RATE, SampleRate
from orpheus_openai.catalog import DEFAULT_MODEL, DEFAULT_VOICE
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.fields import from_values
from orpheus_openai.synthesis import (
    NO_SEED,
    MaxTokens,
    RepetitionPenalty,
    Sampling,
    Seed,
    Temperature,
    TopP,
)
from orpheus_openai.text.lexicon import parse_said

Speed = Annotated[float, Meta(ge=MIN_SPEED, le=MAX_SPEED)]

Pronunciations = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=100)], Annotated[str, Meta(max_length=300)]],
    Meta(max_length=200),
]

Cast = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=100)], Annotated[str, Meta(max_length=100)]],
    Meta(max_length=50),
]


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said, by whom, and how."""

    text: str
    model: str = DEFAULT_MODEL
    voice: str = DEFAULT_VOICE
    speed: Speed = 1.0
    text_cleaning: bool | None = None
    """Whether the text is cleaned (see `text.clean`); None: as the server is set."""
    pronunciations: Pronunciations = {}
    """How words of this text are said (see `text.lexicon`)."""
    cast: Cast = {}
    """Voices by the names of speakers that the text has at the start of lines (see `text.turns`)."""
    sampling: dict[str, float] = {}
    """Fields of `Sampling` that it sets; the others are as the model's engine has them."""
    sample_rate: SampleRate | None = None
    """Of what is delivered in a format, in Hz; None: the format's own. PCM inside this project has its own."""
    word_times: bool = False
    """Whether it is found out when each word sounds (see `speech.words`)."""
    whole: bool = False
    """Nobody listens while it is spoken, as it is kept in a file or sent in one piece: what fails can be spoken again,
    however long that takes."""


def _default(value: float) -> str:
    return f"{value:g} if not given"


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What every door lets one choose beside text, model and voice; null stands for the default."""

    speed: Annotated[
        Speed | None,
        Meta(
            description=f"Tempo, {MIN_SPEED:g} to {MAX_SPEED:g}; the pitch stays; "
            f"{_default(SpeechRequest(text='').speed)}.",
            examples=[1.0],
        ),
    ] = None
    temperature: Annotated[
        Temperature | None,
        Meta(
            description=f"How freely the model varies, 0 to 2; {_default(Sampling().temperature)}.",
            examples=[0.6],
        ),
    ] = None
    top_p: Annotated[
        TopP | None,
        Meta(
            description=f"Nucleus sampling, above 0 and at most 1; {_default(Sampling().top_p)}.",
            examples=[0.9],
        ),
    ] = None
    repetition_penalty: Annotated[
        RepetitionPenalty | None,
        Meta(
            description="1 to 2; below 1.1 speech becomes unstable; "
            f"{_default(Sampling().repetition_penalty)}.",
            examples=[1.1],
        ),
    ] = None
    max_tokens: Annotated[
        MaxTokens | None,
        Meta(description="Audio tokens for one segment, a sentence or so; 82 last a second. null: no limit."),
    ] = None
    seed: Annotated[
        Seed | None,
        Meta(description="The same seed draws the same tokens; null or -1: another draw each time."),
    ] = None
    text_cleaning: Annotated[
        bool | None,
        Meta(
            description="false: the text is spoken as it stands, Markdown, emoji and all; null: as the server is set."
        ),
    ] = None
    pronunciations: Annotated[
        Pronunciations | None,
        Meta(
            description="How words are said, 200 at most: whole words, in any case if written in lower case. What "
            "ends with eSpeak NG's phonemes, as in `engine x [[EndZIn'Eks]]`, is spoken by these in the preview.",
            examples=[{"nginx": "engine x"}],
        ),
    ] = None
    cast: Annotated[
        Cast | None,
        Meta(
            description="Who speaks the lines that begin with a name, such as `Anna: …`, 50 at most; all are voices of "
            "one model. What no name stands before is the request's voice's.",
            examples=[{"Anna": "tara", "Ben": "leo"}],
        ),
    ] = None
    sample_rate: Annotated[
        SampleRate | None,
        Meta(
            description=f"Samples a second of the audio, {LOWEST_RATE} to {HIGHEST_RATE}, of mp3 and aac "
            f"{', '.join(map(str, FORMATS['mp3'].sample_rates))}, of opus "
            f"{', '.join(map(str, FORMATS['opus'].sample_rates))}. If not given, {SAMPLE_RATE}; 8000 of pcmu and pcma.",
            examples=[8_000],
        ),
    ] = None


SAMPLING = frozenset(Sampling.__struct_fields__)


def speech_request(
    *,
    text: str,
    model: str | None = None,
    voice: str | None = None,
    **tuning: float | Mapping[str, str] | None,
) -> SpeechRequest:
    """The request that a door's fields make, judged by the one set of rules; None stands for the default.

    `tuning` holds fields of `Tuning`. Raises InvalidRequestError with the field's name and what would do.
    """
    if unknown := tuning.keys() - set(Tuning.__struct_fields__):
        name = min(unknown)
        known = ", ".join(Tuning.__struct_fields__)
        raise InvalidRequestError(
            f"There is no field '{name}'; there are {known}.", param=name, code="unknown_field"
        )
    judged = from_values(tuning, Tuning)
    _require_phonemes(judged.pronunciations or {})
    given = {name: getattr(judged, name) for name in Tuning.__struct_fields__}
    if given["seed"] == NO_SEED:
        given["seed"] = None
    given = {name: value for name, value in given.items() if value is not None}
    sampling = {name: value for name, value in given.items() if name in SAMPLING}
    fields: dict[str, Any] = {"text": text, "model": model, "voice": voice, "speed": given.get("speed")}
    fields |= {name: given.get(name) for name in ("text_cleaning", "pronunciations", "cast", "sample_rate")}
    chosen = {name: value for name, value in fields.items() if value is not None}
    return msgspec.structs.replace(from_values(chosen, SpeechRequest), sampling=sampling)


def _require_phonemes(pronunciations: Mapping[str, str]) -> None:
    for word, said in pronunciations.items():
        try:
            parse_said(said)
        except ValueError as error:
            raise InvalidRequestError(
                f"{word}: {error}.", param="pronunciations", code="invalid_value"
            ) from error


def tuned(tuning: Tuning, *, text: str, model: str | None = None, voice: str | None = None) -> SpeechRequest:
    """The request of a door whose body is a `Tuning` with more fields; see `speech_request`."""
    given = {name: getattr(tuning, name) for name in Tuning.__struct_fields__}
    return speech_request(text=text, model=model, voice=voice, **given)
