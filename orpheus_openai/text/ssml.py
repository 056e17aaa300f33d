"""SSML: the part of it that people use, read into turns; every word traced to its place in the document."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from xml.parsers import expat

import msgspec

from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.text.numbers.said_as import GAP, KINDS, said_as
from orpheus_openai.text.trace import Traced, join
from orpheus_openai.text.turns import PLAIN, Manner
from orpheus_openai.text.warnings import TextWarning, Warned

MAX_DEPTH = 50
"""Elements inside each other."""
SLOWEST, FASTEST = 0.25, 4.0
"""Times the speed of the whole."""
_MAX_WARNINGS = 20
_SHOWN = 40
"""Characters of a name that a warning tells."""

_DOCUMENT = re.compile(r"\s*(?:<\?xml[^<>]{0,200}\?>\s*)?<speak(?=[\s/>])")
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.75}
_NUMBER = re.compile(r"\s*([+-]?)(\d{1,4}(?:\.\d{1,4})?)(%?)\s*\Z")
_BREAKS = {
    "none": "0s",
    "x-weak": "100ms",
    "weak": "200ms",
    "medium": "400ms",
    "strong": "700ms",
    "x-strong": "1200ms",
}
_LENGTH = re.compile(r"\s*\+?(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})\s*(m?s)\s*\Z")
_KNOWN = frozenset({"speak", "p", "s", "break", "sub", "say-as", "lang", "prosody", "voice"})


class Document(msgspec.Struct, frozen=True):
    """What an SSML document says."""

    turns: list[tuple[Manner, Traced]]
    warnings: list[Warned]
    """What it asks for and is not done."""


def is_ssml(text: str) -> bool:
    """Whether `text` is meant as a document: it begins with <speak>."""
    return _DOCUMENT.match(text) is not None


def read_ssml(text: str, language_of: Callable[[Manner], str] = lambda _: "en") -> Document:
    """Read a document: break, p, s, sub, say-as, lang, prosody's rate and voice; other elements are read through.

    `language_of` tells, by ISO 639-1, what is spoken in a manner, for what say-as puts in words.
    A break becomes `[pause 500ms]`. There are no entities but XML's own five, and nothing is fetched. Raises
    InvalidRequestError, with line and column, for what is not well-formed, has a DOCTYPE, or is nested too deeply.
    """
    return _DocumentReader(text, language_of).document()


class _Open(NamedTuple):
    """An element that is open."""

    name: str
    manner: Manner
    said_as: tuple[str, str] = ("", "")
    """What kind of thing it holds, and in which form."""
    alias: str | None = None


class _DocumentReader:
    def __init__(self, text: str, language_of: Callable[[Manner], str]) -> None:
        self._text = text
        self._language_of = language_of
        self._bytes = text.encode("utf-8", "replace")
        self._place = (0, 0)
        """Of the last event, in bytes and in characters."""
        self._open: list[_Open] = []
        self._data: tuple[int, str] | None = None
        """Where characters began that may go on, and what they are."""
        self._parts: list[tuple[Manner, Traced]] = []
        self._warnings: dict[Warned, None] = {}
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = False
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        for other in ("CommentHandler", "ProcessingInstructionHandler", "StartCdataSectionHandler"):
            setattr(parser, other, lambda *_: self._flush())
        parser.EndCdataSectionHandler = self._flush
        self._parser = parser

    def document(self) -> Document:
        try:
            self._parser.Parse(self._bytes, True)
        except expat.ExpatError as error:
            raise self._refusal(expat.ErrorString(error.code), error.lineno, error.offset) from error
        return Document(list(_together(self._parts)), list(self._warnings))

    # --- what expat finds -----------------------------------------------------------------------------------

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._flush()
        if len(self._open) >= MAX_DEPTH:
            raise self._here(f"more than {MAX_DEPTH} elements inside each other")
        name = name.rpartition(":")[2]
        alias = attributes.get("alias") if name == "sub" else None
        kind = self._open[-1].said_as if self._open else ("", "")
        if name == "say-as":
            kind = self._said_as(attributes)
        elif name not in _KNOWN:
            self._warn(TextWarning.CONTENT_IS_READ, f"<{name[:_SHOWN]}>")
        self._put(self._mark(name, attributes) or alias or "")
        self._open.append(_Open(name, self._manner(name, attributes), kind, alias))

    def _mark(self, name: str, attributes: Mapping[str, str]) -> str:
        """What an element says where it begins."""
        if name == "break":
            return f"[pause {self._silence(attributes)}]"
        return "\n\n" if name in ("p", "s") else ""

    def _manner(self, name: str, attributes: Mapping[str, str]) -> Manner:
        """How it is said what an element holds."""
        manner = self._open[-1].manner if self._open else PLAIN
        if name == "voice" and (voice := attributes.get("name", "").strip()):
            manner = msgspec.structs.replace(manner, voice=voice)
        elif name == "prosody":
            manner = msgspec.structs.replace(manner, rate=self._rate(attributes, manner.rate))
        language = attributes.get("xml:lang", "").partition("-")[0].lower()
        if language and name != "speak":  # the whole document's is the voice's
            manner = msgspec.structs.replace(manner, language=language)
        return manner

    def _end(self, _name: str) -> None:
        self._flush()
        closed = self._open.pop()
        if closed.name in ("p", "s"):
            self._put("\n\n", closed.manner)

    def _characters(self, data: str) -> None:
        at = self._at()
        if self._data is not None:
            self._flush(at)
        self._data = (at, data)

    def _doctype(self, *_: object) -> None:
        raise self._here("a DOCTYPE is not taken")

    # --- where it is ----------------------------------------------------------------------------------------

    def _at(self) -> int:
        """Where the event begins in the text, in characters."""
        byte = self._parser.CurrentByteIndex
        before, chars = self._place
        self._place = (byte, chars + len(self._bytes[before:byte].decode("utf-8", "ignore")))
        return self._place[1]

    def _here(self, what: str) -> InvalidRequestError:
        return self._refusal(what, self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber)

    def _refusal(self, what: str, line: int, column: int) -> InvalidRequestError:
        return InvalidRequestError(
            f"The SSML cannot be read at line {line}, column {column + 1}: {what}. "
            "To have it spoken as it stands, do not begin it with <speak>.",
            param="input",
            code="invalid_ssml",
        )

    # --- what is said ---------------------------------------------------------------------------------------

    def _flush(self, end: int | None = None) -> None:
        """What was found as characters is said, in the form that its elements ask for."""
        if self._data is None:
            return
        start, data = self._data
        end = self._at() if end is None else end
        self._data = None
        if any(element.alias for element in self._open):
            return
        here = self._open[-1]
        whole = Traced.of(self._text, start, end)
        if whole.text != data:  # an entity, or a line break of two characters
            whole = whole.replaced(0, end - start, data)
        kind, form = here.said_as
        if kind and data.strip():
            said = said_as(data, kind, self._language_of(here.manner), form)
            whole = whole if said is None else self._in_place(whole, said)
        self._parts.append((here.manner, whole))

    def _put(self, text: str, manner: Manner | None = None) -> None:
        """Say `text` in the place of the mark that stands here."""
        if not text:
            return
        at = self._at()
        manner = manner or (self._open[-1].manner if self._open else PLAIN)
        self._parts.append((manner, Traced(text, (0,), (at,), (at,), (False,))))

    def _said_as(self, attributes: Mapping[str, str]) -> tuple[str, str]:
        kind = attributes.get("interpret-as", "").strip().lower()
        if kind not in KINDS:
            self._warn(TextWarning.CONTENT_IS_READ, f'<say-as interpret-as="{kind[:_SHOWN]}">')
            return ("", "")
        return kind, attributes.get("format", "")

    def _in_place(self, whole: Traced, said: str) -> Traced:
        """`said` for `whole`, its letters at their places where they are only set apart."""
        apart = whole.sub(GAP, " ")
        return apart if apart.text == said else whole.replaced(0, len(whole.text), said)

    def _silence(self, attributes: Mapping[str, str]) -> str:
        if (time := attributes.get("time")) is None:
            return _BREAKS.get(attributes.get("strength", "medium"), _BREAKS["medium"])
        if (found := _LENGTH.match(time)) is None:
            raise self._here(f'a break of "{time[:40]}"; write time="500ms" or "0.5s"')
        return found[1] + found[2]

    def _rate(self, attributes: Mapping[str, str], now: float) -> float:
        for name in attributes.keys() - {"rate", "xml:lang"}:
            self._warn(TextWarning.ONLY_RATE, f"<prosody {name[:_SHOWN]}>")
        rate = attributes.get("rate", "medium").strip().lower()
        factor = _RATES.get(rate)
        if factor is None:
            if (found := _NUMBER.match(rate)) is None:
                raise self._here(f'a rate of "{rate[:40]}"; write slow, fast, or a percentage such as 90%')
            value = float(found[2]) / (100 if found[3] else 1)
            factor = value if not found[1] else 1 + (value if found[1] == "+" else -value)
        return min(FASTEST, max(SLOWEST, now * factor))

    def _warn(self, warning: TextWarning, what: str) -> None:
        if len(self._warnings) < _MAX_WARNINGS:
            self._warnings[warning.about(what)] = None


def _together(parts: list[tuple[Manner, Traced]]) -> Iterator[tuple[Manner, Traced]]:
    """Yield neighbours of one manner as one."""
    run: list[Traced] = []
    manner = PLAIN
    for own, part in parts:
        if own != manner and run:
            yield manner, join("", run)
            run = []
        manner = own
        run += [part] if part.text else []
    if run:
        yield manner, join("", run)
