"""An engine as this server runs it, against the engine as others use it: tokens a second, and what follows from them.

    python -m benchmarks.engine                       # a tiny GGUF file that the command makes
    python -m benchmarks.engine --model orpheus-3b-0.1-ft-q4_k_m.gguf --runs 3
    python -m benchmarks.engine --no-speech --json engine.json
    python -m benchmarks.engine --vllm                # vLLM: benchmarks/engine_vllm.py

One llama.cpp, in the process and with the threads that the server gives it, continues prompts at 1 and 4 streams, in
turn with the request that this server sends and with the one that most clients send (llama.cpp's own order of samplers,
no cut before them). Then the same beside as many busy processes as there are cores. Then a whole server speaks 3 s with
it, to 1 and 4 listeners at once.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks import engine_vllm
from benchmarks.http_stream import fetch
from benchmarks.serving import serving
from orpheus_openai.models.orpheus.cores import physical_cores
from orpheus_openai.models.orpheus.dialects import Ask, CompletionReader, llama_cpp_body
from orpheus_openai.models.orpheus.frames import REALTIME_TOKENS_PER_SECOND
from orpheus_openai.models.orpheus.llama_process import LlamaProcess, Parameters
from orpheus_openai.synthesis import Sampling
from tests.support.tiny_gguf import write_gguf
from tests.support.tiny_snac import write_snac

PROMPT = [128_259, 128_000, *b"tara: The train to the coast", 128_009, 128_260, 128_261, 128_257]
STREAMS = (1, 4)
TOKENS = 245
"""Of each stream: 35 frames, 3 s of speech."""

FASTER = 1.8
"""Goal: how many times the tokens of the usual request."""
BESIDE_WORK = 0.5
"""Goal: share of the tokens that is left beside busy cores."""
FIRST_BYTE = 0.2
SPEED = 3.0
"""Goals of a whole server with the made file, on 2 cores: seconds, and times real time at four streams in all."""
PEER = "Orpheus-FastAPI 1.3.1 on the same llama.cpp and file, measured once: first byte after 3.6 s, 0.75 × real time"

Body = Callable[[Ask], dict[str, Any]]


def usual_body(ask: Ask) -> dict[str, Any]:
    """Write the request as most clients do, with the same temperature, top_p and penalty."""
    return {
        "prompt": ask.prompt,
        "stream": True,
        "n_predict": ask.max_tokens,
        "temperature": ask.sampling.temperature,
        "top_p": ask.sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": ask.sampling.repetition_penalty,
        "repeat_last_n": 1_024,
    }


async def continue_prompt(client: httpx.AsyncClient, address: str, body: Body) -> int:
    """Return how many tokens came."""
    asked = body(Ask(None, PROMPT, Sampling(), TOKENS))
    count, reader = 0, CompletionReader()
    async with client.stream(
        "POST", f"{address}/completion", json=asked, headers={"Connection": "close"}
    ) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                count += len(reader.read(line[5:].strip().encode()))
    return count


async def tokens_per_second(process: LlamaProcess, body: Body, streams: int) -> float:
    """All streams together."""
    headers = {"Authorization": f"Bearer {process.parameters.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=600, trust_env=False) as client:
        began = time.perf_counter()
        counts = await asyncio.gather(
            *(continue_prompt(client, process.address, body) for _ in range(streams))
        )
        return sum(counts) / (time.perf_counter() - began)


async def measure_engine(model: Path, runs: int) -> dict[str, Any]:
    """Both requests in turn, at each number of streams, alone and beside busy cores."""
    threads = max(1, physical_cores() - 1)
    process = await LlamaProcess.start(
        Parameters(model=str(model), context=1_024, slots=max(STREAMS), threads=threads)
    )
    found: dict[str, dict[int, list[float]]] = {
        name: {streams: [] for streams in STREAMS} for name in ("ours", "usual", "beside")
    }
    try:
        await tokens_per_second(process, llama_cpp_body, 1)
        for _ in range(runs):
            for streams in STREAMS:
                found["ours"][streams].append(await tokens_per_second(process, llama_cpp_body, streams))
                found["usual"][streams].append(await tokens_per_second(process, usual_body, streams))
                with busy_cores():
                    found["beside"][streams].append(await tokens_per_second(process, llama_cpp_body, streams))
    finally:
        await process.end()
    medians = {
        name: {n: statistics.median(rates) for n, rates in each.items()} for name, each in found.items()
    }
    return {"threads": threads, "tokens_per_second": medians}


def _spin() -> None:
    while True:
        pass


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy, as other programs may."""
    spinning = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in spinning:
        process.start()
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.join()


