"""What a model may be given of a text: clean, in one form, its emotion tags kept."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from orpheus_openai.text.compose import compose
from orpheus_openai.text.trace import Edit, Traced, join

PARAGRAPH_BREAK = "\n\n"
"""What stands between paragraphs where several are one text."""

NEWLINE = re.compile(r"\r\n?|[\n\v\f\x1c-\x1e\x85\u2028\u2029]")
_NONCHARACTERS = "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
_SILENT = re.compile(
    # Soft hyphen, joiners and fillers without a shape, zero-width and bidi controls, invisible operators.
    "[\u00ad\u034f\u061c\u115f\u1160\u3164\uffa0\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    # Lone surrogates, private use, noncharacters, annotation marks, replacement characters.
    f"\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufff0-\ufffd{_NONCHARACTERS}"
    # Tags and variation selectors that no font shows, private use.
    "\U000e0000-\U000e0fff\U000f0000-\U0010fffd]+"
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# A joiner means something after a Devanagari virama, and inside an emoji.
_STRAY_JOINER = re.compile(
    "(?<![\u094d\ufe0f\u2190-\u2bff\U0001f000-\U0001faff])\u200d|(?<!\u094d)\u200c|\u200d(?![\u0900-\u097f\u2190-\u2bff\U0001f000-\U0001faff])"
)
_LONG_RUN = re.compile(r"([^\w\s]|_)\1{3,}")
# Both after white space is taken out and letters are folded.
_SPECIAL_TOKEN = re.compile(r"<(?:\|[^|]{0,64}\||custom_?token_?\d*)>")
_TAG = re.compile(r"<(?P<closing>/?)(?P<name>[^/]+)/?>")
_BRACKETED = re.compile("[<>]|[^<>]+")
_SPACES = re.compile(r"\s\s+|[^\S ]")
_SENTENCE_ENDS = frozenset(".!?:;…。！？：；।॥")
_WRAPPED_CHARS = 40
"""A line at least so long may have been broken because it was full; a shorter one was meant to end."""


def normalise(text: str, emotion_tags: Sequence[str]) -> str:
    """`text` as a model may be given it: its `paragraphs`, with a blank line between them."""
    return PARAGRAPH_BREAK.join(paragraph.text for paragraph in paragraphs([Traced.of(text)], emotion_tags))


def paragraphs(blocks: Iterable[Traced], emotion_tags: Sequence[str]) -> Iterator[Traced]:
    """Yield the paragraphs of `blocks`: what cannot be spoken is gone, what can be is unchanged.

    They are NFC, with single spaces. Characters that nobody sees or hears, and lines without anything to speak,
    are dropped; of a mark that is repeated, three are kept; a line break that only wraps a sentence is a space.
    Whatever spells a special token of the tokenizer is dropped, also where dropping one would spell another. A tag of
    `emotion_tags` (names, without brackets) gets its canonical form, `<laugh>`; all other markup stays.

    Time is linear, and no more of the text is read than the next paragraph needs.
    """
    tags = {name.casefold(): f"<{name}>" for name in emotion_tags}
    for paragraph in (paragraph for block in blocks for paragraph in _unwrapped(_lines(block))):
        folded = spaced(_resolve_markup(paragraph, tags))
        if has_speech(folded.text):
            yield folded


def _lines(block: Traced) -> Iterator[Traced]:
    """Yield the lines, clean of what cannot be spoken."""
    start = 0
    while (newline := NEWLINE.search(block.text, start)) is not None:
        yield _clean(block.slice(start, newline.start()))
        start = newline.end()
    yield _clean(block.slice(start, len(block.text)))


def visible(text: Traced) -> Traced:
    """`text` without characters that nobody sees or hears."""
    text = text.sub(_CONTROL, " ")
    return text if text.text.isascii() else text.sub(_SILENT, "").sub(_STRAY_JOINER, "")


def _clean(line: Traced) -> Traced:
    if not (line.text.isascii() and line.text.isprintable()):
        line = compose(visible(line))
    return _stripped(line.sub(_LONG_RUN, lambda m: m[1] * 3))


def spaced(text: Traced) -> Traced:
    """`text` with single spaces, and none at its ends."""
    return _stripped(text.sub(_SPACES, " "))


def _stripped(line: Traced) -> Traced:
    text = line.text.lstrip()
    start = len(line.text) - len(text)
    return line.slice(start, start + len(text.rstrip()))


def _unwrapped(lines: Iterable[Traced]) -> Iterator[Traced]:
    """Yield lines, save that a long one which goes on with a small letter in the next is one with it."""
    parts: list[Traced] = []
    for line in lines:
        last = parts[-1].text if parts else ""
        if line.text[:1].islower() and len(last) >= _WRAPPED_CHARS and last[-1] not in _SENTENCE_ENDS:
            parts.append(line)
            continue
        if last:
            yield join(" ", parts)
        parts = [line]
    if parts and parts[0].text:
        yield join(" ", parts)


def _resolve_markup(paragraph: Traced, tags: Mapping[str, str]) -> Traced:
    """Put a space for special tokens and closing emotion tags, and emotion tags in their canonical form.

    Neither holds a bracket inside, so that at every `>` the last `<` is the only one that can open it: one
    pass finds what substituting again and again until nothing changes would find.
    """
    if "<" not in paragraph.text:
        return paragraph
    pieces: list[Edit] = []
    open_at: list[int] = []
    for part in _BRACKETED.finditer(paragraph.text):
        pieces.append(Edit(*part.span(), part[0]))
        if part[0] == "<":
            open_at.append(len(pieces) - 1)
        elif part[0] == ">" and open_at:
            first = open_at.pop()
            whole = (pieces[first].start, part.end())
            markup = "".join("".join(piece.text for piece in pieces[first:]).split()).casefold()
            if _SPECIAL_TOKEN.fullmatch(markup):
                pieces[first:] = [Edit(*whole, " ")]
                continue
            open_at.clear()
            if (match := _TAG.fullmatch(markup)) and match["name"] in tags:
                pieces[first:] = [Edit(*whole, " " if match["closing"] else tags[match["name"]])]
    return paragraph.edited(p for p in pieces if p.text != paragraph.text[p.start : p.end])


_WORD = re.compile(r"[^\W_]")
_SPOKEN_MARKS = frozenset("%‰&@#§")
# Brackets and bars of markup; lines, blocks and shapes that decorate a page.
_MUTE_SYMBOLS = frozenset("<>=|~\u2800\ufffd").union(map(chr, range(0x2500, 0x2600)))


def has_speech(text: str) -> bool:
    """Whether anything in `text` is spoken: a letter, a digit, an emoji, a sign with a name such as % or €.

    An emotion tag is spelt with letters, so it counts.
    """
    return _WORD.search(text) is not None or any(_is_spoken(char) for char in set(text))


def _is_spoken(char: str) -> bool:
    if char in _SPOKEN_MARKS:
        return True
    return unicodedata.category(char) in {"Sc", "Sm", "So"} and char not in _MUTE_SYMBOLS
