"""vLLM as this server runs it, against vLLM as it comes: tokens a second, first token, a step's time, start.

    python -m benchmarks.engine --vllm                          # a tiny checkpoint that the command makes
    python -m benchmarks.engine --vllm --paper --streams 1,8,64,256     # on a GPU: the true shape, made-up weights

Plain vLLM draws from the whole vocabulary with the published sampling, and compiles. Each engine runs in a process of
its own, one after the other, and starts twice: what it compiles is there at the second start, which counts. On the
tiny checkpoint it is checked that the likeliest ids are plain vLLM's, that a seed gives the same ids however many
speak and after a stream was put off, and that every id is in its slot.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from orpheus_openai.models.orpheus.checkpoint import read_checkpoint
from orpheus_openai.models.orpheus.frames import (
    CODEBOOK_SIZE,
    END_OF_SPEECH,
    FIRST_AUDIO_TOKEN,
    TOKENS_PER_FRAME,
)
from orpheus_openai.models.orpheus.vllm_engine import ENVIRONMENT
from orpheus_openai.models.orpheus.vllm_options import EngineOptions
from orpheus_openai.synthesis import Sampling

PROMPT = [128_259, 128_000, *b"tara: The train to the coast", 128_009, 128_260, 128_261, 128_257]
TOKENS = 70
"""Of each stream: ten frames."""
LONG = 280
"""Tokens that sixteen streams have no room for at once."""
GREEDY = 35
GOALS = {1: 8.0, 8: 15.0}
"""How many times plain vLLM's tokens, by streams, on a CPU with the tiny checkpoint."""
SHORTER = 2 / 3
"""Goal: share of the start that compiles, on a CPU."""
NAMES = ("plain", "ours")


def options(streams: int, *, paper: bool) -> EngineOptions:
    """Keep the engine as small as the measurement allows."""
    if paper:
        return EngineOptions(max_streams=streams, max_model_len=2_048, load_format="dummy", sleep_mode=False)
    return EngineOptions(max_streams=streams, stream_tokens=160, dtype="float32")


class Plain:
    """vLLM without anything of ours."""

    def __init__(self, directory: str, streams: int, *, paper: bool) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415  # takes seconds
        from vllm.platforms import current_platform  # noqa: PLC0415
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415
        from vllm.v1.executor.uniproc_executor import UniProcExecutor  # noqa: PLC0415

        ours = options(streams, paper=paper)
        on_cpu = {"distributed_executor_backend": UniProcExecutor} if current_platform.is_cpu() else {}
        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=directory,
                skip_tokenizer_init=True,
                generation_config="vllm",
                load_format=ours.load_format,
                dtype=ours.dtype,
                max_model_len=2_048,
                max_num_seqs=streams,
                kv_cache_memory_bytes=ours.cache_bytes(read_checkpoint(Path(directory))),
                gpu_memory_utilization=0.5,
                stream_interval=TOKENS_PER_FRAME,
                disable_log_stats=True,
                **on_cpu,
            )
        )

    async def generate(self, prompt: list[int], sampling: Sampling, **more: Any) -> AsyncGenerator[list[int]]:
        """Continue a prompt as a token source does, with `more` of vLLM's parameters."""
        from vllm import SamplingParams  # noqa: PLC0415
        from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            **more,
        )
        asked = {"type": "token", "prompt_token_ids": prompt}
        async for output in self._llm.generate(asked, parameters, uuid.uuid4().hex):
            yield list(output.outputs[0].token_ids)

    async def likeliest(self) -> list[int]:
        """What it finds likeliest of what can be spoken, an id at a time."""
        ids: list[int] = []
        for n in range(GREEDY):
            first = FIRST_AUDIO_TOKEN + n % TOKENS_PER_FRAME * CODEBOOK_SIZE
            allowed = [END_OF_SPEECH] * (n % TOKENS_PER_FRAME == 0) + list(
                range(first, first + CODEBOOK_SIZE)
            )
            one = self.generate(
                PROMPT + ids, Sampling(temperature=0.0, max_tokens=1), allowed_token_ids=allowed
            )
            ids += [token async for delta in one for token in delta]
        return ids

    async def close(self) -> None:
        """End its process."""
        self._llm.shutdown()


async def start(name: str, directory: str, streams: int, *, paper: bool) -> Any:
    if name == "plain":
        return Plain(directory, streams, paper=paper)
    from orpheus_openai.models.orpheus.tokens_vllm import load_vllm  # noqa: PLC0415

    return await load_vllm(directory, options(streams, paper=paper))


async def speak(
    engine: Any, seed: int, tokens: int, prompt: list[int] = PROMPT, **sampling: Any
) -> tuple[list[int], list[float]]:
    """Return ids, and when they came in seconds from now."""
    began, ids, came = time.perf_counter(), [], []
    async for delta in engine.generate(prompt, Sampling(seed=seed, max_tokens=tokens, **sampling)):
        ids += delta
        came.append(time.perf_counter() - began)
    return ids, came


async def rates(engine: Any, streams: int) -> dict[str, float]:
    """Tokens a second of all streams, first token (ms) and step (ms)."""
    began = time.perf_counter()
    spoken = await asyncio.gather(*(speak(engine, seed, TOKENS) for seed in range(streams)))
    took = time.perf_counter() - began
    steps = [(came[-1] - came[0]) / max(1, len(ids) - 1) for ids, came in spoken]
    return {
        "tokens_per_second": sum(len(ids) for ids, _ in spoken) / took,
        "first_token_ms": 1_000 * statistics.median(came[0] for _, came in spoken),
        "step_ms": 1_000 * statistics.median(steps),
    }


