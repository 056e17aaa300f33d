"""The text desk: a request's text becomes what is spoken, segment by segment."""

from collections.abc import Iterator, Sequence

from orpheus_openai.text.normalise import paragraphs
from orpheus_openai.text.split import Segment, segments


def speakable(text: str, language: str, emotion_tags: Sequence[str]) -> Iterator[Segment]:
    """Yield what is spoken of `text`, in order; nothing where there is nothing to say.

    `language` is the voice's, ISO 639-1. No more is read than the next segment needs, in time linear in that.
    """
    return segments(paragraphs(text, emotion_tags), language)
