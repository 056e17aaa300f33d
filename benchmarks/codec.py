"""What the codec costs on this CPU, beside the reference decoder, the machine's limit, and exactness.

    python -m benchmarks.codec                       # a SNAC of the true shape with random weights
    python -m benchmarks.codec --snac hubertsiuzdak/snac_24khz --json codec.json
    python -m benchmarks.codec --all-lengths         # exactness for every length of 1 to 200 frames; 15 minutes

The reference is the decoder of the package `orpheus-speech`: `pip install --no-deps orpheus-speech==0.1.0`,
or name its directory with --reference. Cost is processor time of the whole process for each second of audio;
the reference is measured as it comes, with as many threads as there are cores, and with one thread, which
wastes no time on its threads' waiting for each other. The limit is what the decoder's multiplications alone
take at the speed at which this machine multiplies large matrices with one thread.
"""

import argparse
import asyncio
import importlib.util
import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from snac import SNAC

from orpheus_openai.models.orpheus.codec import SnacDecoder
from orpheus_openai.models.orpheus.frames import CODEBOOK_SIZE, SAMPLES_PER_FRAME, SECONDS_PER_FRAME
from orpheus_openai.models.orpheus.snac_network import START_FRAMES, SnacNetwork, Step
from orpheus_openai.models.orpheus.snac_weights import fold_decoder
from tests.support.tiny_snac import write_snac

GFLOP_PER_FRAME = 0.828
"""Multiplications and additions in the convolutions of SNAC's decoder."""
GOAL = 8.0
"""How many times less than the reference ours should cost."""
FIRST_AUDIO_ALONE = 0.120
FIRST_AUDIO_OF_EIGHT = 1.0
LOOP_LAG = 0.020
TITLES = {
    "reference": "reference decoder",
    "reference_one_thread": "reference decoder, one thread",
    "one": "ours, one stream",
    "eight": "ours, eight streams",
}
STREAMS = 8


@dataclass
class Decoded:
    """One way to decode, measured; times in seconds."""

    frames: int
    samples: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    first_audio: list[float] = field(default_factory=list)
    """For each stream, from its start to its first samples."""
    lag: float = 0.0
    """The longest that the event loop was late."""
    lag_of_core: float = 0.0
    """How much of that it stood ready, and had no core to run on."""

    @property
    def cpu_per_second(self) -> float:
        """Processor time for each second of audio that went in."""
        return self.cpu / (self.frames * SECONDS_PER_FRAME)


def random_frames(count: int, seed: int) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(0, CODEBOOK_SIZE, (count, 7)).astype(np.int16)


def multiplication_rate() -> float:
    """GFLOP for each second of processor time, with one thread, on matrices that fit the cache."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = 0.0
    for _ in range(5):
        start = time.process_time()
        for _ in range(10):
            torch.mm(a, b)
        best = max(best, 10 * 2 * 1024**3 / (time.process_time() - start) / 1e9)
    return best


@contextmanager
def measured(result: Decoded) -> Iterator[None]:
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    result.cpu, result.wall = time.process_time() - cpu, time.perf_counter() - wall


def import_reference(directory: Path | None, snac: Path) -> ModuleType | None:
    """Import the reference's decoder, made to load `snac` and to stay on the CPU; None if it is missing."""
    if directory is not None:
        sys.path.insert(0, str(directory))
    package = importlib.util.find_spec("orpheus_tts")
    if package is None or not package.submodule_search_locations:
        return None
    # The package's own __init__ imports vLLM; its decoder does not need it.
    file = Path(package.submodule_search_locations[0]) / "decoder.py"
    spec = importlib.util.spec_from_file_location("orpheus_tts_decoder", file)
    if spec is None or spec.loader is None:
        return None
    model: Any = SNAC.from_pretrained(str(snac))
    model.to = lambda _device: model
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(SNAC, "from_pretrained", return_value=model):
        spec.loader.exec_module(module)
    vars(module)["snac_device"] = "cpu"
    return module


