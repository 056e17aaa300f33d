"""Every part of what is spoken knows where it stood in the request's own text."""

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.catalog import load_catalog
from orpheus_openai.text.compose import MAX_MARKS, compose
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.trace import Edit, Traced, join

CATALOG = load_catalog()
DESK = Desk(CATALOG.emotion_tags, CATALOG.directions)
LANGUAGES = ["en", "fr", "de", "ko", "hi", "zh", "es", "it"]
AWKWARD = st.lists(
    st.sampled_from(
        [
            *' .?。—“"()<>\n\t\u0301\u200b\u200d\r\x85|_',
            *("a", "Word", "word " * 9, "你好", "क्षि", "e\u0301", "한", "👩‍👩‍👧", "🇩🇪", "3,141.59", "......"),
            *(". ", "Dr. ", ", ", "\n\n", "<laugh>", "</laugh>", "< LAUGH >", "<|eot_id|>", "_token_1"),
        ]
    ),
    max_size=120,
).map("".join)

MARKED_UP = st.lists(
    st.sampled_from(
        [
            *" \n*_`#>|-~[]()<\\\t",
            *(
                "a",
                "Word",
                "two words",
                "字",
                "e\u0301",
                "1.",
                "\n\n",
                "\n* ",
                "\n> ",
                "\n# ",
                "\n1. ",
                "**",
                "```\n",
                "~~~\n",
            ),
            *(
                "[a](b)",
                "![a](b)",
                "<b>",
                "</b>",
                "<br>",
                "<!--",
                "-->",
                "&amp;",
                "&lt;",
                "<think>",
                "</think>",
                "[laughs]",
            ),
            *(
                "|a|b|\n|-|-|\n|c|d|\n",
                "https://a.example/b",
                "[1]",
                "👍🏽",
                "❤️",
                "1️⃣",
                "<laugh>",
                "`a`",
                "\\*",
            ),
        ]
    ),
    max_size=60,
).map("".join)


# --- the value --------------------------------------------------------------------------------------------


def test_an_untouched_text_is_followed_character_by_character() -> None:
    traced = Traced.of("one two three", 4, 13)
    assert traced.text == "two three"
    assert traced.span(0, 3) == (4, 7)
    assert traced.span(4, 9) == (8, 13)


def test_what_was_replaced_points_at_all_that_it_stands_for() -> None:
    traced = Traced.of("it costs $100 today").edited([Edit(9, 13, "one hundred dollars")])
    assert traced.text == "it costs one hundred dollars today"
    hundred = traced.text.index("hundred")
    assert traced.span(hundred, hundred + 7) == (9, 13)
    assert traced.span(traced.text.index("today"), len(traced.text)) == (14, 19)
    assert traced.span(0, len(traced.text)) == (0, 19)


def test_a_change_of_what_was_changed_still_points_at_the_source() -> None:
    first = Traced.of("a & b").sub(re.compile("&"), "and")
    second = first.sub(re.compile("nd b"), "nd then bee")
    assert second.text == "a and then bee"
    assert second.span(2, 3) == (2, 3)
    assert second.span(2, 5) == (2, 5)
    assert second.span(second.text.index("bee"), 14) == (2, 5)


def test_what_was_left_out_belongs_to_no_span() -> None:
    traced = Traced.of("**bold** words").sub(re.compile(r"\*\*"), "")
    assert traced.text == "bold words"
    assert traced.span(0, 4) == (2, 6)
    assert traced.span(5, 10) == (9, 14)


def test_joined_parts_keep_their_places_and_the_separator_stands_for_what_lay_between() -> None:
    source = "one\n\n\ntwo"
    traced = join(" ", [Traced.of(source, 0, 3), Traced.of(source, 6, 9)])
    assert traced.text == "one two"
    assert traced.span(4, 7) == (6, 9)
    assert traced.span(3, 4) == (3, 6)


@st.composite
def edited(draw: st.DrawFn) -> Traced:
    text = draw(st.text("abcdef ", min_size=1, max_size=40))
    traced = Traced.of(text)
    for _ in range(draw(st.integers(0, 4))):
        edits = []
        at = 0
        while at < len(traced.text) and draw(st.booleans()):
            start = draw(st.integers(at, len(traced.text)))
            at = draw(st.integers(start, len(traced.text)))
            edits.append(Edit(start, at, draw(st.text("XYZ", max_size=6))))
        traced = traced.edited(edits)
    return traced


