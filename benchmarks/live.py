"""Text in while speech comes out: how soon it sounds, how soon an interruption frees the model.

    python -m benchmarks.live
    python -m benchmarks.live --times 5

The server is one of our own with the preview. A text comes token by token, 20 a second, as a language model writes it;
a flush is answered with the first PCM; a speech of minutes is interrupted, and its place is free.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.report import percentiles
from benchmarks.serving import serving

TOKENS_PER_SECOND = 20
TEXT = (
    "Good morning, everybody, and welcome to the station. The train to the coast leaves from platform nine. "
    "It is a quarter of an hour late, as it was yesterday. We are sorry for that."
)
LONG = "The train to the coast leaves from platform nine. " * 200
CONFIG = {"type": "session.config", "model": "preview", "response_format": "pcm", "stream_audio": True}
FLUSH_GOAL, FREE_GOAL = 0.030, 0.100
"""Seconds."""
PATIENCE = 60


async def opened(url: str) -> ClientConnection:
    """A socket with its configuration."""
    address = f"{url.replace('http', 'ws', 1)}/v1/audio/speech/stream"
    socket = await connect(address, compression=None, proxy=None, open_timeout=PATIENCE)
    await socket.send(json.dumps(CONFIG))
    return socket


async def say(socket: ClientConnection, kind: str, **fields: Any) -> None:
    """Send one message."""
    await socket.send(json.dumps({"type": kind, **fields}))


async def until(socket: ClientConnection, kind: str) -> float:
    """When the first message of that kind, or `bytes`, has come."""
    async with asyncio.timeout(PATIENCE):
        while True:
            message = await socket.recv()
            found = "bytes" if isinstance(message, bytes) else json.loads(message)["type"]
            if found == kind:
                return time.perf_counter()


async def first_sound(url: str) -> tuple[float, float]:
    """Seconds from the first token to the first sound, and to the last token."""
    tokens = [TEXT[at : at + 4] for at in range(0, len(TEXT), 4)]
    async with await opened(url) as socket:
        heard = asyncio.create_task(until(socket, "bytes"))
        began = time.perf_counter()
        for number, token in enumerate(tokens):
            await asyncio.sleep(max(0.0, began + number / TOKENS_PER_SECOND - time.perf_counter()))
            await say(socket, "input.text", text=token)
        ended = time.perf_counter()
        await say(socket, "input.done")
        sounded = await heard
        await until(socket, "session.done")
    return sounded - began, ended - began


async def flushed(socket: ClientConnection) -> float:
    """Seconds from a flush to the first PCM."""
    await say(socket, "input.text", text="Hello the")
    began = time.perf_counter()
    await say(socket, "input.flush")
    heard = await until(socket, "bytes")
    await say(socket, "input.done")
    await until(socket, "session.done")
    return heard - began


async def interrupted(socket: ClientConnection) -> tuple[float, float]:
    """Seconds from an interruption to the end of the audio, when the place is free, and to its answer."""
    await say(socket, "input.text", text=LONG)
    await until(socket, "bytes")
    began = time.perf_counter()
    await say(socket, "interrupt", played_ms=100)
    free = await until(socket, "audio.done")
    told = await until(socket, "interrupted")
    await until(socket, "session.done")
    return free - began, told - began


def _told(name: str, seconds: Sequence[float], goal: float | None = None) -> None:
    figures = ", ".join(f"{rank} {1_000 * value:.0f} ms" for rank, value in percentiles(seconds).items())
    print(f"{name}: {figures}" + (f" (goal {1_000 * goal:.0f} ms)" if goal else ""))


async def run(url: str, arguments: argparse.Namespace) -> None:
    """Measure, and print."""
    await first_sound(url)
    sounds = await asyncio.gather(*(first_sound(url) for _ in range(min(arguments.times, 8))))
    _told("first token to first sound", [sound for sound, _ in sounds])
    _told("first token to last token", [last for _, last in sounds])
    async with await opened(url) as socket:
        _told("flush to first PCM", [await flushed(socket) for _ in range(arguments.times)], FLUSH_GOAL)
        cuts = [await interrupted(socket) for _ in range(arguments.times)]
    _told("interruption to free", [free for free, _ in cuts], FREE_GOAL)
    _told("interruption to its answer", [told for _, told in cuts])


def main() -> None:
    """Serve, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=30, help="flushes and interruptions (30)")
    arguments = parser.parse_args()
    environ = {**os.environ, "ORPHEUS_MODEL": "preview", "ORPHEUS_MAX_QUEUE": "1000"}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), environ) as server:
        asyncio.run(run(server.url, arguments))


if __name__ == "__main__":
    main()
