"""What of the server a caller may see: admins all, others what is their own or concerns everybody."""

from collections import defaultdict

import msgspec

from orpheus_openai.events import Event, EventHub
from orpheus_openai.gpu.device import GPU
from orpheus_openai.gpu.manager import GPUManager
from orpheus_openai.gpu.slot import ModelStatus
from orpheus_openai.limits.caller import Caller


class Seen:
    """Knows whose speeches are under way."""

    def __init__(self, events: EventHub, manager: GPUManager) -> None:
        self._manager = manager
        self._speaking: defaultdict[str | None, dict[str, str]] = defaultdict(dict)
        """Each account's speeches that wait or speak, by id, and their models."""
        self._waiting: set[str] = set()
        for kind, observer in {
            "speech.queued": self._begun,
            "speech.waiting": self._waits,
            "speech.started": self._started,
            "speech.ended": self._ended,
        }.items():
            events.observe(kind, observer)

    def models(self, caller: Caller) -> list[ModelStatus]:
        """Every model that was asked for; leases of others are counted for admins alone."""
        found = self._manager.get_status()
        if caller.admin:
            return found
        own = [model for id_, model in self._of(caller).items() if id_ not in self._waiting]
        return [msgspec.structs.replace(model, leases=own.count(model.id)) for model in found]

    def waiting(self, caller: Caller) -> int:
        """How many of the caller's own speeches wait for their turn."""
        return sum(id_ in self._waiting for id_ in self._of(caller))

    def gpus(self, caller: Caller, gpus: tuple[GPU, ...]) -> tuple[GPU, ...]:
        """The cards; which processes use them is for admins alone."""
        if caller.admin:
            return gpus
        return tuple(msgspec.structs.replace(gpu, processes=None) for gpu in gpus)

    def _of(self, caller: Caller) -> dict[str, str]:
        return self._speaking.get(caller.account, {})

    def _begun(self, event: Event) -> None:
        self._speaking[event.owner][event.data["id"]] = event.data["model"]

    def _waits(self, event: Event) -> None:
        self._waiting.add(event.data["id"])

    def _started(self, event: Event) -> None:
        self._waiting.discard(event.data["id"])

    def _ended(self, event: Event) -> None:
        self._waiting.discard(event.data["id"])
        own = self._speaking[event.owner]
        own.pop(event.data["id"], None)
        if not own:
            del self._speaking[event.owner]
