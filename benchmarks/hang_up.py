"""How soon the work on a speech stops when its listener hangs up in the middle of it.

    python -m benchmarks.hang_up
    python -m benchmarks.hang_up --times 200 --format mp3 --json hang_up.json

The server is one of our own with the preview, which would go on for seconds. A listener asks for half an hour of speech
through a raw socket, hears its beginning, and leaves: with RST, as a program that is killed with bytes unread,
or with FIN, as one that closes and reads what is still on its way. The clock is read before that call; the end is
the moment at which the server, with everything for this request closed behind it, writes its line into the log. Both
are the machine's one clock, and nobody asks the server anything meanwhile. That the line tells the truth is seen
from the outside: by the processor time that the server uses when the goal has passed, beside that of an idle one.
"""

import argparse
import itertools
import json
import os
import random
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from benchmarks.report import percentiles
from benchmarks.serving import Server, serving

GOAL = 0.1
"""Seconds from the hang-up until the work has ended; also how long is looked whether it really has."""
LISTENS_FOR = 0.2
"""Seconds, at most, from the first sound to the hang-up, so that it meets the server in every state it has."""
WARM_UP = 4
TEXT = "The train to the coast leaves from platform nine, a quarter of an hour late. " * 390
"""About half an hour, within what one request may have."""
TIMEOUT = 30
PIECE = 65_536
RANKS = (50, 95)

Way = Literal["RST", "FIN"]


@dataclass(slots=True)
class HangUp:
    """One listener who left; times in seconds, moments in Unix time."""

    way: Way
    request_id: str
    at: float
    """Just before the call that hangs up."""
    call: float
    """What that call took: no figure can be finer."""
    worked_on: float
    """Processor time of the server in the stretch of `GOAL` that begins `GOAL` after the hang-up."""
    idle: float
    """The same in as long a stretch in which nobody wanted anything."""
    health: float
    """A round trip of `GET /health`."""
    ended: float | None = None
    """When the work had ended; None: it never did."""
    outcome: str | None = None
    """As the server saw it; anything but `cancelled` is no hang-up in the middle of a speech."""


def main() -> None:
    """Run the command line; exit code 1 when a speech was not ended by its listener's leaving."""
    options = _parser().parse_args()
    hang_ups = measure(options.times, options.format)
    summary = summarise(hang_ups)
    print(f"{options.times} listeners hung up each way, {options.format}\n")
    print(table(summary))
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        document = {"settings": settings, "summary": summary, "requests": [asdict(each) for each in hang_ups]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    sys.exit(1 if summary["not_ended"] else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.hang_up", description="Hang up in the middle of a speech."
    )
    add = parser.add_argument
    add("--times", type=int, default=50, help="listeners who hang up, each way (%(default)s)")
    add("--format", default="pcm", choices=("pcm", "wav", "mp3", "opus", "aac", "flac"), help="(%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures and every request there")
    return parser


def measure(times: int, audio_format: str) -> list[HangUp]:
    """Start a server, hang up on it so many times each way, in turn, and read from its log when it noticed."""
    settings = {"ORPHEUS_MODEL": "preview", **os.environ}
    settings |= {"ORPHEUS_LOG_FORMAT": "json", "ORPHEUS_LOG_LEVEL": "info"}
    with tempfile.TemporaryDirectory() as folder:
        with serving(Path(folder), settings) as server:
            for way in itertools.islice(itertools.cycle(get_args(Way)), WARM_UP):
                _hang_up(server, way, audio_format, 0.0)
            chance = random.Random(0)
            hang_ups = [
                _hang_up(server, way, audio_format, chance.uniform(0, LISTENS_FOR))
                for _ in range(times)
                for way in get_args(Way)
            ]
        ends = read_ends(server.log.read_text())  # whole: the server is gone
    for each in hang_ups:
        each.ended, each.outcome = ends.get(each.request_id, (None, None))
    return hang_ups


def read_ends(log: str) -> dict[str, tuple[float, str]]:
    """When each speech of a log in JSON ended, in Unix time, and how, by its request's id."""
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return {
        line["request_id"]: (datetime.fromisoformat(line["time"]).timestamp(), line["outcome"])
        for line in lines
        if "request_id" in line and "outcome" in line
    }


def _hang_up(server: Server, way: Way, audio_format: str, listens_for: float) -> HangUp:
    connection, request_id = _begin(server, audio_format)
    if way == "RST":  # whoever is killed has not read on
        time.sleep(listens_for)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        at = time.time()
        connection.close()
    else:
        _read(connection, listens_for)
        at = time.time()
        connection.shutdown(socket.SHUT_WR)
    call = time.time() - at
    if way == "FIN":
        _read(connection, TIMEOUT)
        connection.close()
    time.sleep(max(0.0, at + GOAL - time.time()))
    worked_on = _busy(server)
    health = _health(server)
    return HangUp(way, request_id, at, call, worked_on, _busy(server), health)


def _begin(server: Server, audio_format: str) -> tuple[socket.socket, str]:
    """Ask for the speech; returns the connection on which its first bytes have come, and the request's id."""
    fields = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": audio_format}
    body = json.dumps(fields).encode()
    connection = _connect(server)
    connection.sendall(
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    received = b""
    while not received.partition(b"\r\n\r\n")[2]:
        piece = connection.recv(PIECE)
        if not piece:
            break
        received += piece
    head, _, first = received.partition(b"\r\n\r\n")
    if not first or b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"no speech came: {received[:1000].decode(errors='replace')}")
    named = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return connection, named[b"x-request-id"].decode()


def _connect(server: Server) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT)