async def run_reference(module: Any, frames: NDArray[np.int16]) -> Decoded:
    """Replay the tokens of `frames`, as text, which is what the reference reads."""

    async def tokens() -> AsyncIterator[str]:
        for slot, code in itertools.chain.from_iterable(enumerate(frame) for frame in frames.tolist()):
            yield f"<custom_token_{10 + code + slot * CODEBOOK_SIZE}>"

    result = Decoded(len(frames))
    with measured(result):
        start = time.perf_counter()
        async for pcm in module.tokens_decoder(tokens()):
            if not result.samples:
                result.first_audio.append(time.perf_counter() - start)
            result.samples += len(pcm) // 2
    return result


async def run_ours(
    decoder: SnacDecoder, streams: list[NDArray[np.int16]], *, watched: bool = False
) -> Decoded:
    """Decode all `streams` side by side, each handed over at once; `watched` looks at the event loop meanwhile.

    The look costs processor time of its own, so that what is watched says nothing of the decoder's.
    """
    result = Decoded(sum(map(len, streams)))

    async def handed_over(frames: NDArray[np.int16]) -> AsyncIterator[NDArray[np.int16]]:
        yield frames

    async def listen(frames: NDArray[np.int16]) -> None:
        start = time.perf_counter()
        heard = 0
        async with aclosing(decoder.decode(handed_over(frames))) as pieces:
            async for pcm in pieces:
                if not heard:
                    result.first_audio.append(time.perf_counter() - start)
                heard += len(pcm)
        result.samples += heard

    watch = asyncio.create_task(watch_loop(result)) if watched else None
    with measured(result):
        await asyncio.gather(*map(listen, streams))
    if watch is not None:
        watch.cancel()
    return result


async def watch_loop(result: Decoded) -> None:
    """Note the longest that the loop was late, and how long its thread then waited for a core, on Linux."""
    queue = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def waited() -> float:
        return int(queue.read_text().split()[1]) / 1e9 if queue.exists() else 0.0

    while True:
        before, start = waited(), time.perf_counter()
        await asyncio.sleep(0.002)
        late = time.perf_counter() - start - 0.002
        if late > result.lag:
            result.lag, result.lag_of_core = late, waited() - before


def worst_errors(snac: Path, lengths: range) -> dict[int, float]:
    """Compare with `SNAC.decode` of the whole, for each length: relative error, random hops, no noise."""
    model: Any = SNAC.from_pretrained(str(snac))
    for module in model.modules():
        if type(module).__name__ == "NoiseBlock":
            module.forward = lambda x: x
    network = fold_decoder(model)
    errors = {}
    for length in lengths:
        frames = torch.from_numpy(random_frames(length, length)).long()
        levels = [frames[:, :1], frames[:, [1, 4]], frames[:, [2, 3, 5, 6]]]
        with torch.inference_mode():
            whole = model.decode([level.flatten()[None] for level in levels])[0, 0]
            ours = in_random_hops(network, frames)
        if ours.shape != whole.shape or len(ours) != length * SAMPLES_PER_FRAME:
            raise AssertionError(f"{length} frames gave {len(ours)} samples")
        errors[length] = float((ours - whole).norm() / whole.norm())
    return errors


def in_random_hops(network: SnacNetwork, frames: torch.Tensor) -> torch.Tensor:
    rng = np.random.default_rng(len(frames))
    place, state, parts = 0, None, []
    while place < len(frames) or state is not None:
        hop = min(int(rng.integers(1, 17)) if place else START_FRAMES, len(frames) - place)
        last = place + hop == len(frames)
        step = Step(hop, first=place == 0, last=last)
        samples, state = network.run(step, frames[None, place : place + hop], state, None)
        parts.append(samples[0])
        place += hop
    return torch.cat(parts)