async def measure_speech(url: str, runs: int) -> dict[int, dict[str, float]]:
    """First byte (s) and speed (times real time, all together) of so many listeners at once."""

    async def speak() -> tuple[float, float]:
        fields = {
            "text": "The train to the coast.",
            "model": "medium-3b",
            "response_format": "pcm",
            "max_tokens": TOKENS,
        }
        headers = {"content-type": "application/json"}
        answer = await fetch(
            "POST", f"{url}/api/generate", headers, json.dumps(fields).encode(), keep_body=False
        )
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.body.decode(errors='replace')[:500]}")
        return answer.arrivals[0].seconds, answer.arrivals[-1].size / 2 / 24_000

    await speak()  # loads the model
    found: dict[int, dict[str, float]] = {}
    for streams in STREAMS:
        first, speed = [], []
        for _ in range(runs):
            began = time.perf_counter()
            heard = await asyncio.gather(*(speak() for _ in range(streams)))
            speed.append(sum(audio for _, audio in heard) / (time.perf_counter() - began))
            first += [seconds for seconds, _ in heard]
        found[streams] = {"first_byte": statistics.median(first), "speed": statistics.median(speed)}
    return found


def run(model: Path | None, runs: int, *, speech: bool) -> dict[str, Any]:
    """Make what is not named, measure, and leave nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        named = model or write_gguf(folder / "tiny-f16.gguf", frames=0)
        found = asyncio.run(measure_engine(named, runs))
        if speech:
            environ = {
                **os.environ,
                "ORPHEUS_DEVICE": "cpu",
                "ORPHEUS_MODEL": "medium-3b",
                "ORPHEUS_MODEL_MEDIUM_3B": str(named),
                "ORPHEUS_SNAC": str(write_snac(folder / "snac")),
                "ORPHEUS_VERIFY": "off",  # a file that is made speaks without an end
            }
            with serving(folder, environ) as server:
                found["speech"] = asyncio.run(measure_speech(server.url, runs))
    return found


def report(found: dict[str, Any], *, made: bool) -> None:
    rates = found["tokens_per_second"]
    print(f"{'streams':>8}{'ours':>12}{'usual':>12}{'ratio':>9}{'beside busy cores':>20}{'share':>9}")
    for streams in STREAMS:
        ours, usual, beside = (rates[name][streams] for name in ("ours", "usual", "beside"))
        print(
            f"{streams:8}{ours:8.0f} t/s{usual:8.0f} t/s{ours / usual:8.2f}×{beside:16.0f} t/s{beside / ours:9.0%}"
        )
    print(f"real time takes {REALTIME_TOKENS_PER_SECOND:.0f} tokens a second for each stream")
    goals = []
    for streams in STREAMS:
        ours, usual, beside = (rates[name][streams] for name in ("ours", "usual", "beside"))
        goals.append((f"ours against the usual request, {streams} streams", ours / usual, FASTER))
        goals.append((f"left beside busy cores, {streams} streams", beside / ours, BESIDE_WORK))
    if speech := found.get("speech"):
        for streams, each in speech.items():
            first, speed = each["first_byte"], each["speed"]
            print(f"{streams} listeners: first byte after {first:.2f} s, {speed:.1f} × real time in all")
        print(PEER)
        goals.append(("speed at four streams, times real time", speech[4]["speed"], SPEED))
        goals.append(("0.2 s over the first byte of one stream", FIRST_BYTE / speech[1]["first_byte"], 1.0))
    if made:
        print()
        for what, value, goal in goals:
            print(f"{what}: {value:.2f} (goal: at least {goal:g}{'' if value >= goal else ', missed'})")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a GGUF file of Orpheus; default: a tiny one is made")
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind (%(default)s)")
    parser.add_argument("--no-speech", action="store_true", help="the engine alone, without a server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument(
        "--vllm", action="store_true", help="vLLM against plain vLLM, and nothing of llama.cpp"
    )
    parser.add_argument("--streams", default="1,4,8,16", help="with --vllm: streams at once (%(default)s)")
    parser.add_argument(
        "--paper", action="store_true", help="with --vllm: the true shape with made-up weights"
    )
    options = parser.parse_args()
    if options.vllm:
        engine_vllm.run(options)
        return
    if options.model and not options.model.is_file():
        sys.exit(f"there is no file {options.model}")
    load = os.getloadavg()[0]
    found = run(options.model, options.runs, speech=not options.no_speech)
    print(
        f"{os.cpu_count()} cores, {found['threads']} of them for llama.cpp, load average before {load:.1f}\n"
    )
    report(found, made=options.model is None)
    if options.json:
        options.json.write_text(json.dumps({"load_average": load, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
