"""The text desk: a request's text becomes what is spoken, segment by segment."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Literal

import msgspec

from orpheus_openai.text import markdown
from orpheus_openai.text.clean import cleaned
from orpheus_openai.text.directions import Directions
from orpheus_openai.text.fold import fold
from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.normalise import has_speech, paragraphs, spaced
from orpheus_openai.text.numbers.read import in_words, ready
from orpheus_openai.text.split import Segment, segments
from orpheus_openai.text.trace import Traced

COMMON_LANGUAGE = "en"
"""Whose stage directions are understood in every language."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How a text is to be read."""

    language: str
    """The voice's, ISO 639-1."""
    cleaning: bool = True
    """Whether Markdown, HTML, emoji and their like are left out (see `clean`)."""
    numbers: Literal["words", "as_is"] = "words"
    """Whether figures and signs are given in words (see `numbers`)."""
    lexicons: tuple[Lexicon, ...] = ()
    """How words are said, one after the other: each finds what the one before has left or said."""
    read_code: bool = False
    """Whether code between fences is read, where there is cleaning."""


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

    def read(self, text: str, reading: Reading, acted: Sequence[str] | None = None) -> Iterator[Segment]:
        """Yield what is spoken of `text`, in order; nothing where there is nothing to say.

        `acted` are the emotion tags that the model can act (None: all): a paragraph of nothing but others is a
        silence. No more of the text is read than the next segment needs, in time linear in that.
        """
        mute = [] if acted is None else [f"<{tag}>" for tag in self._tags if tag not in acted]
        read = self.paragraphs(text, reading)
        spoken = (p for p in read if not mute or has_speech(_without(p.text, mute)))
        return segments(spoken, reading.language, steady=reading.cleaning)

    def ready(self, reading: Reading) -> bool:
        """Whether all that it takes has been loaded, which is done with the first text in a language."""
        if reading.cleaning and not markdown.ready():
            return False
        return reading.numbers == "as_is" or ready(reading.language)

    def paragraphs(self, text: str, reading: Reading) -> Iterator[Traced]:
        """Yield what is spoken of `text` by paragraphs, uncut."""
        found = paragraphs(self.blocks(text, reading), self._tags)
        if not reading.cleaning and reading.numbers == "as_is":
            return found
        return (p for p in (_worded(p, reading) for p in found) if has_speech(p.text))

    def blocks(self, text: str, reading: Reading) -> Iterator[Traced]:
        """Yield `text` as it is worked on, cleaned where that is wanted."""
        blocks = (
            cleaned(text, self._directions_in(reading.language), read_code=reading.read_code)
            if reading.cleaning
            else iter([Traced.of(text)])
        )
        # Before what spells a special token is dropped: an entry cannot bring one in.
        return (reduce(lambda said, lexicon: lexicon.said(said), reading.lexicons, block) for block in blocks)

    def _directions_in(self, language: str) -> Directions:
        return self._directions.get(language) or self._directions[COMMON_LANGUAGE]


def _worded(paragraph: Traced, reading: Reading) -> Traced:
    """Letters in their plain form, and figures and signs in words where that is wanted."""
    plain = fold(paragraph, reading.language)
    return spaced(in_words(plain, reading.language)) if reading.numbers == "words" else plain


def _without(text: str, tags: Sequence[str]) -> str:
    for tag in tags:
        text = text.replace(tag, " ")
    return text
