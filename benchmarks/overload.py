"""Ask a server for several times what it can speak: who is let in is heard without a gap, who is not knows at once.

    python -m benchmarks.overload
    python -m benchmarks.overload --seconds 300 --factor 8 --at-once 16 --json overload.json

The server is one of our own (the preview, unless ORPHEUS_MODEL is set). First its capacity is measured, with as
many listeners as it admits; then requests come at a steady pace, so many times faster, whether or not earlier
ones were answered; then, when the rush is over, it is measured again as before it.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.http_stream import BrokenTransferError, fetch
from benchmarks.load import TEXTS
from benchmarks.playback import UnplayableError, listen
from benchmarks.report import percentiles
from benchmarks.serving import Server, serving

TEXT = TEXTS[-1]
ALONE = 20
"""Requests, one after the other, by which the server is measured before and after."""

CALIBRATION_SECONDS = 5.0
SETTLING_SECONDS = 2.0
"""From the last answer of the rush to the first measurement after it."""

REFUSED = 429


@dataclass(slots=True)
class Rush:
    """What became of the requests; times in seconds."""

    admitted: int = 0
    refused: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """By kind, e.g. `status 500`; there should be none."""
    first_bytes: list[float] = field(default_factory=list)
    """Of those that were admitted, from when they were sent."""
    refusals: list[float] = field(default_factory=list)
    """Until a refusal was there as a whole."""
    without_retry_after: int = 0
    underruns: int = 0
    silence: float = 0.0
    """What listeners who play at once heard of gaps, all together."""
    audio: float = 0.0
    resident_mib: list[float] = field(default_factory=list)
    """The server's memory, once a second."""

    def fail(self, kind: str) -> None:
        """Count a request that was neither spoken nor refused."""
        self.failed[kind] = self.failed.get(kind, 0) + 1


@dataclass(slots=True)
class Report:
    """All that was measured."""

    capacity: float
    """Requests a second that it spoke when as many asked as it admits."""
    offered: float
    """Requests a second in the rush."""
    rush: Rush
    first_byte_before: float
    first_byte_after: float
    """Median of requests one after the other."""
    resident_before: float
    resident_after: float
    speaking_after: int
    """Speeches that the server still counts when nobody listens any more; there should be none."""


def main() -> None:
    """Run the command line; exit code 1 where a request was neither spoken in time nor refused."""
    options = _parser().parse_args()
    report = measure(options.seconds, at_once=options.at_once, queue=options.queue, factor=options.factor)
    print(_table(report))
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    rush = report.rush
    sys.exit(1 if rush.failed or rush.underruns or rush.without_retry_after or report.speaking_after else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description="Ask a server for too much.")
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="how long the rush lasts (%(default)s)")
    add("--factor", type=float, default=4.0, help="times its capacity (%(default)s)")
    add("--at-once", type=int, default=8, help="ORPHEUS_MAX_CONCURRENT of the server (%(default)s)")
    add("--queue", type=int, default=4, help="ORPHEUS_MAX_QUEUE of the server (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def measure(seconds: float, *, at_once: int, queue: int, factor: float) -> Report:
    """Start a server, rush it for so many seconds at `factor` times its capacity, and look at it afterwards."""
    settings = {
        "ORPHEUS_MODEL": "preview",
        **os.environ,
        "ORPHEUS_MAX_CONCURRENT": str(at_once),
        "ORPHEUS_MAX_QUEUE": str(queue),
    }
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), settings) as server:
        return asyncio.run(_measure(server, seconds, at_once, factor))


async def _measure(server: Server, seconds: float, at_once: int, factor: float) -> Report:
    capacity = await _capacity(server, at_once, min(seconds, CALIBRATION_SECONDS))
    before, resident_before = await _alone(server), server.resident_mib()[0]
    rush = await _rush(server, seconds, factor * capacity)
    await asyncio.sleep(SETTLING_SECONDS)
    after, resident_after = await _alone(server), server.resident_mib()[0]
    status = json.loads((await fetch("GET", f"{server.url}/api/status", {})).body)
    return Report(
        capacity,
        factor * capacity,
        rush,
        before,
        after,
        resident_before,
        resident_after,
        status["active_speeches"],
    )


