"""The text desk: a request's text becomes what is spoken, segment by segment."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from orpheus_openai.text import markdown
from orpheus_openai.text.blocks import blocks
from orpheus_openai.text.changes import Ledger
from orpheus_openai.text.clean import Note, cleaned
from orpheus_openai.text.directions import Directions
from orpheus_openai.text.normalise import has_speech, paragraphs
from orpheus_openai.text.numbers.read import tables_are_read
from orpheus_openai.text.pieces import Piece
from orpheus_openai.text.reading import Growth, ReadingRules, by_lexicons, worded
from orpheus_openai.text.split import FIRST_CHARS, MAX_CHARS, Segment, segments
from orpheus_openai.text.ssml import is_ssml, read_ssml
from orpheus_openai.text.trace import Traced
from orpheus_openai.text.turns import LONGEST_PAUSE, PLAIN, Allowance, Cast, Manner, parted, require_bounded
from orpheus_openai.text.warnings import Warned

COMMON_LANGUAGE = "en"
"""Whose stage directions are understood in every language."""

_NOTHING = Traced.of("")


class Desk:
    """Reads texts for voices whose models know the same emotions."""

    def __init__(
        self,
        emotion_tags: Sequence[str],
        directions: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    ) -> None:
        """All emotion tags by name, and other words for them by language and tag (see `Directions`)."""
        self._tags = tuple(emotion_tags)
        tables = directions or {}
        every = {COMMON_LANGUAGE: {}, **tables}
        self._directions = {
            language: Directions(self._tags, [tables.get(COMMON_LANGUAGE, {}), table])
            for language, table in every.items()
        }

    def read(
        self,
        text: str,
        reading: ReadingRules,
        acted: Sequence[str] | None = None,
        *,
        cast: Cast | None = None,
        reading_of: Callable[[Manner], ReadingRules] | None = None,
        ledger: Ledger | None = None,
        warnings: list[Warned] | None = None,
    ) -> Iterator[Segment]:
        """Yield what is spoken of `text`, in order; nothing where there is nothing to say.

        `acted` are the emotion tags that the model can act (None: all): a paragraph of nothing but others is a
        silence. `cast` are the names of speakers, `reading_of` gives the reading for another manner than the text's
        own. `ledger` notes what is changed, and why; `warnings` get what the text asks for and is not done. No more of
        the text is read than the next segment needs, in time linear in that. A silence at the end is that of a last
        segment without words.

        Raises InvalidRequestError, before the first segment, for a text that asks for too much silence, and for SSML
        that cannot be read; and wherever it becomes too long by the entries that came with it.
        """
        state = _ReadingState(
            reading, acted, cast=cast, reading_of=reading_of, ledger=ledger, warnings=warnings
        )
        yield from self._read(Traced.of(text), state)
        yield from state.silences()

    def dictated(
        self,
        reading: ReadingRules,
        acted: Sequence[str] | None = None,
        *,
        cast: Cast | None = None,
        reading_of: Callable[[Manner], ReadingRules] | None = None,
        warnings: list[Warned] | None = None,
    ) -> "Dictation":
        """A text that comes in pieces; all else as in `read`.

        Of silence that is too much for one request it has as much as may be: what stands before it has been heard.
        """
        state = _ReadingState(reading, acted, cast=cast, reading_of=reading_of, warnings=warnings)
        return Dictation(lambda source: self._read(source, state), state)

    def _read(self, source: Traced, state: "_ReadingState") -> Iterator[Segment]:
        """Yield what is spoken of `source`, and keep in `state` what its end means for what follows."""
        reading, reading_of = state.reading, state.reading_of
        mute = [] if state.acted is None else [f"<{tag}>" for tag in self._tags if tag not in state.acted]
        sources = [(PLAIN, source)]
        if reading.cleaning and is_ssml(source.text):
            sources = _document(source.text, state)
        if reading.cleaning:
            require_bounded(source.text for _, source in sources)
        stretches = _Stretches(self._turns(sources, state))
        while (head := stretches.head) is not None:
            manner, item = head
            if isinstance(item, float):
                state.silence = min(LONGEST_PAUSE, (state.silence or 0.0) + item)
                stretches.step()
                continue
            own = reading if manner == PLAIN or reading_of is None else reading_of(manner)
            read = self._worded(stretches.alike(), own, state)
            spoken = (p for p in read if not mute or has_speech(_without(p.text, mute)))
            first = MAX_CHARS if state.end else FIRST_CHARS
            for segment in segments(spoken, own.language, first_chars=first, steady=own.cleaning):
                silence = state.allowance.take(state.silence)
                yield msgspec.structs.replace(segment, manner=manner, silence=silence, spelt=own.spelt)
                state.silence, state.end = None, segment.end

    def ready(self, reading: ReadingRules) -> bool:
        """Whether all that it takes has been loaded, which is done with the first text in a language."""
        if reading.cleaning and not markdown.parser_is_loaded():
            return False
        return reading.numbers == "as_is" or tables_are_read(reading.language)

    def paragraphs(self, text: str, reading: ReadingRules) -> Iterator[Traced]:
        """Yield what is spoken of `text` by paragraphs, uncut."""
        return self._worded(self.blocks(text, reading), reading, _ReadingState(reading))

    def blocks(self, text: str, reading: ReadingRules) -> Iterator[Traced]:
        """Yield `text` as it is worked on, cleaned where that is wanted."""
        return (
            item
            for _, item in self._turns([(PLAIN, Traced.of(text))], _ReadingState(reading))
            if isinstance(item, Traced)
        )

    def _turns(
        self, sources: Sequence[tuple[Manner, Traced]], state: "_ReadingState"
    ) -> Iterator[tuple[Manner, Traced | float]]:
        """Yield who says what, block by block, and the seconds of silence between."""
        reading, note = state.reading, state.note

        def left(what: Traced, why: str) -> None:
            note(what, _NOTHING, why)

        for own, source in sources:
            for manner, words in _speakers(source, own, state):
                if not reading.cleaning:
                    yield manner, words
                    continue
                language = manner.language or reading.language
                clean = cleaned(words, self._directions_in(language), note)
                yield from ((manner, part) for part in parted(clean, left))

    def _worded(
        self, blocks: Iterator[Traced], reading: ReadingRules, state: "_ReadingState"
    ) -> Iterator[Traced]:
        """Yield the paragraphs of `blocks`, in words."""
        note = state.note
        # Before what spells a special token is dropped: an entry cannot bring one in.
        found = paragraphs((by_lexicons(block, reading, note, state.growth) for block in blocks), self._tags)
        said = (worded(paragraph, reading, note, state.warnings) for paragraph in found)
        return (paragraph for paragraph in said if has_speech(paragraph.text))

    def _directions_in(self, language: str) -> Directions:
        return self._directions.get(language) or self._directions[COMMON_LANGUAGE]


class _ReadingState:
    """How a text is read, and what of it that was read so far matters for the rest."""

    def __init__(
        self,
        reading: ReadingRules,
        acted: Sequence[str] | None = None,
        *,
        cast: Cast | None = None,
        reading_of: Callable[[Manner], ReadingRules] | None = None,
        ledger: Ledger | None = None,
        warnings: list[Warned] | None = None,
    ) -> None:
        self.reading = reading
        self.acted = acted
        self.cast = cast
        self.reading_of = reading_of
        self.warnings = [] if warnings is None else warnings
        """What the text asks for and is not done."""
        self.note: Note = ledger.note if ledger else _unnoted
        self.speaker = PLAIN
        """Who speaks on, until somebody else does or a blank line comes."""
        self.in_line = False
        """What comes next does not begin a line."""
        self.silence: float | None = None
        """Seconds that were asked for and not kept yet."""
        self.allowance = Allowance()
        self.growth = Growth()
        self.end = 0
        """Where the last segment ended."""

    def silences(self) -> Iterator[Segment]:
        """Yield that of a last segment without words, where one is due."""
        if self.end and (silence := self.allowance.take(self.silence)) is not None:
            nothing = Traced("", (0,), (self.end,), (self.end,), (True,))
            yield Segment("", self.end, self.end, True, "", nothing, silence=silence)


class Dictation:
    """A text that is read while it is being written, piece by piece; see `Desk.dictated`."""

    def __init__(self, read: Callable[[Traced], Iterator[Segment]], state: _ReadingState) -> None:
        self._read = read
        self._state = state

    def read(self, piece: Piece) -> Iterator[Segment]:
        """Yield what is spoken of `piece`, which follows the one before."""
        if piece.new_block:
            self._state.speaker = PLAIN
        self._state.in_line = not piece.new_line
        last: Segment | None = None
        for segment in self._read(piece.source):
            if last is not None:
                yield last
            last = segment
        if last is not None:
            yield msgspec.structs.replace(last, paragraph=piece.paragraph)

    def end(self) -> Iterator[Segment]:
        """The text is over: yield the silence at its end, if it asks for one."""
        return self._state.silences()


class _Stretches:
    """What is said, one after the other, and no more of it read than is asked for."""

    def __init__(self, turns: Iterator[tuple[Manner, Traced | float]]) -> None:
        self._turns = turns
        self.head = next(turns, None)
        """What comes next."""

    def step(self) -> None:
        self.head = next(self._turns, None)

    def alike(self) -> Iterator[Traced]:
        """The blocks from here on that are said in one manner, without a silence between."""
        manner = self.head[0] if self.head else PLAIN
        while self.head is not None and self.head[0] == manner and isinstance(self.head[1], Traced):
            yield self.head[1]
            self.step()


def _document(text: str, state: _ReadingState) -> list[tuple[Manner, Traced]]:
    """What an SSML document says; all that is wrong with it is told before anything is heard."""

    def reading_of(manner: Manner) -> ReadingRules:
        return state.reading_of(manner) if state.reading_of else state.reading

    document = read_ssml(text, lambda manner: manner.language or reading_of(manner).language)
    reached = 0
    for manner, words in document.turns:
        reading_of(manner)
        state.note(Traced.of(text, reached, words.ends[-1]), words, "SSML")
        reached = words.ends[-1]
    state.note(Traced.of(text, reached), _NOTHING, "SSML")
    state.warnings += document.warnings
    return document.turns


def _speakers(source: Traced, own: Manner, state: _ReadingState) -> Iterator[tuple[Manner, Traced]]:
    """Yield the blocks of `source`, which is said in the manner `own`, by who says them."""
    reading, cast, note = state.reading, state.cast, state.note

    def left(what: Traced, why: str) -> None:
        note(what, _NOTHING, why)

    reached = source.starts[0]
    for block in blocks(source, read_code=reading.read_code) if reading.cleaning else [source]:
        start, end = block.starts[0], block.ends[-1]
        if reading.cleaning and len(source.at) == 1:
            note(source.slice(reached - source.starts[0], end - source.starts[0]), block, "thought or code")
        if source.text.count("\n", reached - source.starts[0], start - source.starts[0]) > 1:
            state.speaker = PLAIN  # a block may end by its size, too, and its speaker goes on
        reached = end
        if cast is None or own != PLAIN:
            yield own, block
            continue
        for manner, words in cast.turns(block, left, state.speaker, in_line=state.in_line):
            yield manner, words
            state.speaker = manner
        state.in_line = False


def _unnoted(before: Traced, after: Traced, why: str) -> None:
    """Nobody asks."""


def _without(text: str, tags: Sequence[str]) -> str:
    for tag in tags:
        text = text.replace(tag, " ")
    return text
