"""Frames to PCM: exact, whole, in time, and one stream's fate is no other's."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the codec needs the extra 'orpheus'")
pytest.importorskip("snac", reason="the codec needs the extra 'orpheus'")

from orpheus_openai.errors import EngineError, ModelUnavailableError, ShuttingDownError  # noqa: E402
from orpheus_openai.models.orpheus.codec import SnacDecoder  # noqa: E402
from orpheus_openai.models.orpheus.codec_stream import LONGEST_HOP, MOST_WAITING, RESERVE, plan_step  # noqa: E402
from orpheus_openai.models.orpheus.frames import SAMPLES_PER_FRAME  # noqa: E402
from orpheus_openai.models.orpheus.snac_network import START_FRAMES, SnacNetwork, Step  # noqa: E402
from orpheus_openai.models.orpheus.snac_noise import Noise, StreamNoise  # noqa: E402
from orpheus_openai.models.orpheus.snac_runner import SnacRunner  # noqa: E402
from orpheus_openai.models.orpheus.snac_weights import load_snac, to_device  # noqa: E402
from tests.support.tiny_snac import SLIM, tiny_snac, write_snac  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def random_frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (count, 7)).astype(np.int16)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snac(tmp_path_factory.mktemp("snac"), decoder_dim=SLIM)


@pytest.fixture(scope="module")
def published_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snac(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> SnacNetwork:
    return load_snac(str(checkpoint))


class Reference:
    """`SNAC.decode` of whole utterances, with the noise that it is given."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.noises: list[Any] = []
        for module in self.model.modules():
            if type(module).__name__ == "NoiseBlock":
                module.forward = self._noise(module)

    def _noise(self, block: Any) -> Any:
        return lambda x: x + self.noises.pop(0) * block.linear(x) if self.noises else x

    def decode(self, frames: np.ndarray, noise: StreamNoise | None = None) -> np.ndarray:
        f = torch.from_numpy(frames).long()
        if noise is not None:
            lengths = [len(f) * rate for rate in (32, 256, 1024, 2048)]
            self.noises = list(torch.from_numpy(noise.draw(lengths)).split(lengths))
        codes = [f[:, :1], f[:, [1, 4]], f[:, [2, 3, 5, 6]]]
        with torch.inference_mode():
            audio: np.ndarray = self.model.decode([level.flatten()[None] for level in codes])[0, 0].numpy()
        return audio


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(tiny_snac(decoder_dim=SLIM))


def decoder_of(network: SnacNetwork, noise: Noise) -> SnacDecoder:
    return SnacDecoder(SnacRunner(network), noise, workers=2, batch_frames=8)


@pytest.fixture
async def decoder(network: SnacNetwork) -> AsyncIterator[SnacDecoder]:
    decoder = decoder_of(network, "off")
    yield decoder
    await decoder.close()


def in_hops(network: SnacNetwork, frames: np.ndarray, hops: Sequence[int]) -> np.ndarray:
    """The float samples of one utterance, taken in by `hops` frames at a time, the last hop over and over."""
    codes = torch.from_numpy(frames).long()[None].to(network.device)
    place, state, samples = 0, None, []
    with torch.inference_mode():
        for hop in [START_FRAMES, *hops, *[hops[-1]] * len(frames)]:
            last = place + hop >= len(frames)
            step = Step(min(hop, len(frames) - place), first=place == 0, last=last)
            part, state = network.run(step, codes[:, place : place + hop], state, None)
            samples.append(part[0].cpu().numpy())
            place += hop
            if last:
                break
    return np.concatenate(samples)


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


async def source(
    frames: np.ndarray, cuts: Sequence[int] = (), pause: float = 0.0
) -> AsyncGenerator[np.ndarray]:
    for part in np.split(frames, sorted(cuts)):
        yield part
        await asyncio.sleep(pause)


async def collect(decoder: SnacDecoder, frames: AsyncIterator[np.ndarray], **options: Any) -> np.ndarray:
    parts = [np.empty(0, np.int16)]
    async with aclosing(decoder.decode(frames, **options)) as pcm:
        parts += [part async for part in pcm]
    return np.concatenate(parts)


