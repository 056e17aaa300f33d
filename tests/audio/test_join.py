"""Segments become one stream with natural pauses, and nothing audible is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.join import PARAGRAPH_PAUSE, SENTENCE_PAUSE, SHORTEST_PAUSE, Joiner

RAMP = 0.005  # seconds; while a ramp is loud it does not count as silence
QUIET = 20  # noise of this amplitude is under -50 dBFS


def voice(seconds: float, seed: int = 0) -> PCM:
    """Noise that is loud in every single sample."""
    rng = np.random.default_rng(seed)
    size = round(seconds * SAMPLE_RATE)
    loud: PCM = (rng.integers(2_000, 20_000, size) * rng.choice([-1, 1], size)).astype(np.int16)
    return loud


def silence(seconds: float, seed: int = 0) -> PCM:
    rng = np.random.default_rng(seed)
    return rng.integers(-QUIET, QUIET + 1, round(seconds * SAMPLE_RATE)).astype(np.int16)


def join(
    segments: list[PCM], *, pauses: list[float] | float = SENTENCE_PAUSE, chunk: int | None = None
) -> PCM:
    joiner = Joiner()
    out: list[PCM] = []
    for i, segment in enumerate(segments):
        out.append(joiner.start_segment(pauses if isinstance(pauses, float) else pauses[i]))
        size = chunk or max(1, segment.size)
        out += [joiner.push(segment[start : start + size]) for start in range(0, segment.size, size)]
    out.append(joiner.finish())
    return np.concatenate(out)


def longest_silence(pcm: PCM, loud: int = 2_000) -> float:
    """Seconds between loud samples at the most, the ends not counted."""
    places = np.flatnonzero(np.abs(pcm.astype(int)) >= loud)
    return float(np.diff(places).max() - 1) / SAMPLE_RATE


def test_a_single_segment_passes_unchanged_with_its_silences() -> None:
    segment = np.concatenate([silence(1.5), voice(0.303), silence(3.7), voice(0.2), silence(2.9)])
    for chunk in (None, 7, 100, 2048):
        np.testing.assert_array_equal(join([segment], chunk=chunk), segment)


def test_a_segment_of_a_few_samples_passes_unchanged() -> None:
    for segment in (voice(1 / SAMPLE_RATE), silence(1 / SAMPLE_RATE), voice(0.013)):
        np.testing.assert_array_equal(join([segment]), segment)


def test_no_segments_and_empty_ones_make_no_sound() -> None:
    empty = np.zeros(0, np.int16)
    assert join([]).size == 0
    assert join([empty, empty]).size == 0
    np.testing.assert_array_equal(join([empty, voice(0.5), empty]), voice(0.5))


def test_too_much_silence_becomes_the_pause_that_was_asked_for() -> None:
    first = np.concatenate([voice(0.4), silence(1.3)])
    second = np.concatenate([silence(0.9), voice(0.4, seed=1)])
    for pause in (0.2, SENTENCE_PAUSE, PARAGRAPH_PAUSE):
        assert longest_silence(join([first, second], pauses=pause)) == pytest.approx(pause, abs=0.001)


def test_too_little_silence_becomes_the_shortest_pause() -> None:
    for silent in (0.0, 0.01, 0.05):
        first = np.concatenate([voice(0.4), silence(silent)])
        second = np.concatenate([silence(silent), voice(0.4, seed=1)])
        assert longest_silence(join([first, second])) == pytest.approx(SHORTEST_PAUSE, abs=2 * RAMP)


def test_a_natural_pause_stays_as_it_was_spoken() -> None:
    first = np.concatenate([voice(0.4), silence(0.12)])
    second = np.concatenate([silence(0.1), voice(0.4, seed=1)])
    np.testing.assert_array_equal(join([first, second]), np.concatenate([first, second]))


def test_every_segment_has_a_pause_of_its_own() -> None:
    segment = np.concatenate([silence(0.6), voice(0.4), silence(0.6)])
    out = join([segment] * 3, pauses=[0.2, 0.7, 0.35])
    loud = np.flatnonzero(np.abs(out.astype(int)) >= 2_000)
    gaps = np.diff(loud)[np.diff(loud) > 1] / SAMPLE_RATE
    assert gaps == pytest.approx([0.2, 0.7], abs=0.001)


def test_a_silent_segment_adds_no_pause_of_its_own() -> None:
    out = join([voice(0.4), silence(2.0), silence(0.3), voice(0.4, seed=1)])
    assert longest_silence(out) == pytest.approx(SENTENCE_PAUSE, abs=RAMP)


def test_the_last_softness_before_a_voice_is_kept() -> None:
    onset = silence(0.08, seed=7)
    second = np.concatenate([silence(1.0), onset, voice(0.4, seed=1)])
    out = join([np.concatenate([voice(0.4), silence(1.0)]), second])
    kept = round(0.07 * SAMPLE_RATE)
    start = out.size - round(0.4 * SAMPLE_RATE)
    np.testing.assert_array_equal(out[start - kept : start], onset[-kept:])


def test_segments_that_end_and_start_loud_meet_without_a_click() -> None:
    high, low = (np.full(SAMPLE_RATE // 2, level, np.int16) for level in (12_000, -9_000))
    rising = np.concatenate([np.zeros(5_000), np.linspace(0, 9_000, 5_000)]).astype(np.int16)
    for out in (join([high, low]), join([high, rising]), join([rising, low])):
        assert np.abs(np.diff(out.astype(int))).max() < 400


def test_audible_audio_is_returned_at_once() -> None:
    joiner = Joiner()
    joiner.start_segment()
    assert joiner.push(silence(1.0)).size == SAMPLE_RATE  # nothing to wait for before the first word
    assert joiner.push(voice(0.0101)).size == 242
    assert joiner.push(silence(0.2)).size == 4_800  # no pause is shorter
    assert joiner.push(silence(0.5)).size < 4_800
    held = joiner.push(voice(0.0853))
    assert np.abs(held[-2_000:].astype(int)).min() >= 2_000
    joiner.start_segment()
    assert joiner.push(silence(0.5)).size == 0
    assert joiner.push(voice(0.02)).size >= 480


def test_what_is_held_back_is_bounded() -> None:
    joiner = Joiner()
    joiner.start_segment()
    pushed = returned = 0
    for chunk in [voice(0.5), *[silence(0.5)] * 40]:
        pushed += chunk.size
        returned += joiner.push(chunk).size
        assert pushed - returned <= 2 * SAMPLE_RATE
    assert joiner.finish().size == pushed - returned


def test_a_pause_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 0\.12 s"):
        Joiner().start_segment(0.1)


runs = st.tuples(st.booleans(), st.integers(1, 30_000))
segments = st.lists(st.lists(runs, max_size=4), max_size=4)


def spoken(description: list[list[tuple[bool, int]]]) -> list[PCM]:
    made = []
    for i, pieces in enumerate(description):
        parts = [np.zeros(0, np.int16)]
        for j, (loud, size) in enumerate(pieces):
            make = voice if loud else silence
            parts.append(make(size / SAMPLE_RATE, seed=10 * i + j))
        made.append(np.concatenate(parts))
    return made


def contains_in_order(stream: PCM, pieces: list[PCM]) -> bool:
    raw, place = stream.tobytes(), 0
    for piece in pieces:
        found = raw.find(piece.tobytes(), place)
        if found < 0:
            return False
        place = found + piece.nbytes
    return True


@settings(max_examples=60, deadline=None)
@given(segments, st.sampled_from([0.12, 0.35, 0.7]))
def test_everything_audible_is_heard_in_order_and_unchanged(
    description: list[list[tuple[bool, int]]], pause: float
) -> None:
    made = spoken(description)
    loud = []
    for segment in made:
        where = np.flatnonzero(np.abs(segment.astype(int)) >= 2_000)
        if where.size:
            loud.append(segment[where[0] : where[-1] + 1])
    assert contains_in_order(join(made, pauses=pause), loud)


@settings(max_examples=60, deadline=None)
@given(segments, st.integers(50, 5_000))
def test_the_cut_into_chunks_changes_nothing(description: list[list[tuple[bool, int]]], chunk: int) -> None:
    made = spoken(description)
    np.testing.assert_array_equal(join(made, chunk=chunk), join(made))


@pytest.mark.parametrize("asked", [0.2, 0.5, 3.0])
@pytest.mark.parametrize("quiet", [0.0, 0.05, 1.0])
def test_a_silence_that_is_asked_for_is_as_long_as_that(asked: float, quiet: float) -> None:
    joiner = Joiner()
    out = [joiner.start_segment(0.2), joiner.push(np.concatenate([voice(0.3), silence(quiet)]))]
    out += [
        joiner.start_segment(0.2, silence=asked),
        joiner.push(np.concatenate([silence(quiet), voice(0.3)])),
    ]
    pcm = np.concatenate([*out, joiner.finish()])
    assert longest_silence(pcm) == pytest.approx(asked, abs=0.03)


def test_a_silence_before_the_first_segment_is_heard() -> None:
    joiner = Joiner()
    out = [joiner.start_segment(silence=1.0), joiner.push(voice(0.3))]
    assert np.concatenate([*out, joiner.finish()]).size == round(1.3 * SAMPLE_RATE)