@given(edited())
def test_spans_never_run_backwards_and_what_was_kept_is_found_where_it_stood(traced: Traced) -> None:
    spans = [traced.span(n, n + 1) for n in range(len(traced.text))]
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(spans))
    assert all(start <= end for start, end in spans)


@given(st.text("abcdef", min_size=1), st.data())
def test_characters_that_were_never_changed_are_their_own_source(text: str, data: st.DataObject) -> None:
    traced = Traced.of(text)
    for letter in data.draw(st.lists(st.sampled_from("abcdef"), max_size=4)):
        traced = traced.sub(re.compile(letter), data.draw(st.sampled_from(["", "X", "YYY"])))
    for n, char in enumerate(traced.text):
        if char.islower():
            start, end = traced.span(n, n + 1)
            assert text[start:end] == char


# --- composing --------------------------------------------------------------------------------------------


@given(st.text() | st.text("aeךּ한ㅏ각\u1100\u1161\u11a8\u0301\u0316\u0345\u05bc\u093c\u0bbe\u0bc6Ωﬀ"))
def test_composing_is_unicodes_own_nfc_where_marks_are_not_piled_up(text: str) -> None:
    if not re.search(r"[\u0300-\u0345\u05bc]{30}", text):
        assert compose(Traced.of(text)).text == unicodedata.normalize("NFC", text)


def test_all_pairs_that_unicode_composes_are_composed() -> None:
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = "x" + "".join(chr(int(part, 16)) for part in parts)
            assert compose(Traced.of(pair)).text == unicodedata.normalize("NFC", pair)


@pytest.mark.parametrize("marks", ["\u0301", "\u0301\u0316", "\u0345\u05bc", "\u093c"])
def test_no_character_carries_more_marks_than_stream_safe_text_may(marks: str) -> None:
    composed = compose(Traced.of("a" + marks * 1_000 + "b")).text
    assert composed.endswith("b")
    assert MAX_MARKS - 1 <= len(composed) - 2 <= MAX_MARKS


# --- the whole way ----------------------------------------------------------------------------------------


@given(AWKWARD | MARKED_UP | st.text(), st.sampled_from(LANGUAGES), st.booleans())
def test_the_spans_of_all_segments_with_what_lies_between_are_the_requests_text(
    text: str, language: str, cleaning: bool
) -> None:
    segments = list(DESK.read(text, ReadingRules(language=language, cleaning=cleaning)))
    edges = [0, *(edge for s in segments for edge in (s.start, s.end)), len(text)]
    assert edges == sorted(edges)
    assert "".join(text[a:b] for a, b in pairwise(edges)) == text


@given(AWKWARD | MARKED_UP, st.sampled_from(LANGUAGES), st.booleans())
def test_every_word_of_a_segment_is_found_at_its_place_in_the_requests_text(
    text: str, language: str, cleaning: bool
) -> None:
    for segment in DESK.read(text, ReadingRules(language=language, cleaning=cleaning, numbers="as_is")):
        for word in re.finditer(r"\w+", segment.text):
            start, end = segment.trace.span(*word.span())
            assert segment.start <= start <= end <= segment.end
            if not re.search(r"laugh|amp|lt|example", word[0]):
                source = iter(unicodedata.normalize("NFC", text[start:end]))
                assert all(char in source for char in word[0])  # markup may stand between them


def test_a_segment_tells_its_place_in_the_callers_words() -> None:
    text = "  <think>\u200b Cafe\u0301 is\nnice!!!!!!!  \n***\n < LAUGH >  Yes."
    first, second = list(DESK.read(text, ReadingRules(language="en", cleaning=False, numbers="as_is")))[-2:]
    assert first.text == "nice!!!"
    assert text[first.start : first.end] == "nice!!!!!!!"
    assert second.text == "<laugh> Yes."
    assert text[second.start : second.end] == "< LAUGH >  Yes."