@pytest.mark.parametrize("count", [*range(1, 13), 16, 24, 40])
def test_every_length_is_the_whole_utterance_decode(
    network: SnacNetwork, reference: Reference, count: int
) -> None:
    frames = random_frames(count, seed=count)
    hops = np.random.default_rng(count).integers(1, 17, max(1, count))
    ours, theirs = in_hops(network, frames, hops.tolist()), reference.decode(frames)
    assert ours.shape == (count * SAMPLES_PER_FRAME,)
    assert relative_error(ours, theirs) < 1e-5


def test_a_network_of_the_published_size_gives_the_whole_utterance_decode_too(published_size: Path) -> None:
    frames = random_frames(16)
    ours = in_hops(load_snac(str(published_size)), frames, [1, 2, 4])
    assert relative_error(ours, Reference(tiny_snac()).decode(frames)) < 1e-5


async def test_streams_side_by_side_are_each_their_own_whole_utterance(
    decoder: SnacDecoder, reference: Reference
) -> None:
    rng = np.random.default_rng(1)
    utterances = [random_frames(count, seed=100 + count) for count in (1, 2, 3, 4, 5, 7, 9, 12, 12, 21)]
    cuts = [rng.integers(0, len(frames) + 1, 5).tolist() for frames in utterances]
    heard = await asyncio.gather(
        *[
            collect(decoder, source(frames, cut, pause))
            for frames, cut, pause in zip(utterances, cuts, rng.choice([0.0, 0.01, 0.05], 10), strict=True)
        ]
    )
    for frames, pcm in zip(utterances, heard, strict=True):
        expected = np.round(reference.decode(frames) * 32767)
        assert len(pcm) == len(frames) * SAMPLES_PER_FRAME
        assert np.abs(pcm - expected).max() <= 1


async def test_no_frames_are_no_audio(decoder: SnacDecoder) -> None:
    assert len(await collect(decoder, source(random_frames(0)))) == 0


async def test_a_seed_gives_the_same_audio_however_frames_come(
    network: SnacNetwork, reference: Reference
) -> None:
    decoder = decoder_of(network, "on")
    frames = random_frames(14)
    at_once, in_pieces, other = await asyncio.gather(
        collect(decoder, source(frames), seed=5),
        collect(decoder, source(frames, range(1, 14), 0.005), seed=5),
        collect(decoder, source(frames), seed=6),
    )
    await decoder.close()
    expected = reference.decode(frames, StreamNoise(4, 5)) * 32767
    assert np.abs(at_once - expected).max() <= 1
    assert np.abs(in_pieces - expected).max() <= 1
    assert relative_error(other, expected) > 0.01


async def test_a_seed_in_the_settings_is_every_streams_seed(checkpoint: Path) -> None:
    decoder = await asyncio.to_thread(SnacDecoder.load, str(checkpoint), "cpu", 3)
    frames = random_frames(4)
    first, second = [await collect(decoder, source(frames), seed=seed) for seed in (None, 9)]
    await decoder.close()
    assert np.array_equal(first, second)


def test_noise_is_standard_normal_and_the_same_in_any_pieces() -> None:
    whole = StreamNoise(2, 1).draw([3000, 5000])
    pieces = StreamNoise(2, 1)
    drawn = [np.split(pieces.draw([a, b]), [a]) for a, b in ((1, 999), (0, 1), (2999, 4000))]
    assert np.array_equal(np.concatenate([*[p[0] for p in drawn], *[p[1] for p in drawn]]), whole)
    assert abs(whole.mean()) < 0.05
    assert abs(whole.std() - 1) < 0.05
    assert not np.array_equal(StreamNoise(2).draw([9, 9]), StreamNoise(2).draw([9, 9]))


async def test_audio_comes_after_three_frames_while_the_rest_is_still_being_spoken(
    decoder: SnacDecoder, reference: Reference
) -> None:
    frames = random_frames(3)

    async def stalls() -> AsyncGenerator[np.ndarray]:
        for frame in np.split(frames, 3):
            yield frame
        await asyncio.Event().wait()

    async with aclosing(decoder.decode(stalls())) as pcm, asyncio.timeout(20):
        first = await anext(pcm)
    assert first.size == 1_387, "all that three frames fix, whatever comes after them"
    assert np.abs(first - np.round(reference.decode(frames)[: first.size] * 32767)).max() <= 1


