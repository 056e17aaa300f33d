"""What 256 listeners cost the server itself, whatever speaks: processor time for a second of audio.

    python -m benchmarks.many
    python -m benchmarks.many --streams 64,256 --formats pcm --seconds 20
    python -m benchmarks.many --formats pcm --profile stacks.txt      # with py-spy: where the time goes

Engine and codec give noise at the pace of playing and cost nothing (`many_server`); sockets, requests, frames, the
codec's queue, encoders and HTTP are real. The limit is one core for 256 streams of PCM, without times or checks:
processor time of the whole server's process, whatever else the machine does. Whether everybody had their sound in
time is said beside it.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.serving import Server, serving
from orpheus_openai.audio import SAMPLE_RATE
from tests.support.tiny_checkpoint import make_checkpoint

TEXT = "The train to the coast leaves from platform nine, a quarter of an hour late."
STREAMS = (256,)
FORMATS = ("pcm", "mp3", "opus")
LIMIT = 1.0
"""Cores for 256 streams of PCM."""
FIRST_AUDIO_SECONDS = 60
BYTES_PER_SECOND = 2 * SAMPLE_RATE


class Ear(asyncio.Protocol):
    """Asks for speech, and counts what comes; it costs the machine as little as it can."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.heard = 0
        self.head = b""
        self.speaking = asyncio.Event()
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count."""
        if not self.heard:
            self.head = data[:300]
            self.speaking.set()
        self.heard += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is over."""
        del exc
        self.lost = True
        self.speaking.set()


def request(audio_format: str) -> bytes:
    """One request for speech, as a client sends it."""
    fields = {"model": "medium-3b", "voice": "tara", "input": TEXT, "response_format": audio_format}
    body = json.dumps(fields).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


async def measure(server: Server, streams: int, audio_format: str, seconds: float) -> dict[str, Any]:
    """Let so many listen, and take the server's processor time while all of them do."""
    loop = asyncio.get_running_loop()
    port = int(server.url.rsplit(":", 1)[1])
    ears = []
    for _ in range(streams):
        _, ear = await loop.create_connection(lambda: Ear(request(audio_format)), "127.0.0.1", port)
        ears.append(ear)
        await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(FIRST_AUDIO_SECONDS):
            await asyncio.gather(*(ear.speaking.wait() for ear in ears))
        refused = [ear for ear in ears if b" 200 " not in ear.head[:20]]
        if refused:
            raise RuntimeError(f"{len(refused)} of {streams} were refused: {refused[0].head!r}")
        await asyncio.sleep(2)
        cpu, began, before = server.cpu_seconds(), time.perf_counter(), [ear.heard for ear in ears]
        await asyncio.sleep(seconds)
        cores = server.cpu_seconds() - cpu
        wall = time.perf_counter() - began
        heard = [ear.heard - was for ear, was in zip(ears, before, strict=True)]
    finally:
        for ear in ears:
            ear.transport.abort()
    found = {
        "streams": streams,
        "format": audio_format,
        "cores": cores / wall,
        "cpu_per_second_of_audio": cores / wall / streams,
        "lost": sum(ear.lost for ear in ears),
    }
    if audio_format == "pcm":
        found["slowest_of_real_time"] = min(heard) / wall / BYTES_PER_SECOND
    return found


def report(found: list[dict[str, Any]]) -> None:
    print(f"{'streams':>8}{'format':>8}{'cores':>8}{'CPU ms / s of audio':>22}{'slowest, × real time':>23}")
    for each in found:
        pace = each.get("slowest_of_real_time")
        print(
            f"{each['streams']:8}{each['format']:>8}{each['cores']:8.2f}{1e3 * each['cpu_per_second_of_audio']:22.2f}"
            f"{'' if pace is None else format(pace, '.2f'):>23}"
        )
    for each in found:
        if each["format"] == "pcm" and each["streams"] == 256:
            verdict = "" if each["cores"] <= LIMIT else ", missed"
            print(f"\n256 streams of PCM: {each['cores']:.2f} cores (limit: {LIMIT:.0f}{verdict})")


def run(streams: list[int], formats: list[str], seconds: float, profile: Path | None) -> list[dict[str, Any]]:
    """Start the server, measure, and stop it."""
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        environ = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "ORPHEUS_MODEL_MEDIUM_3B": str(make_checkpoint(folder / "checkpoint")),
            "ORPHEUS_MODEL": "medium-3b",
            "ORPHEUS_DEVICE": "cpu",
            "ORPHEUS_MAX_CONCURRENT": str(max(streams)),
            "ORPHEUS_MAX_STREAMS": str(max(streams)),
        }
        with serving(folder, environ, module="benchmarks.many_server") as server:
            runner.run(measure(server, 1, "pcm", 0.1))  # loads
            found = []
            for count in streams:
                for audio_format in formats:
                    spy = None
                    if profile is not None:
                        command = ["py-spy", "record", "-p", str(server.pid), "-d", f"{seconds + 2:.0f}"]
                        spy = subprocess.Popen([*command, "-o", str(profile), "-f", "raw"])
                    found.append(runner.run(measure(server, count, audio_format, seconds)))
                    if spy is not None:
                        spy.wait()
    return found


def main() -> None:
    """Run the command line; exit code 1 when a stream broke off."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", default=",".join(map(str, STREAMS)), help="numbers (%(default)s)")
    parser.add_argument("--formats", default=",".join(FORMATS), help="formats (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured, of each (%(default)s)")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="have py-spy write its stacks there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    numbers = [int(number) for number in options.streams.split(",")]
    found = run(numbers, options.formats.split(","), options.seconds, options.profile)
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if lost := sum(each["lost"] for each in found):
        sys.exit(f"{lost} streams broke off")


if __name__ == "__main__":
    main()
