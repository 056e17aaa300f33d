"""The messages of vLLM-Omni's and SGLang-Omni's protocol: what a client may send, and what it is told."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from orpheus_compat.schemas import CreateSpeechRequest
from orpheus_openai.audio.formats import rate_of
from orpheus_openai.catalog import DEFAULT_MODEL, DEFAULT_VOICE
from orpheus_openai.errors import InvalidRequestError, SpeechError
from orpheus_openai.fields import from_values, require_small
from orpheus_openai.speech.interruption import Interruption
from orpheus_openai.speech.request import SpeechRequest, tuned
from orpheus_openai.speech.timed import TimedSegment

DEFAULT_FORMAT = "wav"


class SocketConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `session.config` holds beside the fields of /v1/audio/speech."""

    stream_audio: bool | None = None
    """Audio is sent as it is made; else each part as one message, when it is whole."""
    streaming_mode: str | None = None
    """vLLM-Omni's `token_level` has audio sent as it is made, unless `stream_audio` says else."""
    split_granularity: Literal["none", "sentence", "clause"] | None = None
    """What is a part: the whole utterance, or each sentence or clause, as a file of its own."""


class Interrupt(msgspec.Struct, frozen=True, kw_only=True):
    """What `interrupt` holds."""

    played_ms: Annotated[float, Meta(ge=0, le=1e9)]
    utterance_index: int | None = None
    """Which utterance was played; None: the last that has begun to sound."""


class UtteranceConfig(msgspec.Struct, frozen=True):
    """What holds for the utterances that follow."""

    wanted: SpeechRequest
    audio_format: str
    sample_rate: int
    stream_audio: bool
    split: str
    granularities: tuple[str, ...]

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "UtteranceConfig":
        """The configuration in a message; raises InvalidRequestError."""
        fields = {name: value for name, value in message.items() if name != "type"}
        own = from_values(fields, SocketConfig)
        if fields.get("voice") is None:
            fields["voice"] = fields.get("speaker") or DEFAULT_VOICE
        body = from_values(
            {**fields, "input": "", "model": fields.get("model") or DEFAULT_MODEL}, CreateSpeechRequest
        )
        voice = body.voice if isinstance(body.voice, str) else body.voice.id
        granularities = tuple(body.timestamp_granularities or ())
        wanted = tuned(body, text="", model=body.model, voice=voice)
        audio_format = body.response_format or DEFAULT_FORMAT
        return cls(
            msgspec.structs.replace(wanted, word_times=bool(granularities)),
            audio_format,
            rate_of(audio_format, wanted.sample_rate),
            own.streaming_mode == "token_level" if own.stream_audio is None else own.stream_audio,
            own.split_granularity or "none",
            granularities,
        )


def parsed(message: str | bytes) -> dict[str, Any]:
    """A message of the client's; raises InvalidRequestError."""
    if isinstance(message, bytes):
        raise InvalidRequestError("Messages are JSON objects, sent as text.", code="invalid_message")
    require_small(message, "text")
    try:
        parsed = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequestError("Invalid JSON message", code="invalid_message") from None
    if not isinstance(parsed, dict):
        raise InvalidRequestError("WebSocket messages must be JSON objects", code="invalid_message")
    return parsed


def interrupted(index: int, told: Interruption) -> dict[str, Any]:
    """What was heard of an utterance."""
    return {**msgspec.structs.asdict(told), "utterance_index": index}


def words(index: int, segment: TimedSegment, granularities: tuple[str, ...]) -> dict[str, Any]:
    """When a segment of an utterance sounds, and its words."""
    told: dict[str, Any] = {"type": "words", "utterance_index": index, "timing": segment.timing}
    if "word" in granularities:
        told["words"] = segment.words
    if "segment" in granularities:
        told["segments"] = [{name: getattr(segment, name) for name in ("text", "start", "end", "span")}]
    return told


def failure(error: SpeechError, index: int | None = None, *, partial: bool = False) -> dict[str, Any]:
    """What went wrong, with an utterance if it has an `index`, of which some may have sounded (`partial`)."""
    told: dict[str, Any] = {"type": "error", "message": error.message, "code": error.kind}
    if error.param is not None:
        told["param"] = error.param
    if index is not None:
        told["utterance_index"] = index
    if error.retry_after is not None:
        told["retry_after"] = error.retry_after
    if partial:
        told |= {"partial_audio": True, "action": "discard"}
    return told