async def _capacity(server: Server, at_once: int, seconds: float) -> float:
    """Requests a second that `at_once` listeners are spoken to, each asking again when it has heard all."""
    began, spoken = time.perf_counter(), Rush()

    async def listener() -> None:
        while time.perf_counter() - began < seconds:
            await _ask(server, spoken)

    await asyncio.gather(*(listener() for _ in range(at_once)))
    return max(1, spoken.admitted) / (time.perf_counter() - began)


async def _alone(server: Server) -> float:
    """Median of the seconds to the first byte, with nobody else there."""
    rush = Rush()
    for _ in range(ALONE):
        await _ask(server, rush)
    return statistics.median(rush.first_bytes) if rush.first_bytes else float("nan")


async def _rush(server: Server, seconds: float, pace: float) -> Rush:
    rush = Rush()
    watcher = asyncio.create_task(_watch(server, rush.resident_mib))
    began = time.perf_counter()
    async with asyncio.TaskGroup() as requests:
        for number in itertools.count():
            due = number / pace
            if due > seconds:
                break
            await asyncio.sleep(began + due - time.perf_counter())
            requests.create_task(_ask(server, rush))
    watcher.cancel()
    await asyncio.wait([watcher])
    return rush


async def _watch(server: Server, resident: list[float]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            resident.append(server.resident_mib()[0])
            await asyncio.sleep(1)


async def _ask(server: Server, rush: Rush) -> None:
    fields = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "pcm"}
    headers = {"content-type": "application/json"}
    try:
        answer = await fetch(
            "POST", f"{server.url}/v1/audio/speech", headers, json.dumps(fields).encode(), keep_body=False
        )
        if answer.status == REFUSED:
            rush.refused += 1
            rush.refusals.append(answer.seconds)
            rush.without_retry_after += "retry-after" not in answer.headers
        elif answer.status != 200:
            rush.fail(f"status {answer.status}")
        else:
            heard = listen("pcm", answer.arrivals, b"")
            rush.admitted += 1
            rush.first_bytes.append(heard.first_audio)
            rush.audio += heard.audio
            rush.underruns += heard.underruns
            rush.silence += heard.silence
    except (OSError, BrokenTransferError, UnplayableError) as error:
        rush.fail(type(error).__name__)


def _table(report: Report) -> str:
    rush = report.rush
    first, refusal = percentiles(rush.first_bytes), percentiles(rush.refusals)
    early = rush.resident_mib[: max(1, len(rush.resident_mib) // 4)]
    late = rush.resident_mib[-max(1, len(rush.resident_mib) // 4) :]
    lines = [
        f"capacity    {report.capacity:.1f} requests/s of {rush.audio / max(1, rush.admitted):.0f} s of audio",
        f"offered     {report.offered:.1f} requests/s",
        f"admitted    {rush.admitted}, first byte " + _milliseconds(first),
        f"gaps        {rush.underruns} underruns, {rush.silence:.2f} s of silence in {rush.audio:.0f} s of audio",
        f"refused     {rush.refused}, after " + _milliseconds(refusal),
        f"failed      {rush.failed or 'none'}",
        f"memory      {statistics.mean(early):.1f} MiB in the first quarter, {statistics.mean(late):.1f} in the last",
        f"before      first byte {report.first_byte_before * 1000:.2f} ms, {report.resident_before:.1f} MiB",
        f"after       first byte {report.first_byte_after * 1000:.2f} ms, {report.resident_after:.1f} MiB",
        f"left over   {report.speaking_after} speeches",
    ]
    return "\n".join(lines)


def _milliseconds(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in found.items()) or "–"


if __name__ == "__main__":
    main()
