"""The preview alone: how long its processes take to start and to give their first samples, and what they hold.

    python -m benchmarks.first_pcm

Times are those of the model's own interface, without HTTP; memory is that of a whole server with so many listeners who
play two minutes each, and with as many who stop reading: all processes together, pages that they share counted once.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.http_stream import fetch
from benchmarks.load import TEXTS
from benchmarks.processes import Holding, holding
from benchmarks.serving import serving
from orpheus_openai.catalog import load_catalog
from orpheus_openai.models.preview.model import PreviewModel
from orpheus_openai.synthesis import Sampling, Usage

FIRST_PCM_GOAL = 0.015
START_GOAL = 2.0
MEMORY_GOAL = 150
"""MiB."""
TEXT = "The train to the coast leaves from platform nine, a quarter of an hour late. "
REAL_TIME = 48_000
"""Bytes a second."""
LOOKS = 30
BEGIN_LOOKS = 10


def main() -> None:
    """Run the command line; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.first_pcm", description="Time the preview's processes.")
    parser.add_argument("--times", type=int, default=200, help="speeches that are timed (%(default)s)")
    parser.add_argument("--streams", type=int, default=64, help="speeches at once, for memory (%(default)s)")
    options = parser.parse_args()
    start, firsts = asyncio.run(time_model(options.times))
    server_start, begin, play = asyncio.run(hold(options.streams, REAL_TIME))
    _, _, stall = asyncio.run(hold(options.streams, 1))
    median, p95 = statistics.median(firsts), statistics.quantiles(firsts, n=20)[-1]
    print(f"start of the processes  {1e3 * start:7.1f} ms")
    print(f"start of the server     {server_start:7.2f} s    goal {START_GOAL:.0f} s")
    print(f"first samples, median   {1e3 * median:7.1f} ms   goal {1e3 * FIRST_PCM_GOAL:.0f} ms")
    print(f"first samples, p95      {1e3 * p95:7.1f} ms")
    print(f"memory, {options.streams} who play      {play.memory_mib:7.1f} MiB  goal {MEMORY_GOAL} MiB")
    print(f"memory, {options.streams} who begin     {begin.memory_mib:7.1f} MiB")
    print(f"memory, {options.streams} who stall     {stall.memory_mib:7.1f} MiB")
    print(f"processes               {play.processes}, {begin.processes}, {stall.processes}")
    met = median <= FIRST_PCM_GOAL and server_start <= START_GOAL and play.memory_mib <= MEMORY_GOAL
    sys.exit(0 if met else 1)


async def time_model(times: int) -> tuple[float, list[float]]:
    """Seconds until a model is up, and until each of so many speeches, in all voices, gives its first samples."""
    catalog = load_catalog()
    began = time.perf_counter()
    model = PreviewModel(catalog.emotion_tags)
    start = time.perf_counter() - began
    voices = list(catalog.voices.values())
    firsts = []
    for index in range(times):
        began = time.perf_counter()
        chunks = model.synthesize(TEXT, voices[index % len(voices)], Sampling(), Usage())
        await anext(chunks)
        firsts.append(time.perf_counter() - began)
        await chunks.aclose()
    await model.close()
    return start, firsts


async def hold(streams: int, bytes_per_second: float) -> tuple[float, Holding, Holding]:
    """Seconds until a server is up, and the most that it holds for so many listeners who read so fast.

    First while all of them begin at the same moment, then in the middle.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), {**os.environ, "ORPHEUS_MODEL": "preview"}) as server,
    ):
        fields = {"model": "preview", "voice": "tara", "response_format": "pcm", "input": TEXTS[-1] * 3}
        body, kind = json.dumps(fields).encode(), {"content-type": "application/json"}
        url = f"{server.url}/v1/audio/speech"
        listeners = [
            asyncio.create_task(fetch("POST", url, kind, body, bytes_per_second=bytes_per_second))
            for _ in range(streams)
        ]
        looks = []
        for _ in range(LOOKS):
            await asyncio.sleep(0.5)
            looks.append(await asyncio.to_thread(holding, server.pid))
        for listener in listeners:
            listener.cancel()
        ended = await asyncio.gather(*listeners, return_exceptions=True)
        if failed := [each for each in ended if not isinstance(each, asyncio.CancelledError)]:
            raise RuntimeError(f"a listener heard no speech: {failed[0]}")
        begin, later = (max(part, key=_memory) for part in (looks[:BEGIN_LOOKS], looks[BEGIN_LOOKS:]))
        return server.start_seconds, begin, later


def _memory(held: Holding) -> float:
    return held.memory_mib


if __name__ == "__main__":
    main()
