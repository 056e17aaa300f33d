"""Captions: lines that can be read, whole words and tags, times in order, files that players take."""

import re
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orpheus_openai.speech import captions as module
from orpheus_openai.speech.captions import LINE_COLUMNS, captions, render
from orpheus_openai.speech.timed import TimedSegment, TimedWord
from orpheus_openai.text.words import words_of

TAGS = ["laugh", "sigh"]


def segment(text, at=0.0, start=0, seconds=0.3):
    """A segment whose words follow each other, `seconds` each."""
    found = words_of(text, TAGS).words
    words = tuple(
        TimedWord(
            text[w.start : w.end], at + n * seconds, at + (n + 1) * seconds, (start + w.start, start + w.end)
        )
        for n, w in enumerate(found)
    )
    return TimedSegment(text, at, at + len(found) * seconds, (start, start + len(text)), "aligned", words)


LONG = (
    "When the music stopped, everyone looked at the door. <laugh> It was only the wind, as so often in that "
    "old house, and nobody wondered any more."
)


def test_lines_are_short_and_part_no_word_and_no_tag():
    found = captions([segment(LONG)], TAGS)
    lines = [line for caption in found for line in caption.lines]
    assert all(len(line) <= LINE_COLUMNS for line in lines)
    assert all(1 <= len(caption.lines) <= 2 for caption in found)
    assert " ".join(lines) == LONG.replace("<laugh>", "[laugh]")


@given(st.text(st.sampled_from("ab, .!?<>laughsi今天你()“”—\n*1"), max_size=200))
@settings(max_examples=200, deadline=None)
def test_whatever_the_text_no_word_is_lost_or_parted(text):
    one = segment(text)
    found = captions([one], TAGS)
    shown = "\0".join(line for caption in found for line in caption.lines)
    place = 0
    for word in one.words:
        place = shown.index(word.word, place) + len(word.word)
    assert all(len(caption.lines) <= 2 for caption in found)
    starts = [caption.start for caption in found]
    assert starts == sorted(starts)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_what_a_caption_is_made_of_is_looked_at_a_few_times_however_little_it_is(monkeypatch):
    looked = []
    plain = module._columns
    monkeypatch.setattr(module, "_columns", lambda text: looked.append(len(text)) or plain(text))
    for text in ("a b " * 2_000, "\u0301 \u0301 " * 2_000, ". " * 4_000, "长" * 8_000):
        looked.clear()
        captions([segment(text)], TAGS)
        assert sum(looked) <= len(text)


def test_chinese_takes_two_columns_a_character_and_its_marks_stay_with_it():
    found = captions([segment("今天天气很好,我们去公园吧。" * 6)], TAGS)
    lines = [line for caption in found for line in caption.lines]
    assert all(len(line) <= LINE_COLUMNS // 2 + 3 for line in lines)
    assert not any(line.startswith((",", "。")) for line in lines)


def test_a_pause_and_a_long_sentences_end_begin_a_new_caption():
    first, second = segment("Well, then."), segment("Let us go.", at=5.0, start=12)
    assert [c.lines for c in captions([first, second], TAGS)] == [("Well, then.",), ("Let us go.",)]


def test_a_short_caption_stays_long_enough_to_be_read_but_not_into_the_next():
    found = captions([segment("No."), segment("Yes.", at=0.6, start=4)], TAGS)
    assert found[0].end == 0.6
    assert found[1].end == pytest.approx(1.6)


def file(caption_format):
    return render(caption_format, [segment("A < B & <laugh> C.")], text="…", duration=2.0, emotion_tags=TAGS)


def test_subrip_numbers_its_captions_and_has_commas_in_its_times():
    assert file("srt") == "1\n00:00:00,000 --> 00:00:01,000\nA < B & [laugh] C.\n"


def test_webvtt_escapes_what_is_markup_there():
    assert file("vtt") == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nA &lt; B &amp; [laugh] C.\n"


def test_json_holds_text_length_and_every_word():
    found = msgspec.json.decode(file("json"))
    assert found["duration"] == 2.0
    assert [word["word"] for word in found["segments"][0]["words"]] == ["A", "B", "C"]


def test_hours_are_told():
    late = render("srt", [segment("Late.", at=3_723.5)], text="", duration=1, emotion_tags=TAGS)
    assert re.search(r"01:02:03,500 --> 01:02:04,500", late)
