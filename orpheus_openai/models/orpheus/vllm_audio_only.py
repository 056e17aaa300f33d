"""A logits processor for vLLM that draws by itself: audio tokens only, each in its place, the end between frames.

It runs inside the engine's process, in every step, for all requests; vLLM imports it by its name. What comes next is
drawn as `draw` says, and vLLM is left one choice, which it takes whatever it is told to do with it.

How to draw comes in the request's extra argument. Where that is missing, as from a server elsewhere, it is what vLLM
was told. Then vLLM does its own share, too: it sorts the whole vocabulary to no effect.

Nothing is remembered from step to step but what vLLM itself holds of a request: so a request that is put off and
taken up again goes on as it would have.
"""

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from vllm.v1.sample.logits_processor import LogitsProcessor, MoveDirectionality

from orpheus_openai.models.orpheus.draw import Draw, draw_of
from orpheus_openai.models.orpheus.draw_state import DrawParameters, History, Row
from orpheus_openai.models.orpheus.spoken_ids import ARCHITECTURE, TURN
from orpheus_openai.models.orpheus.vllm_processes import end_with_owner

try:  # Newer engines have a second sampler with its own interface, and choose between the two by themselves.
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as _DeviceLogitsProcessor
except ImportError:

    class _DeviceLogitsProcessor:  # type: ignore[no-redef]
        """Stands in where the engine has one sampler only."""


class AudioOnly(LogitsProcessor, _DeviceLogitsProcessor):  # type: ignore[misc]
    """Draws the next id and sets the logits of all others to minus infinity, for either of vLLM's samplers."""

    def __init__(self, vllm_config: Any, place: Any, _is_pin_memory: bool = False) -> None:
        """Take as `place` a `torch.device` from the older sampler, all requests' state from the newer."""
        end_with_owner()  # here, because nothing else of ours runs in the engine's processes
        head = ARCHITECTURE in (vllm_config.model_config.hf_config.architectures or ())
        self._base = TURN if head else 0
        # The same in all processes of one engine.
        self._seeds = random.Random(vllm_config.model_config.seed)  # noqa: S311
        self._rows: dict[int, Row] = {}
        self._history: History | None = None
        self._requests: Any = None
        if not isinstance(place, torch.device):
            self._requests = place
            self._parameters = DrawParameters(place.max_num_reqs, place.device)
        elif place.type != "cpu":
            scheduler, model = vllm_config.scheduler_config, vllm_config.model_config
            self._history = History(scheduler.max_num_seqs, model.max_model_len, place)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Both samplers ask. Raises ValueError for an extra argument that says nothing sensible."""
        draw_of(sampling_params.extra_args)

    def is_argmax_invariant(self) -> bool:
        """Tell the older sampler that greedy requests need this, too."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the older sampler's rows."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._leave([row])
        for row, parameters, prompt, output in batch_update.added:
            self._leave([row])
            self._rows[row] = Row(self._draw(parameters), prompt or [], output, self._base)
            if self._history is not None:
                self._history.enter(self._rows[row])
        for source, target, direction in batch_update.moved:
            moved = self._rows.pop(source, None)
            displaced = self._rows.pop(target, None)
            if moved is not None:
                self._rows[target] = moved
            if displaced is not None and direction == MoveDirectionality.SWAP:
                self._rows[source] = displaced
            elif displaced is not None and self._history is not None:
                self._history.leave(displaced)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Take a request of the newer sampler, in a slot that another may have had before."""
        draw = draw_of(sampling_params.extra_args)
        # The newer sampler's own penalty comes before this.
        self._parameters.set(req_idx, draw or self._as_told(sampling_params, penalty=1.0))
        return True

    def apply(self, logits: torch.Tensor, context: Any = None) -> torch.Tensor:
        """Leave each row of `logits`, shape `(rows, vocabulary)`, one choice; the newer sampler gives a context."""
        if context is not None:
            state = self._requests
            self._launch(
                logits,
                (context.expanded_idx_mapping, context.pos),
                (state.all_token_ids.gpu, state.prompt_len.gpu),
                self._parameters,
            )
        elif self._history is not None:
            history = self._history
            rows = history.follow(self._rows, logits.shape[0])
            self._launch(logits, rows, (history.tokens, history.prompt_lengths), history.parameters)
        else:
            self._draw_here(logits)
        return logits

    def _draw_here(self, logits: torch.Tensor) -> None:
        numbers = logits.numpy()
        for index, row in self._rows.items():
            if index < len(numbers):
                drawn = row.draw_from(numbers[index])
                numbers[index].fill(-np.inf)
                numbers[index, drawn] = 0.0

    def _launch(
        self,
        logits: torch.Tensor,
        rows: tuple[torch.Tensor, torch.Tensor],
        history: tuple[torch.Tensor, torch.Tensor],
        parameters: DrawParameters,
    ) -> None:
        from orpheus_openai.models.orpheus.draw_kernel import WARPS, draw_rows  # noqa: PLC0415  needs Triton

        tokens, prompt_lengths = history
        draw_rows[(logits.shape[0],)](
            *(logits, logits.stride(0), logits.shape[1], self._base),
            *(rows[0], tokens, tokens.stride(0), prompt_lengths, rows[1]),
            *parameters.on_device(),
            num_warps=WARPS,
        )

    def _leave(self, rows: Iterable[int]) -> None:
        for index in rows:
            row = self._rows.pop(index, None)
            if row is not None and self._history is not None:
                self._history.leave(row)

    def _draw(self, parameters: Any) -> Draw:
        draw = draw_of(parameters.extra_args)
        return draw or self._as_told(parameters, penalty=parameters.repetition_penalty)

    def _as_told(self, parameters: Any, *, penalty: float) -> Draw:
        seed = self._seeds.getrandbits(63) if parameters.seed is None else parameters.seed % (1 << 63)
        return Draw(parameters.temperature, parameters.top_p, penalty, seed)
