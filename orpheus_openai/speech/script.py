"""What one speech says: its segments, made no sooner than they are wanted, and a long text's off the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator

from orpheus_openai.text.normalise import PARAGRAPH_BREAK
from orpheus_openai.text.split import Segment

SHORT_TEXT = 1_000
"""Characters up to which the text desk costs less than other work on the event loop does; more goes to a thread."""

STEP_SECONDS = 0.002
"""A thread that makes many segments stops so often: as long as it works, the event loop gets its turn more slowly."""


class Script:
    """The segments of one text in order, for one speaker."""

    def __init__(self, segments: Iterator[Segment], *, in_thread: bool) -> None:
        """`segments` do their work as they are asked for: `in_thread`, where it may take longer."""
        self._unread = segments
        self._read: deque[Segment] = deque()
        self._in_thread = in_thread

    async def peek(self) -> Segment | None:
        """Return the next segment, which stays the next; None after the last."""
        if not self._read and (segment := await self._make()) is not None:
            self._read.append(segment)
        return self._read[0] if self._read else None

    async def next(self) -> Segment | None:
        """Return the next segment; None after the last."""
        return self._read.popleft() if self._read else await self._make()

    async def text(self) -> str:
        """Return all that is still to be said, for those who judge it: this reads the whole text."""
        segments = await self.rest()
        return "".join(s.text + (PARAGRAPH_BREAK if s.paragraph else " ") for s in segments).rstrip()

    async def rest(self) -> list[Segment]:
        """Return all segments that are still to be said; they stay the next."""
        if self._in_thread:
            while some := await asyncio.to_thread(self._some):
                self._read.extend(some)
        else:
            self._read.extend(self._unread)
        return list(self._read)

    def _some(self) -> list[Segment]:
        """Make segments for a moment, then let the event loop have the interpreter; none: there are no more."""
        enough = time.monotonic() + STEP_SECONDS
        made: list[Segment] = []
        for segment in self._unread:
            made.append(segment)
            if time.monotonic() > enough:
                break
        return made

    async def _make(self) -> Segment | None:
        if self._in_thread:
            return await asyncio.to_thread(next, self._unread, None)
        return next(self._unread, None)
