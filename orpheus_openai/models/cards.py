"""The cards that models may come to: this machine's GPUs, or a group of them as one."""

from orpheus_openai.gpu.device import list_gpus
from orpheus_openai.gpu.policy import Card
from orpheus_openai.settings import Settings


class Cards:
    """Knows which group of GPUs a model is spread over, once it has been chosen."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._group: list[int] = []

    def look(self) -> list[Card]:
        """The GPUs as they are now; none where models do not run on them.

        Those that a model is spread over are one: the idlest, whole and seen at the first call, for as long as this
        server runs. Of each it can take as much as the fullest has free.
        """
        if self._settings.device == "cpu":
            return []
        found = {
            gpu.index: Card(gpu.index, gpu.memory_total - gpu.memory_used, gpu.memory_total)
            for gpu in list_gpus()
            if gpu.memory_total is not None and gpu.memory_used is not None
            if gpu.slice_of is None or self._settings.tensor_parallel == 1
        }
        if (width := self._settings.tensor_parallel) == 1:
            return list(found.values())
        self._group = self._group or sorted(found, key=lambda index: -found[index].free)[:width]
        group = [found[index] for index in self._group if index in found]
        if len(group) < width:
            return []
        free, total = min(card.free for card in group), min(card.total for card in group)
        first, *others = self._group
        return [Card(first, free * width, total * width, also=tuple(others))]
