"""How much each caller may ask for in a time: requests and characters, as buckets that fill up steadily."""

import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from orpheus_openai.errors import ConfigurationError, InvalidRequestError, RateLimitError
from orpheus_openai.limits.caller import PROGRAM

Unit = Literal["requests", "characters"]

PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
ACCOUNTS_KEPT = 10_000
"""Callers whose buckets are kept in memory; those that are full again are forgotten first."""

_RATE = re.compile(r"(\d{1,12})\s*(requests?|chars?|characters?|)\s*/\s*(second|minute|hour|day)")


class Rate(msgspec.Struct, frozen=True):
    """So many in so many seconds: a bucket of that size, full at first, which fills up in that time."""

    unit: Unit
    amount: int
    seconds: float

    def worth(self, cost: int) -> float:
        """Seconds in which the bucket gains `cost`."""
        return cost * self.seconds / self.amount


class Taken(msgspec.Struct, frozen=True):
    """What a store says: whether all costs were taken, and the seconds until each bucket is full (again)."""

    allowed: bool
    until_full: list[float]


class RateStore(Protocol):
    """Where buckets are kept. A bucket is one number: the time at which it will be full."""

    async def take(self, account: str, costs: Sequence[tuple[Rate, int]]) -> Taken:
        """Take every cost from its bucket of `account`, or none where one of them holds too little."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


def parse_rates(text: str) -> tuple[Rate, ...]:
    """`60/minute, 20000 chars/minute` as rates; raises ConfigurationError with an example of what would do."""
    rates = []
    parts = [part for each in text.split(",") if (part := each.strip().lower())]
    if text and not parts:
        raise ConfigurationError(
            f"ORPHEUS_RATE_LIMIT={text}: it is set, but holds no rate; write, for example, 60/minute, or leave it empty"
        )
    for part in parts:
        found = _RATE.fullmatch(part)
        if found is None or not int(found[1]):
            raise ConfigurationError(
                f"ORPHEUS_RATE_LIMIT: '{part}' is not a rate; write, for example, 60/minute,20000 chars/minute"
            )
        unit: Unit = "characters" if found[2].startswith("char") else "requests"
        rates.append(Rate(unit, int(found[1]), PERIODS[found[3]]))
    return tuple(rates)


class MemoryRates:
    """Buckets of this process alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[tuple[str, Rate], float] = {}

    async def take(self, account: str, costs: Sequence[tuple[Rate, int]]) -> Taken:
        """See RateStore."""
        now = self._clock()
        before = [max(0.0, self._full_at.get((account, rate), now) - now) for rate, _ in costs]
        after = [left + rate.worth(cost) for left, (rate, cost) in zip(before, costs, strict=True)]
        if any(left > rate.seconds for left, (rate, _) in zip(after, costs, strict=True)):
            return Taken(False, before)
        for left, (rate, _) in zip(after, costs, strict=True):
            self._full_at[account, rate] = now + left
        if len(self._full_at) > ACCOUNTS_KEPT:
            self._forget(now)
        return Taken(True, after)

    async def close(self) -> None:
        """Nothing is held."""

    def _forget(self, now: float) -> None:
        kept = [(name, full_at) for name, full_at in self._full_at.items() if full_at > now]
        # Nobody has so many callers at once: those that owe least are let go.
        kept.sort(key=lambda item: item[1])
        self._full_at = dict(kept[-ACCOUNTS_KEPT // 2 :])


class RateLimits:
    """Charges each request for speech to whoever asks."""

    def __init__(self, rates: Sequence[Rate], store: RateStore) -> None:
        self._rates = rates
        self._store = store

    async def charge(self, account: str, characters: int, *, requests: int = 1) -> dict[str, str]:
        """Take `requests` and `characters` from the share of `account`; returns what is left, as headers.

        Raises RateLimitError, with the same headers, when that is too little, InvalidRequestError when it never
        could be enough.
        """
        if not self._rates or account == PROGRAM:
            return {}
        costs = [(rate, characters if rate.unit == "characters" else requests) for rate in self._rates]
        for rate, cost in costs:
            if cost > rate.amount:
                raise InvalidRequestError(
                    f"The text has {cost} characters; at most {rate.amount} are spoken for one caller in "
                    f"{rate.seconds:g} s. Send it in parts.",
                    param="input",
                    code="string_above_max_length",
                )
        taken = await self._store.take(account, costs)
        left = _headers(self._rates, taken.until_full)
        if taken.allowed:
            return left
        waits = [
            (until_full + rate.worth(cost) - rate.seconds, rate)
            for until_full, (rate, cost) in zip(taken.until_full, costs, strict=True)
        ]
        wait, rate = max(waits, key=lambda item: item[0])
        raise RateLimitError(
            f"Rate limit reached: {rate.amount} {rate.unit} in {rate.seconds:g} s. "
            f"Try again in {math.ceil(wait)} s.",
            retry_after=max(wait, 0.001),
            headers=left,
        )

    async def close(self) -> None:
        """Give the store's connections back."""
        await self._store.close()


def _headers(rates: Sequence[Rate], until_full: Sequence[float]) -> dict[str, str]:
    """OpenAI's `x-ratelimit-*`; of several rates of a unit the one with least left speaks."""
    headers: dict[str, str] = {}
    least: dict[Unit, int] = {}
    for rate, left in zip(rates, until_full, strict=True):
        remaining = max(0, math.floor((rate.seconds - left) * rate.amount / rate.seconds + 1e-6))
        if remaining < least.get(rate.unit, remaining + 1):
            least[rate.unit] = remaining
            headers[f"x-ratelimit-limit-{rate.unit}"] = str(rate.amount)
            headers[f"x-ratelimit-remaining-{rate.unit}"] = str(remaining)
            headers[f"x-ratelimit-reset-{rate.unit}"] = _duration(left)
    return headers


def _duration(seconds: float) -> str:
    """As OpenAI writes it: `120ms`, `7.66s`, `6m0s`, `1h30m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{parts}{math.floor(rest)}s" if parts else f"{rest:.2f}".rstrip("0").rstrip(".") + "s"
