"""All that the reader of a text warns of; the page has words for each in its readers' languages."""

from enum import StrEnum
from typing import NewType

Warned = NewType("Warned", str)
"""A warning as it is told; there is no other way to one than through `TextWarning`."""


class TextWarning(StrEnum):
    """What a text asks for and does not get, or gets in another way."""

    CONTENT_IS_READ = "{what} is not done; what it holds is read."
    ONLY_RATE = "{what} is not done; only its rate is."
    SAID_BY_NAME = "Letters that the voice has no sound for are said by their names."

    def about(self, what: str = "") -> Warned:
        """The warning about `what`, an element of the text's."""
        return Warned(self.format(what=what))
