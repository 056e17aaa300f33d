"""A text that is still being written, cut into pieces that can be spoken before the next is there."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

import msgspec

from orpheus_openai.text.cuts import cut_between_words
from orpheus_openai.text.marks import CLOSERS
from orpheus_openai.text.normalise import has_speech
from orpheus_openai.text.sentences import Sentences
from orpheus_openai.text.split import MAX_CHARS
from orpheus_openai.text.ssml import is_ssml
from orpheus_openai.text.trace import Traced

FIRST_CLAUSE = 18
"""Letters from which the first piece may end with a clause: fewer sound cut off."""
WIDE_LETTERS = 3
"""Letters that a Chinese character or a Korean syllable counts as."""

WITHOUT_END = 400
"""Characters after which a piece ends though no sentence does, as they would be spoken in parts anyway."""
WITHIN_MARKUP = 3 * WITHOUT_END
"""The same where something was opened, such as a bracket or bold type, and not closed yet."""
LONGEST_TAG = 48

Clauses = Literal["first", "all", "none"]
"""Which pieces may end with a clause and not only with a sentence."""


class Piece(msgspec.Struct, frozen=True):
    """A part of the text that can be read as it stands."""

    source: Traced
    """Its characters, and where they stand in the whole text."""
    new_line: bool = False
    """It begins a line, or the text."""
    new_block: bool = False
    """A blank line stands before it, or nothing."""
    paragraph: bool = False
    """A line ends with it."""

    @property
    def start(self) -> int:
        """Where it begins in the whole text."""
        return self.source.starts[0]

    @property
    def end(self) -> int:
        """Where it ends there."""
        return self.source.ends[-1]


_NEWLINE = r"(?:\r\n|[\n\v\f\x1c-\x1e\x85\u2028\u2029]|\r(?!\n))"
_CLOSERS = f"[{re.escape(CLOSERS)}*_~]*"
_MARK = re.compile(
    rf"(?P<thought><(?P<kind>think|thinking)>)"
    rf"|(?:^|(?<=[\n\r]))[ \t>]*(?P<fence>`{{3,}}|~{{3,}})"
    rf"|(?P<blank>{_NEWLINE}[ \t>]*{_NEWLINE})"
    # No run of marks is gone through from its middle, or backwards: one of 40 000 dots would take minutes.
    rf"|(?P<sentence>(?<![.!?…])[.!?…]++{_CLOSERS}+(?:\[\^?\d{{1,3}}\])*+(?=\s)|[。！？।॥…]+{_CLOSERS})"
    rf"|(?P<clause>[,;—]{_CLOSERS}(?=\s)|[、，；：]{_CLOSERS})"
    rf"|(?P<line>{_NEWLINE})",
    re.IGNORECASE,
)
_UNSEEN = frozenset(
    " \t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029>`~.!?…。！？।॥,;—、，；：\"'”’»›)]」』》〉）】*_[^0123456789"
)
"""What a mark may begin with, or go on with: it is looked at again when more has come."""
_LONGEST_MARK = len("<thinking>")
_FULL_STOP = re.compile(r"\.(?![.!?…])")
_WIDE_ENDS = frozenset("。！？।॥")
_ENDED = re.compile(rf"(?:[.!?…]|[。！？।॥])+{_CLOSERS}\Z")
_CLAUSE_ENDED = re.compile(rf"[,;—、，；：]{_CLOSERS}(?=\s|\Z)|[。！？।॥]")
_OPEN_TAG = re.compile(rf"<[/!?A-Za-z][^<>]{{0,{LONGEST_TAG}}}\Z")
_STARS = re.compile(r"(?<!\s)\*+|\*+(?!\s)")
_BARS = re.compile(r"(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)")
_OPENERS, _CLOSING = "([{（【", ")]}）】"


class Pieces:
    """Cuts one text, however it comes in: where a piece ends follows from the text alone.

    A piece ends with a sentence, the first one also with a clause, once so much of what follows is there that it can
    be nothing else: never in a tag, a number or an abbreviation, nor in what Markdown has opened. Thoughts and code are
    kept back until they are over. `flush` and `pause` cut where the sender says so, or falls silent.
    """

    def __init__(
        self, language: str, *, cleaning: bool = True, read_code: bool = False, clauses: Clauses = "first"
    ) -> None:
        """`language` is ISO 639-1; `cleaning` and `read_code` as in `reading.ReadingRules`."""
        self._sentences = Sentences(language)
        self._cleaning = cleaning
        self._read_code = read_code
        self._clauses = clauses
        self._text = ""
        self._offset = 0
        """Where `_text` begins in the whole text."""
        self._newlines = 2
        """Between `_text` and the piece before."""
        self._first = True
        self._seen = 0
        self._held: tuple[int, str] | None = None
        """Where a thought or code begins that is not over, and how it closes."""
        self._never_closed: set[str] = set()
        self._limit = WITHOUT_END

    def feed(self, text: str) -> list[Piece]:
        """More of the text; returns the pieces that it completes."""
        pieces: list[Piece] = []
        # By little: of all that is there each piece would look through the rest anew.
        for start in range(0, len(text), WITHOUT_END):
            self._text += text[start : start + WITHOUT_END]
            pieces += self._complete()
        return pieces

    def flush(self) -> list[Piece]:
        """Nothing that belongs to it follows soon: all there is, but a thought, code or tag that is not closed."""
        kept = len(self._text) if self._held is None else self._held[0]
        if self._is_document():
            return []
        if self._held is None and (tag := _OPEN_TAG.search(self._text)):
            kept = tag.start()
        return list(self._give(kept, kept)) if has_speech(self._text[:kept]) else []

    def pause(self) -> list[Piece]:
        """Nothing has come for a while: what can stand alone."""
        if self._held is not None or self._is_document():
            return []
        text = self._text.rstrip()
        if self._stands_alone(text):
            return list(self._give(len(text), len(text)))
        ends = [m.end() for m in _CLAUSE_ENDED.finditer(text)]
        fit = [end for end in ends if _is_long(text[:end], text[end : end + 1]) and not _is_open(text[:end])]
        return list(self._give(fit[-1], fit[-1])) if fit else []

    def end(self) -> list[Piece]:
        """The text is over: the rest."""
        pieces = list(self._complete(over=True))
        if has_speech(self._text):
            pieces += self._give(len(self._text), len(self._text), paragraph=True)
        return pieces

    def _complete(self, *, over: bool = False) -> Iterator[Piece]:
        while (end := self._next_end(over=over)) is not None:
            yield from self._give(*end)

    def _next_end(self, *, over: bool) -> tuple[int, int] | None:
        """Where the first piece of what is there ends and what follows it begins, if that is known."""
        self._strip()
        if (not over and self._is_document()) or (self._held is not None and not self._release(over=over)):
            return None
        while (mark := _MARK.search(self._text, self._seen)) is not None:
            passed_over = bool(mark["thought"] or mark["fence"])
            if passed_over and not self._skip(mark, over=over):
                return None
            if self._seen <= mark.end() > self._limit + LONGEST_TAG * passed_over:
                if (cut := self._forced()) is not None:
                    return cut
            elif not passed_over:
                after = _skip_space(self._text, mark.end())
                if not _is_known(self._text, after, over=over):
                    self._seen = mark.start()
                    return None
                if self._ends(mark, after):
                    return mark.start() if mark["blank"] or mark["line"] else mark.end(), after
                self._seen = mark.end()
        return self._endless()

    def _endless(self) -> tuple[int, int] | None:
        """An end for what has no mark any more, if it is too long."""
        while len(self._text) > self._limit + LONGEST_TAG:
            if (cut := self._forced()) is not None:
                return cut
        self._seen = max(self._seen, self._unseen_from())
        return None

    def _unseen_from(self) -> int:
        """From where on a mark may yet begin, with what comes."""
        text = self._text
        end = len(text)
        while end > self._seen and text[end - 1] in _UNSEEN:
            end -= 1
        opened = text.rfind("<", max(self._seen, len(text) - _LONGEST_MARK))
        return end if opened < 0 else min(end, opened)

    def _strip(self) -> None:
        """Leave out white space in front, and count its lines."""
        if (
            self._offset == 0
            and self._text[:1].isspace()
            and not self._text.isspace()
            and self._is_document()
        ):
            return
        start = _skip_space(self._text, 0)
        if start:
            self._newlines += _newlines(self._text[:start])
            self._drop(start)

    def _drop(self, characters: int) -> None:
        self._text = self._text[characters:]
        self._offset += characters
        self._seen = max(0, self._seen - characters)
        if self._held is not None:
            self._held = (self._held[0] - characters, self._held[1])

    def _is_document(self) -> bool:
        """Whether it is SSML, which can be read as a whole only."""
        return (
            self._cleaning
            and self._offset == 0
            and (is_ssml(self._text) or self._text[:99].lstrip().startswith("<?xml"))
        )

    # --- thoughts and code, which are left out -------------------------------------------------------------

    def _skip(self, mark: re.Match[str], *, over: bool) -> bool:
        """Go on behind what is not heard, or where it is never closed behind its mark; False: its end has not come."""
        if self._cleaning and not self._hold(mark, over=over):
            return False
        self._seen = max(self._seen, mark.end())
        return True

    def _hold(self, mark: re.Match[str], *, over: bool) -> bool:
        """Skip what is not heard; False: its end has not come yet."""
        if mark["thought"]:
            closing = f"(?i:</{mark['kind']}>)"
        elif self._read_code:
            return True
        else:
            closing = rf"(?m:^[ \t>]*{re.escape(mark['fence'][:3])}+[`~]*[ \t]*$)"
        if closing in self._never_closed:
            return True
        self._held = (mark.start(), closing)
        self._seen = mark.end()
        return self._release(over=over)

    def _release(self, *, over: bool) -> bool:
        assert self._held is not None  # noqa: S101  its callers have seen to it
        begun, closing = self._held
        is_code = closing.endswith("$)")
        whole = closing + (r"(?:\n|\Z)" if over else r"\n") if is_code else closing
        if (found := re.compile(whole).search(self._text, self._seen)) is None:
            if not over:
                looked = self._text.rfind("\n") + 1 if is_code else len(self._text) - _LONGEST_MARK - 1
                self._seen = max(self._seen, looked)
                return False
            self._never_closed.add(closing)
            self._held = None
            return True
        self._limit += found.end() - begun
        self._seen = found.end()
        self._held = None
        return True

    # --- where a piece ends --------------------------------------------------------------------------------

    def _ends(self, mark: re.Match[str], after: int) -> bool:
        text, end = self._text, mark.end()
        if not has_speech(text[: mark.end()]):
            return False
        if mark["blank"]:
            return True
        lines = _newlines(text[mark.start() : after])
        kind = "clause" if mark["clause"] else "wide" if text[mark.start()] in _WIDE_ENDS else ""
        if _goes_on(text, after, lines=lines, kind=kind) or _is_open(text[:end]):
            return False
        if mark["line"]:
            return "|" not in text[text.rfind("\n", 0, mark.start()) + 1 : mark.start()]
        if mark["clause"]:
            return self._is_clause(text[:end], after)
        return mark["sentence"].rstrip("\"'”’»›)]」』》〉）】*_~") != "." or self._sentences.end(
            text, end, after
        )

    def _is_clause(self, text: str, after: int) -> bool:
        """Whether `text` may be spoken though its sentence goes on at `after`."""
        if self._clauses == "none" or (self._clauses == "first" and not self._first):
            return False
        return _is_long(text, self._text[after : after + 1])

    def _stands_alone(self, text: str) -> bool:
        ended = _ENDED.search(text)
        if ended is None or not has_speech(text) or _is_open(text):
            return False
        if text[ended.start()] != "." or ended.end() - ended.start() > 1:
            return True
        return not text[: ended.start()][-1:].isdigit() and self._sentences.end(
            f"{text} A", len(text), len(text) + 1
        )

    def _forced(self) -> tuple[int, int] | None:
        """An end for what has none of its own up to its limit; None: it has another one."""
        if self._limit < WITHIN_MARKUP and _is_open(self._text[: self._limit]):
            self._limit += WITHIN_MARKUP - WITHOUT_END
            return None
        cut = cut_between_words(self._text, self._limit, MAX_CHARS)
        return cut, _skip_space(self._text, cut)

    def _give(self, end: int, after: int, *, paragraph: bool | None = None) -> Iterator[Piece]:
        text, start = self._text[:end].rstrip(), self._offset
        lines = _newlines(self._text[len(text) : after])
        piece = Piece(
            Traced(text, (0,), (start,), (start + len(text),), (True,)),
            new_line=self._newlines > 0,
            new_block=self._newlines > 1,
            paragraph=lines > 0 if paragraph is None else paragraph,
        )
        self._newlines = lines
        self._drop(after)
        self._seen, self._limit, self._first = 0, WITHOUT_END, False
        if text:
            yield piece


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _newlines(space: str) -> int:
    return len(re.findall(_NEWLINE, space))


def _is_known(text: str, after: int, *, over: bool) -> bool:
    """Whether as much is there from `after` on as `_goes_on` looks at."""
    if over:
        return after < len(text)
    wanted = 3 if text[after : after + 1] in {"-", "_", "*"} else 2 if text[after : after + 1] == "[" else 1
    return len(text) - after >= wanted


def _goes_on(text: str, after: int, *, lines: int, kind: str) -> bool:
    """Whether what stands at `after` belongs to what stands before, or would mean something else at a start."""
    char, pair = text[after], text[after : after + 2]
    if (char.islower() and kind != "clause") or char in "=|:;,.!?%":
        return True
    if lines:
        return pair in {"--", "__", "**"} and text[after : after + 3] in {"---", "___", "***"}
    if char == "[":
        return not pair[1:].isalpha()
    if char in "*_":
        return not pair[1:] or pair[1:].isspace()
    return (char.isdigit() and kind != "wide") or char in "-+#>~`&/\\"


def _is_open(text: str) -> bool:
    """Whether something in `text` waits for its end: a tag, a bracket, code, emphasis."""
    if "<" in text and _OPEN_TAG.search(text):
        return True
    if "`" in text and len(re.findall("`+", text)) % 2:
        return True
    if ("*" in text and len(_STARS.findall(text)) % 2) or ("_" in text and len(_BARS.findall(text)) % 2):
        return True
    opened = sum(map(text.count, _OPENERS))
    return bool(opened) and opened > sum(map(text.count, _CLOSING))


def _is_long(clause: str, following: str) -> bool:
    """Whether `clause` does not sound cut off, nor is a number's part."""
    return _weight(clause) >= FIRST_CLAUSE and not any(c.isdigit() for c in clause[-2:] + following)


def _weight(text: str) -> int:
    """About how many letters of an alphabet `text` is as long as."""
    if text.isascii():
        return len(text)
    return sum(WIDE_LETTERS if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
