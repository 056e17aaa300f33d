"""When a speech passed each stage on its way to the listener."""

import time
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

Moment = Literal["asked", "admitted", "ready", "first_token", "first_audio", "first_bytes"]

STAGES: dict[Moment, str] = {
    "admitted": "queue",
    "ready": "load",
    "first_token": "first token",
    "first_audio": "first audio",
    "first_bytes": "encode",
}
"""What a speech goes through, by the moment at which it is over; a voice without tokens has no first one."""

LAST_STAGE = "stream"


class Stage(NamedTuple):
    """A stretch of a speech's way; seconds of `time.monotonic`, and None while it lasts."""

    name: str
    start: float
    end: float | None


class Timeline:
    """The moments of one speech, in the order in which they came."""

    def __init__(self) -> None:
        self._moments: dict[Moment, float] = {}

    def mark(self, moment: Moment, at: float | None = None) -> None:
        """It is now, or was `at`, in seconds of `time.monotonic`."""
        self._moments[moment] = time.monotonic() if at is None else at

    def at(self, moment: Moment) -> float | None:
        """When it was; None: it has not come."""
        return self._moments.get(moment)

    def seconds(self, start: Moment, end: Moment) -> float | None:
        """From one to the other; None until both have come."""
        if start not in self._moments or end not in self._moments:
            return None
        return self._moments[end] - self._moments[start]

    def stages(self) -> list[Stage]:
        """Each stage from the end of the one before; the last is still under way."""
        if not self._moments:
            return []
        moments = list(self._moments.items())
        over = [Stage(STAGES[moment], since, at) for (_, since), (moment, at) in pairwise(moments)]
        last, since = moments[-1]
        order = get_args(Moment)
        following = order[order.index(last) + 1 :]
        return [*over, Stage(STAGES[following[0]] if following else LAST_STAGE, since, None)]
