"""What stays in a server that everybody uses, in every way, for long: memory, threads, files, processes, lateness.

    python -m benchmarks.soak --minutes 60
    python -m benchmarks.soak --minutes 5 --json soak.json

The server is one of our own with the preview. All at once and all the time: speech in every format and speed, as bytes
and as events; listeners who hang up; saved speech; offloads; MCP sessions, ended and abandoned; listeners to events;
HEAD, half heads, heads without an end. After a warm-up, in which pools and caches come to their size, at half-time and
at the end everybody stops, and once the server is quiet it is weighed, with all its processes. `/health` is asked all
the time.

The command fails when something has grown between the first weighing and the last beyond the bounds that are printed
beside it, or when anybody was answered as nobody should be.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.report import percentiles
from benchmarks.serving import Server, serving

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
VOICES = ("tara", "leo", "pierre", "javi", "长乐", "ऋतिका")
TEXTS = ("Good morning.", "It was a bright cold day in April. " * 8, "One, two, <laugh> three! " * 30)
LONG = "The train to the coast leaves from platform nine, a quarter of an hour late. " * 100

MEMORY_MIB, THREADS, FILES, PROCESSES = 48.0, 16, 16, 2
"""What the server may have grown by. A kilobyte kept of each of an hour's 100 000 requests would be twice that memory;
pools grow by a few threads when many come at once for the first time."""
LATER_P99_MS = 100.0
"""How much later than in the beginning the slowest hundredth of `/health` may be answered in the end, beside how much
later the driver itself has become: other programs of the machine come and go."""

WARM_UP = 0.1
"""Share of the time."""
QUIET_SECONDS = 120.0
TIMEOUT = 120.0
MCP = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}
TURNED_AWAY = (429, 503)
"""While a model is offloaded newcomers are told when to come again."""

WEIGHINGS = ("start", "middle", "end")
SETTINGS = {"ORPHEUS_MODEL": "preview", "ORPHEUS_OUTPUT_MAX_BYTES": "20000000", "GPU_IDLE_TIMEOUT": "5"}


@dataclass
class Weight:
    """The server and all its processes, when it is quiet."""

    rss_mib: float
    pss_mib: float
    threads: int
    files: int
    processes: int


@dataclass
class Soak:
    """What was done, what went wrong, and what was measured."""

    url: str
    client: httpx.AsyncClient
    done: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)
    """Seconds, since it was last looked at."""
    lag: list[float] = field(default_factory=list)
    """How late the driver's own event loop was meanwhile."""

    async def speak(self) -> None:
        """A speech, heard to its end."""
        body = {"model": "tts-1", "voice": random.choice(VOICES), "input": random.choice(TEXTS),
                "response_format": random.choice(FORMATS), "speed": random.choice((0.5, 1, 1, 1.7)),
                "stream_format": random.choice(("audio", "audio", "sse"))}  # fmt: skip
        answer = await self.client.post("/v1/audio/speech", json=body)
        self._judge("speech", answer, well=answer.status_code == 200 and bool(answer.content))

    async def hang_up(self) -> None:
        """A long speech, left in the middle."""
        body = {"model": "tts-1", "voice": "tara", "input": LONG, "response_format": random.choice(FORMATS)}
        heard, enough = 0, random.randrange(200_000)
        async with self.client.stream("POST", "/v1/audio/speech", json=body) as answer:
            async for piece in answer.aiter_raw():
                heard += len(piece)
                if heard >= enough:
                    break
        self._judge("hang-up", answer, well=answer.status_code == 200)

    async def save(self) -> None:
        """A speech that stays on the server, and is read from there."""
        body = {"text": random.choice(TEXTS), "response_format": random.choice(("wav", "mp3")), "save": True}
        answer = await self.client.post("/api/generate", json=body)
        self._judge("saved", answer, well=answer.status_code == 200)
        listed = await self.client.get("/api/files")
        self._judge("list of files", listed, well=listed.status_code == 200)
        await asyncio.sleep(1)

    async def offload(self) -> None:
        """The model leaves; nobody is cut off for it."""
        await asyncio.sleep(random.uniform(2, 10))
        answer = await self.client.post("/api/offload", json={"wait_seconds": random.choice((0, 1, 8))})
        self._judge("offload", answer, well=answer.status_code == 200)

    async def mcp(self) -> None:
        """A session of MCP; every other one is left open."""
        hello = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "soak", "version": "1"},
        }
        opened = await self._ask_mcp({}, "initialize", hello)
        known = {"mcp-session-id": opened.headers.get("mcp-session-id", "")}
        await self.client.post(
            "/mcp/", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers={**MCP, **known}
        )
        await self._ask_mcp(known, "tools/list", {})
        await self._ask_mcp(known, "tools/call", {"name": "list_voices", "arguments": {"language": "en"}})
        if random.random() < 0.5:
            await self.client.delete("/mcp/", headers={**MCP, **known})
        await asyncio.sleep(0.1)

    async def _ask_mcp(self, known: dict[str, str], method: str, params: dict[str, Any]) -> httpx.Response:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = await self.client.post("/mcp/", json=call, headers={**MCP, **known})
        self._judge(f"MCP {method}", answer, well=answer.status_code == 200)
        return answer

    async def events(self) -> None:
        """A listener to events, for a while."""
        async with self.client.stream("GET", "/api/events") as answer:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.1, 5)):
                    async for _ in answer.aiter_raw():
                        pass
        self._judge("events", answer, well=answer.status_code == 200)

    async def heads(self) -> None:
        """HEAD, and a head without an end."""
        for path in ("/", "/v1/models", "/api/events", "/metrics"):
            answer = await self.client.head(path)
            self._judge("HEAD", answer, well=answer.status_code == 200)
        await self._expect(b" 431 ", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
        await asyncio.sleep(0.5)

    async def half_head(self) -> None:
        """Half a head, and the wait for its end."""
        await self._expect(b" 408 ", b"GET / HTTP/1.1\r\nX: ")

    async def _expect(self, status: bytes, sent: bytes) -> None:
        received = await self._say(sent)
        self.done["bad head"] += 1
        if status not in received:
            self.faults[f"bad head: {received[:60]!r}"] += 1

    async def _say(self, sent: bytes) -> bytes:
        address = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(sent)
            return await reader.read()
        finally:
            writer.close()

    async def ask_health(self) -> None:
        """Notes how late the event loop is."""
        began = time.perf_counter()
        answer = await self.client.get("/health")
        self.health.append(time.perf_counter() - began)
        self._judge("health", answer, well=answer.status_code == 200)
        began = time.perf_counter()
        await asyncio.sleep(0.05)
        self.lag.append(time.perf_counter() - began - 0.05)

    def _judge(self, what: str, answer: httpx.Response, *, well: bool) -> None:
        self.done[what] += 1
        if well:
            return
        if answer.status_code in TURNED_AWAY and "retry-after" in answer.headers:
            self.done[f"{what}, told to come again"] += 1
        else:
            self.faults[f"{what}: {answer.status_code}"] += 1

    async def go_on(self, seconds: float, parts: "Sequence[Part]") -> None:
        """Everybody does their part, for so long."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            health = group.create_task(self._repeat(Soak.ask_health, float("inf")))
            users = [group.create_task(self._repeat(part, until)) for part in parts]
            await asyncio.wait(users)
            health.cancel()

    async def _repeat(self, part: "Part", until: float) -> None:
        while time.monotonic() < until:
            try:
                await part(self)
            except (httpx.HTTPError, OSError) as error:
                self.faults[f"{part.__name__}: {type(error).__name__}"] += 1
                await asyncio.sleep(0.1)

    async def quiet(self) -> None:
        """Wait until nobody speaks or waits; raises TimeoutError."""
        async with asyncio.timeout(QUIET_SECONDS):
            while True:
                status = (await self.client.get("/api/status")).json()
                if not status["active_speeches"] and not status["queued_speeches"]:
                    break
                await asyncio.sleep(0.1)
        await asyncio.sleep(1)


Part = Callable[[Soak], Awaitable[None]]

PARTS: tuple[Part, ...] = (
    *(Soak.speak, Soak.speak, Soak.speak, Soak.hang_up, Soak.hang_up, Soak.save, Soak.offload, Soak.mcp),
    *(Soak.events, Soak.events, Soak.events, Soak.heads, Soak.half_head),
)
"""What is done at the same time."""


@contextlib.asynccontextmanager
async def _soaking(server: Server) -> AsyncIterator[Soak]:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT, limits=limits) as client:
        yield Soak(server.url, client)


def weigh(server: Server) -> Weight:
    """Look at the server's process and all below it."""
    first = psutil.Process(server.pid)
    found = [first, *first.children(recursive=True)]
    memory = [process.memory_full_info() for process in found]
    return Weight(
        rss_mib=sum(each.rss for each in memory) / 2**20,
        pss_mib=sum(getattr(each, "pss", each.rss) for each in memory) / 2**20,
        threads=sum(process.num_threads() for process in found),
        files=sum(process.num_fds() for process in found),
        processes=len(found),
    )


async def soak(server: Server, seconds: float, parts: Sequence[Part] = PARTS) -> dict[str, Any]:
    """Run it; returns the weights by when they were taken, figures of `/health`, and what was done and went wrong."""
    weights: dict[str, Weight] = {}
    health: dict[str, dict[str, float]] = {}
    lag: dict[str, dict[str, float]] = {}
    async with _soaking(server) as soaking:
        shares = (WARM_UP, (1 - WARM_UP) / 2, (1 - WARM_UP) / 2)
        for when, share in zip(WEIGHINGS, shares, strict=True):
            soaking.health.clear()
            soaking.lag.clear()
            await soaking.go_on(share * seconds, parts)
            health[when] = percentiles([1e3 * each for each in soaking.health], ranks=(50, 99))
            lag[when] = percentiles([1e3 * each for each in soaking.lag], ranks=(50, 99))
            await soaking.quiet()
            weights[when] = weigh(server)
    return {
        "weights": weights,
        "health_ms": health,
        "lag_ms": lag,
        "done": soaking.done,
        "faults": soaking.faults,
    }


BOUNDS = {
    "rss_mib": MEMORY_MIB,
    "pss_mib": MEMORY_MIB,
    "threads": THREADS,
    "files": FILES,
    "processes": PROCESSES,
}


def grown(found: dict[str, Any]) -> list[str]:
    """What has grown beyond its bound, in words."""
    start, end = (found["weights"][when] for when in (WEIGHINGS[0], WEIGHINGS[-1]))
    words = [
        f"{name} grew by {getattr(end, name) - getattr(start, name):.1f}, at most {bound:g} may be"
        for name, bound in BOUNDS.items()
        if getattr(end, name) - getattr(start, name) > bound
    ]
    server, driver = (
        found[key][WEIGHINGS[-1]]["p99"] - found[key][WEIGHINGS[0]]["p99"] for key in ("health_ms", "lag_ms")
    )
    if (later := server - max(0.0, driver)) > LATER_P99_MS:
        words.append(f"/health is answered {later:.0f} ms later (p99), at most {LATER_P99_MS:g} may be")
    return words


def table(found: dict[str, Any]) -> str:
    """Lay the figures out for a terminal."""
    lines = ["".join([" " * 30, *(f"{when:>10}" for when in WEIGHINGS), f"{'may grow by':>14}"])]
    for name, bound in BOUNDS.items():
        cells = (f"{getattr(found['weights'][when], name):10.1f}" for when in WEIGHINGS)
        lines.append(f"{name.replace('_mib', ', MiB'):<30}" + "".join(cells) + f"{bound:14g}")
    for title, key in (("/health", "health_ms"), ("the driver is late", "lag_ms")):
        for rank in ("p50", "p99", "worst"):
            cells = (f"{found[key][when][rank]:10.1f}" for when in WEIGHINGS)
            limit = f"{LATER_P99_MS:14g}" if (key, rank) == ("health_ms", "p99") else ""
            lines.append(f"{f'{title}, {rank}, ms':<30}" + "".join(cells) + limit)
    lines += ["", "done    " + ", ".join(f"{count} {what}" for what, count in sorted(found["done"].items()))]
    lines += [f"FAULT   {count} × {what}" for what, count in found["faults"].items()]
    return "\n".join(lines + [f"GROWN   {words}" for words in grown(found)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits 1 when something grew or went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="how long, the warm-up included (%(default)g)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args(arguments)
    random.seed(given.seed)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ORPHEUS_", "PORT"))}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), {**environ, **SETTINGS}) as server:
        found = asyncio.run(soak(server, 60 * given.minutes))
        errors = [line for line in server.log.read_text(errors="replace").splitlines() if " error " in line]
    found["faults"].update({f"in the log: {line[:200]}": 1 for line in errors[:5]})
    print(table(found))
    if given.json:
        plain = {**found, "weights": {when: vars(weight) for when, weight in found["weights"].items()}}
        given.json.write_text(json.dumps({**plain, "grown": grown(found)}, indent=2))
    sys.exit(1 if found["faults"] or grown(found) else 0)


if __name__ == "__main__":
    main()
