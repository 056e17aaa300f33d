"""Who goes when memory is short, and which card a model comes to: pure decisions."""

from collections.abc import Sequence
from typing import Literal

import msgspec

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


class Card(msgspec.Struct, frozen=True):
    """A card as it is now; bytes."""

    index: int
    free: int
    total: int


class Placement(msgspec.Struct, frozen=True):
    """Where a model comes to, and who must leave first, in this order."""

    gpu: int | None
    leaving: tuple[str, ...] = ()


def decayed(score: float, seconds: float) -> float:
    """A frequency of use, `seconds` later."""
    return float(score * 0.5 ** (seconds / HALF_LIFE))


def place(needed: int, mode: Mode, residents: Sequence[Resident], cards: Sequence[Card]) -> Placement | None:
    """The card with the most room for `needed` bytes, after as few and as little used models have left as will do.

    In mode `single` all others leave that are not pinned, wherever they are. A leased model is only named where
    those without a lease do not suffice: whoever evicts waits for it. None: even then it does not fit.
    """
    evictable = sorted((r for r in residents if not r.pinned), key=lambda r: (r.leases > 0, r.score))
    everyone = tuple(r.id for r in evictable)
    if not cards:
        return Placement(None, everyone if mode == "single" else ())
    options: list[tuple[bool, int, int, Placement]] = []
    for card in cards:
        free, leaving, waits = card.free, [], False
        here = [r for r in evictable if r.gpu == card.index]
        while here and (mode == "single" or free < needed):
            going = here.pop(0)
            free += going.memory
            waits = waits or going.leases > 0
            leaving.append(going.id)
        if free >= needed:
            chosen = everyone if mode == "single" else tuple(leaving)
            options.append((waits, len(leaving), -free, Placement(card.index, chosen)))
    return min(options, key=lambda option: option[:3])[3] if options else None
