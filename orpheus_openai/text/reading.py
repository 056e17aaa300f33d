"""By which rules a text is read: in which language, cleaned or not, by which lexicons, its figures in words or not."""

import re
from typing import Literal

import msgspec

from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.text.clean import Note
from orpheus_openai.text.fold import fold
from orpheus_openai.text.letters import by_name
from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.normalise import spaced
from orpheus_openai.text.numbers.read import in_words
from orpheus_openai.text.trace import Traced
from orpheus_openai.text.warnings import TextWarning, Warned

FREELY_ADDED = 1_000
"""Characters that a request's own entries may add to a text, beside as many as it has. Without an end, 50 000
characters would become millions, charged as 50 000."""


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
    own: tuple[Lexicon, ...] = ()
    """Of the lexicons those that came with the request: what they add to a text has an end."""
    spelt: tuple[Lexicon, ...] = ()
    """Of the lexicons those whose phonemes the voice can speak: their words stay as they are written."""
    soundless: re.Pattern[str] | None = None
    """Finds letters that the voice has no sound for; their names are said."""
    read_code: bool = False
    """Whether code between fences is read, where there is cleaning."""


class Growth:
    """How much longer a text becomes by what its request brings."""

    def __init__(self) -> None:
        self._written = 0
        self._added = 0

    def add(self, written: int, said: int) -> None:
        """So many characters more have become so many; raises InvalidRequestError where that is too much in all."""
        self._written += written
        self._added += max(0, said - written)
        if self._added > self._written + FREELY_ADDED:
            raise InvalidRequestError(
                "What is said for its words would make the text more than twice as long. Say less for each, or send "
                "the text as it is to be said.",
                param="pronunciations",
                code="invalid_value",
            )


def by_lexicons(block: Traced, reading: ReadingRules, note: Note, growth: Growth) -> Traced:
    """As the lexicons say it, each of which finds what the one before has left or said."""
    before: list[Lexicon] = []
    for lexicon in reading.lexicons:
        before += [lexicon] if lexicon in reading.spelt else []
        said = lexicon.said(block, before)
        if lexicon in reading.own:
            growth.add(len(block.text), len(said.text))
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
