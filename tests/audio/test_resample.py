"""Another sample rate: nothing else is heard, nothing is lost, and where the PCM was cut does not matter."""

from pathlib import Path

import numpy as np
import pytest

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.resample import Resampler

WAYS = [(24_000, rate) for rate in (8_000, 11_025, 16_000, 22_050, 44_100, 47_999, 48_000)] + [
    (22_050, 24_000)
]
"""From, to; the last is the preview's."""


def resampled(samples: PCM, source: int, target: int, chunk: int = 2_048) -> PCM:
    resampler = Resampler(source, target)
    parts = [resampler.process(samples[i : i + chunk]) for i in range(0, len(samples), chunk)]
    return np.concatenate([*parts, resampler.flush()])


def noise(length: int) -> PCM:
    return np.random.default_rng(7).integers(-8_000, 8_000, length).astype(np.int16)


@pytest.mark.parametrize(("source", "target"), WAYS)
@pytest.mark.parametrize("length", [0, 1, 147, 1_000, 22_050])
def test_it_lasts_as_long_as_before_to_the_sample(length: int, source: int, target: int) -> None:
    assert abs(len(resampled(noise(length), source, target)) - length * target / source) <= 0.5


@pytest.mark.parametrize(("source", "target"), WAYS)
def test_in_pieces_it_is_what_it_is_as_a_whole(source: int, target: int) -> None:
    samples = noise(10_000)
    whole = resampled(samples, source, target, len(samples))
    for chunk in (37, 1_102):
        assert np.array_equal(resampled(samples, source, target, chunk), whole)


@pytest.mark.parametrize(
    ("frequency", "source", "target"),
    [
        (frequency, *way)
        for way in WAYS
        for frequency in (300, 3_400, 3_900, 4_100, 7_000, 9_000, 10_000, 11_500)
        if frequency < way[0] / 2
    ],
)
def test_no_alias_and_no_image_is_heard_and_level_and_place_stay(
    frequency: int, source: int, target: int
) -> None:
    """A tone that the target can hold is there as it was; one that it cannot hold is gone, not folded down."""
    limit = min(source, target) / 2
    dither = np.random.default_rng(7).uniform(-0.5, 0.5, source)
    tone = 20_000 * np.sin(2 * np.pi * frequency * np.arange(source) / source) + dither
    pcm = resampled(tone.round().astype(np.int16), source, target).astype(float)
    middle = slice(target // 10, -target // 10)
    heard = pcm[middle]
    window = np.blackman(len(heard))
    spectrum = 20 * np.log10(np.abs(np.fft.rfft(heard * window)) / (20_000 * window.sum() / 2) + 1e-9)
    frequencies = np.fft.rfftfreq(len(heard), 1 / target)
    elsewhere = np.abs(frequencies - frequency) > 20
    if frequency < 0.9 * limit:
        ideal = 20_000 * np.sin(2 * np.pi * frequency * np.arange(len(pcm)) / target)
        assert np.abs(pcm - ideal)[middle].max() < 300
        assert spectrum[elsewhere].max() < -85
    elif frequency > limit:
        assert spectrum.max() < -85


def test_it_takes_no_threads() -> None:
    before = set(Path("/proc/self/task").iterdir())
    resamplers = [Resampler(22_050, SAMPLE_RATE) for _ in range(8)]
    for resampler in resamplers:
        resampler.process(noise(4_410))
    assert set(Path("/proc/self/task").iterdir()) <= before
