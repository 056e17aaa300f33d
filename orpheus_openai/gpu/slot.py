"""One model's place with the manager: its state, who uses it, how often it was used."""

import asyncio
import contextlib
import math
import time
from collections.abc import Generator
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from orpheus_openai.catalog import Model
from orpheus_openai.errors import NotReadyError
from orpheus_openai.gpu.policy import decayed

if TYPE_CHECKING:
    from orpheus_openai.synthesis import SpeechModel

LONGEST_RETRY = 30
"""Seconds after which who was turned away may ask again, however long the offload would wait: it may end sooner."""


class ModelState(StrEnum):
    """Where a model is in its life."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    ASLEEP = "asleep"
    """Its weights are in host memory, its GPU memory is free."""
    UNLOADING = "unloading"
    FAILED = "failed"


class ModelStatus(msgspec.Struct, frozen=True):
    """What the manager knows of one model; seconds and bytes."""

    id: str
    state: ModelState
    leases: int
    """Streams that speak with it now."""
    waiting: int
    """Requests that wait for it to be ready."""
    idle_seconds: float | None
    unload_in_seconds: float | None
    """Until it goes to sleep or is unloaded, if nobody asks for it."""
    load_seconds: float | None
    """How long the last load took."""
    error: str | None
    """Why the last load failed."""
    gpu: int | None
    memory_bytes: int | None
    """By how much the card's free memory shrank when it was loaded."""
    pinned: bool
    engine: str | None
    """What speaks, e.g. `llama.cpp, Q4_K_M, CPU, 1.4 × real time`; null where nothing is loaded, or it does not say."""
    real_time_factor: float | None
    """Seconds of work for a second of audio, of one stream alone, as it was measured at load; null: it was not."""
    advice: str | None
    """How far off real time it is and what would help; null where it keeps up, or nobody has measured it."""
    draining_seconds: float | None
    """How long an offload still waits for its streams to end, while newcomers are held; null: none does."""


def offloading_error(model_id: str, seconds: float) -> NotReadyError:
    """What newcomers are told of a model that an offload waits for, which it will do for `seconds` at most."""
    return NotReadyError(
        f"The model {model_id} is being offloaded: it leaves as soon as it has spoken for those it speaks for, and "
        f"takes nobody new for {math.ceil(seconds)} s at most. Try again shortly.",
        code="model_offloading",
        retry_after=min(max(1, math.ceil(seconds)), LONGEST_RETRY),
    )


class Slot:
    """Changed on the event loop only."""

    def __init__(self, model: Model, *, pinned: bool = False) -> None:
        self.model = model
        self.pinned = pinned
        """Never evicted, never idle."""
        self.state = ModelState.UNLOADED
        self.speaker: SpeechModel | None = None
        self.transition: asyncio.Task[None] | None = None
        """The change that is under way."""
        self.leases = 0
        self.idle_since: float | None = None
        self.asleep_since: float | None = None
        self.load_seconds: float | None = None
        self.error: str | None = None
        self.gpu: int | None = None
        self.memory: int | None = None
        self.given_back: int | None = None
        """Bytes that were free on its card once it slept, and not before; what it needs to wake."""
        self.on_card = False
        """Whether it takes GPU memory now: from the moment it has room until its engine is gone or asleep."""
        self._queue: set[object] = set()
        self._entitled: set[object] = set()
        self._leaving = 0
        self._offloads: dict[object, float] = {}
        """Offloads that wait for its streams to end, and until when they will, in time.monotonic()'s seconds."""
        self._changed = asyncio.Event()
        self._score = 0.0
        self._scored_at = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait for it."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether somebody speaks with it, or has waited for it to be loaded and is about to."""
        return self.leases > 0 or bool(self._entitled)

    @contextlib.contextmanager
    def queued(self) -> Generator[object]:
        """A request waits inside the block; what it gets stands for it in `admits`."""
        ticket = object()
        self._queue.add(ticket)
        try:
            yield ticket
        finally:
            self._queue.discard(ticket)
            self._entitled.discard(ticket)
            self.signal()

    @contextlib.contextmanager
    def leaving(self) -> Generator[None]:
        """Inside the block nobody new gets a lease: it is to be unloaded as soon as it is not busy."""
        self._leaving += 1
        self.signal()
        try:
            yield
        finally:
            self._leaving -= 1
            self.signal()

    @contextlib.contextmanager
    def draining(self, deadline: float) -> Generator[None]:
        """Inside the block somebody who offloads it waits until `deadline`, in time.monotonic()'s seconds."""
        offload = object()
        self._offloads[offload] = deadline
        try:
            with self.leaving():
                yield
        finally:
            del self._offloads[offload]

    @property
    def draining_seconds(self) -> float | None:
        """See ModelStatus."""
        if not self._offloads or self.transition is not None:
            return None
        return max(0.0, max(self._offloads.values()) - time.monotonic())

    def entitle(self) -> None:
        """It is ready: whoever has waited for that gets a lease, even if it must leave soon after.

        Without this two models that take turns on one card could evict each other before either has spoken.
        """
        self._entitled = set(self._queue)

    def admits(self, ticket: object) -> bool:
        """Whether this request may have a lease now."""
        return not self._leaving or ticket in self._entitled

    def lease(self, now: float) -> None:
        """Somebody starts to speak with it."""
        self.leases += 1
        self.idle_since = None
        self._score = self.score_at(now) + 1.0
        self._scored_at = now

    def release(self, now: float) -> None:
        """Somebody has ended."""
        self.leases -= 1
        if self.leases == 0:
            self.idle_since = now
        self.signal()

    def score_at(self, now: float) -> float:
        """How often it was leased, recent leases counting more."""
        return decayed(self._score, now - self._scored_at)

    def signal(self) -> None:
        """Wake who waits in `change`."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait until leases, queue or the wish to see it leave have changed."""
        await self._changed.wait()

    def status(self, now: float, time_left: float | None) -> ModelStatus:
        """What `/api/status` shows of it at `now`; `time_left` is until it leaves unused, None where it never does."""
        draining = self.draining_seconds
        factor = getattr(self.speaker, "real_time_factor", None)
        return ModelStatus(
            id=self.model.id,
            state=self.state,
            leases=self.leases,
            waiting=self.waiting,
            idle_seconds=None if self.idle_since is None else round(now - self.idle_since, 3),
            unload_in_seconds=None if time_left is None else round(time_left, 3),
            load_seconds=self.load_seconds,
            error=self.error,
            gpu=self.gpu,
            memory_bytes=self.memory,
            pinned=self.pinned,
            engine=getattr(self.speaker, "engine", None),
            real_time_factor=None if factor is None else round(factor, 4),
            advice=getattr(self.speaker, "advice", None),
            draining_seconds=None if draining is None else round(draining, 3),
        )
