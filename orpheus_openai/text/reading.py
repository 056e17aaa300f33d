"""By which rules a text is read: in which language, cleaned or not, by which lexicons, its figures in words or not."""

from typing import Literal

import msgspec

from orpheus_openai.text.clean import Note
from orpheus_openai.text.fold import fold
from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.normalise import spaced
from orpheus_openai.text.numbers.read import in_words
from orpheus_openai.text.trace import Traced


class ReadingRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a text is to be read."""

    language: str
    """The voice's, ISO 639-1."""
    cleaning: bool = True
    """Whether Markdown, HTML, emoji and their like are left out (see `clean`)."""
    numbers: Literal["words", "as_is"] = "words"
    """Whether figures and signs are given in words (see `numbers`)."""
    lexicons: tuple[Lexicon, ...] = ()
    """How words are said, one after the other: each finds what the one before has left or said."""
    spelt: tuple[Lexicon, ...] = ()
    """Of the lexicons those whose phonemes the voice can speak: their words stay as they are written."""
    read_code: bool = False
    """Whether code between fences is read, where there is cleaning."""


def by_lexicons(block: Traced, reading: ReadingRules, note: Note) -> Traced:
    """As the lexicons say it, each of which finds what the one before has left or said."""
    before: list[Lexicon] = []
    for lexicon in reading.lexicons:
        before += [lexicon] if lexicon in reading.spelt else []
        said = lexicon.said(block, before)
        note(block, said, "lexicon")
        block = said
    return block


def worded(paragraph: Traced, reading: ReadingRules, note: Note) -> Traced:
    """Letters in their plain form, and figures and signs in words where that is wanted."""
    plain = fold(paragraph, reading.language)
    note(paragraph, plain, "form of letters")
    if reading.numbers == "as_is":
        return plain
    said = in_words(plain, reading.language)
    note(plain, said, "figures and signs")
    return spaced(said)
