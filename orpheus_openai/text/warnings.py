"""All that the reader of a text warns of; the page has words for each in its readers' languages."""

from enum import StrEnum
from typing import NewType

Warned = NewType("Warned", str)
"""A warning as it is told; there is no other way to one than through `TextWarning`."""


class TextWarning(StrEnum):
    """What a text asks for and does not get, or gets in another way."""

    CONTENT_IS_READ = "{what} has no effect; the text inside it is read."
    ONLY_RATE = "{what} has no effect; only its rate has."
    SAID_BY_NAME = "Letters that the voice has no sound for are said by their names."

    def about(self, what: str = "") -> Warned:
        """The warning about `what`, an element of the text's."""
        return Warned(self.format(what=what))
