"""Which LoRA adapters vLLM holds: loaded at first use, and the one not used for longest makes room."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from orpheus_openai.errors import InvalidRequestError, OverloadedError
from orpheus_openai.models.orpheus.adapters import Adapter, edition

IDLE_SECONDS = 600.0
"""How long an adapter stays that nobody speaks with."""
ROOM_SECONDS = 60.0
"""How long a request waits for one of the engine's places."""


def no_place(places: int) -> OverloadedError:
    """What is said where every adapter that is held is spoken with for long."""
    return OverloadedError(
        f"All {places} adapters that may be loaded at once are in use; ORPHEUS_ADAPTERS says how many.",
        retry_after=5,
    )


class AdapterEngine(Protocol):
    """What an engine that holds adapters can do."""

    async def add(self, number: int, adapter: Adapter) -> None:
        """Load it under that number, before any request names it."""

    async def remove(self, number: int) -> None:
        """Let it go; no request names it any more."""


class HeldAdapters:
    """The adapters that an engine holds: loaded at first use, the one not used for longest makes room.

    For one event loop.
    """

    def __init__(
        self, engine: AdapterEngine, places: int, fetch: Callable[[str], Awaitable[Adapter]]
    ) -> None:
        self._engine = engine
        self._places = places
        self._fetch = fetch
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._editions: dict[str, str] = {}
        """The last of each name that was loaded; `_numbers`, `_users` and `_timers` go by editions."""
        self._users: dict[str, int] = {}
        self._last = 0
        self._changed = asyncio.Condition()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._removing: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> list[str]:
        """Those that are loaded, the one not used for longest first."""
        return list(self._numbers)

    @contextlib.asynccontextmanager
    async def use(self, named: str) -> AsyncGenerator[int]:
        """The number of an adapter, which stays loaded while this lasts.

        Raises as `fetch_adapter` does, InvalidRequestError for one that has gone, OverloadedError where all places are
        in use by others for long.
        """
        key = await edition(named, self._editions.get(named))
        # Outside the lock: it may download.
        fetched = None if key in self._numbers else await self._fetched(named)
        async with self._changed:
            number = await self._loaded(named, key, fetched)
            if timer := self._timers.pop(key, None):
                timer.cancel()
            self._users[key] = self._users.get(key, 0) + 1
        try:
            yield number
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                loop = asyncio.get_running_loop()
                self._timers[key] = loop.call_later(IDLE_SECONDS, self._expire, key)
            async with self._changed:
                self._changed.notify_all()

    async def _fetched(self, named: str) -> Adapter:
        try:
            return await self._fetch(named)
        except FileNotFoundError as error:
            raise InvalidRequestError("The adapter of this voice is gone.", param="voice") from error

    async def _loaded(self, named: str, key: str, adapter: Adapter | None) -> int:
        if key not in self._numbers:
            adapter = adapter or await self._fetched(named)
            await self._make_room(key)
        # Another request may have loaded it while this one waited.
        if key not in self._numbers and adapter is not None:
            self._last += 1
            await self._engine.add(self._last, adapter)
            self._numbers[key] = self._last
            self._editions[named] = key
        self._numbers.move_to_end(key)
        return self._numbers[key]

    async def _make_room(self, key: str) -> None:
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                while key not in self._numbers and len(self._numbers) >= self._places:
                    idle = next((each for each in self._numbers if not self._users.get(each)), None)
                    if idle is None:
                        await self._changed.wait()
                        continue
                    await self._remove(idle)
        except TimeoutError as error:
            raise no_place(self._places) from error

    def _expire(self, key: str) -> None:
        self._timers.pop(key, None)
        task = asyncio.get_running_loop().create_task(self._remove_if_idle(key))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def _remove_if_idle(self, key: str) -> None:
        async with self._changed:
            # One that is spoken with again meanwhile has users, or a timer of its own.
            if key in self._numbers and not self._users.get(key) and key not in self._timers:
                await self._remove(key)
                self._changed.notify_all()

    async def _remove(self, key: str) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._editions = {named: held for named, held in self._editions.items() if held != key}
        await self._engine.remove(self._numbers.pop(key))

    def close(self) -> None:
        """Forget all of them: their engine ends."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._removing:
            task.cancel()
        self._numbers.clear()
