"""Which models are loaded: one load for all who wait, a lease for each who speaks, and out when idle."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from enum import StrEnum

import msgspec

from orpheus_openai.catalog import Model
from orpheus_openai.errors import EngineError, ModelUnavailableError, ShuttingDownError, SpeechError
from orpheus_openai.events import EventHub
from orpheus_openai.models.base import SpeechModel

logger = logging.getLogger(__name__)


class ModelState(StrEnum):
    """Where a model is in its life."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


class ModelStatus(msgspec.Struct, frozen=True):
    """What the manager knows of one model."""

    id: str
    state: ModelState
    leases: int
    idle_seconds: float | None
    load_seconds: float | None
    error: str | None


class _Slot:
    """One model's place; changed only on the event loop, so that no lock is needed between awaits."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.state = ModelState.UNLOADED
        self.speaker: SpeechModel | None = None
        self.leases = 0
        self.transition: asyncio.Task[None] | None = None
        self.idle_timer: asyncio.TimerHandle | None = None
        self.idle_since: float | None = None
        self.load_seconds: float | None = None
        self.error: str | None = None
        self.released = asyncio.Event()
        self.released.set()


class GPUManager:
    """Loads a model when it is first asked for, keeps it while it is leased, unloads it when it has been idle.

    `load` makes a ready SpeechModel; it is called at most once at a time for a model, however many wait.
    `idle_timeout` is in seconds, 0 keeps models for ever; `load_wait` bounds how long a caller waits for a load.
    """

    def __init__(
        self,
        load: Callable[[Model], Awaitable[SpeechModel]],
        events: EventHub,
        *,
        idle_timeout: float = 60.0,
        load_wait: float = 600.0,
    ) -> None:
        self._load = load
        self._events = events
        self._idle_timeout = idle_timeout
        self._load_wait = load_wait
        self._slots: dict[str, _Slot] = {}
        self._closing = False

    @contextlib.asynccontextmanager
    async def get_model(self, model: Model) -> AsyncGenerator[SpeechModel]:
        """A lease: the model is ready inside the block and is not unloaded before its end.

        Raises ModelUnavailableError when it cannot be loaded or the load takes longer than `load_wait`,
        ShuttingDownError when the server stops.
        """
        slot = self._slots.setdefault(model.id, _Slot(model))
        speaker = await self._ready(slot)
        slot.leases += 1
        slot.released.clear()
        self._cancel_idle_timer(slot)
        try:
            yield speaker
        finally:
            slot.leases -= 1
            if slot.leases == 0:
                slot.released.set()
                self._start_idle_timer(slot)

    async def force_offload(self, name: str | None = None, *, drain: float = 30.0) -> list[str]:
        """Unload one model, or all; running streams get `drain` seconds to end. Returns the ids that left."""
        slots = [s for s in self._slots.values() if name in (None, s.model.id) and s.speaker is not None]
        return [slot.model.id for slot in slots if await self._offload(slot, drain)]

    def get_status(self) -> list[ModelStatus]:
        """Every model that was ever asked for."""
        now = time.monotonic()
        return [
            ModelStatus(
                id=slot.model.id,
                state=slot.state,
                leases=slot.leases,
                idle_seconds=None if slot.idle_since is None else round(now - slot.idle_since, 3),
                load_seconds=slot.load_seconds,
                error=slot.error,
            )
            for slot in self._slots.values()
        ]

    async def close(self, *, drain: float = 0.0) -> None:
        """Unload everything and refuse what comes later."""
        self._closing = True
        for slot in self._slots.values():
            if slot.state is ModelState.LOADING and slot.transition is not None:
                slot.transition.cancel()
                await asyncio.wait([slot.transition])
        await self.force_offload(drain=drain)

    async def _ready(self, slot: _Slot) -> SpeechModel:
        """The slot's model, loaded if it must be. Nothing is awaited between the check and the return."""
        deadline = time.monotonic() + self._load_wait
        while True:
            if self._closing:
                raise ShuttingDownError("The server is shutting down.")
            if slot.state is ModelState.READY and slot.speaker is not None:
                if slot.speaker.alive:
                    return slot.speaker
                self._begin(slot, ModelState.UNLOADING, self._unload(slot))
            if slot.transition is None:
                self._begin(slot, ModelState.LOADING, self._load_into(slot))
            assert slot.transition is not None  # noqa: S101  set by _begin
            await self._wait(slot, slot.transition, deadline)

    async def _wait(self, slot: _Slot, transition: asyncio.Task[None], deadline: float) -> None:
        """Wait for a transition that others may wait for too; its failure is every waiter's."""
        loading = slot.state is ModelState.LOADING
        done, _ = await asyncio.wait([transition], timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            raise ModelUnavailableError(
                f"The model {slot.model.id} is still loading after {self._load_wait:.0f} s. Try again shortly.",
                code="model_loading",
                retry_after=10,
            )
        if not loading:
            return
        if transition.cancelled():
            raise ShuttingDownError("The server is shutting down.")
        if (error := transition.exception()) is not None:
            if isinstance(error, SpeechError):
                raise type(error)(error.message, param=error.param, code=error.code, retry_after=error.retry_after)
            raise EngineError(f"The model {slot.model.id} could not be loaded: {error}", code="model_load_failed") from error

    def _begin(self, slot: _Slot, state: ModelState, work: Awaitable[None]) -> None:
        """Start a change of state; the slot is back in a resting state before any waiter wakes."""

        async def run() -> None:
            try:
                await work
            finally:
                slot.transition = None

        slot.state = state
        slot.transition = asyncio.create_task(run(), name=f"{state} {slot.model.id}")
        slot.transition.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _load_into(self, slot: _Slot) -> None:
        started = time.monotonic()
        logger.info("loading %s", slot.model.id)
        try:
            slot.speaker = await self._load(slot.model)
        except BaseException as error:
            slot.state = ModelState.FAILED
            slot.error = str(error) or type(error).__name__
            logger.warning("loading %s failed: %s", slot.model.id, slot.error)
            raise
        slot.load_seconds = round(time.monotonic() - started, 3)
        slot.error = None
        slot.state = ModelState.READY
        logger.info("%s is ready after %.2f s", slot.model.id, slot.load_seconds)
        if slot.leases == 0:
            self._start_idle_timer(slot)

    async def _unload(self, slot: _Slot) -> None:
        speaker, slot.speaker = slot.speaker, None
        self._cancel_idle_timer(slot)
        try:
            if speaker is not None:
                await speaker.close()
        except Exception:
            logger.exception("unloading %s failed", slot.model.id)
        slot.state = ModelState.UNLOADED
        logger.info("%s is unloaded", slot.model.id)

    async def _offload(self, slot: _Slot, drain: float) -> bool:
        if slot.leases and drain:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(slot.released.wait(), drain)
        if (slot.leases and not self._closing) or slot.transition is not None or slot.speaker is None:
            return False
        self._begin(slot, ModelState.UNLOADING, self._unload(slot))
        assert slot.transition is not None  # noqa: S101  set by _begin
        await asyncio.wait([slot.transition])
        return True

    def _start_idle_timer(self, slot: _Slot) -> None:
        if slot.state is not ModelState.READY:
            return
        slot.idle_since = time.monotonic()
        if self._idle_timeout > 0:
            loop = asyncio.get_running_loop()
            slot.idle_timer = loop.call_later(self._idle_timeout, self._on_idle, slot)

    def _cancel_idle_timer(self, slot: _Slot) -> None:
        slot.idle_since = None
        if slot.idle_timer is not None:
            slot.idle_timer.cancel()
            slot.idle_timer = None

    def _on_idle(self, slot: _Slot) -> None:
        if slot.leases == 0 and slot.state is ModelState.READY and slot.transition is None:
            logger.info("%s was idle for %.0f s", slot.model.id, self._idle_timeout)
            self._begin(slot, ModelState.UNLOADING, self._unload(slot))
