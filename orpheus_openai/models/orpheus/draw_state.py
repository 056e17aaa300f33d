"""What the draws of a step depend on: of each request its ids and how it draws, for a processor and for a GPU."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from orpheus_openai.models.orpheus.draw import NO_ID, Draw, Place, choose, place_after
from orpheus_openai.models.orpheus.frames import (
    AUDIO_TOKENS,
    CODEBOOK_SIZE,
    FIRST_AUDIO_TOKEN,
    TOKENS_PER_FRAME,
)
from orpheus_openai.models.orpheus.prompt import START_OF_SPEECH

OTHERS_DRAW = -1.0
"""The temperature that tells the kernel to leave a row alone: of rows that belong to no request."""


class Row:
    """A request of the older sampler, with the lists of ids that vLLM holds; it goes on appending to the second."""

    def __init__(self, draw: Draw, prompt: Sequence[int], output: Sequence[int], base: int) -> None:
        self.draw = draw
        self.prompt = prompt
        self.output = output
        self._base = base
        self._in_speech = prompt[-1:] == [START_OF_SPEECH - base]
        ids = np.asarray(prompt, dtype=np.int64)
        # A recording's codes, and the starts and ends of speech around them.
        self._spoken = ids[(ids >= START_OF_SPEECH - base) & (ids < FIRST_AUDIO_TOKEN - base + AUDIO_TOKENS)]
        self.slot: int | None = None
        """Its line in `History`."""
        self.written = 0
        """How many ids of the output stand there."""

    @property
    def place(self) -> Place:
        """Where the id that is drawn next will stand."""
        first = self.output[0] if self.output else None
        return place_after(len(self.output), first, in_speech=self._in_speech, base=self._base)

    def draw_from(self, logits: NDArray[np.float32]) -> int:
        """Return the id that comes next, as its column in `logits`, shape `(vocabulary,)`."""
        place = self.place
        others, first = place.candidates(self._base)
        values = logits[first : first + CODEBOOK_SIZE]
        if others:
            values = np.concatenate([logits[others], values])
        chosen = choose(values, self._repeated(others, first), self.draw, len(self.output))
        if chosen is None:
            return NO_ID - self._base
        return others[chosen] if chosen < len(others) else first + chosen - len(others)

    def _repeated(self, others: list[int], first: int) -> NDArray[np.intp]:
        # Codes of this slot stand nowhere else, whether or not a start of speech came before them.
        ids = np.array(self.output[len(self.output) % TOKENS_PER_FRAME :: TOKENS_PER_FRAME], dtype=np.int64)
        if self._spoken.size > 1:
            ids = np.concatenate([self._spoken, ids])
        codes = ids[(ids >= first) & (ids < first + CODEBOOK_SIZE)] - first + len(others)
        seen = [index for index, other in enumerate(others) if other in self._spoken]
        return np.concatenate([codes, np.array(seen, dtype=np.int64)]).astype(np.intp)


class DrawParameters:
    """How each request draws, where the kernel reads it: a few numbers for each line, sent when one has changed."""

    def __init__(self, lines: int, device: torch.device) -> None:
        self._device = device
        self._numbers = torch.full((3, lines), OTHERS_DRAW, dtype=torch.float32)
        self._seeds = torch.zeros(lines, dtype=torch.int64)
        self._changed = True

    def set(self, line: int, draw: Draw) -> None:
        """Let a line belong to a request that draws so."""
        self._numbers[:, line] = torch.tensor([draw.temperature, draw.top_p, draw.repetition_penalty])
        self._seeds[line] = draw.seed
        self._changed = True

    def on_device(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return temperatures, top_ps, penalties and seeds, each of shape `(lines,)`."""
        if self._changed:
            self._sent = (self._numbers.to(self._device, copy=True), self._seeds.to(self._device, copy=True))
            self._changed = False
        (temperatures, top_ps, penalties), seeds = self._sent
        return temperatures, top_ps, penalties, seeds


class History:
    """Ids of the older sampler's requests on a GPU, as the newer sampler has them there: each step adds what is new."""

    def __init__(self, requests: int, length: int, device: torch.device) -> None:
        self._device = device
        self.tokens = torch.zeros(requests + 1, length + 1, dtype=torch.int32, device=device)
        self.prompt_lengths = torch.zeros(requests + 1, dtype=torch.int32, device=device)
        self.parameters = DrawParameters(requests + 1, device)
        self._free = list(range(requests))
        self.nobody = requests
        """The line of rows without a request."""

    def enter(self, row: Row) -> None:
        """Give a request a line of its own."""
        row.slot = slot = self._free.pop()
        row.written = 0
        self.parameters.set(slot, row.draw)
        self.prompt_lengths[slot] = len(row.prompt)
        self.tokens[slot, : len(row.prompt)] = torch.tensor(row.prompt, dtype=torch.int32)

    def leave(self, row: Row) -> None:
        """Take the line back."""
        if row.slot is not None:
            self._free.append(row.slot)
            row.slot = None

    def follow(self, rows: dict[int, Row], count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Write what `rows` have drawn meanwhile; returns line and position of the last id for `count` rows."""
        slots, positions = [self.nobody] * count, [0] * count
        at: list[int] = []
        where: list[int] = []
        ids: list[int] = []
        for index, row in rows.items():
            if index >= count or row.slot is None:
                continue
            slots[index], positions[index] = row.slot, len(row.prompt) + len(row.output) - 1
            new = [token for token in row.output[row.written :] if token >= 0]  # some may not be in yet
            at += [row.slot] * len(new)
            where += range(len(row.prompt) + row.written, len(row.prompt) + row.written + len(new))
            ids += new
            row.written += len(new)
        if ids:
            lines, columns, values = torch.tensor([at, where, ids]).to(self._device)
            self.tokens[lines, columns] = values.to(torch.int32)
        lines, last = torch.tensor([slots, positions]).to(self._device)
        return lines, last
