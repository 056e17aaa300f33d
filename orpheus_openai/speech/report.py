"""The one report of a speech: event, log line, audit line, trace, JSON answer and MCP result are views of it."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.speech.timeline import Moment, Timeline
from orpheus_openai.speech.verification import SegmentVerdict
from orpheus_openai.synthesis import Usage


class SpeechReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a speech was and took, so far or in the end; what has not come yet is null."""

    id: Annotated[str, Meta(description="The request's id, which names the speech in events and logs.")]
    model: Annotated[str, Meta(description="The model that spoke.", examples=["medium-3b"])]
    voice: Annotated[str, Meta(description="The voice that spoke.", examples=["tara"])]
    characters: Annotated[int, Meta(description="Length of the text.", examples=[27])]
    segments: Annotated[int, Meta(description="Parts of the text that were begun.", examples=[1])]
    queue_seconds: Annotated[float, Meta(description="Waiting for its turn.", examples=[0.0])]
    load_seconds: Annotated[float, Meta(description="Waiting for its model, after that.", examples=[0.0])]
    first_token_seconds: Annotated[
        float | None,
        Meta(description="Until the model's first token, all waiting included.", examples=[0.09]),
    ]
    first_audio_seconds: Annotated[
        float | None, Meta(description="Until its first sound, all waiting included.", examples=[0.18])
    ]
    first_bytes_seconds: Annotated[
        float | None, Meta(description="Until the first bytes in the format asked for.", examples=[0.18])
    ]
    audio_seconds: Annotated[float, Meta(description="How long it sounds.", examples=[2.0])]
    real_time_factor: Annotated[
        float | None, Meta(description="Seconds of work for a second of audio.", examples=[0.3])
    ]
    input_tokens: Annotated[int, Meta(description="Tokens of the prompts.", examples=[14])]
    output_tokens: Annotated[int, Meta(description="Tokens of the speech.", examples=[168])]
    dropped_frames: Annotated[
        int, Meta(description="Frames of 85 ms that could not be decoded.", examples=[0])
    ]
    verification: Annotated[
        list[SegmentVerdict] | None,
        Meta(
            description="Whether each segment was spoken as it should be; null where nothing looks, as with the "
            "preview."
        ),
    ]
    warnings: Annotated[
        list[str],
        Meta(
            description="What the text asks for and does not get, such as parts of SSML, or gets in another way.",
            examples=[[]],
        ),
    ]
    outcome: Annotated[
        str | None,
        Meta(description="`completed`, `cancelled`, or the message of the error.", examples=["completed"]),
    ]
    error: Annotated[str | None, Meta(description="The kind of that error.", examples=[None])]

    def facts(self) -> dict[str, Any]:
        """Everything but the id, for lines that have the request's anyway."""
        return {name: getattr(self, name) for name in FACTS}


def report_of(
    timeline: Timeline, usage: Usage, samples: int, *, verdicts: list[SegmentVerdict] | None, **known: Any
) -> SpeechReport:
    """Make the report of a speech of which `samples` were heard so far; `known` are the other fields."""

    def since(start: Moment, end: Moment) -> float | None:
        seconds = timeline.seconds(start, end)
        return None if seconds is None else round(seconds, 4)

    return SpeechReport(
        queue_seconds=since("asked", "admitted") or 0.0,
        load_seconds=since("admitted", "ready") or 0.0,
        first_token_seconds=since("asked", "first_token"),
        first_audio_seconds=since("asked", "first_audio"),
        first_bytes_seconds=since("asked", "first_bytes"),
        audio_seconds=audio_seconds(samples),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        dropped_frames=usage.dropped_frames,
        verification=verdicts,
        **known,
    )


def audio_seconds(samples: int) -> float:
    """How long so many samples at 24 kHz sound, as it is told."""
    return round(samples / SAMPLE_RATE, 3)


FACTS = tuple(name for name in SpeechReport.__struct_fields__ if name != "id")
"""The names of what is told of a speech."""
