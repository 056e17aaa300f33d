"""What a model may be given of a text: clean, in one form, its emotion tags kept."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

_NEWLINE = re.compile(r"\r\n?|[\n\v\f\x1c-\x1e\x85\u2028\u2029]")
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
_SENTENCE_ENDS = frozenset(".!?:;…。！？：；।॥")
_WRAPPED_CHARS = 40
"""A line at least so long may have been broken because it was full; a shorter one was meant to end."""


def normalise(text: str, emotion_tags: Sequence[str]) -> str:
    """`text` as a model may be given it: what cannot be spoken is gone, what can be is unchanged.

    The result is NFC, with single spaces and one blank line between paragraphs. Characters that nobody sees
    or hears, and lines without anything to speak, are dropped; of a mark that is repeated, three are kept; a
    line break that only wraps a sentence is a space. Whatever spells a special token of the tokenizer is
    dropped, also where dropping one would spell another. A tag of `emotion_tags` (names, without brackets)
    gets its canonical form, `<laugh>`; all other markup stays.
    """
    text = _CONTROL.sub(" ", _SILENT.sub("", _NEWLINE.sub("\n", text)))
    text = _STRAY_JOINER.sub("", text)
    text = _LONG_RUN.sub(r"\1\1\1", unicodedata.normalize("NFC", text))
    paragraphs = (" ".join(_resolve_markup(p, emotion_tags).split()) for p in _paragraphs(text) if p)
    return "\n\n".join(p for p in paragraphs if has_speech(p))


def _resolve_markup(text: str, emotion_tags: Sequence[str]) -> str:
    """Put a space for special tokens and closing emotion tags, and emotion tags in their canonical form.

    Neither holds a bracket inside, so that at every `>` the last `<` is the only one that can open it: one
    pass finds what substituting again and again until nothing changes would find.
    """
    tags = {name.casefold(): f"<{name}>" for name in emotion_tags}
    pieces: list[str] = []
    open_at: list[int] = []
    for part in re.split("([<>])", text):
        pieces.append(part)
        if part == "<":
            open_at.append(len(pieces) - 1)
        elif part == ">" and open_at:
            start = open_at.pop()
            markup = "".join("".join(pieces[start:]).split()).casefold()
            if _SPECIAL_TOKEN.fullmatch(markup):
                pieces[start:] = [" "]
                continue
            open_at.clear()
            if (match := _TAG.fullmatch(markup)) and match["name"] in tags:
                pieces[start:] = [" " if match["closing"] else tags[match["name"]]]
    return "".join(pieces)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield lines, save that a long one which goes on with a small letter in the next is one with it."""
    lines: list[str] = []
    for line in map(str.strip, text.split("\n")):
        last = lines[-1] if lines else ""
        if line and line[0].islower() and len(last) >= _WRAPPED_CHARS and last[-1] not in _SENTENCE_ENDS:
            lines.append(line)
        else:
            yield " ".join(lines)
            lines = [line]
    yield " ".join(lines)


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
