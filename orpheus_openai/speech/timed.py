"""Words and segments of a request's own text with their times, in seconds of the speech as it is heard."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.audio.align import Stretch, in_proportion
from orpheus_openai.speech.buffer import estimated_seconds
from orpheus_openai.text.split import Segment
from orpheus_openai.text.words import Word, is_unspaced, letters, words_of

DIGITS = 5
"""Of seconds: a sample is 0.00004 s."""

HowTimed = Annotated[
    Literal["exact", "aligned", "estimated"],
    Meta(
        description="`exact`: told by the voice itself; `aligned`: found in the sound; `estimated`: in proportion to "
        "letters, as where eSpeak NG is not installed.",
        examples=["aligned"],
    ),
]


class TimedWord(msgspec.Struct, frozen=True):
    """A word of the request's text."""

    word: Annotated[str, Meta(examples=["Hello"])]
    start: Annotated[float, Meta(description="Seconds from the start of the speech.", examples=[0.0])]
    end: Annotated[float, Meta(description="Seconds.", examples=[0.42])]
    span: Annotated[
        tuple[int, int],
        Meta(description="Where it stands in the request's text, in characters.", examples=[(0, 5)]),
    ]


class TimedSegment(msgspec.Struct, frozen=True):
    """A part of the text that was spoken in one go."""

    text: Annotated[str, Meta(description="The request's own.", examples=["Hello! <chuckle> How are you?"])]
    start: Annotated[float, Meta(examples=[0.0])]
    end: Annotated[float, Meta(examples=[1.9])]
    span: Annotated[tuple[int, int], Meta(examples=[(0, 29)])]
    timing: HowTimed
    words: tuple[TimedWord, ...]


def timed_segment(
    text: str,
    segment: Segment,
    words: Sequence[Word],
    stretches: Sequence[Stretch],
    *,
    how: HowTimed,
    samples: int = 0,
    offset: int = 0,
    speed: float = 1.0,
) -> TimedSegment:
    """A segment of `text` whose words sound in `stretches`, counted from `offset` and brought to `speed`.

    One without a word, such as a laugh, lasts `samples`.
    """

    def seconds(sample: int) -> float:
        return round(max(sample + offset, 0) / speed / SAMPLE_RATE, DIGITS)

    timed = tuple(
        TimedWord(text[span[0] : span[1]], seconds(start), seconds(end), span)
        for span, start, end in _in_source(text, segment, words, stretches)
    )
    return TimedSegment(
        text=text[segment.start : segment.end],
        start=timed[0].start if timed else seconds(0),
        end=timed[-1].end if timed else seconds(samples),
        span=(segment.start, segment.end),
        timing=how,
        words=timed,
    )


def _in_source(
    text: str, segment: Segment, words: Sequence[Word], stretches: Sequence[Stretch]
) -> list[tuple[tuple[int, int], int, int]]:
    """The words as they stand in the request's text, each with its stretch.

    Several words that are spoken for one that was written, such as "12", are that one.
    """
    found: list[tuple[tuple[int, int], int, int]] = []
    for word, stretch in zip(words, stretches, strict=True):
        span = segment.trace.span(word.start, word.end)
        if span[0] == span[1]:
            continue
        if found and _one_word(text, found[-1][0], span):
            (start, end), begin, _ = found.pop()
            found.append(((start, max(end, span[1])), begin, stretch.end))
        else:
            found.append((span, stretch.start, stretch.end))
    return found


def _one_word(text: str, before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether both stand for parts of one written word, such as "5" and "km" in "5km"."""
    if after[0] < before[1]:
        return True
    return after[0] == before[1] and not (is_unspaced(text[after[0] - 1]) or is_unspaced(text[after[0]]))


def estimated_segment(
    text: str,
    segment: Segment,
    emotion_tags: Sequence[str],
    *,
    samples: int,
    offset: int,
    speed: float,
    whole: bool = True,
) -> TimedSegment:
    """A segment of `text` whose words share its `samples` by their letters; see `timed_segment`.

    One that is not `whole` is taken to become as long as it usually would.
    """
    if not whole:
        samples = max(samples, round(estimated_seconds(segment.text) * SAMPLE_RATE))
    words = words_of(segment.text, emotion_tags).words
    stretches = in_proportion(samples, [letters(segment.text, word) for word in words])
    return timed_segment(
        text, segment, words, stretches, how="estimated", samples=samples, offset=offset, speed=speed
    )
