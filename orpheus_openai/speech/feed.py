"""The text of a speech that is still being written: a door writes it, the speech takes what can be spoken."""

import asyncio
import time
from collections import deque

from orpheus_openai.errors import InvalidRequestError, RequestTimeoutError
from orpheus_openai.text.pieces import Clauses, Piece, Pieces
from orpheus_openai.text.split import MAX_CHARS
from orpheus_openai.text.trace import Traced

STEP = 100
"""Characters that are cut into pieces at once."""
STEP_SECONDS = 0.005
"""After which others get their turn: a text of abbreviations takes seconds."""
MOST_UNSPOKEN = 8_000
"""Characters ready to be spoken from which whoever writes has to wait: ten minutes of speech."""


class TextFeed:
    """One text on its way. For one event loop; give it to `SpeechService.prepare` before anything is written.

    A door calls `write`, `flush` and `end` while it streams the speech, in a task beside it. Once the speech has ended,
    however it did, what is still written is dropped.
    """

    def __init__(self, *, clauses: Clauses = "first", packed: bool = True) -> None:
        """`clauses`: which pieces may end with a clause, and not only with a sentence.

        `packed`: short ones that are there together are spoken together.
        """
        self.clauses: Clauses = clauses
        self._is_packed = packed
        self.text = ""
        """All that was written so far."""
        self._unread = ""
        """The end of it, which is not cut into pieces yet."""
        self._pieces: Pieces | None = None
        self._ready: deque[Piece] = deque()
        self._unspoken = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._over = False
        self._written_at = 0.0
        self._paused = True
        self._closed = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is written."""
        return self._over

    def open(self, pieces: Pieces, *, most: int, pause: float, wait: float) -> None:
        """The speech is prepared: at `most` so many characters in all.

        After `pause` seconds in which nothing comes, what can stand alone is spoken; `wait` seconds are too many.
        """
        self._pieces = pieces
        self._most, self._pause, self._wait = most, pause, wait
        self._written_at = time.monotonic()

    async def write(self, text: str) -> None:
        """More of the text; waits while much of it is still to be spoken. Raises as `put` does."""
        while self._unspoken >= MOST_UNSPOKEN and not self._closed:
            self._room.clear()
            await self._room.wait()
        await self.put(text)

    async def put(self, text: str) -> None:
        """More of the text, however much is still to be spoken; a long one lets others do their work now and then.

        Raises InvalidRequestError when it is longer than one request's may be.
        """
        if self._closed or self._over or self._pieces is None or not text:
            return
        if (length := len(self.text) + len(text)) > self._most:
            raise InvalidRequestError(
                f"The text has {length} characters by now; at most {self._most} are spoken in one request. Send it in "
                "parts.",
                param="input",
                code="string_above_max_length",
            )
        self.text += text
        self._unread += text
        enough = time.monotonic() + STEP_SECONDS
        while self._unread and not self._closed:
            self._read()
            if time.monotonic() > enough:
                await asyncio.sleep(0)
                enough = time.monotonic() + STEP_SECONDS

    def _read(self, characters: int = STEP) -> None:
        """Cut some more of it into pieces."""
        assert self._pieces is not None  # noqa: S101  it was written to
        some, self._unread = self._unread[:characters], self._unread[characters:]
        self._written_at, self._paused = time.monotonic(), False
        self._add(self._pieces.feed(some))

    def flush(self) -> None:
        """Speak all that was written, also where no sentence has ended."""
        if self._pieces is not None and not self._over:
            self._read(len(self._unread))
            self._add(self._pieces.flush())

    def end(self) -> None:
        """The text is complete."""
        if self._pieces is not None and not self._over:
            self._read(len(self._unread))
            self._over = True
            self._add(self._pieces.end())
        self._over = True
        self._changed.set()

    def close(self) -> None:
        """Nobody speaks any more."""
        self._closed = True
        self._room.set()
        self._changed.set()

    @property
    def has_ready(self) -> bool:
        """Whether something can be taken at once."""
        return bool(self._ready)

    async def take(self) -> Piece | None:
        """The next piece, neighbours that are there with it as long as that is short; None at the end of the text.

        Raises RequestTimeoutError where nothing comes for too long.
        """
        since = time.monotonic()
        while not self._ready:
            if self._over or self._closed:
                return None
            await self._more(since)
        return self._packed()

    async def _more(self, since: float) -> None:
        self._changed.clear()
        waiting = max(self._written_at, since) + self._wait
        until = waiting if self._paused else self._written_at + self._pause
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await self._changed.wait()
        except TimeoutError:
            if self._paused:
                raise RequestTimeoutError(
                    f"No more text came for {self._wait:g} s, and nothing said that it was complete.",
                    code="text_timeout",
                ) from None
            self._paused = True
            assert self._pieces is not None  # noqa: S101  it was written to
            self._add(self._pieces.pause())

    def _packed(self) -> Piece:
        first = last = self._ready.popleft()
        if first.start > 0 and self._is_packed:  # the very first is heard the sooner the shorter it is
            while self._ready and self._ready[0].end - first.start <= MAX_CHARS:
                last = self._ready.popleft()
        self._unspoken -= last.end - first.start
        self._room.set()
        if last is first:
            return first
        source = Traced(self.text[first.start : last.end], (0,), (first.start,), (last.end,), (True,))
        return Piece(source, first.new_line, first.new_block, last.paragraph)

    def _add(self, pieces: list[Piece]) -> None:
        if pieces:
            self._ready += pieces
            self._unspoken = self._ready[-1].end - self._ready[0].start
            self._changed.set()
        elif not self._paused:
            self._changed.set()  # whoever waits for a pause waits anew