async def checks(engine: Any) -> dict[str, Any]:
    """What must hold whatever the speed."""
    greedy, _ = await speak(engine, 0, GREEDY, temperature=0.0)
    alone = [(await speak(engine, seed, LONG))[0] for seed in range(4)]
    same, placed = {}, True
    for streams in (1, 4, 8, 16):
        spoken = await asyncio.gather(*(speak(engine, seed, LONG) for seed in range(streams)))
        same[streams] = [ids for ids, _ in spoken][:4] == alone[: min(4, streams)]
        for ids, _ in spoken:
            body = ids[:-1] if ids[-1] == END_OF_SPEECH else ids
            placed &= all(
                (token - FIRST_AUDIO_TOKEN) // CODEBOOK_SIZE == n % TOKENS_PER_FRAME
                for n, token in enumerate(body)
            )
    return {"greedy": greedy, "same": same, "placed": placed}


async def measure(name: str, directory: str, numbers: list[int], *, paper: bool, runs: int) -> dict[str, Any]:
    """Start an engine and let it speak; returns what was found of it."""
    began = time.perf_counter()
    engine = await start(name, directory, max(numbers), paper=paper)
    found: dict[str, Any] = {"start_s": time.perf_counter() - began}
    try:
        if runs:
            await rates(engine, 1)
            every = {streams: [await rates(engine, streams) for _ in range(runs)] for streams in numbers}
            found["streams"] = {
                streams: {key: statistics.median(one[key] for one in each) for key in each[0]}
                for streams, each in every.items()
            }
            if not paper:
                found |= {"greedy": await engine.likeliest()} if name == "plain" else await checks(engine)
    finally:
        await engine.close()
    return found


def child(name: str, directory: Path, numbers: list[int], *, paper: bool, runs: int) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.engine_vllm", name, str(directory), json.dumps(numbers)]
    done = subprocess.run(
        [*command, str(int(paper)), str(runs)],
        env={**ENVIRONMENT, **os.environ},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def make(directory: Path, *, paper: bool) -> Path:
    """Write a checkpoint: the true shape without weights, or a tiny one."""
    if paper:
        from tests.support.paper_checkpoint import write_paper  # noqa: PLC0415

        return write_paper(directory, model_type="llama", rms_norm_eps=1e-5)
    from tests.support.tiny_checkpoint import make_checkpoint  # noqa: PLC0415

    return make_checkpoint(directory / "tiny")


def compare(numbers: list[int], *, paper: bool, runs: int) -> dict[str, Any]:
    """Both engines, each with its compiled code there already."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = make(Path(scratch), paper=paper)
        found = {}
        for name in NAMES:
            child(name, directory, numbers, paper=paper, runs=0)
            found[name] = child(name, directory, numbers, paper=paper, runs=runs)
    return found


def report(found: dict[str, Any], *, paper: bool) -> None:
    plain, ours = found["plain"], found["ours"]
    print(f"{'streams':>8}{'tokens a second':>26}{'first token, ms':>22}{'step, ms':>20}")
    print(f"{'':8}{'plain':>9}{'ours':>9}{'ratio':>8}{'plain':>13}{'ours':>9}{'plain':>11}{'ours':>9}")
    for streams, ours_each in ours["streams"].items():
        each = plain["streams"][streams]
        ratio = ours_each["tokens_per_second"] / each["tokens_per_second"]
        print(
            f"{streams:>8}{each['tokens_per_second']:9.0f}{ours_each['tokens_per_second']:9.0f}{ratio:7.1f}×"
            f"{each['first_token_ms']:13.1f}{ours_each['first_token_ms']:9.1f}"
            f"{each['step_ms']:11.2f}{ours_each['step_ms']:9.2f}"
        )
        if not paper and (goal := GOALS.get(int(streams))):
            print(f"{'':8}goal: at least {goal:g}{'' if ratio >= goal else ', missed'}")
    share = ours["start_s"] / plain["start_s"]
    print(f"start, warm: plain {plain['start_s']:.1f} s, ours {ours['start_s']:.1f} s, {share:.0%}", end="")
    print("" if paper else f" (goal: at most {SHORTER:.0%}{'' if share <= SHORTER else ', missed'})")
    if not paper:
        print(f"the likeliest ids are plain vLLM's: {ours['greedy'] == plain['greedy']}")
        print(f"the same ids from a seed, by streams (16 have to make room for each other): {ours['same']}")
        print(f"every id in its slot: {ours['placed']}")


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and keep."""
    numbers = [int(number) for number in arguments.streams.split(",")]
    load = os.getloadavg()[0]
    found = compare(numbers, paper=arguments.paper, runs=arguments.runs)
    print(f"{os.cpu_count()} cores, load average before {load:.1f}, tokens from {TOKENS} of each stream\n")
    report(found, paper=arguments.paper)
    if arguments.json:
        arguments.json.write_text(json.dumps({"load_average": load, **found}, indent=1) + "\n")


def main() -> None:
    """Be the child."""
    name, directory, numbers, paper, runs = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        found = asyncio.run(measure(name, directory, json.loads(numbers), paper=paper == "1", runs=int(runs)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
