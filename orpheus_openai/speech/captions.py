"""Captions: a speech's words as subtitles, in lines that can be read while it sounds."""

import asyncio
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from orpheus_openai.speech.timed import TimedSegment, TimedWord
from orpheus_openai.speech.words import WordTimes
from orpheus_openai.text.marks import CLOSERS, SENTENCE_ENDS
from orpheus_openai.text.words import units_of

CaptionFormat = Literal["srt", "vtt", "json"]
CAPTION_FORMATS: tuple[CaptionFormat, ...] = get_args(CaptionFormat)

LINE_COLUMNS = 42
"""The widest line; characters of Chinese, Japanese and Korean take two columns each. What subtitlers agree on."""
PAUSE_SECONDS = 1.0
"""After a pause of this length a caption of its own begins."""
LEAST_SECONDS, MOST_SECONDS = 1.0, 7.0
"""How long a caption is to be seen, if what follows leaves it the time."""
MOST_UNITS = 2 * LINE_COLUMNS
"""In one caption: as many as two lines hold that have a column each; some have none."""
MARKDOWN = "*_`#~|"
"""Marks of a writer, not of a reader."""
LEAST_FILLED = 0.5
"""A caption that is fuller than this ends with its sentence."""


class TimedUnit(NamedTuple):
    """What no line break parts: a word with the marks around it, or a tag."""

    text: str
    gap: bool
    """White space stands before it."""
    words: tuple[TimedWord, ...]
    columns: int
    """Its width."""


class Caption(NamedTuple):
    """What is seen at a time."""

    lines: tuple[str, ...]
    start: float
    """Seconds."""
    end: float


class Transcript(msgspec.Struct, frozen=True):
    """Captions as JSON."""

    text: str
    duration: Annotated[float, Meta(description="Seconds.")]
    segments: tuple[TimedSegment, ...]


async def captions_of(
    times: WordTimes, formats: Sequence[CaptionFormat], duration: float
) -> dict[CaptionFormat, str]:
    """Whole files by their formats, of a speech that has ended after `duration` seconds."""
    await times.rest()
    made = {}
    for each in dict.fromkeys(formats):
        made[each] = await asyncio.to_thread(
            render, each, times.taken, text=times.text, duration=duration, emotion_tags=times.emotion_tags
        )
    return made


def render(
    caption_format: CaptionFormat,
    segments: Sequence[TimedSegment],
    *,
    text: str,
    duration: float,
    emotion_tags: Sequence[str],
) -> str:
    """A whole file. `text` is the request's, `duration` that of the speech in seconds."""
    if caption_format == "json":
        return msgspec.json.encode(Transcript(text, duration, tuple(segments))).decode()
    shown = captions(segments, emotion_tags)
    if caption_format == "srt":
        return "\n".join(
            f"{number}\n{_clock(c.start, ',')} --> {_clock(c.end, ',')}\n" + "\n".join(c.lines) + "\n"
            for number, c in enumerate(shown, 1)
        )
    return "WEBVTT\n" + "".join(
        f"\n{_clock(c.start, '.')} --> {_clock(c.end, '.')}\n" + "\n".join(map(_escaped, c.lines)) + "\n"
        for c in shown
    )


def captions(segments: Sequence[TimedSegment], emotion_tags: Sequence[str]) -> list[Caption]:
    """The segments as captions of at most two lines of `LINE_COLUMNS`, which part no word and no tag.

    Only a word that is wider than a line makes a wider one.
    """
    found = [c for segment in segments for c in _captions_of(_units(segment, emotion_tags))]
    timed: list[Caption] = []
    for index, caption in enumerate(found):
        following = found[index + 1].start if index + 1 < len(found) else float("inf")
        wanted = max(caption.end, caption.start + LEAST_SECONDS)
        timed.append(caption._replace(end=max(caption.end, min(wanted, following))))
    return timed


def _units(segment: TimedSegment, emotion_tags: Sequence[str]) -> list[TimedUnit]:
    first = segment.span[0]
    words = deque(segment.words)
    units: list[TimedUnit] = []
    reached = 0
    for start, end, is_tag in units_of(segment.text, emotion_tags):
        own = []
        while words and words[0].span[0] - first < end:
            own.append(words.popleft())
        gap = any(c.isspace() for c in segment.text[reached:start])
        reached = end
        shown = segment.text[start:end]
        # Sounds stand in square brackets in subtitles, where angle ones are markup.
        shown = f"[{shown.strip('</> ')}]" if is_tag else shown.strip(MARKDOWN)
        if shown:
            units.append(TimedUnit(shown, gap, tuple(own), _columns(shown)))
    return units


def _captions_of(units: Sequence[TimedUnit]) -> Iterator[Caption]:
    group: list[TimedUnit] = []
    for unit in units:
        if group and (_full([*group, unit]) or _ends(group, unit)):
            yield from _caption(group)
            group = []
        group.append(unit)
    yield from _caption(group)


def _caption(group: Sequence[TimedUnit]) -> Iterator[Caption]:
    """One caption; none where nothing of it sounds, as in a table's rule."""
    words = [word for unit in group for word in unit.words]
    lines = _lines(group)
    if words and lines is not None:
        yield Caption(lines, words[0].start, words[-1].end)


def _full(group: Sequence[TimedUnit]) -> bool:
    return len(group) > MOST_UNITS or _lines(group) is None or _seconds(group) > MOST_SECONDS


def _ends(group: Sequence[TimedUnit], following: TimedUnit) -> bool:
    """Whether the caption should end before `following` though that would fit."""
    before = [word for unit in group for word in unit.words]
    if before and following.words and following.words[0].start - before[-1].end > PAUSE_SECONDS:
        return True
    sentence = group[-1].text.rstrip(CLOSERS)[-1:] in SENTENCE_ENDS
    return sentence and _width(group) > LEAST_FILLED * 2 * LINE_COLUMNS


def _seconds(group: Sequence[TimedUnit]) -> float:
    words = [word for unit in group for word in unit.words]
    return words[-1].end - words[0].start if words else 0.0


def _lines(group: Sequence[TimedUnit]) -> tuple[str, ...] | None:
    """As few lines as will do, the two of a pair as alike in length as can be; None: they are too many."""
    whole = _width(group)
    if whole <= LINE_COLUMNS or len(group) == 1:
        return (_joined(group),)
    first, best, cut = group[0].columns, LINE_COLUMNS + 1, 0
    for place, unit in enumerate(group[1:], 1):
        second = whole - first - unit.gap
        if max(first, second) <= LINE_COLUMNS and abs(first - second) < best:
            best, cut = abs(first - second), place
        first += unit.gap + unit.columns
        if first > LINE_COLUMNS:
            break
    return (_joined(group[:cut]), _joined(group[cut:])) if cut else None


def _width(group: Sequence[TimedUnit]) -> int:
    return sum(unit.columns + (unit.gap and index > 0) for index, unit in enumerate(group))


def _joined(group: Sequence[TimedUnit]) -> str:
    return "".join(" " * (unit.gap and index > 0) + unit.text for index, unit in enumerate(group))


def _columns(text: str) -> int:
    """As on a screen: East Asian characters take two, combining ones none."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _escaped(line: str) -> str:
    """WebVTT takes < for a tag of its own."""
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
