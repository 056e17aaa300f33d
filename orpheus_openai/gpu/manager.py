"""Which models are loaded: one load for all who wait, a lease for each who speaks, and out when idle."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from orpheus_openai.catalog import Model
from orpheus_openai.errors import (
    RETRY_SECONDS,
    EngineError,
    NotReadyError,
    ShuttingDownError,
    SpeechError,
)
from orpheus_openai.events import EventHub
from orpheus_openai.gpu.changes import Changes, Loader
from orpheus_openai.gpu.policy import Mode
from orpheus_openai.gpu.room import Room
from orpheus_openai.gpu.slot import ModelState, ModelStatus, Slot, offloading_error
from orpheus_openai.synthesis import Counted, Sleepable, SpeechModel

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""How often idle times are looked at."""

HELD_SECONDS = 5.0
"""How long a newcomer waits for a model that is being offloaded before being told to come again."""

OFFLOAD_SECONDS = 30.0
"""How long an offload lets running streams go on, unless told."""

LONGEST_OFFLOAD = 3600.0


class Residency(msgspec.Struct, frozen=True, kw_only=True):
    """The rules by which models stay and go; seconds, 0 for never."""

    mode: Mode = "single"
    pinned: frozenset[str] = frozenset()
    """Ids of models that are never evicted and never idle."""
    idle_timeout: float = 60.0
    """Without a lease for so long a model goes to sleep, or is unloaded where its engine cannot sleep."""
    unload_timeout: float = 600.0
    """Asleep for so long it is unloaded."""
    load_wait: float = 600.0
    """How long a request waits for its model."""


class Offloaded(msgspec.Struct, frozen=True):
    """What an offload achieved."""

    offloaded: Annotated[
        list[str], Meta(description="Ids of the models that were unloaded.", examples=[["medium-3b"]])
    ]
    still_busy: Annotated[
        list[str],
        Meta(
            description="Ids of models that were still speaking, or being loaded, at the end; they stay.",
            examples=[[]],
        ),
    ]
    freed_bytes: Annotated[
        int | None,
        Meta(
            description="GPU memory that is free now and was not; null where it is not known.",
            examples=[8_589_934_592],
        ),
    ]


