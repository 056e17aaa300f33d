"""SNAC's kernels for GPUs, interpreted on the CPU: the same samples, streams that come and go in one table."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the codec needs the extra 'orpheus'")
pytest.importorskip("snac", reason="the codec needs the extra 'orpheus'")
pytest.importorskip("triton", reason="Triton is not installed")

from orpheus_openai.models.orpheus.snac_network import START_FRAMES, Step  # noqa: E402
from orpheus_openai.models.orpheus.snac_noise import StreamNoise  # noqa: E402
from orpheus_openai.models.orpheus.snac_runner import SnacRunner, StreamMemory  # noqa: E402
from tests.support.interpreted import interpreting  # noqa: E402
from tests.support.interpreted_snac import (  # noqa: E402
    card_speech,
    compile_kernels,
    drawn_on_card,
    narrow,
    samples,
)

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    with interpreting() as pool:
        yield pool


def random_frames(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (count, 7)).astype(np.int16)


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def noise(count: int) -> list[StreamNoise]:
    return [StreamNoise(4, seed) for seed in range(count)]


@pytest.mark.parametrize("hops", [[3, 1, 1], [1]])
def test_fused_steps_are_the_network_s_own(interpreter: ProcessPoolExecutor, hops: list[int]) -> None:
    utterances = [random_frames(sum(hops), seed) for seed in range(2)]
    fused = interpreter.submit(samples, True, utterances, hops, noise=noise(2))
    ours, theirs = fused.result(), samples(False, utterances, hops, noise=noise(2))
    assert ours.shape == theirs.shape
    assert relative_error(ours, theirs) < 1e-5


def test_half_is_near(interpreter: ProcessPoolExecutor) -> None:
    utterances = [random_frames(4, 0)]
    half = interpreter.submit(samples, True, utterances, [3, 1], precision="fp16").result()
    error = relative_error(half, samples(False, utterances, [3, 1]))
    assert 1e-5 < error < 1e-2


def test_the_kernel_draws_the_numbers_of_the_seed(interpreter: ProcessPoolExecutor) -> None:
    seeds, positions = [7, (1 << 63) - 1], [[0, 1, 1024, 5], [33, 0, 1 << 33, 2]]
    drawn, lengths = interpreter.submit(drawn_on_card, seeds, positions, 1).result()
    for row, seed, begun in zip(drawn, seeds, positions, strict=True):
        stream = StreamNoise(4, seed)
        stream.skip(begun)
        assert np.abs(row - stream.draw(lengths)).max() < 1e-5


def alone(frames: np.ndarray, seed: int) -> np.ndarray:
    """What the CPU makes of an utterance, taken in at once after the first step."""
    runner = SnacRunner(narrow()[0])
    memory = StreamMemory(StreamNoise(4, seed))
    start = min(START_FRAMES, len(frames))
    steps = [(Step(start, first=True, last=start == len(frames)), frames[:start])]
    if start < len(frames):
        steps.append((Step(len(frames) - start, last=True), frames[start:]))
    return np.concatenate([runner.run(step, [part], [memory])[0] for step, part in steps])


def test_streams_come_and_go_in_one_table_that_grows(interpreter: ProcessPoolExecutor) -> None:
    utterances = [random_frames(count, count) for count in (4, 2, 5)]
    speech = interpreter.submit(card_speech, utterances, 5, rows=1)
    heard, free, rows = speech.result()
    for n, (frames, pcm) in enumerate(zip(utterances, heard, strict=True)):
        expected = alone(frames, 5 + n)
        assert pcm.shape == expected.shape
        assert np.abs(pcm.astype(int) - expected).max() <= 2
    assert rows >= 2
    assert free == rows, "every row was given back"


def test_the_kernels_compile_for_gpus() -> None:
    with interpreting() as pool:
        targets: list[str] = pool.submit(compile_kernels, 90).result()
    assert targets == ["sm_90"] * 4
