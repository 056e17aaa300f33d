"""End to end without a model: what our server adds to an engine that has every token ready at once.

    python -m benchmarks.replay                     # a SNAC of the true shape with random weights
    python -m benchmarks.replay --runs 20 --json replay.json
    python -m benchmarks.replay --snac hubertsiuzdak/snac_24khz

An engine in this process replays one utterance, of 3 s and then of 10 s, to a server of ours in a process of
its own, which decodes it and sends PCM to 1, 4 and 8 listeners who ask at the same moment. What is measured
is the server's share: HTTP on both its sides, tokens, codec, joining. Each run asks once; all runs count.
How late the server's event loop is shows in `GET /health` meanwhile; on Linux, what the server's main thread
and this process waited for a core is taken off, as far as it is counted: where both cores are wanted by other
programs, the rest holds some of it, too.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.http_stream import Answer, fetch
from benchmarks.playback import listen
from benchmarks.replay_server import ReplayServer, in_ids, random_speech
from benchmarks.serving import Server, Waits, serving
from orpheus_openai.models.orpheus.frames import SAMPLES_PER_FRAME, SECONDS_PER_FRAME
from tests.support.tiny_snac import write_snac
from tests.support.tiny_tokenizer import write_tokenizer

TEXT = "The train to the coast leaves from platform nine, a quarter of an hour late."
"""One segment, and so one utterance."""
LENGTHS = (3, 10)
"""Seconds of the utterances, to the nearest frame."""
STREAMS = (1, 4, 8)
BYTES_PER_FRAME = 2 * SAMPLES_PER_FRAME

FIRST_BYTE_ALONE = 0.120
FIRST_BYTE_OF_EIGHT = 1.0
LOOP_LAG = 0.020
PEER = "Orpheus-FastAPI 1.3.1"
PEER_FIRST_BYTE = {1: 2.9, 4: 12.1, 8: 23.7}
"""Seconds, for the 3 s utterance."""
PEER_SPEED = 0.95
PEER_KEPT = 0.92
"""Measured once on a machine with 2 cores, with the same random SNAC and its tokens replayed at once: it sends
nothing before it has everything, and speaks to one listener at a time."""

PROBE_SECONDS = 0.05
"""Between one `GET /health` and the next."""


@dataclass
class Measured:
    """So many streams of one length at once, over all runs; times in seconds."""

    streams: int
    frames: int
    """Of one utterance."""
    first_byte: list[float] = field(default_factory=list)
    """Of every stream, from its request on."""
    total: list[float] = field(default_factory=list)
    """Of every stream, until its last byte."""
    speed: list[float] = field(default_factory=list)
    """Of every run, seconds of audio a second, all streams together."""
    silence: list[float] = field(default_factory=list)
    """Of every stream, how long its listener heard nothing after the first sound."""
    sizes: set[int] = field(default_factory=set)
    """Bytes of the bodies."""
    health: list[float] = field(default_factory=list)
    """Round trips of `GET /health` meanwhile."""
    late: list[float] = field(default_factory=list)
    """The same, less what the server or this process waited for a core."""
    server_cpu: float = 0.0
    """Processor time of the server."""

    @property
    def kept(self) -> float:
        """The share of the audio that came."""
        return min(self.sizes) / (self.frames * BYTES_PER_FRAME)

    @property
    def whole(self) -> bool:
        """Whether every stream had exactly the samples of its frames."""
        return self.sizes == {self.frames * BYTES_PER_FRAME}

    @property
    def cpu_per_second(self) -> float:
        """Processor time of the server for each second of audio."""
        return self.server_cpu / (len(self.total) * self.frames * SECONDS_PER_FRAME)


async def measure(server: Server, engine: ReplayServer, runs: int) -> list[Measured]:
    """Measure each length with each number of streams; the first request loads the model and does not count."""
    found: list[Measured] = []
    for seconds in LENGTHS:
        frames = round(seconds / SECONDS_PER_FRAME)
        engine.answers = [in_ids(random_speech(frames))]
        await speak(server.url)
        found += [await repeat(server, Measured(streams, frames), runs) for streams in STREAMS]
    return found


async def repeat(server: Server, result: Measured, runs: int) -> Measured:
    """Ask `runs` times with all streams at the same moment, and fill in `result`."""
    watch = asyncio.create_task(watch_loop(server, result))
    cpu = server.cpu_seconds()
    for _ in range(runs):
        began = time.perf_counter()
        answers = await asyncio.gather(*(speak(server.url) for _ in range(result.streams)))
        wall = time.perf_counter() - began
        result.first_byte += [answer.arrivals[0].seconds for answer in answers]
        result.total += [answer.seconds for answer in answers]
        result.silence += [listen("pcm", answer.arrivals, b"").silence for answer in answers]
        result.sizes |= {answer.arrivals[-1].size for answer in answers}
        result.speed.append(result.streams * result.frames * SECONDS_PER_FRAME / wall)
    result.server_cpu = server.cpu_seconds() - cpu
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    return result


async def speak(url: str) -> Answer:
    """Ask for the utterance; raises RuntimeError when it is refused."""
    fields = {"model": "medium-3b", "voice": "tara", "input": TEXT, "response_format": "pcm"}
    headers = {"content-type": "application/json"}
    answer = await fetch(
        "POST", f"{url}/v1/audio/speech", headers, json.dumps(fields).encode(), keep_body=False
    )
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {answer.body.decode(errors='replace')[:500]}")
    return answer


async def watch_loop(server: Server, result: Measured) -> None:
    """Note how long the server's loop takes to answer, and how much of that was no waiting for a core."""
    waits = Waits(server.pid)
    while True:
        before = waits.seconds()
        seconds = (await fetch("GET", f"{server.url}/health", {})).seconds
        result.health.append(seconds)
        result.late.append(max(0.0, seconds - (waits.seconds() - before)))
        await asyncio.sleep(PROBE_SECONDS)


