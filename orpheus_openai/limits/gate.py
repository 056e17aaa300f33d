"""What a speech passes before it starts, whichever door it came through: filter, rates, and its turn."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Self

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.installation import installing
from orpheus_openai.limits.caller import PROGRAM
from orpheus_openai.limits.filter import InputFilter, load_blocked, load_moderator
from orpheus_openai.limits.queue import Queue
from orpheus_openai.limits.rates import MemoryRates, RateLimits, RateStore, parse_rates
from orpheus_openai.settings import Settings

UNCOUNTED = 64
"""Requests at once where no model says how many streams it has, or none is loaded.

With a remote engine, which counts for itself, there may be as many as the server has connections.
"""


class Gate:
    """The rules of one server."""

    def __init__(
        self, input_filter: InputFilter, rates: RateLimits, queue: Queue, *, follows: bool = False
    ) -> None:
        self._follows = follows
        self._filter = input_filter
        self._rates = rates
        self.queue = queue

    @classmethod
    def create(cls, settings: Settings) -> Self:
        """The rules that the settings give; raises ConfigurationError when they make no sense."""
        return cls(
            InputFilter(
                load_blocked(settings.block_list),
                settings.max_repetition,
                load_moderator(settings.moderation),
            ),
            RateLimits(parse_rates(settings.rate_limit), _store(settings)),
            Queue(
                at_once=UNCOUNTED if settings.max_concurrent == "auto" else int(settings.max_concurrent),
                length=settings.max_queue,
                wait=settings.queue_wait,
                per_caller=settings.max_concurrent_per_caller,
            ),
            follows=settings.max_concurrent == "auto",
        )

    def follow(self, streams: int | None) -> None:
        """The loaded models speak so many streams at once, or do not count; requests follow, unless a number is set."""
        if self._follows:
            self.queue.resize(UNCOUNTED if streams is None else streams)

    async def check(
        self, read: Callable[[], Awaitable[str]], characters: int, account: str
    ) -> dict[str, str]:
        """Raise the SpeechError that stands in the way of the text, or charge `characters` to `account`.

        Returns what is left of its share, as headers. Whoever would be turned away at the end of the queue anyway is
        not charged.
        """
        if self._filter.active:
            await self._filter.check(await read())
        self.queue.require_room(account)
        return await self._rates.charge(account, characters)

    async def check_pieces(
        self, account: str
    ) -> tuple[dict[str, str], Callable[[str, int], Awaitable[None]]]:
        """As `check`, for a text that is still being written: charge `account` for one request.

        What is returned beside its share judges a piece, with the end of the one before it, and charges its characters.
        """
        self.queue.require_room(account)
        share = await self._rates.charge(account, 0)
        judge = self._filter.follow()

        async def pass_on(piece: str, characters: int) -> None:
            await judge(piece)
            await self._rates.charge(account, characters, requests=0)

        return share, pass_on

    async def charge(self, account: str) -> None:
        """Charge `account` for a request that speaks nothing; raises RateLimitError as `check` does."""
        await self._rates.charge(account, 0)

    def turn(self, moved: Callable[[int], None], account: str = PROGRAM) -> AbstractAsyncContextManager[None]:
        """See Queue.turn."""
        return self.queue.turn(moved, account)

    async def close(self) -> None:
        """Give connections back."""
        await self._rates.close()


def _store(settings: Settings) -> RateStore:
    if not settings.redis_url:
        return MemoryRates()
    try:
        from orpheus_openai.limits.rates_redis import RedisRates  # noqa: PLC0415  only where it is used
    except ImportError as error:
        raise ConfigurationError(
            f"ORPHEUS_REDIS_URL needs the Redis client: {installing('redis')}"
        ) from error
    return RedisRates(settings.redis_url)