def _read(connection: socket.socket, seconds: float) -> None:
    """Read and forget, for so long or until the server has closed."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            if not connection.recv(PIECE):
                return
        except (TimeoutError, ConnectionResetError):
            return


def _busy(server: Server) -> float:
    """Processor time that the server uses in the next `GOAL` seconds."""
    before = server.cpu_seconds()
    time.sleep(GOAL)
    return server.cpu_seconds() - before


def _health(server: Server) -> float:
    began = time.perf_counter()
    with _connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while connection.recv(PIECE):
            pass
    return time.perf_counter() - began


def summarise(hang_ups: Sequence[HangUp]) -> dict[str, Any]:
    """Reduce a run to figures, ready for JSON; in milliseconds where the name says so."""

    def milliseconds(values: Sequence[float]) -> dict[str, float]:
        return percentiles([1e3 * value for value in values], ranks=RANKS)

    ended = [each for each in hang_ups if each.ended is not None and each.outcome == "cancelled"]
    until_ended = {
        f"{way.lower()}_ms": milliseconds(
            [each.ended - each.at for each in ended if each.ended and each.way == way]
        )
        for way in get_args(Way)
    }
    return {
        "goal_ms": 1e3 * GOAL,
        **until_ended,
        "health_ms": milliseconds([each.health for each in hang_ups]),
        "call_ms": milliseconds([each.call for each in hang_ups]),
        "worked_on_ms": milliseconds([each.worked_on for each in hang_ups]),
        "idle_ms": milliseconds([each.idle for each in hang_ups]),
        "not_ended": len(hang_ups) - len(ended),
    }


ROWS = (
    ("RST, until the work has ended", "rst_ms"),
    ("FIN, until the work has ended", "fin_ms"),
    ("limit: GET /health", "health_ms"),
    ("processor time after the goal", "worked_on_ms"),
    ("processor time, idle", "idle_ms"),
)


def table(summary: dict[str, Any]) -> str:
    """Lay the figures out for a terminal."""
    columns = (*(f"p{rank}" for rank in RANKS), "worst")
    lines = ["".join([" " * 34, *(f"{name:>10}" for name in ("median", "p95", "worst", "goal"))])]
    for title, key in ROWS:
        cells = (f"{summary[key][column]:10.2f}" if summary[key] else f"{'–':>10}" for column in columns)
        goal = f"{summary['goal_ms']:10.0f}" if key in ("rst_ms", "fin_ms") else ""
        lines.append(f"{title:<30}{'ms':>4}" + "".join(cells) + goal)
    call, goal = summary["call_ms"], summary["goal_ms"]
    lines += [
        "",
        f"resolution      1 µs; the call that hangs up counts: {call['p50']:.3f} ms, {call['worst']:.3f} ms at worst",
        f"processor time  the server's, in the {goal:.0f} ms after the goal, and in as many without any listener",
    ]
    if summary["not_ended"]:
        lines.append(
            f"failed          {summary['not_ended']} speeches were not ended by their listener's leaving"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
