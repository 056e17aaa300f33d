"""The Markdown parser, which remembers where each token began."""

from typing import Any, Literal

from markdown_it import MarkdownIt
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token


class _State(StateInline):
    """Remembers of each token where it began (`token.meta["at"]`)."""

    def pushPending(self) -> Token:  # noqa: N802  the library's name
        text = self.pending
        at = self.pos - len(text)
        while at > 0 and not self.src.startswith(text, at):  # spaces before a line break were dropped
            at -= 1
        token = super().pushPending()
        token.meta = {"at": at}
        return token

    def push(self, ttype: str, tag: str, nesting: Literal[-1, 0, 1]) -> Token:
        token = super().push(ttype, tag, nesting)
        token.meta = {"at": self.pos}
        return token

    def scanDelims(self, start: int, canSplitWord: bool) -> Any:  # noqa: N802, N803  the library's names
        found = super().scanDelims(start, canSplitWord)
        before, after = self.src[start - 1 : start], self.src[start + found.length : start + found.length + 1]
        if _within_a_word(before, after):
            return found._replace(can_open=False, can_close=False)  # 5*6*7, 2**10
        return found


def _within_a_word(before: str, after: str) -> bool:
    return before.isascii() and after.isascii() and before.isalnum() and after.isalnum()


class _Inline(ParserInline):
    def parse(self, src: str, md: MarkdownIt, env: Any, tokens: list[Token]) -> list[Token]:
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


def make_markdown_parser() -> MarkdownIt:
    """CommonMark with tables and strikethrough; what swallows text (indented code, references) is off."""
    parser = MarkdownIt("commonmark", {"linkify": False, "typographer": False})
    parser.inline = _Inline()
    parser.inline.ruler.disable(["linkify"])
    parser.inline.ruler2.disable(["fragments_join"])  # it joins tokens that know their places
    parser.core.ruler.disable(["text_join"])
    parser.block.ruler.enable(["table"])
    parser.block.ruler.disable(["code", "fence", "reference", "html_block"])
    return parser
