"""What one speech says: its segments, made no sooner than they are wanted, and a long text's off the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from orpheus_openai.errors import SpeechError
from orpheus_openai.limits.gate import Gate
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.text.desk import Dictation
from orpheus_openai.text.normalise import PARAGRAPH_BREAK
from orpheus_openai.text.split import Segment

SHORT_TEXT = 1_000
"""Characters up to which the text desk costs less than other work on the event loop does; more goes to a thread."""

READY_SECONDS = 0.01
"""As long may the making of a segment hold up those that sound."""

STEP_SECONDS = 0.002
"""A thread that makes many segments stops so often: as long as it works, the event loop gets its turn more slowly."""


class AnyScript(Protocol):
    """The segments of one text in order, for one speaker."""

    is_live: bool
    """Somebody may have to write it first."""

    @property
    def input(self) -> str:
        """The text, as far as it has come."""

    async def admit(self, gate: Gate, account: str) -> dict[str, str]:
        """Pass `gate` in the name of `account`; returns what is left of its share, as headers."""

    async def peek(self) -> Segment | None:
        """Return the next segment, which stays the next; None after the last."""

    async def next(self) -> Segment | None:
        """Return the next segment; None after the last."""

    async def ready(self) -> Segment | None:
        """Return the next segment if nobody has to write it first."""

    def close(self) -> None:
        """Nobody asks for more."""


class Script:
    """The segments of a text that is there as a whole."""

    is_live = False

    def __init__(self, text: str, segments: Iterator[Segment], *, in_thread: bool) -> None:
        """`segments` of `text` do their work as they are asked for: `in_thread`, where it may take longer."""
        self.input = text
        self._unread = segments
        self._read: deque[Segment] = deque()
        self._in_thread = in_thread

    async def admit(self, gate: Gate, account: str) -> dict[str, str]:
        """See AnyScript; the whole text is judged and charged."""
        return await gate.check(self.text, len(self.input), account)

    async def peek(self) -> Segment | None:
        """See AnyScript."""
        if not self._read and (segment := await self._make()) is not None:
            self._read.append(segment)
        return self._read[0] if self._read else None

    async def next(self) -> Segment | None:
        """See AnyScript."""
        return self._read.popleft() if self._read else await self._make()

    async def ready(self) -> Segment | None:
        """See AnyScript; all of it is written."""
        return await self.next()

    def close(self) -> None:
        """See AnyScript."""

    async def text(self) -> str:
        """Return all that is still to be said, for those who judge it: this reads the whole text."""
        return _text_of(await self.rest())

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


class LiveScript:
    """The segments of a text that is still being written; each piece of it is judged and charged as it comes."""

    is_live = True

    def __init__(self, feed: TextFeed, dictation: Dictation, is_quick: Callable[[], bool]) -> None:
        """`is_quick` tells whether reading a piece costs too little for a thread."""
        self._feed = feed
        self._dictation = dictation
        self._is_quick = is_quick
        self._read: deque[Segment] = deque()
        self._over = False
        self._failed: SpeechError | None = None
        self._judge: Callable[[str, int], Awaitable[None]] | None = None
        self._making: asyncio.Task[None] | None = None

    @property
    def input(self) -> str:
        """See AnyScript."""
        return self._feed.text

    async def admit(self, gate: Gate, account: str) -> dict[str, str]:
        """See AnyScript; here the request is charged, its characters as they come."""
        share, self._judge = await gate.check_pieces(account)
        return share

    async def peek(self) -> Segment | None:
        """See AnyScript; waits until something can be spoken."""
        while not self._read and not self._over:
            await self._advance()
        if not self._read and self._failed is not None:
            raise self._failed
        return self._read[0] if self._read else None

    async def next(self) -> Segment | None:
        """See AnyScript; waits as `peek` does."""
        return None if await self.peek() is None else self._read.popleft()

    async def ready(self) -> Segment | None:
        """See AnyScript; what is wrong with a piece is not told before those before it have been heard."""
        if not self._read and not self._over and (self._making or self._feed.has_ready):
            await self._advance(READY_SECONDS)
        return self._read.popleft() if self._read else None

    def close(self) -> None:
        """See AnyScript; what is still written is dropped."""
        self._feed.close()
        if self._making is not None:
            self._making.cancel()

    async def _advance(self, patience: float | None = None) -> None:
        """Make the segments of the next piece; their judge may take longer than `patience`, and goes on meanwhile."""
        if self._making is None:
            self._making = asyncio.create_task(self._make())
        done, _ = await asyncio.wait([self._making], timeout=patience)
        if done:
            made, self._making = self._making, None
            made.result()

    async def _make(self) -> None:
        try:
            segments, characters = await self._segments()
            if segments and self._judge is not None:
                await self._judge(_text_of(segments), characters)
        except SpeechError as error:
            self._failed, self._over = error, True
        else:
            self._read.extend(segments)

    async def _segments(self) -> tuple[list[Segment], int]:
        piece = await self._feed.take()
        if piece is None:
            self._over = True
            return list(self._dictation.end()), 0
        characters = len(piece.source.text)
        if characters <= SHORT_TEXT and self._is_quick():
            return list(self._dictation.read(piece)), characters
        return await asyncio.to_thread(lambda: list(self._dictation.read(piece))), characters


def _text_of(segments: list[Segment]) -> str:
    return "".join(s.text + (PARAGRAPH_BREAK if s.paragraph else " ") for s in segments).rstrip()
