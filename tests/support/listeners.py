"""Listeners who pause in the middle of a speech, and others who ask for one short speech after another."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

SHORT = {"model": "tts-1", "voice": "tara", "input": "Good morning.", "response_format": "pcm"}
LONG = {**SHORT, "input": "The train to the coast leaves from platform nine. [pause 10s] " * 34}
"""About seven minutes, 20 MB: more than fits into the sockets on the way while nobody reads, which grow to
4 MB where they send and to 4 and more where a balancer received. Most of it are pauses, which cost least."""
PATIENCE = 40
"""Seconds for what happens at once on an idle machine."""

BREATH = 0.2
"""Seconds between two short requests: without it they alone fill a machine, and a server puts newcomers first."""


class Listener:
    """One who hears the beginning of a long speech, pauses, and goes on when told."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.task = asyncio.create_task(self._listen(client))

    async def _listen(self, client: httpx.AsyncClient) -> int | None:
        """Bytes of the whole answer; None when it broke off."""
        size = 0
        try:
            async with client.stream("POST", "/v1/audio/speech", json=LONG) as answer:
                assert answer.status_code == 200, await answer.aread()
                async for piece in answer.aiter_raw():
                    size += len(piece)
                    self.begun.set()
                    await self.go_on.wait()
        except httpx.TransportError:
            return None
        return size


@contextlib.asynccontextmanager
async def paused_listeners(client: httpx.AsyncClient, count: int = 3) -> AsyncIterator[list[Listener]]:
    listeners = [Listener(client) for _ in range(count)]
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(listener.begun.wait() for listener in listeners))
        yield listeners
    finally:
        for listener in listeners:
            listener.task.cancel()
        await asyncio.gather(*(listener.task for listener in listeners), return_exceptions=True)


async def heard(listeners: list[Listener]) -> list[int | None]:
    for listener in listeners:
        listener.go_on.set()
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*(listener.task for listener in listeners))


@dataclass
class Load:
    """Short requests, one after the other from each of three, and what became of them."""

    client: httpx.AsyncClient
    failed_at: list[float] = field(default_factory=list)
    """When those were begun that failed."""
    done: int = 0

    async def one_after_the_other(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                answer = await self.client.post("/v1/audio/speech", json=SHORT)
                failed = answer.status_code != 200
            except httpx.TransportError:
                failed = True
            self.done += 1
            if failed:
                self.failed_at.append(begun)
            await asyncio.sleep(BREATH)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        tasks = [asyncio.create_task(self.one_after_the_other()) for _ in range(3)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def some_more(self, count: int) -> None:
        until = self.done + count
        async with asyncio.timeout(PATIENCE):
            while self.done < until:  # noqa: ASYNC110  a bounded wait in a test
                await asyncio.sleep(0.05)
