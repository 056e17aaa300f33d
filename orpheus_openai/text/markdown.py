"""Markdown and HTML as they are read aloud: the words without the markup, every word traced to its place."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from orpheus_openai.text.normalise import PARAGRAPH_BREAK
from orpheus_openai.text.trace import Traced, join

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MAX_LINE = 4_000
"""Characters of one line that are worked on at once; in a longer one, markup that spans a cut stays."""

# What stands for markup, or may: without any of it a text is its own reading.
_MARKUP = re.compile(
    r"[*_`~\[\]<>&\\|]|^[ \t]*(?:#{1,6}|[-+]|\d{1,9}[.)])[ \t]|^[ \t]*(?:=+|-+)[ \t]*$", re.MULTILINE
)
_ITEM_NUMBER = re.compile(r"[\s>]*(?:[-+*]\s+)*(?P<number>\d{1,9}[.)])(?=\s)")
_CHECK_BOX = re.compile(r"\A\[[ xX]\]\s+")
_HTML = re.compile(
    r"""</?(?:
    a|abbr|address|article|aside|audio|b|bdi|bdo|big|blockquote|body|br|button|caption|center|cite|
    code|col|dd|del|details|dfn|dialog|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|
    form|h1|h2|h3|h4|h5|h6|head|header|hr|html|i|iframe|img|input|ins|kbd|label|legend|li|link|
    main|mark|meta|nav|object|ol|optgroup|option|p|picture|pre|q|rp|rt|ruby|s|samp|script|section|
    select|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|template|
    textarea|tfoot|th|thead|think|thinking|time|title|tr|track|tt|u|ul|var|video|wbr
    )(?![\w-])""",
    re.VERBOSE | re.IGNORECASE,
)
_COMPARED = re.compile(r"<[a-z]\w*\s+(?P<words>[a-z][a-z\s-]*)>", re.IGNORECASE)
_WITHOUT_VALUE = re.compile(
    r"\b(?:allowfullscreen|async|autofocus|autoplay|checked|controls|default|defer|disabled|formnovalidate|hidden|"
    r"inert|ismap|itemscope|loop|multiple|muted|nomodule|novalidate|nowrap|open|playsinline|readonly|required|"
    r"reversed|selected)\b",
    re.IGNORECASE,
)
"""HTML's attributes that are words alone (HTML Living Standard, "boolean attributes"): `a<b and c>d` has no tag."""
_ANY_NAME = re.compile(r"</?[A-Za-z]")
_BREAK = re.compile(
    r"</?(?:br|p|div|li|tr|h[1-6]|hr|ul|ol|table|section|article|blockquote|pre|d[dt])(?![\w-])",
    re.IGNORECASE,
)
_CELL_END = re.compile(r"</?t[dh](?![\w-])", re.IGNORECASE)


def plain(block: Traced) -> Traced:
    r"""`block`, lines parted by `\n`, as it is read: without marks, links by their text, tables row by row."""
    if not _MARKUP.search(block.text):
        return block
    if len(block.text) > 2 * MAX_LINE:
        return _long(block)
    kept = [line for line in _lines(block, _parser().parse(block.text)) if line.text]
    return join(PARAGRAPH_BREAK, kept) if kept else Traced.of("")


def parser_is_loaded() -> bool:
    """Whether the parser has been loaded: the first markup takes longer than other work on a text."""
    return _parser.cache_info().currsize > 0


@cache
def _parser() -> "MarkdownIt":
    from orpheus_openai.text.markdown_parser import make_markdown_parser  # noqa: PLC0415  not with the server's start

    return make_markdown_parser()


def _long(block: Traced) -> Traced:
    """A block whose lines are very long: piece by piece, for their inline markup alone."""
    parts = []
    start = 0
    while start < len(block.text):
        end = min(start + MAX_LINE, len(block.text))
        if end < len(block.text):
            end = block.text.rfind(" ", start, end) + 1 or end
        piece = block.slice(start, end)
        parts.append(_spoken(piece, _parser().parseInline(piece.text)[0].children or []))
        start = end
    return join("", [part for part in parts if part.text] or [Traced.of("")])


# --- blocks -------------------------------------------------------------------------------------------------