def report(found: list[Measured]) -> None:
    print(
        f"{'utterance':>9}{'streams':>9}{'first byte p50':>17}{'max':>9}{'× real time':>13}{'audio kept':>12}"
        f"{'silence p50':>14}{'CPU s / s':>11}{'health max':>13}{'no wait':>10}"
    )
    for each in found:
        print(
            f"{each.frames * SECONDS_PER_FRAME:7.1f} s{each.streams:9}"
            f"{1e3 * statistics.median(each.first_byte):14.0f} ms{1e3 * max(each.first_byte):6.0f} ms"
            f"{statistics.median(each.speed):13.1f}{each.kept:12.2%}"
            f"{1e3 * statistics.median(each.silence):11.0f} ms{each.cpu_per_second:11.3f}"
            f"{1e3 * max(each.health):10.0f} ms{1e3 * max(each.late):7.0f} ms"
        )
    short = {each.streams: each for each in found if each.frames == found[0].frames}
    print(f"\n{PEER}, measured once on a machine with 2 cores, {found[0].frames * SECONDS_PER_FRAME:.1f} s:")
    for streams, peer in PEER_FIRST_BYTE.items():
        ours = max(short[streams].first_byte)
        print(f"  {streams} at once: first byte after {peer} s; ours after {ours:.2f} s at most")
    print(f"  all together {PEER_SPEED} × real time, {PEER_KEPT:.0%} of the audio kept\n")
    for what, value, goal in (
        ("first byte, one stream, median", statistics.median(short[1].first_byte), FIRST_BYTE_ALONE),
        ("first byte, last of eight at once", max(short[8].first_byte), FIRST_BYTE_OF_EIGHT),
        ("health, less the wait for a core, at most", max(max(each.late) for each in found), LOOP_LAG),
    ):
        verdict = "" if value <= goal else ", missed"
        print(f"{what}: {1e3 * value:.0f} ms (goal: {1e3 * goal:.0f} ms{verdict})")
    if all(each.whole for each in found):
        print("every stream had exactly the samples of its frames")


def run(snac: Path | None, runs: int) -> list[Measured]:
    """Start the engine and the server, measure, and stop both."""
    engine = ReplayServer([])
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runner.run(engine.__aenter__())
        write_tokenizer(folder / "tokenizer")
        environ = {
            **os.environ,
            "ORPHEUS_REMOTE_URL": engine.url,
            "ORPHEUS_MODEL_MEDIUM_3B": str(folder / "tokenizer"),
            "ORPHEUS_SNAC": str(snac or write_snac(folder / "snac")),
        }
        with serving(folder, environ) as server:
            found = runner.run(measure(server, engine, runs))
        runner.run(engine.__aexit__(None, None, None))
    return found


def main() -> None:
    """Run the command line; exit code 1 when a stream had not all its audio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=8, help="runs of each kind (%(default)s)")
    parser.add_argument("--snac", type=Path, help="a SNAC checkpoint directory; default: random weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    found = run(options.snac, options.runs)
    print(
        f"{os.cpu_count()} cores, load average before the run {load:.1f}, {options.runs} runs of each kind\n"
    )
    report(found)
    if options.json:
        kinds = [{**asdict(each), "sizes": sorted(each.sizes)} for each in found]
        options.json.write_text(json.dumps({"load_average": load, "kinds": kinds}, indent=1) + "\n")
    if lost := [
        f"{each.streams} × {each.frames} frames: {each.sizes} bytes" for each in found if not each.whole
    ]:
        sys.exit(f"audio lost: {'; '.join(lost)}")


if __name__ == "__main__":
    main()
