"""Loops, silences, lengths and cuts: found where they are, and nowhere else."""

import numpy as np
import pytest

from orpheus_openai.audio.loops import LONGEST_PERIOD, Loops
from orpheus_openai.audio.verify import Silence, faded, longest_seconds, shortest_seconds

FRAMES_A_SECOND = 24_000 / 2_048


def speech(frames, seed=0, codes=4_096):
    return np.random.default_rng(seed).integers(0, codes, (frames, 7)).astype(np.int16)


def looping(period, times, *, before=60, changed=0.0, seed=1):
    """So many frames of speech, then a group of frames again and again, with a share of its codes changed."""
    random = np.random.default_rng(seed)
    said = np.concatenate([speech(before, seed), *[speech(period, seed + 1)] * times])
    changes = random.random(said.shape) < changed
    changes[: before + period] = False
    return np.where(changes, random.integers(0, 4_096, said.shape), said).astype(np.int16)


@pytest.mark.parametrize("changed", [0.0, 0.25])
@pytest.mark.parametrize("period", [1, 2, 5, 12, 30, LONGEST_PERIOD])
def test_a_loop_is_found_and_begins_where_a_group_is_first_repeated(period, changed):
    loops = Loops()
    assert loops.push(looping(period, 20 + 200 // period, changed=changed))
    assert 60 + period - 1 <= loops.start <= 60 + period + (changed > 0) * 5


def test_a_loop_is_found_two_seconds_after_a_frame_was_first_repeated():
    loops = Loops()
    found = [loops.push(frame[None]) for frame in looping(1, 40)]
    assert (found.index(True) - 61) / FRAMES_A_SECOND < 2.5


@pytest.mark.parametrize("codes", [4_096, 40, 10])
def test_no_loop_is_found_in_speech_however_few_codes_it_uses(codes):
    assert not any(Loops().push(speech(2_000, seed, codes)) for seed in range(3))


def test_a_pause_of_a_second_and_a_word_that_is_said_three_times_are_no_loop():
    silence, word = np.tile(speech(1, 5), (12, 1)), speech(6, 6)
    assert not Loops().push(np.concatenate([speech(40), silence, speech(40, 2), word, word, word, silence]))


def spoken(*parts):
    """Seconds of sound, and, below zero, of silence."""
    random = np.random.default_rng(0)
    return np.concatenate(
        [random.normal(0, 3_000 if p > 0 else 20, round(abs(p) * 24_000)) for p in parts]
    ).astype(np.int16)


@pytest.mark.parametrize("piece", [100, 2_048, 100_000])
@pytest.mark.parametrize(
    ("parts", "goes_on", "sounded"),
    [
        ((2, -1.5, 2), False, 5.5),
        ((2, -3, 2), True, 7),
        ((2, -3), True, 2),
        ((-3, 2), True, 5),
        ((1,), False, 1),
    ],
)
def test_silence_goes_on_where_no_pause_is_so_long(parts, goes_on, sounded, piece):
    silence, pcm = Silence(), spoken(*parts)
    for start in range(0, len(pcm), piece):
        silence.push(pcm[start : start + piece])
    assert silence.goes_on is goes_on
    assert silence.sounded / 24_000 == pytest.approx(sounded, abs=0.03)


def test_a_reading_leaves_less_room_than_letters_and_a_tag_more_than_none():
    text = "The train to the coast leaves from platform nine, a quarter of an hour late."
    assert longest_seconds(text, reading=4.4) < longest_seconds(text) < 20
    assert longest_seconds(text, tags=2) == longest_seconds(text) + 8
    assert longest_seconds("01234567890123456789") > 12
    assert longest_seconds("你好，今天天气怎么样？") > 4
    assert shortest_seconds(4.4) < 2
    assert shortest_seconds(0.5) == 0


def test_what_is_cut_falls_silent_without_a_click():
    pcm = np.full(4_800, 10_000, np.int16)
    cut = faded(pcm)
    assert len(cut) == len(pcm)
    assert cut[-1] == 0
    assert np.abs(np.diff(cut.astype(int))).max() < 60
    assert len(faded(pcm[:0])) == 0
