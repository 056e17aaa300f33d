"""The form of a voice's description, `voice.toml`: what each kind needs, and what is wrong with one that is not so."""

import re
import tomllib
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.catalog import Catalog, Gender, OwnVoice, VoiceKind
from orpheus_openai.catalog.base import merging, misfit
from orpheus_openai.catalog.form import toml_key
from orpheus_openai.expected import complaint

DESCRIPTION = "voice.toml"
RECORDING = "recording.wav"
"""As which the server keeps what a voice is made of."""
LARGEST_DESCRIPTION = 64 * 1024
MOST_UNQUOTED = 2_000
"""Characters of it beside texts and comments, several times what all fields take: a reader of TOML needs minutes for
keys of thousands of parts."""
LONGEST_NAME = 100
REPOSITORY = re.compile(r"hub:(\w[\w.-]*/\w[\w.-]*)")
"""An adapter that is a repository on the hub, `hub:owner/name`."""
SPECIAL_TOKEN = re.compile(r"<(?:\|[^<>]*|custom_token_\d*)>?")
"""What an engine's tokenizer may take for a special token: it would end the turn, or be a sound."""
_QUOTED = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)|"(?:\\.|[^"\\\n])*"?'
    r"|'''.*?(?:'''|\Z)|'[^'\n]*'?|#[^\n]*|\s+",
    re.DOTALL,
)
"""A text of TOML to its end, a comment, or what is empty; each is read once, whatever does not end."""
MADE_ID = "voice_"
"""Begins the id of a voice that was added over the API; no name may look like one."""

SHORTEST_RECORDING, LONGEST_RECORDING = 3, 30
"""Seconds."""
TOKENS_PER_SECOND = 82
CACHE_BYTES_PER_TOKEN = 112 * 1024
"""Keys and values of a token in a model of 3B; a recording's are kept while its voice is spoken with."""

MODELS = {"named": "medium-3b", "adapter": "medium-3b", "prompt": "medium-3b-pretrained"}
"""The model a voice of each kind belongs to where nothing else is said."""


AtHand: TypeAlias = Callable[[str], Path | None]
"""Where the adapter of a repository `owner/name` is on this machine; None: it has not been downloaded."""


class VoiceError(ValueError):
    """A voice that cannot be; the message says why, without its place."""


class VoiceFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What stands in a `voice.toml`."""

    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    kind: VoiceKind
    model: str = ""
    """The model that speaks it; empty: the usual one of its kind."""
    languages: Annotated[tuple[str, ...], Meta(min_length=1, max_length=50)] = ("en",)
    gender: Gender = "neutral"
    prefix: Annotated[str, Meta(max_length=LONGEST_NAME)] | None = None
    """The name that stands before the text in the prompt; None: its name, "": none."""
    adapter: Annotated[str, Meta(max_length=300)] = ""
    """A folder beside the description, or `hub:owner/name`."""
    recording: Annotated[str, Meta(max_length=300)] = ""
    """A file beside the description."""
    transcript: Annotated[str, Meta(max_length=5_000)] = ""
    """What is said in it."""
    consent: str = ""
    """The consent that its speaker has given; see `voices.consents`."""
    owner: str = ""
    """The account that added it; empty: nobody's, so everybody's."""
    shared: bool | None = None
    """Whether others may speak with it; None: where it is nobody's."""
    created: Annotated[int, Meta(ge=0, le=2**53)] = 0


FIELDS_OF = {"named": set(), "adapter": {"adapter"}, "prompt": {"recording", "transcript", "consent"}}
"""The fields that only one kind has."""


