"""The tempo changes, the pitch, the start and the end do not."""

import math

import numpy as np
import pytest

from orpheus_openai.audio import MAX_SPEED, MIN_SPEED, PCM, SAMPLE_RATE
from orpheus_openai.audio.tempo import make_tempo
from orpheus_openai.text import ssml

SPEEDS = [0.25, 0.4, 0.5, 0.75, 0.99, 1.25, 2.0, 3.0, 4.0]


def sine(seconds: float, frequency: float = 440.0) -> PCM:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (12_000 * np.sin(2 * np.pi * frequency * time)).astype(np.int16)


def noisy(size: int) -> PCM:
    return np.random.default_rng(0).normal(0, 4_000, size).astype(np.int16)


def change(pcm: PCM, speed: float, chunk: int = 2048) -> PCM:
    tempo = make_tempo(speed)
    out = [tempo.process(pcm[start : start + chunk]) for start in range(0, pcm.size, chunk)]
    return np.concatenate([*out, tempo.flush()])


def test_speed_one_leaves_every_sample_as_it_is() -> None:
    pcm = noisy(10_001)
    np.testing.assert_array_equal(change(pcm, 1.0), pcm)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("size", [0, 1, 479, 2_048, 24_001])
def test_the_length_is_divided_by_the_speed(speed: float, size: int) -> None:
    assert change(noisy(size), speed).size == round(size / speed)


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_pitch_stays(speed: float) -> None:
    out = change(sine(2.0), speed).astype(float)
    spectrum = np.abs(np.fft.rfft(out * np.hanning(out.size)))
    assert spectrum.argmax() * SAMPLE_RATE / out.size == pytest.approx(440, rel=0.01)


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_cut_into_chunks_changes_nothing(speed: float) -> None:
    pcm = noisy(12_345)
    whole = change(pcm, speed, chunk=pcm.size)
    for chunk in (97, 2_048):
        np.testing.assert_array_equal(change(pcm, speed, chunk), whole)


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_first_and_the_last_sound_are_heard_in_their_places(speed: float) -> None:
    beep, quiet = sine(0.05, 1_000), np.zeros(SAMPLE_RATE // 2, np.int16)
    out = np.abs(change(np.concatenate([beep, quiet, beep]), speed).astype(float))
    moved = 0.05 * max(1, 1 / speed)  # the filter moves a sound by up to a window, which is 43 ms
    near = round((0.05 / speed + moved) * SAMPLE_RATE)
    assert out[:near].max() > 6_000
    assert out[-near:].max() > 6_000
    assert out[near:-near].max() < 600


def test_audio_comes_out_while_it_goes_in() -> None:
    tempo = make_tempo(1.5)
    returned = sum(tempo.process(noisy(2_048)).size for _ in range(100))
    assert returned == pytest.approx(204_800 / 1.5, abs=0.1 * SAMPLE_RATE)


@pytest.mark.parametrize("speed", [0.0, 0.24, 4.01, -1.0, math.inf, math.nan])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match=r"0\.25 to 4\.0"):
        make_tempo(speed)


def test_what_ssml_can_ask_for_is_what_a_tempo_can_do():
    assert (ssml.SLOWEST, ssml.FASTEST) == (MIN_SPEED, MAX_SPEED)