async def test_a_reader_that_stops_stops_its_source(decoder: SnacDecoder) -> None:
    spoken = 0

    async def endless() -> AsyncGenerator[np.ndarray]:
        nonlocal spoken
        while True:
            spoken += 1
            yield random_frames(1)
            await asyncio.sleep(0)

    async with aclosing(decoder.decode(endless())) as pcm:
        await anext(pcm)
        for _ in range(3 * MOST_WAITING):
            await asyncio.sleep(0)
        assert spoken <= MOST_WAITING + START_FRAMES + LONGEST_HOP + 1


async def test_closing_one_stream_cancels_its_source_and_leaves_the_others_alone(
    decoder: SnacDecoder,
) -> None:
    cancelled = asyncio.Event()

    async def stalls() -> AsyncGenerator[np.ndarray]:
        try:
            yield random_frames(9)
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    other = asyncio.create_task(collect(decoder, source(random_frames(12), range(1, 12), 0.01)))
    async with aclosing(decoder.decode(stalls())) as pcm:
        await anext(pcm)
    assert cancelled.is_set()
    reader = asyncio.create_task(collect(decoder, stalls()))
    await asyncio.sleep(0.02)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert len(await other) == 12 * SAMPLES_PER_FRAME


async def test_what_goes_wrong_in_the_source_reaches_the_reader(decoder: SnacDecoder) -> None:
    async def breaks() -> AsyncGenerator[np.ndarray]:
        yield random_frames(2)
        raise EngineError("the engine is gone")

    with pytest.raises(EngineError, match="the engine is gone"):
        await collect(decoder, breaks())


@pytest.mark.parametrize(
    "bad", [np.full((1, 7), 4096, np.int16), np.full((1, 7), -1, np.int16), np.zeros(7, np.int16)]
)
async def test_what_is_no_frame_is_refused_before_it_reaches_the_device(
    decoder: SnacDecoder, bad: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"codes are|frames have"):
        await collect(decoder, source(bad))


async def test_closing_the_decoder_ends_its_readers_and_refuses_new_ones(network: SnacNetwork) -> None:
    decoder = decoder_of(network, "off")
    reader = asyncio.create_task(collect(decoder, source(random_frames(2), pause=30)))
    await asyncio.sleep(0.05)
    await decoder.close()
    with pytest.raises(ShuttingDownError):
        await reader
    with pytest.raises(ShuttingDownError):
        await collect(decoder, source(random_frames(2)))


class RecordingRunner:
    """Stands in for the device: notes what was decoded together, and gives silence."""

    noise_blocks = 4

    def release(self) -> None:
        pass

    def forget(self, stream: Any) -> None:
        pass

    def __init__(self) -> None:
        self.batches: list[tuple[Step, int]] = []

    def run(self, step: Step, frames: Sequence[np.ndarray], streams: Sequence[Any]) -> list[np.ndarray]:
        self.batches.append((step, len(streams)))
        if any((block == 13).all() for block in frames):
            raise RuntimeError("out of memory")
        return [np.zeros(SAMPLES_PER_FRAME * max(1, step.frames), np.int16) for _ in frames]


async def test_streams_that_are_ready_together_are_decoded_together() -> None:
    runner: Any = RecordingRunner()
    decoder = SnacDecoder(runner, "off", workers=1, batch_frames=512)
    await asyncio.gather(*[collect(decoder, source(random_frames(20))) for _ in range(8)])
    await decoder.close()
    assert max(size for step, size in runner.batches if step.first) >= 7, "all but the very first"
    assert len(runner.batches) < 8 * 4


async def test_a_batch_takes_no_more_frames_than_it_may() -> None:
    runner: Any = RecordingRunner()
    decoder = SnacDecoder(runner, "off", workers=1, batch_frames=8)
    await asyncio.gather(*[collect(decoder, source(random_frames(20))) for _ in range(8)])
    await decoder.close()
    assert all(step.frames * size <= 8 for step, size in runner.batches)


async def test_a_failure_of_the_device_ends_the_streams_it_hit_and_no_others() -> None:
    runner: Any = RecordingRunner()
    decoder = SnacDecoder(runner, "off", workers=1, batch_frames=1)
    heard: list[Any] = await asyncio.gather(
        collect(decoder, source(random_frames(9))),
        collect(decoder, source(np.full((9, 7), 13, np.int16))),
        return_exceptions=True,
    )
    await decoder.close()
    assert len(heard[0]) == 9 * SAMPLES_PER_FRAME
    assert isinstance(heard[1], EngineError)
    assert heard[1].retryable


