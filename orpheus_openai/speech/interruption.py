"""A listener cuts in: the speech stops at once, and what of its text was heard is told."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from orpheus_openai.errors import NotFoundError
from orpheus_openai.limits.caller import Caller
from orpheus_openai.speech.heard import Heard
from orpheus_openai.speech.timed import HowTimed, TimedSegment
from orpheus_openai.speech.words import WordTimes

KEPT = 256
"""Speeches that are remembered after their end, as somebody may still be listening to what was sent."""
STILL_SOUNDING = 30.0
"""Seconds after the time that it takes to play a speech in which it may still be interrupted: players pause."""


class Interruption(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of a speech when its listener cut in."""

    type: Annotated[str, Meta(examples=["interrupted"])] = "interrupted"
    played_ms: Annotated[int, Meta(description="At most as much as was sent.", examples=[1234])]
    text_spoken: Annotated[
        str, Meta(description="Up to the word of which less than half was played.", examples=["Hello! "])
    ]
    text_remaining: Annotated[str, Meta(description="The rest of the text.", examples=["How are you?"])]
    timing: Annotated[HowTimed, Meta(description="How it is known when the words sound at which it was cut.")]


def interruption(
    text: str, segments: Sequence[TimedSegment], *, played: float, sent: float, complete: bool
) -> Interruption:
    """Where a listener was in `text` who has played `played` of the `sent` seconds; pure.

    `segments` are those that have begun to sound; `complete`: there is no more to come.
    """
    heard = max(0.0, min(played, sent))
    sounding = next((segment for segment in reversed(segments) if segment.start <= heard), None)
    how: HowTimed = "exact" if sounding is None else sounding.timing
    at = _reached(segments, heard)
    if at is None and complete and heard >= sent:
        at, how = len(text), "exact"
    elif at is None:
        at = max((segment.span[1] for segment in segments), default=0)
    elif heard == 0.0:
        how = "exact"
    return Interruption(
        played_ms=round(heard * 1_000), text_spoken=text[:at], text_remaining=text[at:], timing=how
    )


def _reached(segments: Sequence[TimedSegment], heard: float) -> int | None:
    """Where the first word begins of which less than half was heard; None where all were."""
    reached = 0
    for segment in segments:
        if not segment.words and (segment.start + segment.end) / 2 > heard:
            return max(reached, segment.span[0])
        for word in segment.words:
            if (word.start + word.end) / 2 > heard:
                return max(reached, word.span[0])
            reached = max(reached, word.span[1])
    return None


class Sounded(msgspec.Struct, frozen=True):
    """What there is to know of a speech once no more of it is made."""

    account: str
    text: str
    heard: Heard
    word_times: WordTimes | None
    sent: float
    """Seconds."""
    complete: bool

    async def told(self, played: float) -> Interruption:
        """What was heard of the text by somebody who has played so many seconds.

        The words of the segment that sounded then are looked for now, if they are not known; see `Heard.look`.
        """
        known = self.word_times.known() if self.word_times is not None else []
        heard = min(played, self.sent)
        if heard > 0 and not (self.complete and heard >= self.sent):
            starts = {segment.span[0] for segment in known}
            sounding = await self.heard.look(self.text, heard, unless=starts)
            known += [sounding] if sounding is not None else []
        segments = self.heard.timed(self.text, known)
        return interruption(self.text, segments, played=played, sent=self.sent, complete=self.complete)


class Interruptible(Protocol):
    """A speech, as far as interruptions go."""

    id: str
    account: str

    def sounded(self) -> Sounded:
        """What there is to know of it now."""

    async def interrupt(self, played: float) -> Interruption:
        """Stop after `played` seconds were heard."""


class Playing:
    """The speeches that somebody may be listening to, by their ids."""

    def __init__(self) -> None:
        self._going: dict[str, Interruptible] = {}
        self._ended: OrderedDict[str, tuple[Sounded, float]] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None

    def begin(self, speech: Interruptible) -> None:
        """It is being spoken."""
        self._going[speech.id] = speech

    def end(self, speech: Interruptible) -> None:
        """Nothing more is made of it; what was sent may sound for a while."""
        self._going.pop(speech.id, None)
        self._forget()
        if (sounded := speech.sounded()).sent:
            self._ended[speech.id] = sounded, time.monotonic() + sounded.sent + STILL_SOUNDING
            if self._sweep is None:  # their sound takes memory, also where nobody speaks after them
                self._sweep = asyncio.get_running_loop().call_later(STILL_SOUNDING, self._forget_in_turn)
        else:
            sounded.heard.forget()

    async def interrupt(self, speech_id: str, caller: Caller, played: float) -> Interruption:
        """Stop the speech of that id, of which `played` seconds were heard; see `Speech.interrupt`.

        Raises NotFoundError where there is none, or `caller` may not cut into it.
        """
        speech = self._going.get(speech_id)
        if speech is not None and caller.may_interrupt(speech.account):
            return await speech.interrupt(played)
        self._forget()
        ended, _ = self._ended.get(speech_id, (None, 0.0))
        if ended is None or not caller.may_interrupt(ended.account):
            raise NotFoundError("There is no such speech under way.", code="speech_not_found")
        return await ended.told(played)

    def _forget_in_turn(self) -> None:
        self._forget()
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(STILL_SOUNDING, self._forget_in_turn) if self._ended else None

    def _forget(self) -> None:
        """Leave out what nobody can be listening to any more, and the oldest of too many."""
        now = time.monotonic()
        over = [name for name, (_, until) in self._ended.items() if until < now]
        for name in [*over, *list(self._ended)[: max(0, len(self._ended) - len(over) - KEPT)]]:
            sounded, _ = self._ended.pop(name, (None, 0.0))
            if sounded is not None:
                sounded.heard.forget()
