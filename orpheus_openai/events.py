"""What happens in the server, told as it happens to whoever listens: loads, unloads, speech and its progress."""

import asyncio
import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import msgspec

LISTENER_BACKLOG = 1_000
"""Events a listener may be behind; a slower one loses the oldest and is told how many."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened; `id` counts up, `time` is Unix time in seconds."""

    id: int
    time: float
    type: str
    data: dict[str, Any]
    owner: str | None = None
    """The account whose business it is; None: everybody's."""


class EventHub:
    """Publishing never waits and costs next to nothing while nobody listens. Use from the event loop only."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._lost: dict[asyncio.Queue[Event | None], int] = {}
        """Each listener's queue, and how many events it missed."""
        self._closed = False
        self._observers: defaultdict[str, list[Callable[[Event], None]]] = defaultdict(list)

    @property
    def listeners(self) -> int:
        """How many are subscribed."""
        return len(self._lost)

    def publish(self, kind: str, *, owner: str | None = None, **data: Any) -> None:
        """Tell every listener; `kind` is a dotted name such as `model.state`.

        `owner` is the account whose business alone it is; whoever passes events on keeps them to it.
        """
        event = Event(next(self._ids), time.time(), kind, data, owner)
        for observe in self._observers.get(kind, ()):
            observe(event)
        for queue in self._lost:
            if queue.full():
                queue.get_nowait()
                self._lost[queue] += 1
            queue.put_nowait(event)

    def observe(self, kind: str, observer: Callable[[Event], None]) -> None:
        """Call `observer` with each event of this kind, for good, before it is published: none is ever missed.

        It delays whoever publishes, and what it raises is raised there: counting is its measure.
        """
        self._observers[kind].append(observer)

    def close(self) -> None:
        """End every listener's stream, and those to come, so that nobody keeps a stopping server waiting."""
        self._closed = True
        for queue in self._lost:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    @contextlib.contextmanager
    def subscribe(self) -> Generator[AsyncGenerator[Event]]:
        """Every event from here to the end of the block, in order; `events.lost` tells of a gap."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(LISTENER_BACKLOG)
        self._lost[queue] = 0
        if self._closed:
            queue.put_nowait(None)
        try:
            yield self._events(queue)
        finally:
            del self._lost[queue]

    async def _events(self, queue: "asyncio.Queue[Event | None]") -> AsyncGenerator[Event]:
        while (event := await queue.get()) is not None:
            if lost := self._lost.get(queue, 0):
                self._lost[queue] = 0
                yield Event(event.id, event.time, "events.lost", {"count": lost})
            yield event
