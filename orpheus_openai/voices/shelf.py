"""The voices that were added, as this server knows them now: read at the start, and again when they change."""

import asyncio
import contextlib
import logging
from functools import lru_cache

from orpheus_openai.catalog import Catalog, OwnVoice
from orpheus_openai.voices.folder import VoiceFolder

LOOK_SECONDS = 2.0
"""How often it is looked whether somebody else has changed them."""
ACCOUNTS = 256
"""Accounts whose catalogs are kept; of more the one that asked longest ago is made anew."""

logger = logging.getLogger(__name__)


class VoiceShelf:
    """Who may speak with what: the built-in catalog, and for each account the voices that are there for it."""

    def __init__(self, folder: VoiceFolder, catalog: Catalog, admins: frozenset[str] = frozenset()) -> None:
        """Read the folder, which is how a start begins; what is wrong with a voice is logged, and it is left out.

        `admins` are the accounts for which everybody's voices are there.
        """
        self.folder = folder
        self._builtin = catalog
        self._admins = admins
        self._voices: list[OwnVoice] = []
        self._problems: dict[str, str] = {}
        self._state: object = None
        self._lock = asyncio.Lock()
        self.catalog = lru_cache(ACCOUNTS)(self._catalog)
        self._look()

    @property
    def voices(self) -> list[OwnVoice]:
        """All of them, whoever they belong to."""
        return self._voices

    @property
    def problems(self) -> dict[str, str]:
        """Why others that are in the folder cannot be spoken with, by their folder."""
        return self._problems

    async def refresh(self) -> None:
        """Take notice of what has changed; whoever has changed it sees it when this returns."""
        async with self._lock:
            await asyncio.to_thread(self._look)

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(OSError):
                await self.refresh()

    def _catalog(self, account: str) -> Catalog:
        """The built-in catalog and the voices that `account` may speak with; of one name, its own come first."""
        admin = account in self._admins
        seen = [voice for voice in self._voices if admin or voice.seen_by(account)]
        seen.sort(key=lambda voice: (voice.owner != account, not voice.seen_by(account)))
        return self._builtin.with_voices(seen) if seen else self._builtin

    def _look(self) -> None:
        state = self.folder.state()
        if state == self._state:
            return
        found = self.folder.read(self._builtin)
        for name, problem in found.problems.items():
            if self._problems.get(name) != problem:
                logger.warning("the voice in %s cannot be used: %s", self.folder.root / name, problem)
        self._voices, self._problems, self._state = found.voices, found.problems, state
        self.catalog.cache_clear()