async def measure(snac: Path, reference: Path | None, seconds: float) -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    count = round(seconds / SECONDS_PER_FRAME)
    figures: dict[str, Any] = {"gflop_per_cpu_second": multiplication_rate()}
    figures["limit"] = GFLOP_PER_FRAME / figures["gflop_per_cpu_second"] / SECONDS_PER_FRAME
    module = import_reference(reference, snac)
    if module is not None:
        await run_reference(module, random_frames(8, 0))
        figures["reference_one_thread"] = await run_reference(module, random_frames(count, 1))
        torch.set_num_threads(threads)
        figures["reference"] = await run_reference(module, random_frames(count, 1))
        torch.set_num_threads(1)
    decoder = await asyncio.to_thread(SnacDecoder.load, str(snac), "cpu", "on")
    await run_ours(decoder, [random_frames(8, 0)])
    figures["one"] = await run_ours(decoder, [random_frames(count, 1)])
    eight = [random_frames(count, n) for n in range(STREAMS)]
    figures["eight"] = await run_ours(decoder, eight)
    figures["watched"] = await run_ours(decoder, eight, watched=True)
    await decoder.close()
    return figures


def report(figures: dict[str, Any]) -> None:
    limit = figures["limit"]
    print(f"{'':34}{'CPU s / s audio':>16}{'× limit':>9}{'first audio':>13}{'audio lost':>12}")
    print(f"{'limit: multiplications alone':34}{limit:16.3f}{1:9.1f}")
    for key, title in TITLES.items():
        if key in figures:
            run: Decoded = figures[key]
            lost = 1e3 * (run.frames * SAMPLES_PER_FRAME - run.samples) / 24_000
            cost = run.cpu_per_second
            first = 1e3 * max(run.first_audio)
            print(f"{title:34}{cost:16.3f}{cost / limit:9.1f}{first:10.0f} ms{lost:9.0f} ms")
    one, eight, watched = figures["one"], figures["eight"], figures["watched"]
    ours = min(one.cpu_per_second, eight.cpu_per_second)
    print()
    for key in ("reference", "reference_one_thread"):
        if key in figures:
            print(
                f"{figures[key].cpu_per_second / ours:.1f} × less than the {TITLES[key]} (goal: {GOAL:.0f} ×)"
            )
    if "reference" not in figures:
        print("No reference: pip install --no-deps orpheus-speech==0.1.0, or name its directory: --reference")
    alone, last = 1e3 * one.first_audio[0], 1e3 * max(eight.first_audio)
    print(f"first audio, one stream: {alone:.0f} ms (goal: {1e3 * FIRST_AUDIO_ALONE:.0f} ms)")
    print(f"first audio, last of eight at once: {last:.0f} ms (goal: {1e3 * FIRST_AUDIO_OF_EIGHT:.0f} ms)")
    print(
        f"event loop late by {1e3 * watched.lag:.0f} ms at most (goal: {1e3 * LOOP_LAG:.0f} ms), "
        f"{1e3 * watched.lag_of_core:.0f} ms of which it waited for a core"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--snac", type=Path, help="a SNAC checkpoint directory; default: random weights")
    parser.add_argument("--reference", type=Path, help="directory in which orpheus_tts is installed")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of an utterance (default 20)")
    parser.add_argument(
        "--all-lengths",
        action="store_true",
        help="check every length of 1 to 200 frames: a quarter of an hour",
    )
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        snac = arguments.snac or write_snac(Path(scratch))
        figures = asyncio.run(measure(snac, arguments.reference, arguments.seconds))
        report(figures)
        if arguments.all_lengths:
            errors = worst_errors(snac, range(1, 201))
            worst = max(errors, key=lambda length: errors[length])
            print(
                f"exactness, 1 to 200 frames: relative error {errors[worst]:.1e} at most, at {worst} frames"
            )
            figures["relative_error"] = errors
    if arguments.json:
        plain = {
            k: asdict(v) | {"cpu_per_second": v.cpu_per_second} if isinstance(v, Decoded) else v
            for k, v in figures.items()
        }
        arguments.json.write_text(json.dumps(plain, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