def _lines(block: Traced, tokens: Sequence["Token"]) -> Iterator[Traced]:
    starts = [0, *(m.end() for m in re.finditer("\n", block.text)), len(block.text) + 1]
    number: Traced | None = None
    row: list[Traced] | None = None
    cursor = 0
    for token in tokens:
        if token.type == "list_item_open":
            number = _item_number(block, starts, token) if token.info else None
        elif token.type == "tr_open":
            row, cursor = [], starts[(token.map or [0])[0]]
        elif token.type == "tr_close" and row:
            yield join(", ", row)
            row = None
        elif token.type == "inline":
            first, last = token.map or [0, len(starts) - 1]
            cursor = max(cursor, starts[first])
            content, cursor = _content(block, token.content, cursor, starts[min(last, len(starts) - 1)] - 1)
            spoken = _spoken(content, token.children or []).sub(_CHECK_BOX, "")
            if row is not None:
                row += [spoken] if spoken.text.strip() else []
            elif number is not None:
                yield join(" ", [number, spoken]) if spoken.text else number
                number = None
            else:
                yield spoken


def _item_number(block: Traced, starts: Sequence[int], token: "Token") -> Traced | None:
    start = starts[(token.map or [0])[0]]
    found = _ITEM_NUMBER.match(block.text, start)
    return block.slice(found.start("number"), found.end("number")) if found else None


def _content(block: Traced, content: str, start: int, end: int) -> tuple[Traced, int]:
    """Find the lines of an inline token, which lack what stood before them, in `block.text[start:end]`."""
    found: list[Traced] = []
    for index, line in enumerate(content.split("\n")):
        if index:
            start = block.text.find("\n", start, end) + 1 or end
        line_end = block.text.find("\n", start, end)
        line_end = end if line_end < 0 else line_end
        stem = block.text[start:line_end]
        at = len(stem.rstrip()) - len(line.rstrip())
        if at < 0 or not stem.startswith(line.rstrip(), at):
            at = stem.find(line)
        if line and at >= 0:
            found.append(block.slice(start + at, start + at + len(line)))
            start += at + len(line)
        else:  # it is told apart from how it stands there, as with tabs
            found.append(block.replaced(start, line_end, line))
    return join("\n", found), start


# --- inline -------------------------------------------------------------------------------------------------


def _spoken(content: Traced, children: Sequence["Token"], at: int = 0) -> Traced:
    """The words of inline tokens; `at`: where their source begins in `content`."""
    parts = list(_parts(content, children, at))
    return join("", parts) if parts else Traced.of("")


def _parts(content: Traced, children: Sequence["Token"], offset: int) -> Iterator[Traced]:
    reached = 0
    for token in children:
        at = max(offset + int(token.meta.get("at", 0)), reached)
        if token.type == "text" and token.content:
            at = max(
                at, content.text.find(token.content, at)
            )  # an address in brackets stands behind the first
            reached = at + len(token.content)
            yield content.slice(at, reached)
        elif token.type == "text_special":
            reached = at + len(token.markup)
            same = token.content == token.markup  # a backslash that escapes nothing
            yield content.slice(at, reached) if same else content.replaced(at, reached, token.content)
        elif token.type == "code_inline":
            inner = content.text.find(token.content, at + len(token.markup))
            if inner < 0:  # it holds a line break
                inner = at + len(token.markup)
            reached = inner + len(token.content)
            yield content.slice(inner, reached)
        elif token.type in ("softbreak", "hardbreak"):
            at = content.text.find("\n", at)
            yield content.slice(at, at + 1)
        elif token.type == "image":
            yield from _parts(content, token.children or [], at + len("!["))
        elif token.type == "html_inline":
            reached = at + len(token.content)
            yield from _html(content, at, token.content)


def _html(content: Traced, at: int, tag: str) -> Iterator[Traced]:
    end = at + len(tag)
    compared = _COMPARED.fullmatch(tag)
    if compared and not _WITHOUT_VALUE.search(compared["words"]):
        yield content.slice(at, end)
    elif _ANY_NAME.match(tag) and not _HTML.match(tag):
        yield content.slice(at, end)  # an emotion, or nothing of HTML's
    elif _BREAK.match(tag):
        yield content.replaced(at, end, "\n")
    elif _CELL_END.match(tag):
        yield content.replaced(at, end, " ")
