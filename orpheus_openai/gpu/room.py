"""Making room: which card a model comes to, and who is made to leave it first."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from orpheus_openai.catalog import Model
from orpheus_openai.errors import RETRY_SECONDS, ModelUnavailableError, NotReadyError
from orpheus_openai.gpu.policy import GIB, Card, Mode, Placement, Resident, place
from orpheus_openai.gpu.slot import ModelState, Slot

Evict = Callable[[Slot, Slot], Awaitable[None]]
"""Unloads the first slot's model because the second's needs its memory."""


class Capacity(Protocol):
    """Who knows what models take and what the cards have."""

    def footprint(self, model: Model) -> int:
        """Bytes it is to have on a card of this machine; 0 for one that needs none."""
        ...

    def least_footprint(self, model: Model) -> int:
        """Bytes with which it can just speak."""
        ...

    def cards(self) -> Sequence[Card]:
        """The cards as they are now; none where there are none, or where they do not answer."""
        ...


class DesertedError(Exception):
    """Nobody waits any more for the model that room was being made for."""


class Room:
    """The cards' memory and the slots that hold it. Whoever makes room and loads holds `lock`, nobody who speaks."""

    def __init__(
        self, capacity: Capacity, slots: Mapping[str, Slot], mode: Mode, clock: Callable[[], float]
    ) -> None:
        self.lock = asyncio.Lock()
        self._capacity = capacity
        self._slots = slots
        self._mode = mode
        self._clock = clock

    async def make(self, slot: Slot, evict: Evict) -> int | None:
        """Evict until it fits, as it is to be or else as it can just speak; returns the card, None where none is known.

        Raises NotReadyError, naming need, room and holders, where it does not fit whatever leaves,
        ModelUnavailableError where no card is large enough, and DesertedError where nobody waits for it any more.
        """
        least = self._capacity.least_footprint(slot.model)
        while True:
            residents, cards = await self._look(slot)
            placement = place(self._capacity.footprint(slot.model), self._mode, residents, cards)
            placement = placement or place(least, self._mode, residents, cards)
            if placement is None:
                raise _no_room(slot, least, residents, cards)
            if not placement.leaving:
                return placement.gpu
            await self._make_leave(placement, slot, evict)

    async def make_to_wake(self, slot: Slot, evict: Evict) -> bool:
        """Evict until what the model gave back when it fell asleep fits on its card; False where it cannot.

        Raises DesertedError where nobody waits for it any more.
        """
        needed = slot.given_back or self._capacity.footprint(slot.model)
        while True:
            residents, cards = await self._look(slot)
            placement = place(needed, self._mode, residents, cards, only=slot.gpu)
            if placement is None:
                return False
            if not placement.leaving:
                return True
            await self._make_leave(placement, slot, evict)

    async def free_on(self, gpu: int | None) -> int:
        """Free bytes of that card; 0 where it is not known."""
        if gpu is None:
            return 0
        cards = await asyncio.to_thread(self._capacity.cards)
        return next((card.free for card in cards if card.index == gpu), 0)

    async def _make_leave(self, placement: Placement, slot: Slot, evict: Evict) -> None:
        going = self._slots[placement.leaving[0]]
        if going.transition is None:
            await evict(going, slot)
        else:  # it is leaving already, or going to sleep
            await asyncio.wait([going.transition])

    async def _look(self, slot: Slot) -> tuple[list[Resident], Sequence[Card]]:
        """What holds memory beside this slot's model, and the cards."""
        cards = await asyncio.to_thread(self._capacity.cards)
        others = [other for other in self._slots.values() if other is not slot]
        residents = [self._resident(o) for o in others if o.on_card and self._capacity.footprint(o.model)]
        sleepers = [self._sleeper(o) for o in others if o.state is ModelState.ASLEEP and o.transition is None]
        return residents + [each for each in sleepers if each.memory > 0], cards

    def _resident(self, slot: Slot) -> Resident:
        """A slot as `place` sees it; what is on its way out, or to sleep, goes before all others."""
        going = slot.transition is not None
        return Resident(
            id=slot.model.id,
            gpu=slot.gpu,
            memory=slot.memory or self._capacity.footprint(slot.model),
            leases=0 if going else slot.leases,
            pinned=slot.pinned and not going,
            score=-1.0 if going else slot.score_at(self._clock()),
        )

    def _sleeper(self, slot: Slot) -> Resident:
        left = (slot.memory or 0) - (slot.given_back or slot.memory or 0)
        score = slot.score_at(self._clock())
        return Resident(slot.model.id, slot.gpu, left, leases=0, pinned=slot.pinned, score=score, asleep=True)


def _no_room(
    slot: Slot, needed: int, residents: Sequence[Resident], cards: Sequence[Card]
) -> ModelUnavailableError | NotReadyError:
    room = "; ".join(f"GPU {c.index}: {c.free / GIB:.1f} of {c.total / GIB:.1f} GiB free" for c in cards)
    held = ", ".join(f"{r.id} on GPU {r.gpu}" for r in residents) or "other programs"
    words = (
        f"{slot.model.id} needs {needed / GIB:.1f} GiB of GPU memory. {room}. Held by: {held}. "
        "Free some, choose a smaller model, or set ORPHEUS_REMOTE_URL."
    )
    if needed > max((card.total for card in cards), default=0):
        return ModelUnavailableError(words, param="model")
    return NotReadyError(words, code="insufficient_gpu_memory", retry_after=RETRY_SECONDS)