def read_description(path: Path) -> VoiceFile:
    """Read a description; raises VoiceError, OSError."""
    if path.exists() and not path.is_file():
        raise VoiceError("it is no file")  # to open a pipe would take for ever
    with path.open("rb") as file:
        content = file.read(LARGEST_DESCRIPTION + 1)
    if len(content) > LARGEST_DESCRIPTION:
        raise VoiceError(f"it is larger than {LARGEST_DESCRIPTION // 1024} KiB")
    try:
        text = content.decode("utf-8-sig")
        table = None if len(_QUOTED.sub("", text)) > MOST_UNQUOTED else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise VoiceError(f"not valid TOML: {error}") from error
    if table is None:
        raise VoiceError("it is no description of a voice: there is too much in it beside texts")
    return _converted(table)


def _converted(table: dict[str, object]) -> VoiceFile:
    try:
        return msgspec.convert(table, VoiceFile)
    except msgspec.ValidationError as error:
        raise VoiceError(complaint(error, VoiceFile)) from error


def require(file: VoiceFile, voice_id: str, catalog: Catalog) -> str:
    """The id of the model that speaks the voice that `file` describes, whatever lies beside it.

    Raises VoiceError for what no data can make a voice.
    """
    file = _converted(msgspec.to_builtins(file))  # one that was made here has been checked for nothing
    _check_name(file.name.strip(), voice_id, catalog)
    for language in file.languages:
        if language not in catalog.languages:
            raise VoiceError(
                f"languages: there is no language '{language}'; there are {', '.join(catalog.languages)}"
            )
    model = file.model or MODELS[file.kind]
    if model not in catalog.models:
        raise VoiceError(f"model: there is no model '{model}'; there are {', '.join(catalog.models)}")
    if catalog.models[model].engine != "orpheus":
        raise VoiceError(f"model: {model} is not an Orpheus model, and cannot learn a voice")
    for kind, fields in FIELDS_OF.items():
        for field in sorted(fields if kind != file.kind else ()):
            if getattr(file, field):
                raise VoiceError(
                    f"{field}: is for voices of the kind {kind}; this one is of the kind {file.kind}"
                )
    for field in ("transcript", "prefix"):
        if special := SPECIAL_TOKEN.search(getattr(file, field) or ""):
            told = toml_key(special[0][:LONGEST_NAME])
            raise VoiceError(f"{field}: it spells {told}, a token of the model's own; write what is said")
    return model


def make_voice(place: str, file: VoiceFile, folder: Path, catalog: Catalog, at_hand: AtHand) -> OwnVoice:
    """The voice that `file` describes, whose data lie in `folder`; raises VoiceError for one that cannot be.

    `place` is the name that the folder has among the voices.
    """
    name, voice_id = file.name.strip(), place.lower()
    model = require(file, voice_id, catalog)
    recording = _recording(file, folder) if file.kind == "prompt" else None
    adapter = _adapter(file, folder) if file.kind == "adapter" else ""
    here = Path(adapter) if Path(adapter).is_absolute() else at_hand(adapter) if adapter else None
    if here is not None and not file.model and (reason := misfit(here, model, catalog)):
        raise VoiceError(f"adapter: {reason}. {merging(here)}")
    prefix = "" if file.kind == "prompt" else file.prefix if file.prefix is not None else name
    return OwnVoice(
        id=voice_id,
        place=place,
        title=name,
        kind=file.kind,
        language=file.languages[0],
        languages=file.languages,
        gender=file.gender,
        models=(model,),
        prefix=prefix,
        adapter=adapter,
        any_base=bool(file.model),
        recording=recording,
        memory=_memory(recording, here),
        transcript=" ".join(file.transcript.split()),
        owner=file.owner or None,
        shared=file.shared if file.shared is not None else not file.owner,
        created=file.created,
    )


def _memory(recording: Path | None, adapter: Path | None) -> int:
    """Bytes that a voice takes beside its model while it speaks; 0 where that is nothing, or not known yet."""
    if recording is not None:
        return round(_seconds(recording) * TOKENS_PER_SECOND) * CACHE_BYTES_PER_TOKEN
    return sum(file.stat().st_size for file in adapter.glob("*.safetensors")) if adapter else 0


