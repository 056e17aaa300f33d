"""How many speak at once: the others wait in a queue, and the queue has an end."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable

from orpheus_openai.errors import OverloadedError
from orpheus_openai.limits.caller import PROGRAM

TYPICAL_SECONDS = 5.0
"""How long a speech is taken to last before any has ended."""

MEMORY = 0.9
"""Weight of the past in the running mean of how long a speech lasts."""

LONGEST_RETRY = 60
"""Seconds; OpenAI's SDKs ignore a Retry-After beyond a minute."""


class _Ticket:
    def __init__(self, moved: Callable[[int], None]) -> None:
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.moved = moved


class Queue:
    """First come, first served; lives on one event loop. `wait` is in seconds."""

    def __init__(
        self,
        *,
        at_once: int,
        length: int,
        wait: float,
        per_caller: int = 0,
        typical: float = TYPICAL_SECONDS,
    ) -> None:
        """`length` is how many may wait, `per_caller` how many one account may have here in all; 0: no limit.

        `typical` are the seconds that a turn is taken to last before any has ended.
        """
        self._at_once = at_once
        self._length = length
        self._wait = wait
        self._per_caller = per_caller
        self._callers: Counter[str] = Counter()
        self._running = 0
        self._waiting: list[_Ticket] = []
        self._mean = typical

    @property
    def at_once(self) -> int:
        """How many may speak."""
        return self._at_once

    @property
    def running(self) -> int:
        """How many speak."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait in the queue."""
        return len(self._waiting)

    def resize(self, at_once: int) -> None:
        """From now on so many speak at once. Whoever speaks already is left to end."""
        self._at_once = at_once
        while self._waiting and self._running < self._at_once:
            self._running += self._call_next()

    def require_room(self, account: str = PROGRAM) -> None:
        """Raise OverloadedError if one more, of `account`, could neither start nor wait."""
        if self._per_caller and account != PROGRAM and self._callers[account] >= self._per_caller:
            raise self._overloaded(
                f"{self._callers[account]} of your requests are under way, and nobody may have more."
            )
        if self._running >= self._at_once and len(self._waiting) >= self._length:
            raise self._overloaded(f"{self._running} requests are under way and {len(self._waiting)} wait.")

    @contextlib.asynccontextmanager
    async def turn(self, moved: Callable[[int], None], account: str = PROGRAM) -> AsyncGenerator[None]:
        """Wait in the queue in the name of `account`, and count as speaking inside the block.

        `moved` is told the position, 1 for whoever is next, on joining the queue and at every step forward; it
        is not called where there is no queue. Raises OverloadedError when the queue is full, or the turn does
        not come in time.
        """
        self.require_room(account)
        self._callers[account] += 1
        try:
            await self._enter(moved)
            began = time.monotonic()
            try:
                yield
            finally:
                self._mean = MEMORY * self._mean + (1 - MEMORY) * (time.monotonic() - began)
                self._leave()
        finally:
            self._callers[account] -= 1
            if not self._callers[account]:
                del self._callers[account]

    async def _enter(self, moved: Callable[[int], None]) -> None:
        if self._running < self._at_once:  # then nobody waits: whoever leaves hands the place on
            self._running += 1
            return
        ticket = _Ticket(moved)
        self._waiting.append(ticket)
        moved(len(self._waiting))
        try:
            async with asyncio.timeout(self._wait):
                await ticket.turn
        except BaseException as error:
            if ticket in self._waiting:
                self._step(self._waiting.index(ticket))
            elif not ticket.turn.cancelled():
                self._leave()  # the turn came in the very moment in which nobody waited for it any more
            if isinstance(error, TimeoutError):
                raise self._overloaded(f"Its turn did not come within {self._wait:g} s.") from None
            raise

    def _leave(self) -> None:
        self._running -= 1
        while self._waiting and self._running < self._at_once:
            self._running += self._call_next()

    def _call_next(self) -> bool:
        """Give the first in the queue its turn; False where it has just given up and could not leave the queue yet."""
        first = self._waiting[0]
        self._step(0)
        if first.turn.done():
            return False
        first.turn.set_result(None)
        return True

    def _step(self, gone: int) -> None:
        """Close the gap that the ticket at `gone` leaves."""
        del self._waiting[gone]
        for position, ticket in enumerate(self._waiting[gone:], start=gone + 1):
            ticket.moved(position)

    def _overloaded(self, why: str) -> OverloadedError:
        seconds = math.ceil(self._mean * (len(self._waiting) + 1) / self._at_once)
        return OverloadedError(
            f"The server is busy: {why} Try again shortly.", retry_after=min(max(1, seconds), LONGEST_RETRY)
        )
