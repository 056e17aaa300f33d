"""MCP's sessions: whose each is, how many there may be, and which is ended when somebody opens too many."""

import contextlib
import time
from collections.abc import Callable, Generator

from orpheus_openai.errors import NotFoundError, OverloadedError
from orpheus_openai.limits.caller import Caller

IDLE_SECONDS = 900.0
"""A session in which nothing was asked for so long, and nobody listens, is ended; its client opens another."""

MAX_SESSIONS = 1_000
"""In all, at some 50 KB each."""

MAX_SESSIONS_PER_CALLER = 100
"""Whoever opens more loses the one they have not used for longest."""

RETRY_SECONDS = 30.0


class _OpenSession:
    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.requests = 0
        """Requests and streams that are open in it."""
        self.used_at = 0.0


class Sessions:
    """What is known of the sessions that the MCP server has opened. Lives on one event loop."""

    def __init__(
        self,
        *,
        limit: int = MAX_SESSIONS,
        per_caller: int = MAX_SESSIONS_PER_CALLER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._per_caller = per_caller
        self._clock = clock
        self._sessions: dict[str, _OpenSession] = {}
        self._opening = 0

    @contextlib.contextmanager
    def opening(self, caller: Caller) -> Generator[None]:
        """The caller opens one more inside the block.

        Raises OverloadedError if there is no room for it, not even if they lose one that is not in use.
        """
        self._require_room(caller)
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1

    def _require_room(self, caller: Caller) -> None:
        now = self._clock()
        for session_id, session in list(self._sessions.items()):
            if not session.requests and now - session.used_at > IDLE_SECONDS:
                self.forget(session_id)  # the MCP server has ended it
        own = self._of(caller)
        replaces = len(own) >= self._per_caller
        busy = replaces and all(self._sessions[session_id].requests for session_id in own)
        if busy or (len(self._sessions) + self._opening >= self._limit and not replaces):
            raise OverloadedError(
                "Too many MCP sessions are open; end those that are not needed, and try again shortly.",
                retry_after=RETRY_SECONDS,
            )

    def opened(self, session_id: str, caller: Caller) -> None:
        """The MCP server has answered with a session; one that is known already stays as it is."""
        self._sessions.setdefault(session_id, _OpenSession(caller)).used_at = self._clock()

    def forget(self, session_id: str) -> None:
        """It has ended."""
        self._sessions.pop(session_id, None)

    def surplus(self, caller: Caller) -> list[str]:
        """The sessions that the caller has too many, unused for longest first."""
        own = self._of(caller)
        idle = sorted(
            (session_id for session_id in own if not self._sessions[session_id].requests),
            key=lambda session_id: self._sessions[session_id].used_at,
        )
        return idle[: max(0, len(own) - self._per_caller)]

    @contextlib.contextmanager
    def used(self, session_id: str, caller: Caller) -> Generator[None]:
        """A request goes on in the session inside the block.

        Raises NotFoundError, as if there were no such session, where it was opened with another key.
        """
        session = self._sessions.get(session_id)
        if session is None:  # whether there is such a session the MCP server knows
            yield
            return
        if session.caller.key != caller.key:
            raise NotFoundError("There is no such MCP session; open another.", code="session_not_found")
        session.requests += 1
        try:
            yield
        finally:
            session.requests -= 1
            session.used_at = self._clock()

    def _of(self, caller: Caller) -> list[str]:
        return [
            session_id
            for session_id, session in self._sessions.items()
            if session.caller.account == caller.account
        ]
