"""By which rules a text is read: in which language, cleaned or not, by which lexicons, its figures in words or not."""

import re
from typing import Literal

import msgspec

from orpheus_openai.text.clean import Note
from orpheus_openai.text.fold import fold
from orpheus_openai.text.letters import by_name
from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.normalise import spaced
from orpheus_openai.text.numbers.read import in_words
from orpheus_openai.text.trace import Traced
from orpheus_openai.text.warnings import TextWarning, Warned


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
    soundless: re.Pattern[str] | None = None
    """Finds letters that the voice has no sound for; their names are said."""
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


def worded(paragraph: Traced, reading: ReadingRules, note: Note, warnings: list[Warned]) -> Traced:
    """Letters as the voice can say them, and figures and signs in words where that is wanted.

    A text that shall stay as it stands keeps all but letters without a sound.
    """
    words = reading.numbers == "words"
    plain = fold(paragraph, reading.language) if words or reading.cleaning else paragraph
    note(paragraph, plain, "form of letters")
    sounding = plain if reading.soundless is None else by_name(plain, reading.soundless)
    if sounding is not plain:
        note(plain, sounding, "name of a letter")
        warned = TextWarning.SAID_BY_NAME.about()
        warnings += [] if warned in warnings else [warned]
    if not words:
        return sounding
    said = in_words(sounding, reading.language)
    note(sounding, said, "figures and signs")
    return spaced(said)
