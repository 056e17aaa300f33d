"""Who of the preview's speeches speaks next: few at a time, and whoever is waited for first."""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncGenerator, Callable
from typing import Final, Literal

AT_ONCE: Final = 16
"""Children beside those whose listener has heard nothing yet: more would take memory, and all be done no sooner."""
STILL_SECONDS: Final = 1.0
"""A turn ends when nothing has moved for so long: its listener may have stopped to listen, or it may hang."""

When = Literal["first", "soon", "later"]
"""When speech is waited for: its listener has heard nothing yet; is about to come to it; has something in hand."""
_WANTED_IN: Final[dict[When, float]] = {"soon": 0.0, "later": 5.0}
"""Seconds."""


class Turns:
    """Who speaks next: whoever will be waited for first. Lives on one event loop."""

    def __init__(self) -> None:
        self._free = AT_ONCE
        self._line: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def turn(self, when: When) -> AsyncGenerator[Callable[[], None]]:
        """Wait for a turn, which ends with the block; what is the first needs none.

        It ends before, too, when what is yielded has not been called for STILL_SECONDS: something moves.
        """
        if when == "first":
            yield lambda: None
            return
        await self._come(_WANTED_IN[when])
        turn = _Turn(self._next)
        try:
            yield turn.moves
        finally:
            turn.end()

    async def _come(self, wanted_in: float) -> None:
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        come = loop.create_future()
        heapq.heappush(self._line, (loop.time() + wanted_in, next(self._numbers), come))
        try:
            await come
        except asyncio.CancelledError:
            if not come.cancelled():
                self._next()  # it came in the very moment in which nobody waited for it any more
            raise

    def _next(self) -> None:
        while self._line:
            *_, come = heapq.heappop(self._line)
            if not come.done():
                come.set_result(None)
                return
        self._free += 1


class _Turn:
    """One that somebody has, until it ends or nothing moves."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended: Callable[[], None] | None = ended
        self._loop = asyncio.get_running_loop()
        self._moved = self._loop.time()
        self._look: asyncio.TimerHandle | None = None
        self._look_later()

    def moves(self) -> None:
        self._moved = self._loop.time()

    def end(self) -> None:
        if self._look is not None:
            self._look.cancel()
        if self._ended is not None:
            self._ended()
            self._ended = None

    def _look_later(self) -> None:
        left = self._moved + STILL_SECONDS - self._loop.time()
        if left <= 0:
            self.end()
        else:
            self._look = self._loop.call_later(left, self._look_later)
