"""One model's changes of state: how it is loaded, woken, put to sleep and unloaded, and who waits for that."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from orpheus_openai.catalog import Model
from orpheus_openai.events import EventHub
from orpheus_openai.gpu.room import Capacity, DesertedError, Room
from orpheus_openai.gpu.slot import ModelState, Slot
from orpheus_openai.synthesis import Sleepable, SpeechModel

logger = logging.getLogger(__name__)

EVICTION_SECONDS = 1.0
"""How often an eviction that waits for its model's users looks whether anybody still waits for the newcomer."""


class Loader(Capacity, Protocol):
    """What the manager needs of whoever makes models."""

    async def prepare(self, model: Model) -> None:
        """Fetch what must be here before room is made: then its footprints are known, not estimated."""
        ...

    async def load(self, model: Model, gpu: int | None) -> SpeechModel:
        """A model that is ready to speak, on that card."""
        ...


class Changes:
    """Makes them, one at a time for each slot. Lives on the manager's event loop."""

    def __init__(self, loader: Loader, events: EventHub, room: Room, clock: Callable[[], float]) -> None:
        self._loader = loader
        self._events = events
        self._room = room
        self._clock = clock

    def begin(self, slot: Slot, state: ModelState, work: Coroutine[None, None, None]) -> None:
        """Start a change; the slot is in its new resting state before any waiter wakes."""

        async def run() -> None:
            try:
                await work
            finally:
                slot.transition = None

        self._enter(slot, state)
        slot.transition = asyncio.create_task(run(), name=f"{state} {slot.model.id}")
        slot.transition.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def cancel(self, transition: asyncio.Task[None]) -> None:
        """Break a change off; it has put its slot in order when this returns."""
        await asyncio.sleep(0)  # what is cancelled before its first step cannot put its slot in order
        transition.cancel()
        await asyncio.wait([transition])

    async def wait(self, slot: Slot, deadline: float) -> bool:
        """Wait until the change that is under way is over, else for leases to change; False when it is too late."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                if slot.transition is None:
                    await slot.change()
                else:
                    await asyncio.wait([slot.transition])  # not cancelled with us: others wait for it, too
                return True
        return False

    async def load(self, slot: Slot) -> None:
        """Make room and load, or wake; a failure is remembered, and the next request tries again."""
        started = self._clock()
        try:
            if slot.speaker is None:
                await self._loader.prepare(slot.model)
            needs_room = self._loader.footprint(slot.model) > 0
            async with self._room.lock if needs_room else contextlib.nullcontext():
                woken = await self._wake(slot)
                if not woken:
                    await self._load_afresh(slot, needs_room=needs_room)
        except asyncio.CancelledError:
            await self._discard(slot)
            self._enter(slot, ModelState.UNLOADED)
            raise
        except DesertedError:
            resting = ModelState.UNLOADED if slot.speaker is None else ModelState.ASLEEP
            self._enter(slot, resting, reason="nobody waits for it any more")
            return
        except BaseException as error:
            slot.error = str(error) or type(error).__name__
            await self._discard(slot)
            self._enter(slot, ModelState.FAILED, error=slot.error)
            logger.warning("loading %s failed: %s", slot.model.id, slot.error)
            raise
        slot.load_seconds = round(self._clock() - started, 3)
        slot.error = None
        slot.idle_since = self._clock()
        slot.entitle()
        self._enter(slot, ModelState.READY, load_seconds=slot.load_seconds, woken=woken)
        logger.info("%s is ready after %.2f s", slot.model.id, slot.load_seconds)

    async def sleep(self, slot: Slot, speaker: Sleepable) -> None:
        """Have it give its GPU memory back and stay at hand; where it cannot, unload it."""
        before = await self._room.free_on(slot.gpu)
        try:
            await speaker.sleep()
        except Exception:
            logger.exception("%s could not be put to sleep", slot.model.id)
            await self.unload(slot, "it could not sleep")
            return
        slot.given_back = max(0, await self._room.free_on(slot.gpu) - before) or None
        slot.asleep_since = self._clock()
        self._enter(slot, ModelState.ASLEEP, reason="idle")

    async def unload(self, slot: Slot, reason: str) -> None:
        """Close it, whoever uses it."""
        await self._discard(slot)
        self._enter(slot, ModelState.UNLOADED, reason=reason)
        logger.info("%s is unloaded: %s", slot.model.id, reason)

    async def offload(
        self, slot: Slot, wait: float, *, force: bool = False, reason: str = "offloaded"
    ) -> bool:
        """Unload, once nobody speaks any more; False if it is still in use, or still loads, after `wait` seconds."""
        deadline = time.monotonic() + wait
        with slot.leaving():
            while slot.transition is not None or (slot.busy and not force):
                if slot.state is ModelState.UNLOADING and slot.transition is not None:
                    await asyncio.wait([slot.transition])
                elif force and slot.transition is not None:
                    await self.cancel(slot.transition)
                elif not await self.wait(slot, deadline):
                    return False
            if slot.speaker is not None:
                self.begin(slot, ModelState.UNLOADING, self.unload(slot, "by force" if force else reason))
                assert slot.transition is not None  # noqa: S101  begin has set it
                await asyncio.wait([slot.transition])
            return True

    async def _wake(self, slot: Slot) -> bool:
        """Wake what sleeps, on its own card; False where nothing does, or there is no room for it any more."""
        sleeper = slot.speaker
        if not isinstance(sleeper, Sleepable) or not sleeper.alive:
            return False
        if slot.gpu is not None and not await self._room.make_to_wake(slot, self._evict):
            logger.info("%s cannot wake: its card is taken; it is loaded afresh", slot.model.id)
            return False
        slot.on_card = True
        await sleeper.wake()
        return True

    async def _load_afresh(self, slot: Slot, *, needs_room: bool) -> None:
        await self._discard(slot)  # what slept there, or has died, gives back the rest of its memory
        slot.gpu = await self._room.make(slot, self._evict) if needs_room else None
        slot.on_card = True
        before = await self._room.free_on(slot.gpu)
        slot.speaker = await self._loader.load(slot.model, slot.gpu)
        slot.memory = max(0, before - await self._room.free_on(slot.gpu)) or None

    async def _evict(self, slot: Slot, newcomer: Slot) -> None:
        """Unload it once its users have ended; DesertedError where nobody waits for the newcomer any more."""
        with slot.leaving():
            reason = f"{newcomer.model.id} needs its room"
            while not await self.offload(slot, EVICTION_SECONDS, reason=reason):
                if newcomer.waiting == 0:
                    raise DesertedError

    async def _discard(self, slot: Slot) -> None:
        speaker, slot.speaker = slot.speaker, None
        if speaker is None:
            return
        try:
            await speaker.close()
        except Exception:
            logger.exception("%s did not close cleanly", slot.model.id)

    def _enter(self, slot: Slot, state: ModelState, **details: Any) -> None:
        slot.state = state
        if state in (ModelState.UNLOADED, ModelState.FAILED, ModelState.ASLEEP):
            slot.on_card = False
        if state in (ModelState.UNLOADED, ModelState.FAILED):
            slot.gpu = slot.memory = slot.given_back = None
        self._events.publish("model.state", model=slot.model.id, state=state.value, **details)
