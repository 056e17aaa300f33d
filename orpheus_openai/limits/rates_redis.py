"""Buckets that several servers share, in Redis; while it is away each keeps its own."""

import logging
import time
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.limits.rates import MemoryRates, Rate, Taken

TIMEOUT_SECONDS = 0.25
"""What a request may lose to a Redis that is away."""

AWAY_SECONDS = 5.0
"""How long it is then left alone, so that only one request in a while loses that."""

PREFIX = "orpheus:rate:"

# Redis runs it as a whole, and by its own clock: servers need not agree on the time.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local before, after, allowed = {}, {}, 1
for i, key in ipairs(KEYS) do
  before[i] = math.max(0, tonumber(redis.call('GET', key) or now) - now)
  after[i] = before[i] + tonumber(ARGV[2 * i - 1])
  if after[i] > tonumber(ARGV[2 * i]) then allowed = 0 end
end
local answer = {tostring(allowed)}
for i, key in ipairs(KEYS) do
  if allowed == 1 then
    redis.call('SET', key, string.format('%.6f', now + after[i]), 'PX', math.ceil(after[i] * 1000) + 1)
  end
  answer[i + 1] = string.format('%.6f', allowed == 1 and after[i] or before[i])
end
return answer
"""

logger = logging.getLogger(__name__)


class RedisRates:
    """Buckets in Redis."""

    def __init__(self, url: str) -> None:
        """Connects when first used; raises ConfigurationError for what is no Redis URL."""
        try:
            self._redis = Redis.from_url(
                url,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ConfigurationError(
                "ORPHEUS_REDIS_URL is not a Redis URL; write, for example, redis://127.0.0.1:6379/0"
            ) from error
        self._take = self._redis.register_script(_TAKE)
        self._own = MemoryRates()
        self._away_until: float | None = None

    async def take(self, account: str, costs: Sequence[tuple[Rate, int]]) -> Taken:
        """See RateStore; by this server's own buckets where Redis does not answer."""
        if self._away_until is not None and time.monotonic() < self._away_until:
            return await self._own.take(account, costs)
        keys = [f"{PREFIX}{{{account}}}:{r.amount}:{r.unit}:{r.seconds:g}" for r, _ in costs]
        arguments = [number for rate, cost in costs for number in (rate.worth(cost), rate.seconds)]
        try:
            allowed, *until_full = await self._take(keys, arguments)
        except (RedisError, OSError) as error:
            if self._away_until is None:
                logger.warning("Redis does not answer (%s); rates are counted by this server alone", error)
            self._away_until = time.monotonic() + AWAY_SECONDS
            return await self._own.take(account, costs)
        if self._away_until is not None:
            logger.info("Redis answers again")
            self._away_until = None
        return Taken(allowed == b"1", [float(left) for left in until_full])

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
