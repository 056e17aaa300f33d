"""What ill-treated sockets leave behind, at every door that has some: ours, and both of ElevenLabs'.

    python -m benchmarks.sockets
    python -m benchmarks.sockets --sockets 20 --malformed 200

The server is one of our own with the preview. At each door many sockets at once, of which half hang up at random;
malformed messages; readers who do not read. All the while somebody speaks at each door the same sentence again and
again, and must hear the same samples each time. At the end nothing may be under way, and memory, open files and
processes of the server are shown before and after. It fails where something is left, or somebody was not served.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from benchmarks.serving import Server, serving

TEXT = "Good morning, everybody, and welcome to the station. We are sorry for that. "
LONG = "The train to the coast leaves from platform nine. " * 200
PATIENCE = 120
"""Seconds for what takes a moment on an idle machine."""
AT_ONCE = 50
"""Sockets that are opened or spoilt at the same time, where each bad message costs one."""
STILL_READERS = 8
MOST_MORE_FILES, MOST_MORE_MIB = 16, 64
"""What the server may have more of afterwards: caches, and libraries that were loaded on the way."""

CONFIG = {"type": "session.config", "model": "preview", "response_format": "pcm", "stream_audio": True}


@dataclass(frozen=True)
class Door:
    """A protocol: what opens a speech, writes to it, and ends it."""

    name: str
    path: str
    begin: tuple[dict[str, Any], ...]
    text: Callable[[str], dict[str, Any]]
    end: dict[str, Any]
    stays: bool
    """After a message that makes no sense the socket stays open."""
    malformed: tuple[str | bytes, ...]

    async def opened(self, url: str, **options: Any) -> ClientConnection:
        """A socket on which text may be written; `options` are those of `connect`."""
        address = f"{url.replace('http', 'ws', 1)}{self.path}"
        socket = await connect(
            address, compression=None, proxy=None, open_timeout=PATIENCE, max_size=None, **options
        )
        for message in self.begin:
            await socket.send(json.dumps(message))
        return socket

    async def write(self, socket: ClientConnection, text: str, *, end: bool = False) -> None:
        """Write to the speech, and end it."""
        await socket.send(json.dumps(self.text(text)))
        if end:
            await socket.send(json.dumps(self.end))

    async def heard(self, socket: ClientConnection, *, beginning: bool = False) -> bytes:
        """The audio to the end of the speech, or only what comes first. Raises ConnectionError for an error."""
        audio = b""
        async with asyncio.timeout(PATIENCE):
            while not (beginning and audio):
                message = await socket.recv()
                if isinstance(message, bytes):
                    audio += message
                    continue
                told = json.loads(message)
                if "error" in (told.get("type"), *told) and told.get("error"):
                    raise ConnectionError(message)
                if told.get("audio"):
                    audio += base64.b64decode(told["audio"])
                if told.get("isFinal") or told.get("type") == "session.done":
                    break
        return audio

    async def spoil(self, socket: ClientConnection, message: str | bytes) -> bool:
        """Send what makes no sense; whether it was answered with an error."""
        with suppress(ConnectionClosed):
            await socket.send(message)
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    told = await socket.recv()
                    if isinstance(told, str) and (
                        "error" in json.loads(told).values() or "error" in json.loads(told)
                    ):
                        return True
        except ConnectionClosed as closed:
            return closed.rcvd is not None and closed.rcvd.code == 1008


SENSELESS = ("{", "[]", b"\x00\xff", "null", '"text"', "\ud7ff", "{" * 10_000)
ELEVEN = "/v1/text-to-speech/tara"
ASKED = "model_id=preview&output_format=pcm_24000"
DOORS = (
    Door(
        "speech/stream",
        "/v1/audio/speech/stream",
        (CONFIG,),
        lambda text: {"type": "input.text", "text": text},
        {"type": "input.done"},
        True,
        (
            *SENSELESS,
            '{"type":5}',
            '{"type":"input.text"}',
            '{"type":"?"}',
            '{"type":"interrupt","played_ms":-1}',
        ),
    ),
    Door(
        "stream-input",
        f"{ELEVEN}/stream-input?{ASKED}",
        ({"text": " "},),
        lambda text: {"text": text},
        {"text": ""},
        False,
        (*SENSELESS, '{"text":5}', '{"text":"Hello","flush":"maybe"}', '{"text":["Hello"]}'),
    ),
    Door(
        "multi-stream-input",
        f"{ELEVEN}/multi-stream-input?{ASKED}",
        ({"text": " ", "context_id": "a"},),
        lambda text: {"text": text, "context_id": "a"},
        {"context_id": "a", "close_context": True},
        False,
        (
            *SENSELESS,
            '{"text":5,"context_id":"a"}',
            '{"context_id":7,"text":"a"}',
            '{"context_id":"a","played_ms":"x"}',
        ),
    ),
)


async def storm(door: Door, url: str, sockets: int) -> int:
    """So many at once, every other one hangs up at random; returns how many were served to the end."""

    async def one(number: int) -> bool:
        socket = await door.opened(url)
        if number % 2:
            await door.write(socket, TEXT)
            await asyncio.sleep(random.random())
            socket.transport.abort()
            return False
        await door.write(socket, TEXT, end=True)
        audio = await door.heard(socket)
        await socket.close()
        return bool(audio)

    return sum(await asyncio.gather(*map(one, range(sockets))))


async def malformed(door: Door, url: str, messages: int) -> int:
    """So many that make no sense; returns how many were answered with an error, after which speech goes on."""
    answered = 0
    if door.stays:
        async with await door.opened(url) as socket:
            for number in range(messages):
                answered += await door.spoil(socket, door.malformed[number % len(door.malformed)])
            await door.write(socket, TEXT, end=True)
            await door.heard(socket)
        return answered

    async def one(number: int) -> bool:
        async with await door.opened(url) as socket:
            return await door.spoil(socket, door.malformed[number % len(door.malformed)])

    for first in range(0, messages, AT_ONCE):
        answered += sum(await asyncio.gather(*map(one, range(first, min(first + AT_ONCE, messages)))))
    return answered


async def not_reading(door: Door, url: str, sockets: int) -> None:
    """So many who ask for minutes of speech, read nothing of it, and leave after a while."""
    idle = [await door.opened(url) for _ in range(sockets)]
    for socket in idle:
        socket.transport.pause_reading()
        await door.write(socket, LONG)
    await asyncio.sleep(2)
    for socket in idle:
        socket.transport.abort()


async def untouched(door: Door, url: str, over: asyncio.Event) -> tuple[int, int]:
    """Speak the same again and again; returns how often, and how often it was not what it was at first."""
    first, spoken, other = b"", 0, 0
    while not over.is_set():
        try:
            async with await door.opened(url) as socket:
                await door.write(socket, "This is what others hear.", end=True)
                audio = await door.heard(socket)
        except (OSError, WebSocketException):
            audio = b""
        first, spoken = first or audio, spoken + 1
        other += audio != first or not audio
    return spoken, other


async def left(url: str) -> dict[str, int]:
    """What is under way once it had time to end."""
    status: dict[str, int] = {}
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        for _ in range(100):
            status = (await client.get("/api/status")).json()
            if not (status["active_speeches"] or status["queued_speeches"]):
                break
            await asyncio.sleep(0.1)
    return {name: status[name] for name in ("active_speeches", "queued_speeches")}


async def run(server: Server, *, sockets: int, messages: int, still: int) -> bool:
    """Ill-treat each door with so many sockets, bad messages and readers who stand still, and print.

    Returns whether all was well.
    """
    url, well = server.url, True
    process = psutil.Process(server.pid)
    for door in DOORS:  # what is loaded with the first speech is not left behind
        async with await door.opened(url) as socket:
            await door.write(socket, TEXT, end=True)
            await door.heard(socket)

    def census() -> tuple[float, int, int]:
        return server.resident_mib()[0], process.num_fds(), len(process.children(recursive=True))

    before, over = census(), asyncio.Event()
    others = [asyncio.create_task(untouched(door, url, over)) for door in DOORS]
    for door in DOORS:
        served = await storm(door, url, sockets)
        answered = await malformed(door, url, messages)
        print(f"{door.name:19} {sockets} sockets, half hang up: {served} served to the end")
        print(f"{door.name:19} {messages} malformed messages: {answered} answered with an error")
        well &= served == (sockets + 1) // 2 and answered == messages
    await asyncio.gather(*(not_reading(door, url, still) for door in DOORS))
    print(f"{still} readers at each door who did not read, gone")
    over.set()
    for door, (spoken, other) in zip(DOORS, await asyncio.gather(*others), strict=True):
        print(f"{door.name:19} meanwhile spoken {spoken} times, {other} of them not as the first")
        well &= not other
    under_way, after = await left(url), census()
    print(f"left: {under_way}; memory, open files, processes: {before} before, {after} after")
    return (
        well
        and not any(under_way.values())
        and after[0] - before[0] <= MOST_MORE_MIB
        and after[1] - before[1] <= MOST_MORE_FILES
        and after[2] <= max(before[2], 1)
    )


def main() -> None:
    """Serve, ill-treat, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sockets", type=int, default=200, help="sockets at once at each door (200)")
    parser.add_argument("--malformed", type=int, default=5_000, help="malformed messages at each door (5000)")
    arguments = parser.parse_args()
    environ = {**os.environ, "ORPHEUS_MODEL": "preview", "ORPHEUS_MAX_QUEUE": "1000"}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), environ) as server:
        well = asyncio.run(
            run(server, sockets=arguments.sockets, messages=arguments.malformed, still=STILL_READERS)
        )
    sys.exit(0 if well else "something was left, or somebody was not served")


if __name__ == "__main__":
    main()
