"""What is written for the eye is not read out; what only looks like it is."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.catalog import load_catalog
from orpheus_openai.text import markdown
from orpheus_openai.text.blocks import MAX_BLOCK
from orpheus_openai.text.blocks import blocks as blocks_of
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.directions import Directions
from orpheus_openai.text.normalise import normalise, paragraphs
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.split import split
from orpheus_openai.text.trace import Traced

CATALOG = load_catalog()
DESK = Desk(CATALOG.emotion_tags, CATALOG.directions)
DIRECTIONS = Directions(CATALOG.emotion_tags, [CATALOG.directions["en"]])
CASES = tomllib.loads(Path(__file__).with_name("cleaning.toml").read_text(encoding="utf-8"))["case"]
README = Path(__file__).parents[2] / "README.md"


def spoken(text, language="en", **reading):
    """The paragraphs that are read of a text."""
    return [
        p.text
        for p in DESK.paragraphs(text, ReadingRules(language=language, **{"numbers": "as_is", **reading}))
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_what_is_read_of_a_text(case):
    assert spoken(case["text"], case.get("language", "en")) == case["spoken"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_cleaning_what_is_clean_changes_nothing(case):
    once = spoken(case["text"], case.get("language", "en"))
    assert spoken("\n\n".join(once), case.get("language", "en")) == once


WHOLE = [
    *("**a**", "# b", "[laughs]", "(sighs)", "<laugh>", "word ", "a_b", "`x`", "[t](http://a.b)", "![i](u)", "http://x.y/z"),
    *("&amp;", "&lt;b&gt;", "&#39;", "&amp;lt;", "&amp;amp;", "\\*", "\\", "<think>", "</think>", "<!-- c -->", "<br>"),
    *("|a|b|\n", "|-|-|\n", "> q", "- ", "1) ", "[1]", "~~s~~", "__u__", "```", "===", "---", "5*6", "👍", "\n\n"),
]  # fmt: skip
PARTS = [*"*_`~[]()<>&\\#|-+=! ab1.:/;é你\t\n\u200d\x07", "&#42;", "&lt;", "amp;", "<p>", "http://", "👍"]


@given(st.lists(st.sampled_from(WHOLE) | st.sampled_from(PARTS), max_size=20).map("".join) | st.text())
def test_cleaning_twice_changes_nothing(text):
    once = spoken(text)
    assert spoken("\n\n".join(once)) == once


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("AT&amp;amp;T", ["AT&T"]),
        ("don&amp;#39;t", ["don't"]),
        ("&lt;b&gt;bold&lt;/b&gt;", ["bold"]),
        (r"5 \* 6", ["5 * 6"]),
        (r"snake\_case\_name", ["snake_case_name"]),
        ("\u200b# Title", ["Title"]),
        ("👍 # Title", ["Title"]),
    ],
)
def test_what_is_spelt_with_escapes_is_read_as_what_it_shows(written, expected):
    assert spoken(written) == expected


@pytest.mark.timeout(10)
@pytest.mark.parametrize("unit", ["( ", "<", "[a](", "*a **b ", "(laughs "])
def test_many_directions_cost_nothing_at_a_bracket_that_begins_none(unit):
    """Two billion comparisons, if every one of them were tried at every bracket."""
    words = [f"{letter}{number}" for letter in "abcdefghij" for number in range(10_000)]
    directions = Directions(["laugh"], [{"laugh": ["laughs"], "left_out": words}])
    text = (unit * 20_000)[:20_000] + " (laughs) [ b77 ] "
    assert directions.acted(Traced.of(text)).text.endswith(" <laugh>   ")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("* so * laughs *", "* so <laugh>"),
        ("(so (laughs)", "(so <laugh>"),
        ("[ laughs ]", "<laugh>"),
        ("[  laughs]", "[  laughs]"),
        ("**laughs*", "**laughs*"),
        ("a*laughs*", "a*laughs*"),
        ("<Laughs />", "<laugh>"),
        ("_laughs_", "<laugh>"),
    ],
)
def test_directions_stand_in_brackets_or_stars_of_their_own(text, read):
    assert DIRECTIONS.acted(Traced.of(text)).text == read


def test_code_is_read_where_that_is_wanted():
    assert spoken("Run:\n```sh\nls -l\n```\n", read_code=True) == ["Run:", "ls -l"]


def test_a_real_readme_is_read_without_its_markup():
    read = "\n".join(spoken(README.read_text(encoding="utf-8")))
    assert len(read) > 3_000
    assert not re.search(r"\*\*|\]\(|```|^#|\|---|&\w+;|<img|https?://", read, re.MULTILINE)
    assert "OpenAI" in read


def test_a_text_without_markup_is_not_parsed(monkeypatch):
    monkeypatch.setattr(markdown, "_parser", lambda: pytest.fail("parsed"))
    assert spoken("Plain words, and more of them. 5 + 5.\n\nNew paragraph!") == [
        "Plain words, and more of them. 5 + 5.",
        "New paragraph!",
    ]


@given(
    st.text()
    | st.lists(st.sampled_from(["**a**", "# b", "\n", " ", "<b>", "👍", "[laughs]", "1.", "*"])).map("".join)
)
def test_off_means_off_byte_for_byte(text):
    read = [
        (s.text, s.paragraph)
        for s in DESK.read(text, ReadingRules(language="en", cleaning=False, numbers="as_is"))
    ]
    before = split(normalise(text, CATALOG.emotion_tags), "en")
    assert read == [(s.text, s.paragraph) for s in before]


@pytest.mark.parametrize(
    "unit",
    [
        "**a ",
        "[a](",
        "[",
        "> ",
        "`a``",
        "<!-- ",
        "<think>",
        "```\n",
        "~~~\n",
        "|a|b\n",
        "&amp;",
        "*a",
        "![[",
        "<a ",
    ],
)
@pytest.mark.timeout(20)
def test_no_text_is_parsed_in_large_pieces(monkeypatch, unit):
    longest = []
    parser = markdown._parser()
    for name in ("parse", "parseInline"):
        plain = getattr(parser, name)
        monkeypatch.setattr(parser, name, lambda text, plain=plain: longest.append(len(text)) or plain(text))
    list(DESK.read((unit * 20_000)[:20_000], ReadingRules(language="en")))
    assert max(longest, default=0) <= 2 * markdown.MAX_LINE + 100


def test_a_very_long_line_is_worked_on_in_parts_that_end_with_a_sentence():
    line = "A sentence that is neither short nor long, all in all. " * 400
    blocks = [block.text for block in DESK.blocks(line, ReadingRules(language="en"))]
    assert max(map(len, blocks)) < 2 * MAX_BLOCK
    assert all(block.rstrip().endswith("all in all.") for block in blocks)
    assert "".join(blocks).split() == line.split()


@pytest.mark.parametrize(
    "unit", ["word", "( ", "<", "[" * 50 + "a", "😀", "🇩🇪", "e\u0301", "क्षि", "a, ", "\u0301", "U.S.A. "]
)
def test_no_step_has_more_to_work_on_than_two_blocks(unit):
    line = (unit * 30_000)[:30_000]
    blocks = list(blocks_of(Traced.of(line)))
    assert max(len(block.text) for block in blocks) <= 2 * MAX_BLOCK
    assert "".join(block.text for block in blocks) == line


def test_a_line_without_sentences_is_parted_between_words():
    line = "and so it went on, " * 1_000
    blocks = [block.text for block in blocks_of(Traced.of(line))]
    assert len(blocks) > 2
    assert all(block.endswith("on,") for block in blocks[:-1])


def test_paragraphs_take_blocks_one_by_one():
    def blocks():
        yield from DESK.blocks("One.\n\nTwo.", ReadingRules(language="en"))
        pytest.fail("read on")

    found = paragraphs(blocks(), [])
    assert next(found).text == "One."


def test_a_text_waits_in_a_thread_until_the_parser_is_loaded(monkeypatch):
    markdown._parser()
    as_is = ReadingRules(language="en", numbers="as_is")
    assert DESK.ready(as_is)
    monkeypatch.setattr(markdown, "parser_is_loaded", lambda: False)
    assert not DESK.ready(as_is)