class GPUManager:
    """The only owner of models. Lives on one event loop; its state changes between awaits, so it needs no lock there.

    `clock` gives seconds that only grow; whoever runs the manager calls `tick` now and then, or lets `run` do it.
    """

    def __init__(
        self,
        loader: Loader,
        events: EventHub,
        rules: Residency | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader = loader
        self._events = events
        self._rules = rules or Residency()
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        self._changes = Changes(loader, events, Room(loader, self._slots, self._rules.mode, clock), clock)
        self._closing = False

    @contextlib.asynccontextmanager
    async def get_model(self, model: Model) -> AsyncGenerator[SpeechModel]:
        """A lease: the model is ready inside the block, and stays unless it is offloaded by force.

        Raises ModelUnavailableError when it can never be loaded here, NotReadyError where there is no room now or
        loading takes longer than `load_wait`, EngineError when it fails, ShuttingDownError when the server stops.
        What a model says that was closed under its user becomes a NotReadyError, unless it is the server that stops.
        """
        slot = self._slot(model)
        speaker = await self._ready(slot)
        slot.lease(self._clock())
        try:
            yield speaker
        except ShuttingDownError as error:
            if self._closing:
                raise
            raise NotReadyError(
                f"The model {model.id} was offloaded by force while it spoke; try again.",
                code="model_offloading",
                retry_after=1,
            ) from error
        finally:
            slot.release(self._clock())

    async def force_offload(
        self, name: str | None = None, *, force: bool = False, wait: float = OFFLOAD_SECONDS
    ) -> Offloaded:
        """Unload the model of that id, or all.

        Running streams get `wait` seconds to end, and so do a load and those it is for; new ones wait until it is
        over, but no longer than HELD_SECONDS. With `force` they end in an error at once. What is still busy then
        stays loaded, and so it does where this is cancelled.
        """
        nothing = (ModelState.UNLOADED, ModelState.FAILED)
        chosen = [s for s in self._slots.values() if name in (None, s.model.id) and s.state not in nothing]
        held = [slot.memory if slot.on_card and self._loader.footprint(slot.model) else 0 for slot in chosen]
        gone = await asyncio.gather(
            *(self._drain(slot, 0.0 if force else wait, force=force) for slot in chosen)
        )
        freed = {s.model.id: size for s, size, left in zip(chosen, held, gone, strict=True) if left}
        known = [size for size in freed.values() if size is not None]
        return Offloaded(
            list(freed),
            [slot.model.id for slot in chosen if slot.model.id not in freed],
            sum(known) if len(known) == len(freed) else None,
        )

    @property
    def streams(self) -> int | None:
        """How many segments all that is loaded speaks at once; None where nothing loaded says."""
        known = [
            slot.speaker.streams
            for slot in self._slots.values()
            if slot.state in (ModelState.READY, ModelState.ASLEEP) and isinstance(slot.speaker, Counted)
        ]
        counted = [streams for streams in known if streams is not None]
        return sum(counted) if counted else None

    def get_status(self) -> list[ModelStatus]:
        """Every model that was ever asked for."""
        now = self._clock()
        return [slot.status(now, self._time_left(slot, now)) for slot in self._slots.values()]

    def tick(self) -> None:
        """Put to sleep or unload what has been idle too long."""
        now = self._clock()
        for slot in self._slots.values():
            left = self._time_left(slot, now)
            if left is None or left > 0:
                continue
            if (
                slot.state is ModelState.READY
                and isinstance(slot.speaker, Sleepable)
                and slot.speaker.can_sleep
            ):
                self._changes.begin(slot, ModelState.UNLOADING, self._changes.sleep(slot, slot.speaker))
            else:
                self._changes.begin(slot, ModelState.UNLOADING, self._changes.unload(slot, "idle"))

    async def run(self, preload: Sequence[Model] = ()) -> None:
        """Load `preload`, one after the other, and tick until cancelled."""
        for model in preload:
            try:
                async with self.get_model(model):
                    pass
            except SpeechError as error:
                logger.warning("%s was not preloaded: %s", model.id, error.message)
        while True:
            self.tick()
            await asyncio.sleep(TICK_SECONDS)

    async def close(self) -> None:
        """Unload everything, at once, and refuse what comes later."""
        self._closing = True
        for slot in list(self._slots.values()):
            if slot.transition is None:
                continue
            if slot.state is ModelState.LOADING:
                await self._changes.cancel(slot.transition)
            else:
                await asyncio.wait([slot.transition])
        await self.force_offload(force=True)

    async def _ready(self, slot: Slot) -> SpeechModel:
        """The slot's model, loaded or woken if need be. Between the last check and the lease nothing is awaited."""
        deadline = time.monotonic() + self._rules.load_wait
        held_until = math.inf
        with slot.queued() as ticket:
            while True:
                if self._closing:
                    raise ShuttingDownError("The server is shutting down.")
                if slot.transition is None and slot.admits(ticket):
                    if slot.state is ModelState.READY and slot.speaker is not None:
                        if slot.speaker.alive:
                            return slot.speaker
                        self._changes.begin(
                            slot, ModelState.UNLOADING, self._changes.unload(slot, "its engine died")
                        )
                    else:
                        self._changes.begin(slot, ModelState.LOADING, self._changes.load(slot))
                held = slot.draining_seconds is not None
                held_until = min(held_until, time.monotonic() + HELD_SECONDS) if held else math.inf
                await self._wait(slot, min(deadline, held_until))

    async def _wait(self, slot: Slot, deadline: float) -> None:
        """Wait for what is under way, with everybody else; the failure of a load is every waiter's."""
        loading = slot.transition if slot.state is ModelState.LOADING else None
        if not await self._changes.wait(slot, deadline):
            if (draining := slot.draining_seconds) is not None:
                raise offloading_error(slot.model.id, draining)
            raise NotReadyError(
                f"The model {slot.model.id} is not ready after {self._rules.load_wait:g} s; try again shortly.",
                code="model_loading",
                retry_after=RETRY_SECONDS,
            )
        if loading is None:
            return
        if loading.cancelled():
            if self._closing:
                raise ShuttingDownError("The server is shutting down.")
            raise NotReadyError(
                f"The model {slot.model.id} was offloaded while it was being loaded; try again.",
                code="model_loading",
                retry_after=1,
            )
        if (error := loading.exception()) is not None:
            if isinstance(error, SpeechError):
                raise error.copy() from error
            raise EngineError(
                f"The model {slot.model.id} could not be loaded: {error}", code="model_load_failed"
            ) from error

    async def _drain(self, slot: Slot, wait: float, *, force: bool) -> bool:
        """Offload because somebody asked for it, and have everybody told while that waits."""

        def tell() -> None:
            self._events.publish(
                "model.draining", model=slot.model.id, seconds=slot.draining_seconds, leases=slot.leases
            )

        waits = slot.busy and wait > 0
        try:
            with slot.draining(time.monotonic() + wait):
                if waits:
                    tell()
                return await self._changes.offload(slot, wait, force=force)
        finally:
            if waits:
                tell()

    def _slot(self, model: Model) -> Slot:
        return self._slots.setdefault(model.id, Slot(model, pinned=model.id in self._rules.pinned))

    def _time_left(self, slot: Slot, now: float) -> float | None:
        """Seconds until the idle rules act on it; None where they will not."""
        if slot.busy or slot.waiting or slot.transition is not None or slot.pinned:
            return None
        since, limit = {
            ModelState.READY: (slot.idle_since, self._rules.idle_timeout),
            ModelState.ASLEEP: (slot.asleep_since, self._rules.unload_timeout),
        }.get(slot.state, (None, 0.0))
        return None if since is None or limit == 0 else max(0.0, since + limit - now)
