"""Takes: finished speech that is kept for a while, lossless and compact, for whoever had it spoken."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable

from orpheus_openai.audio import PCM
from orpheus_openai.audio.encode import make_encoder
from orpheus_openai.errors import NotFoundError

TAKE_SECONDS = 3600.0
"""How long a take is kept after it was finished."""

TAKES_PER_CALLER = 50
"""Whoever has more kept loses the oldest."""

SHARE = 4
"""A caller's takes may have one part in so many of all the bytes."""

FORMAT = "flac"
"""What takes are kept in: every sample, at half the size or less."""


class Take:
    """One speech: written while it is spoken, and readable once it is whole."""

    def __init__(self, account: str, takes: "Takes") -> None:
        self.id = secrets.token_urlsafe(18)
        self.account = account
        self.encoded = bytearray()
        self.samples = 0
        self.finished_at: float | None = None
        self._takes = takes

    async def keep(self, speech: AsyncGenerator[PCM]) -> AsyncGenerator[PCM]:
        """The speech as it comes; when it has ended well, the take can be had.

        A take that grows beyond the bounds is given up; the speech goes on.
        """
        encoder = make_encoder(FORMAT)
        self._takes.open(self)
        try:
            async with contextlib.aclosing(speech):
                async for pcm in speech:
                    if self._takes.holds(self):
                        self._takes.add(self, await asyncio.to_thread(encoder.encode, pcm), len(pcm))
                    yield pcm
            if self._takes.holds(self):
                self._takes.add(self, await asyncio.to_thread(encoder.flush), 0)
                self._takes.finish(self)
        finally:
            encoder.close()
            if self.finished_at is None:
                self._takes.drop(self)


class Takes:
    """All takes of a server, in memory; `max_bytes` for all together, 0 keeps none. Use from the event loop only."""

    def __init__(self, max_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._takes: dict[str, Take] = {}
        """Oldest first."""

    def begin(self, account: str) -> Take | None:
        """A take for a speech that is about to begin; None where none are kept."""
        return Take(account, self) if self._max_bytes else None

    def open(self, take: Take) -> None:
        """Hold a take that is being spoken."""
        self._takes[take.id] = take

    def holds(self, take: Take) -> bool:
        """Whether it is still held."""
        return take.id in self._takes

    def drop(self, take: Take) -> None:
        """Hold it no longer."""
        self._takes.pop(take.id, None)

    def finish(self, take: Take) -> None:
        """It is whole."""
        take.finished_at = self._clock()

    def get(self, take_id: str, account: str, *, anybodys: bool = False) -> Take:
        """The take of that id; raises NotFoundError unless it is whole, still there, and the caller's own.

        `anybodys` is for admins, whose it need not be.
        """
        self._expire()
        take = self._takes.get(take_id)
        if take is None or take.finished_at is None or not (anybodys or take.account == account):
            raise NotFoundError(
                "There is no such take: it is not finished, too old, too long to be kept, or somebody else's.",
                param="take",
                code="take_not_found",
            )
        return take

    def add(self, take: Take, encoded: bytes, samples: int) -> None:
        """More of a take; drops what is then too much."""
        take.encoded += encoded
        take.samples += samples
        self._expire()
        own = [each for each in self._takes.values() if each.account == take.account]
        self._drop(own, self._max_bytes // SHARE, TAKES_PER_CALLER, take)
        self._drop(list(self._takes.values()), self._max_bytes, len(self._takes), take)

    def _drop(self, takes: list[Take], max_bytes: int, count: int, newest: Take) -> None:
        """Drop the oldest finished ones until these are within the bounds, and if that does not do, the newest."""
        size = sum(len(take.encoded) for take in takes)
        for take in [*(t for t in takes if t.finished_at is not None), newest]:
            if size <= max_bytes and len(takes) <= count:
                return
            takes.remove(take)
            size -= len(take.encoded)
            self.drop(take)

    def _expire(self) -> None:
        oldest = self._clock() - TAKE_SECONDS
        for take in list(self._takes.values()):
            if take.finished_at is not None and take.finished_at < oldest:
                del self._takes[take.id]
