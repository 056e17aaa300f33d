"""The preview alone: how long its processes take to start and to give their first samples, and what they hold.

    python -m benchmarks.first_pcm

Times are those of the model's own interface, without HTTP; memory is that of a whole server with so many listeners who
wait in the middle of their speech, all processes together, pages that they share counted once.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

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
LONG = ("77 " * 80 + "77. ") * 6
"""More than fits into the sockets on the way: whoever does not read keeps it being spoken."""


def main() -> None:
    """Run the command line; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.first_pcm", description="Time the preview's processes.")
    parser.add_argument("--times", type=int, default=200, help="speeches that are timed (%(default)s)")
    parser.add_argument("--streams", type=int, default=64, help="speeches at once, for memory (%(default)s)")
    options = parser.parse_args()
    start, firsts = asyncio.run(time_model(options.times))
    server_start, held = asyncio.run(hold(options.streams))
    median, slow = statistics.median(firsts), statistics.quantiles(firsts, n=20)[-1]
    print(f"start of the processes  {1e3 * start:7.1f} ms")
    print(f"start of the server     {server_start:7.2f} s    goal {START_GOAL:.0f} s")
    print(f"first samples, median   {1e3 * median:7.1f} ms   goal {1e3 * FIRST_PCM_GOAL:.0f} ms")
    print(f"first samples, p95      {1e3 * slow:7.1f} ms")
    print(f"memory, {options.streams} at once      {held.memory_mib:7.1f} MiB  goal {MEMORY_GOAL} MiB")
    print(
        f"processes               {held.processes:7} , {held.threads} threads, {held.descriptors} descriptors"
    )
    met = median <= FIRST_PCM_GOAL and server_start <= START_GOAL and held.memory_mib <= MEMORY_GOAL
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


async def hold(streams: int) -> tuple[float, Holding]:
    """Seconds until a server is up, and what it holds while so many listeners wait in mid-speech."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), {**os.environ, "ORPHEUS_MODEL": "preview"}) as server,
    ):
        parts = urlsplit(server.url)
        body = b'{"model":"preview","voice":"tara","response_format":"pcm","input":"%b"}' % LONG.encode()
        head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connections = []
        for _ in range(streams):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4_096)
            writer.write(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            connections.append((reader, writer))
        for reader, _ in connections:
            if b" 200 " not in await reader.readuntil(b"\r\n"):
                raise RuntimeError("no speech came")
        await asyncio.sleep(5)
        held = await asyncio.to_thread(holding, server.pid)
        for _, writer in connections:
            writer.close()
        return server.start_seconds, held


if __name__ == "__main__":
    main()
