"""A dry run: what would be spoken of a request, by whom, and what of its text is changed."""

import asyncio
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from orpheus_openai.audio.join import PARAGRAPH_PAUSE, SENTENCE_PAUSE
from orpheus_openai.limits.queue import Queue
from orpheus_openai.speech.casting import Casting
from orpheus_openai.speech.script import Script
from orpheus_openai.text.changes import Change, Ledger
from orpheus_openai.text.split import Segment

PLANS_WAITING = 16
"""Dry runs that may wait for the one that is being made; each takes a processor."""
PLANS_OF_ONE = 4
"""Of one caller, the one that is being made included."""
PLAN_WAIT = 60.0
"""Seconds that one waits at the most."""


class PlannedChange(msgspec.Struct, frozen=True):
    """Something that is said in another way than it is written, or not at all."""

    written: Annotated[str, Meta(description="In the request's text.", examples=["$5"])] = msgspec.field(
        name="from"
    )
    said: Annotated[
        str, Meta(description="What is said instead; empty: nothing.", examples=["five dollars"])
    ] = msgspec.field(name="to")
    why: Annotated[str, Meta(description="What changed it.", examples=["figures and signs"])]


class PlannedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the text that would be spoken in one go."""

    text: Annotated[str, Meta(description="What is said.", examples=["It costs five dollars."])]
    voice: Annotated[str, Meta(examples=["tara"])]
    language: Annotated[str, Meta(description="ISO 639-1.", examples=["en"])]
    start: Annotated[
        int, Meta(description="Where it begins in the request's text, in characters.", examples=[0])
    ]
    end: Annotated[int, Meta(description="Where it ends there.", examples=[12])]
    pause_ms: Annotated[
        int,
        Meta(description="The silence after it: as long as was asked for, else at the most.", examples=[350]),
    ]
    changes: Annotated[
        list[PlannedChange],
        Meta(description="What of the text from the end of the segment before on is changed."),
    ]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be spoken of a request."""

    model: Annotated[str, Meta(examples=["medium-3b"])]
    segments: list[PlannedSegment]
    warnings: Annotated[
        list[str],
        Meta(
            description="What the text asks for and does not get, such as parts of SSML, or gets in another way."
        ),
    ]


class Planner:
    """Makes one plan at a time."""

    def __init__(self) -> None:
        self._queue = Queue(
            at_once=1, length=PLANS_WAITING, wait=PLAN_WAIT, per_caller=PLANS_OF_ONE, typical=0.1
        )

    async def plan(
        self, text: str, model: str, script: Script, casting: Casting, ledger: Ledger, *, account: str
    ) -> Plan:
        """Read all of `script`, of `text`, whose segments note in `ledger`.

        Raises OverloadedError for one too many, in all or of `account`.
        """
        async with self._queue.turn(lambda _position: None, account):
            segments = await script.rest()
            planned = await asyncio.to_thread(_planned, text, segments, casting, ledger)
        return Plan(model=model, segments=planned, warnings=list(ledger.warnings))


def _planned(text: str, segments: list[Segment], casting: Casting, ledger: Ledger) -> list[PlannedSegment]:
    planned = []
    reached = 0
    spoken = [segment for segment in segments if segment.text]
    pauses = [*(_pause(*pair) for pair in pairwise(segments)), 0.0]
    for segment, pause in zip(spoken, pauses, strict=False):
        changes = ledger.changes(text, reached, segment.trace)
        reached = segment.end
        changes += ledger.rest(text, reached) if segment is spoken[-1] else []
        planned.append(
            PlannedSegment(
                text=segment.text,
                voice=casting.voice(segment.manner).id,
                language=casting.reading(segment.manner).language,
                start=segment.start,
                end=segment.end,
                pause_ms=round(1_000 * pause),
                changes=[_told(change) for change in changes],
            )
        )
    return planned


def _pause(segment: Segment, after: Segment) -> float:
    if after.silence is not None:
        return after.silence
    return PARAGRAPH_PAUSE if segment.paragraph else SENTENCE_PAUSE


def _told(change: Change) -> PlannedChange:
    return PlannedChange(written=change.written, said=change.said, why=change.why)
