"""Characters and their times: together they are the text, in order, and each sounds within its word."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orpheus_eleven.alignment import Characters
from orpheus_openai.speech.timed import TimedSegment, TimedWord


def segment(text, span, words):
    """`words` are (start, end of the characters, start and end of the sound)."""
    timed = tuple(TimedWord(text[a:b], begin, end, (a, b)) for a, b, begin, end in words)
    return TimedSegment(text[slice(*span)], timed[0].start if timed else span[0], timed[-1].end if timed else 9.0,
                        span, "exact", timed)  # fmt: skip


def test_a_words_characters_share_its_time_and_the_space_has_the_pause():
    text = "Hi, you."
    timed = Characters().of(segment(text, (0, 8), [(0, 2, 0.1, 0.3), (4, 7, 0.7, 1.0)]), text)
    assert "".join(timed.characters) == text
    assert timed.character_start_times_seconds == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.7, 0.8, 0.9, 1.0])
    assert timed.character_end_times_seconds == pytest.approx([0.2, 0.3, 0.3, 0.7, 0.8, 0.9, 1.0, 1.0])


def test_what_is_acted_between_words_has_the_time_between_them():
    text = "No <sigh> no"
    timed = Characters().of(segment(text, (0, 12), [(0, 2, 0.0, 1.0), (10, 12, 2.0, 3.0)]), text)
    assert timed.character_start_times_seconds[3] == pytest.approx(1 + 1 / 8)
    assert timed.character_end_times_seconds[8] == pytest.approx(1 + 7 / 8)


def test_a_laugh_alone_and_what_stands_after_the_last_word_are_timed_too():
    text = "<laugh>  \n"
    characters = Characters()
    timed = characters.of(segment(text, (0, 7), []), text)
    assert timed.character_end_times_seconds[-1] == pytest.approx(9.0)
    rest = characters.rest(text, 10.0)
    assert ("".join(rest.characters), rest.character_end_times_seconds[-1]) == ("  \n", 10.0)
    assert characters.rest(text, 10.0) is None


@settings(max_examples=200, deadline=None)
@given(st.text("ab é中<>, .\n", min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_however_a_text_is_cut_all_characters_are_there_once_and_time_never_runs_back(text, chance):
    cuts = sorted(chance.sample(range(len(text) + 1), min(len(text) + 1, 12)))
    characters, time, timed = Characters(), 0.0, []
    for part in range(0, len(cuts) - 4, 4):
        words = []
        for start, end in pairwise(cuts[part : part + 4]):
            begin = time + chance.random()
            time = begin + chance.random() - 0.2  # times that overlap a little happen, too
            if text[start:end].strip():
                words.append((start, end, begin, time))
        timed.append(characters.of(segment(text, (cuts[part], cuts[part + 3]), words), text))
    timed.append(characters.rest(text, time))
    there = [each for each in timed if each is not None]
    assert "".join(char for each in there for char in each.characters) == text
    starts = [start for each in there for start in each.character_start_times_seconds]
    ends = [end for each in there for end in each.character_end_times_seconds]
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