def _seconds(recording: Path) -> float:
    try:
        with wave.open(str(recording), "rb") as file:
            form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            seconds = file.getnframes() / file.getframerate()
    except (wave.Error, EOFError, ZeroDivisionError) as error:
        raise VoiceError(
            f"recording: {recording.name} is not a WAV file; `orpheus-openai voices add` makes one from any recording"
        ) from error
    if form != (SAMPLE_RATE, 1, 2):
        raise VoiceError(
            f"recording: {recording.name} is not of {SAMPLE_RATE} Hz, mono, 16 bit; `orpheus-openai voices add` makes "
            "one from any recording"
        )
    if not SHORTEST_RECORDING <= seconds <= LONGEST_RECORDING:
        raise VoiceError(
            f"recording: it lasts {seconds:.1f} s; from {SHORTEST_RECORDING} to {LONGEST_RECORDING} s can be taken"
        )
    return seconds


def _check_name(name: str, voice_id: str, catalog: Catalog) -> None:
    if not name or not name.isprintable() or any(sign in name for sign in "/\\:<>[]"):
        raise VoiceError("name: letters, digits, spaces and signs but / \\ : < > [ ]")
    if name.lower().startswith(MADE_ID):
        raise VoiceError(f"name: one that begins with {MADE_ID} would pass for the id of another voice")
    for each in {name.lower(), voice_id}:
        if each in catalog.voices or each in catalog.voice_aliases:
            raise VoiceError(
                f"name: there is a voice '{each}' already; one that is built in cannot be replaced"
            )


def _recording(file: VoiceFile, folder: Path) -> Path:
    if not file.recording:
        raise VoiceError(
            "recording: expected the name of the recording beside this file, such as recording.wav"
        )
    if not file.transcript.strip():
        raise VoiceError("transcript: expected what is said in the recording, word for word")
    return _beside(file.recording, folder, "recording", "file")


def _adapter(file: VoiceFile, folder: Path) -> str:
    if repository := REPOSITORY.fullmatch(file.adapter):
        return repository[1]
    if file.adapter.startswith("hub:"):
        revision = "; a revision cannot be chosen" if "@" in file.adapter else ""
        raise VoiceError(f"adapter: expected hub:owner/name{revision}")
    # A path that might be a repository's name would be looked for on the hub once the folder is gone.
    return str(_beside(file.adapter or "adapter", folder, "adapter", "folder").absolute())


def _beside(name: str, folder: Path, field: str, what: Literal["file", "folder"]) -> Path:
    """The path of what is called so in `folder`: nothing outside it, and nothing that is not there."""
    path = folder / name
    if Path(name).name != name or name.startswith(".") or path.is_symlink():
        raise VoiceError(f"{field}: expected the name of something in the folder of this file, not a path")
    if not path.exists():
        raise VoiceError(f"{field}: there is no {name} beside this file")
    if not (path.is_file() if what == "file" else path.is_dir()):
        raise VoiceError(f"{field}: {name} is no {what}")
    return path


def described(file: VoiceFile) -> str:
    """The description as TOML."""
    return toml(msgspec.to_builtins(file))


def toml(fields: dict[str, object]) -> str:
    """Texts, whole numbers, truths and lists of them as TOML, one a line."""
    return "".join(f"{name} = {_value(value)}\n" for name, value in fields.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON's strings are TOML's, but for the characters that JSON leaves as they are
    return msgspec.json.encode(str(value)).decode().replace("\x7f", "\\u007f")


def folder_name(name: str) -> str:
    """The folder of a voice that is added by that name: letters and digits that every file system takes."""
    plain = re.sub(r"[^\w-]+", "-", name.strip().lower()).strip("-_")
    if not plain or len(plain.encode()) > LONGEST_NAME:
        raise VoiceError(
            f"name: {toml_key(name[:LONGEST_NAME])} cannot be a folder's name; use letters and digits"
        )
    return plain
