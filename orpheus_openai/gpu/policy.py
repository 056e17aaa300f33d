"""Who goes when memory is short, and which card a model comes to: pure decisions."""

from collections.abc import Sequence
from typing import Literal

import msgspec

GIB = 1 << 30
"""Bytes."""

Mode = Literal["single", "multi", "hybrid"]

HALF_LIFE = 600.0
"""Seconds after which a use of a model counts half: frequency, decayed by age."""


class Resident(msgspec.Struct, frozen=True):
    """A model that holds memory on a card (or, without cards, of the host)."""

    id: str
    gpu: int | None
    memory: int
    """Bytes."""
    leases: int
    pinned: bool
    score: float
    asleep: bool = False
    """Only the rest of it is on the card: `memory` is what it has not given back."""


class Card(msgspec.Struct, frozen=True):
    """A card as it is now; bytes."""

    index: int
    free: int
    total: int
    also: tuple[int, ...] = ()
    """The cards that a model is spread over with it; `free` and `total` are of all of them."""


class Placement(msgspec.Struct, frozen=True):
    """Where a model comes to, and who must leave first, in this order."""

    gpu: int | None
    leaving: tuple[str, ...] = ()


def decayed(score: float, seconds: float) -> float:
    """A frequency of use, `seconds` later."""
    return float(score * 0.5 ** (seconds / HALF_LIFE))


def place(
    needed: int, mode: Mode, residents: Sequence[Resident], cards: Sequence[Card], *, only: int | None = None
) -> Placement | None:
    """The card with the most room for `needed` bytes, after as few and as little used models have left as will do.

    In mode `single` all others leave that are awake and not pinned, wherever they are. What sleeps leaves for good only
    where that is needed. A leased model is only named where those without a lease do not suffice: whoever evicts waits
    for it. `only` is the one card that will do, where it must be that one. None: even then it does not fit.
    """
    evictable = sorted((r for r in residents if not r.pinned), key=lambda r: (r.leases > 0, r.score))
    asleep = [r for r in evictable if r.asleep]
    awake = [r for r in evictable if not r.asleep]
    must = tuple(r.id for r in awake) if mode == "single" else ()
    if not cards:
        return Placement(None, must)
    options: list[tuple[bool, int, int, Placement]] = []
    for card in cards:
        if only not in (None, card.index):
            continue
        free, leaving = card.free, []
        for resident in asleep + awake if mode != "single" else awake + asleep:
            required = mode == "single" and not resident.asleep
            if resident.gpu == card.index and (required or free < needed):
                free += resident.memory
                leaving.append(resident)
        if free >= needed:
            waits = any(r.leases > 0 for r in leaving)
            chosen = must + tuple(r.id for r in leaving if r.id not in must)
            options.append((waits, len(leaving), -free, Placement(card.index, chosen)))
    return min(options, key=lambda option: option[:3])[3] if options else None
