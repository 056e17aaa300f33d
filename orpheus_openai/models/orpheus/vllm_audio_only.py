"""A logits processor for vLLM: audio tokens only, each in its place of the frame, and the end between frames.

It runs inside the engine's process, in every step, for all requests; vLLM imports it by its name.

The published sampler draws from the whole vocabulary, and a stray token costs a frame or shifts all that
follow. A trained model gives strays next to no weight, so what is drawn from the rest is drawn as
published; what changes is that no frame comes misaligned or broken off. The end may come where a frame is
complete: there the training data have it.

The places are known where the prompt ends with the start-of-speech token, which the request says with the
extra argument `IN_SPEECH`. Any other request may draw that token, the end, and all audio tokens at any
time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor, MoveDirectionality

from orpheus_openai.models.orpheus.frames import (
    CODEBOOK_SIZE,
    END_OF_SPEECH,
    FIRST_AUDIO_TOKEN,
    LAST_AUDIO_TOKEN,
    TOKENS_PER_FRAME,
)
from orpheus_openai.models.orpheus.prompt import START_OF_SPEECH
from orpheus_openai.models.orpheus.tokens import IN_SPEECH
from orpheus_openai.models.orpheus.vllm_processes import end_with_owner

try:  # Newer engines have a second sampler with its own interface, and choose between the two by themselves.
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as _DeviceLogitsProcessor
except ImportError:

    class _DeviceLogitsProcessor:  # type: ignore[no-redef]
        """Stands in where the engine has one sampler only."""


ANYWHERE = TOKENS_PER_FRAME
"""The row of `forbidden_ids` for requests whose places are not known."""


class AudioOnly(LogitsProcessor, _DeviceLogitsProcessor):  # type: ignore[misc]
    """Sets the logits of all other tokens to minus infinity, for either of vLLM's samplers."""

    def __init__(self, vllm_config: Any, place: Any, is_pin_memory: bool = False) -> None:
        """Take as `place` a `torch.device` from the older sampler, all requests' state from the newer."""
        end_with_owner()  # here, because nothing else of ours runs in the engine's processes
        self._device = torch.device(getattr(place, "device", place))
        self._forbidden = forbidden_ids(vllm_config.model_config.get_vocab_size()).to(self._device)
        self._pin_memory = is_pin_memory
        self._outputs: dict[int, Sequence[int]] = {}
        self._requests = place
        self._in_speech = torch.zeros(
            getattr(place, "max_num_reqs", 0), dtype=torch.bool, device=self._device
        )

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Accept every request: both samplers ask."""

    def is_argmax_invariant(self) -> bool:
        """Tell the older sampler that greedy requests need this, too."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the older sampler's rows; it goes on appending to the lists of ids that it hands over."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._outputs.pop(row, None)
        for row, parameters, _, output_ids in batch_update.added:
            self._outputs.pop(row, None)
            if _is_in_speech(parameters):
                self._outputs[row] = output_ids
        for source, target, direction in batch_update.moved:
            moved = self._outputs.pop(source, None)
            displaced = self._outputs.pop(target, None)
            if moved is not None:
                self._outputs[target] = moved
            if displaced is not None and direction == MoveDirectionality.SWAP:
                self._outputs[source] = displaced

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Take a request of the newer sampler, in a slot that another may have had before."""
        self._in_speech[req_idx] = _is_in_speech(sampling_params)
        return True

    def apply(self, logits: torch.Tensor, context: Any = None) -> torch.Tensor:
        """Mask `logits`, shape `(rows, vocabulary)`, in place; only the newer sampler gives a context."""
        places = self._places(logits.shape[0]) if context is None else self._places_on_device(context)
        return logits.masked_fill_(self._forbidden[places], -torch.inf)

    def _places(self, rows: int) -> torch.Tensor:
        places = torch.tensor(places_of_rows(self._outputs, rows), pin_memory=self._pin_memory)
        return places.to(self._device, non_blocking=True)

    def _places_on_device(self, context: Any) -> torch.Tensor:
        request = context.expanded_idx_mapping
        # `pos` is where the token that went in stands, from the start of the prompt; the next one is drawn.
        place = (context.pos + 1 - self._requests.prompt_len.gpu[request]).remainder(TOKENS_PER_FRAME)
        return torch.where(self._in_speech[request], place, ANYWHERE).long()


def forbidden_ids(vocabulary: int) -> torch.Tensor:
    """Ids that may not be drawn, for each place in a frame and for `ANYWHERE`: bool, `(8, vocabulary)`."""
    forbidden = torch.ones(TOKENS_PER_FRAME + 1, vocabulary, dtype=torch.bool)
    for place in range(TOKENS_PER_FRAME):
        first = FIRST_AUDIO_TOKEN + place * CODEBOOK_SIZE
        forbidden[place, first : first + CODEBOOK_SIZE] = False
    forbidden[0, END_OF_SPEECH] = False
    forbidden[ANYWHERE, FIRST_AUDIO_TOKEN : LAST_AUDIO_TOKEN + 1] = False
    forbidden[ANYWHERE, [START_OF_SPEECH, END_OF_SPEECH]] = False
    return forbidden


def places_of_rows(outputs: Mapping[int, Sequence[int]], rows: int) -> list[int]:
    """Place of the token that each row draws next. Only the count of ids is asked: some may not be in yet."""
    return [len(outputs[row]) % TOKENS_PER_FRAME if row in outputs else ANYWHERE for row in range(rows)]


def _is_in_speech(sampling_params: Any) -> bool:
    return bool((sampling_params.extra_args or {}).get(IN_SPEECH))