async def test_readers_that_leave_at_any_moment_leave_nothing_behind() -> None:
    runner: Any = RecordingRunner()
    decoder = SnacDecoder(runner, "off", workers=2, batch_frames=8)
    rng = np.random.default_rng(3)
    readers = [
        asyncio.create_task(collect(decoder, source(random_frames(40), range(1, 40), 0.001)))
        for _ in range(60)
    ]
    for reader in readers:
        await asyncio.sleep(rng.exponential(0.001))
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    async with asyncio.timeout(20):
        assert len(await collect(decoder, source(random_frames(9)))) == 9 * SAMPLES_PER_FRAME
    await decoder.close()


def test_hops_grow_while_the_listener_has_audio_in_hand_and_never_let_it_run_dry() -> None:
    def plan(waiting: int, in_hand: float) -> tuple[Step, float] | None:
        return plan_step(waiting, started=True, ended=False, in_hand=in_hand)

    assert plan(0, 9.0) is None
    assert plan(1, 0.0) == (Step(1), 0.0)
    assert plan(3, RESERVE) == (Step(2), 0.0)
    step, delay = plan(3, RESERVE + 1.0) or pytest.fail("a step is due some time")
    assert (step, round(delay, 6)) == (Step(2), 1.0)
    assert plan(LONGEST_HOP, 60.0) == (Step(LONGEST_HOP), 0.0)


@pytest.mark.parametrize(
    ("waiting", "started", "ended", "step"),
    [
        (2, False, False, None),
        (3, False, False, Step(3, first=True)),
        (50, False, True, Step(3, first=True)),
        (0, False, True, None),
        (1, False, True, Step(1, first=True, last=True)),
        (3, False, True, Step(3, first=True, last=True)),
        (0, True, True, Step(0, last=True)),
        (5, True, True, Step(5, last=True)),
        (50, True, True, Step(8)),
    ],
)
def test_the_first_and_the_last_step_wait_for_nothing_they_do_not_need(
    waiting: int, started: bool, ended: bool, step: Step | None
) -> None:
    plan = plan_step(waiting, started=started, ended=ended, in_hand=60.0)
    assert plan == (None if step is None else (step, 0.0))


def test_safetensors_are_read_as_well(checkpoint: Path, network: SnacNetwork, tmp_path: Path) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415

    weights = torch.load(checkpoint / "pytorch_model.bin", weights_only=True)
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    frames = random_frames(2)
    assert np.array_equal(in_hops(load_snac(str(tmp_path)), frames, [1]), in_hops(network, frames, [1]))


def test_a_checkpoint_that_is_no_snac_is_refused_in_words(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"config\.json"):
        load_snac(str(tmp_path))
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailableError, match=r"pytorch_model\.bin"):
        load_snac(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config | {"sampling_rate": 44_100}))
    with pytest.raises(ModelUnavailableError, match="sampling_rate"):
        load_snac(str(tmp_path))


@needs_cuda
def test_a_gpu_decodes_the_same(published_size: Path) -> None:
    torch.backends.cudnn.allow_tf32 = False
    frames, reference = random_frames(40), Reference(tiny_snac())
    on_gpu = in_hops(to_device(load_snac(str(published_size)), torch.device("cuda")), frames, [1, 2, 4, 8])
    assert relative_error(on_gpu, reference.decode(frames)) < 1e-4


@needs_cuda
@pytest.mark.parametrize("noise", ["off", 5])
async def test_a_gpus_graphs_decode_the_same(published_size: Path, noise: Any) -> None:
    reference = Reference(tiny_snac())
    decoder = await asyncio.to_thread(SnacDecoder.load, str(published_size), "cuda", noise)
    utterances = [random_frames(count, seed=count) for count in (1, 3, 4, 9, 12, 20, 33)]
    heard = await asyncio.gather(*[collect(decoder, source(f, range(1, len(f)), 0.002)) for f in utterances])
    await decoder.close()
    for frames, pcm in zip(utterances, heard, strict=True):
        given = None if noise == "off" else StreamNoise(4, noise)
        assert np.abs(pcm - reference.decode(frames, given) * 32767).max() <= 2
