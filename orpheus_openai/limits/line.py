"""Work that is done one after the other: how many may wait for it, and how many of them may be one caller's."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator

from orpheus_openai.errors import OverloadedError
from orpheus_openai.limits.caller import PROGRAM


class Line:
    """First come, first served; lives on one event loop."""

    def __init__(self, what: str, *, waiting: int, of_one: int, retry_after: int) -> None:
        """So many of `what` may wait beside the one that is worked on, and so many in all may be `of_one` caller.

        `retry_after` are the seconds after which one too many may come again.
        """
        self._what = what
        self._most = 1 + waiting
        self._of_one = of_one
        self._retry_after = retry_after
        self._turn = asyncio.Lock()
        self._callers: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def turn(self, account: str) -> AsyncGenerator[None]:
        """Wait for the turn of `account`, which lasts as long as the block; raises OverloadedError for one too many."""
        if account != PROGRAM and self._callers[account] >= self._of_one:
            raise self._overloaded(f"Too many {self._what} of yours are waiting; try again shortly.")
        if self._callers.total() >= self._most:
            raise self._overloaded(f"Too many {self._what} are waiting; try again shortly.")
        self._callers[account] += 1
        try:
            async with self._turn:
                yield
        finally:
            self._callers[account] -= 1
            if not self._callers[account]:
                del self._callers[account]

    def _overloaded(self, message: str) -> OverloadedError:
        return OverloadedError(message, retry_after=self._retry_after)
