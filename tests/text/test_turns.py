"""Who says what, the silences that a text asks for, and what was changed of it and why."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.catalog import load_catalog
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.text.changes import Ledger
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.turns import LONGEST_PAUSE, MOST_SILENCE, Cast

CATALOG = load_catalog()
DESK = Desk(CATALOG.emotion_tags, CATALOG.directions)


def read(text, *, cast=(), ledger=None, **reading):
    wanted = ReadingRules(language="en", **reading)
    return list(DESK.read(text, wanted, cast=Cast(cast) if cast else None, ledger=ledger))


def said(text, **options):
    return [(s.manner.voice, s.text) for s in read(text, cast=["Anna", "Ben Ox"], **options)]


# --- speakers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Anna: Hello.\nBen Ox: Hi.", [("Anna", "Hello."), ("Ben Ox", "Hi.")]),
        ("**Anna:** Hello.\n\n- *ben  ox*: Hi.", [("Anna", "Hello."), ("Ben Ox", "Hi.")]),
        (
            "They met.\n\n> ANNA： Hello.\n\nShe left.",
            [("", "They met."), ("Anna", "Hello."), ("", "She left.")],
        ),
        ("Anna: One line\nand more of it here.", [("Anna", "One line\n\nand more of it here.")]),
        ("I told Anna: no.\nAnnabel: no.", [("", "I told Anna: no.\n\nAnnabel: no.")]),
        ("Anna: <think>\nBen Ox: no\n</think>Yes.", [("Anna", "Yes.")]),
        ("Anna:\nHello.", [("Anna", "Hello.")]),
    ],
)
def test_lines_are_spoken_by_whose_name_stands_before_them(text, expected):
    assert said(text) == expected


def test_speakers_are_told_apart_where_nothing_is_cleaned_too():
    text = "Anna: *Hello.*\nBen Ox: Hi.\n\nThey left."
    expected = [("Anna", "*Hello.*"), ("Ben Ox", "Hi."), ("", "They left.")]
    assert said(text, cleaning=False, numbers="as_is") == expected


def test_a_turn_that_is_longer_than_a_block_stays_with_its_speaker():
    text = "Anna: " + "\n".join(["This line is one of many that she says, and it ends."] * 300)
    assert {voice for voice, _ in said(text)} == {"Anna"}


def test_without_a_cast_names_are_words():
    assert [s.text for s in read("Anna: Hello.")] == ["Anna: Hello."]


# --- silences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "seconds"),
    [
        ("[pause 1.5s]", 1.5),
        ("[Pause: 200 ms]", 0.2),
        ("[pause]", 0.5),
        ("[break 2]", 2.0),
        ('<break time="750ms"/>', 0.75),
        ("<break />", 0.5),
        ("[pause 99999s]", LONGEST_PAUSE),
        ("[pause 1s] [pause 2s]", 3.0),
    ],
)
def test_a_silence_that_is_asked_for_stands_before_what_follows(mark, seconds):
    segments = read(f"Wait {mark} for it.")
    assert [(s.text, s.silence) for s in segments] == [("Wait", None), ("for it.", seconds)]


def test_a_silence_at_an_end_is_kept_and_one_alone_is_nothing_to_say():
    assert [(s.text, s.silence) for s in read("[pause 1s] So. [pause 2s]")] == [("So.", 1.0), ("", 2.0)]
    assert read("[pause 1s]") == []


def test_all_silences_together_have_an_end_and_those_that_follow_each_other_are_one():
    most = "a [pause 10s] " * round(MOST_SILENCE / 10)
    assert sum(s.silence or 0 for s in read(most)) == MOST_SILENCE
    assert read("a " + "[pause 10s] " * 4_000 + "b")[-1].silence == LONGEST_PAUSE
    assert len(read("a [pause 10s] " * 181, cleaning=False, numbers="as_is")) > 1, "they are words"
    for text in (most + "b [pause 100ms]", f"<speak>{most}b <break time='100ms'/></speak>"):
        with pytest.raises(InvalidRequestError) as refusal:
            read(text)
        assert (refusal.value.param, refusal.value.code) == ("input", "too_much_silence")


def test_silences_that_markup_hides_have_the_same_end():
    segments = read("a [pau<b></b>se 10s] " * 200)
    assert [s.silence for s in segments][-1] is None
    assert sum(s.silence or 0 for s in segments) == MOST_SILENCE


def test_what_only_looks_like_a_silence_is_spoken():
    text = "Press [pause] twice, see [break the rules], x[pause 3 apples]."
    assert [s.silence for s in read("See [break the rules], or [paused].")] == [None]
    assert read(text, cleaning=False, numbers="as_is")[0].text == text


# --- changes ----------------------------------------------------------------------------------------------


def changes(text, **options):
    ledger = Ledger()
    segments = read(text, ledger=ledger, **options)
    found, reached = [], 0
    for segment in segments:
        found += ledger.changes(text, reached, segment.trace)
        reached = segment.end
    return [(c.written, c.said, c.why) for c in found + ledger.rest(text, reached)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is so.", []),
        ("It   is\n\nso.", []),
        ("# Title", [("#", "", "markup")]),
        ("It costs $5 today.", [("$5", "five dollars", "figures and signs")]),
        ("Q &amp; A", [("&amp;", "and", "figures and signs, markup")]),
        ("Oh [laughs] no 👍.", [("[laughs]", "<laugh>", "stage direction"), ("👍", "", "emoji")]),
        ("<think>Hm.</think>Yes.", [("<think>Hm.</think>", "", "thought or code")]),
        ("One [pause 1s] two.", [("[pause 1s]", "", "pause")]),
        ("Well.\n```\nls\n```\n", [("```\nls\n```", "", "cannot be spoken")]),
        ("A\x00B", [("\x00", "", "cannot be spoken")]),
        (
            "１２ Ａ",
            [("１２", "twelve", "figures and signs, form of letters"), ("Ａ", "A", "form of letters")],
        ),
        ("See https://a.example/b now.", [("https://a.example/b", "a.example", "address")]),
    ],
)
def test_what_is_changed_is_told_with_why(text, expected):
    assert changes(text) == expected


def test_a_name_of_a_speaker_is_told_as_one():
    assert changes("Anna: Hi.\nBen: Ho.", cast=["Anna", "Ben"]) == [
        ("Anna:", "", "name of a speaker"),
        ("Ben:", "", "name of a speaker"),
    ]


PIECES = st.lists(
    st.sampled_from(
        [
            "**a**",
            "# b\n",
            "\n\n",
            " ",
            "<b>",
            "👍",
            "[laughs]",
            "$5",
            "&amp;",
            "[pause 1s]",
            "Anna: ",
            "\nAnna: ",
            *("word", ". ", "１", "<think>x</think>", "```\nx\n```\n", "[1]", "<|eot_id|>"),
        ]
    ),
    max_size=30,
).map("".join)


@given(PIECES, st.booleans())
def test_with_its_changes_made_the_text_is_what_is_spoken(text, cleaning):
    ledger = Ledger()
    segments = read(text, cast=["Anna"], ledger=ledger, cleaning=cleaning)
    found, reached = [], 0
    for segment in segments:
        found += ledger.changes(text, reached, segment.trace)
        reached = segment.end
    found += ledger.rest(text, reached)
    at, made = 0, ""
    for change in found:
        made += text[at : change.start] + change.said
        at = change.start + len(change.written)
    made += text[at:]
    assert re.sub(r"\s", "", made) == re.sub(r"\s", "", "".join(s.text for s in segments))


@given(PIECES)
def test_spans_stand_in_order_whoever_speaks(text):
    segments = read(text, cast=["Anna"])
    edges = [edge for s in segments for edge in (s.start, s.end)]
    assert all(a <= b for a, b in pairwise([0, *edges, len(text)]))
