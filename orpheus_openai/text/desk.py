"""The text desk: a request's text becomes what is spoken, segment by segment."""

from collections.abc import Iterator, Sequence

from orpheus_openai.text.normalise import has_speech, paragraphs
from orpheus_openai.text.split import Segment, segments


def speakable(
    text: str, language: str, emotion_tags: Sequence[str], acted: Sequence[str] | None = None
) -> Iterator[Segment]:
    """Yield what is spoken of `text`, in order; nothing where there is nothing to say.

    `language` is the voice's, ISO 639-1. `emotion_tags` are known by name, and those that the model can act are
    `acted` (None: all): a paragraph of nothing but others is a silence. No more is read than the next segment
    needs, in time linear in that.
    """
    mute = [] if acted is None else [f"<{tag}>" for tag in emotion_tags if tag not in acted]
    spoken = (p for p in paragraphs(text, emotion_tags) if not mute or has_speech(_without(p.text, mute)))
    return segments(spoken, language)


def _without(text: str, tags: Sequence[str]) -> str:
    for tag in tags:
        text = text.replace(tag, " ")
    return text
