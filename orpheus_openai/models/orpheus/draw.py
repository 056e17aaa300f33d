"""Which id comes next in a frame: penalty, temperature, top-p and a seeded draw among those that its slot allows.

The published sampler does the same over all 156 940 ids. A trained model gives those that do not fit next to no
weight, so what is drawn is drawn as published, and no frame comes misaligned or broken off; sorting 4 096 codes costs
a fortieth.

Formulas: the repetition penalty of CTRL (arXiv:1909.05858) as vLLM has it, over the prompt and what was drawn; nucleus
sampling (arXiv:1904.09751) after the temperature. `draw_kernel` does the same on a GPU.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from orpheus_openai.models.orpheus.frames import (
    CODEBOOK_SIZE,
    END_OF_SPEECH,
    FIRST_AUDIO_TOKEN,
    FIRST_CUSTOM_TOKEN,
    TOKENS_PER_FRAME,
)
from orpheus_openai.models.orpheus.prompt import START_OF_SPEECH
from orpheus_openai.models.orpheus.splitmix import mixed

NO_ID = FIRST_CUSTOM_TOKEN
"""Stands for an id where the model's numbers leave none to draw: `<custom_token_0>`, which is never drawn."""

GREEDY_BELOW = 1e-5
"""Temperatures that mean the likeliest id, as in vLLM."""

ARGUMENT = "orpheus_draw"
"""The request's extra argument: temperature, top_p, repetition penalty and seed, in this order."""

LARGEST = 100
"""More than anybody means by a temperature or a penalty."""

LARGEST_LOGIT = float(np.finfo(np.float32).max)

_FEW_BITS = 24


class Draw(msgspec.Struct, frozen=True, array_like=True):
    """How a request draws; everything that a draw depends on beside logits and the ids so far."""

    temperature: float
    top_p: float
    repetition_penalty: float
    seed: int

    def argument(self) -> dict[str, Any]:
        """As a request's extra argument, which may travel as JSON."""
        return {ARGUMENT: list(msgspec.structs.astuple(self))}


def draw_of(extra_args: dict[str, Any] | None) -> Draw | None:
    """Read the extra argument; None where there is none. Raises ValueError for one that says nothing sensible."""
    if not extra_args or ARGUMENT not in extra_args:
        return None
    try:
        temperature, top_p, penalty, seed = extra_args[ARGUMENT]
        draw = Draw(float(temperature), float(top_p), float(penalty), int(seed))
    except (TypeError, ValueError, OverflowError):
        draw = None
    if draw is None or not (
        0 <= draw.temperature <= LARGEST
        and 0 < draw.top_p <= 1
        and 1 / LARGEST <= draw.repetition_penalty <= LARGEST
        and 0 <= draw.seed < 1 << 63
    ):
        raise ValueError(
            f"{ARGUMENT} must be four numbers: temperature (0 to 100), top_p (above 0, at most 1), repetition penalty "
            "(0.01 to 100) and seed (0 to 2**63 - 1)."
        )
    return draw


class Place(msgspec.Struct, frozen=True):
    """Where in a frame the next id stands, and so what can be drawn: codes of one codebook, and what else."""

    slot: int
    ends: bool
    """The end of speech may come: a frame is complete."""
    starts: bool
    """The start of speech may come: the prompt left it to the model, and nothing has been drawn yet."""

    def candidates(self, base: int = 0) -> tuple[list[int], int]:
        """Ids beside the codes, ascending, and the id of the first code; all counted from `base`."""
        others = [START_OF_SPEECH - base] * self.starts + [END_OF_SPEECH - base] * self.ends
        return others, FIRST_AUDIO_TOKEN - base + self.slot * CODEBOOK_SIZE


def place_after(count: int, first: int | None, *, in_speech: bool, base: int = 0) -> Place:
    """Tell the place of the next id after `count` drawn ones, the `first` among them.

    A prompt either ends with the start of speech or leaves it to the model; some models then go without.
    """
    if not in_speech and count and first == START_OF_SPEECH - base:
        count -= 1
    slot = count % TOKENS_PER_FRAME
    return Place(slot, ends=slot == 0, starts=not in_speech and count == 0 and first is None)


def uniform(seed: int, count: int) -> float:
    """Return the number in [0, 1), in steps of 2⁻²⁴, that decides the draw after `count` others of this seed.

    It depends on nothing else, so that neither the other requests nor a preemption can change a speech.
    """
    (word,) = mixed(mixed(np.array([seed], np.uint64)) ^ np.uint64(count))
    return (int(word) >> (64 - _FEW_BITS)) / (1 << _FEW_BITS)


def choose(logits: NDArray[np.float32], repeated: NDArray[np.intp], draw: Draw, count: int) -> int | None:
    """Choose among the candidates whose logits are given, shape `(n,)`; returns the index, or None if there is none.

    `repeated` are the indices that the penalty falls on; `count` is how many ids this request has drawn. What is no
    number cannot be drawn.
    """
    values = np.array(logits)
    if not np.isfinite(values.max()):
        np.nan_to_num(values, copy=False, nan=-np.inf, posinf=LARGEST_LOGIT, neginf=-np.inf)
    if draw.repetition_penalty != 1.0 and repeated.size:
        picked = values[repeated]
        penalty = np.float32(draw.repetition_penalty)
        values[repeated] = np.where(picked > 0, picked / penalty, picked * penalty)
    likeliest = int(values.argmax())
    if values[likeliest] == -np.inf:
        return None
    if draw.temperature < GREEDY_BELOW:
        return likeliest
    with np.errstate(over="ignore"):  # infinitely unlikely is right
        weights = np.exp((values - values[likeliest]) / np.float32(draw.temperature))
    if draw.top_p < 1.0:
        weights[weights < least_of_nucleus(weights, draw.top_p)] = 0.0
    mass = np.cumsum(weights, dtype=np.float64)
    return int(np.searchsorted(mass, uniform(draw.seed, count) * mass[-1], side="right"))


def least_of_nucleus(weights: NDArray[np.float32], top_p: float) -> np.float32:
    """Return the smallest weight that is still drawn: those above it have less than `top_p` of the whole."""
    whole = float(weights.sum(dtype=np.float64))
    # All that are less than this have together less than what is left out.
    likely = weights[weights >= (1.0 - top_p) * whole / weights.size]
    ordered = np.sort(likely)[::-1]
    mass = np.cumsum(ordered, dtype=np.float64)
    last = int(np.searchsorted(mass, top_p * whole))
    return np.float32(ordered[min(last, ordered.size - 1)])
