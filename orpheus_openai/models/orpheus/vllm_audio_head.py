"""Orpheus as a model of vLLM's whose output layer knows only what can be spoken: 28 682 ids of 156 940.

The layer is the largest single matrix of a step, and most of its rows are for text. Without them, logits are a fifth as
wide, and with them all that comes after. vLLM takes the columns of logits for ids, so the ids are turned: those from
`TURN` on come first, and the text's after them. Whoever sends prompts turns them (`turned`), and what is drawn back.

vLLM is given the model through its own registry: in the server's process and, as a worker's extension, in the engine's.
"""

from collections.abc import Iterable
from typing import Any

import torch
from vllm.distributed import get_pp_group, get_tensor_model_parallel_world_size
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.models.llama import LlamaForCausalLM
from vllm.model_executor.models.registry import ModelRegistry

from orpheus_openai.models.orpheus.spoken_ids import ARCHITECTURE, COLUMNS, TURN

_EMBEDDING = "model.embed_tokens.weight"
_HEAD = "lm_head.weight"


class OrpheusAudioForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """A Llama whose head has a row for each id that can be spoken, and whose embedding is turned alike."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        """Make the Llama, then the smaller head in place of its own: a view of the embedding where the two are one."""
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        if not get_pp_group().is_last_rank:
            return
        config = vllm_config.model_config.hf_config
        self._tied = bool(config.tie_word_embeddings)
        # Split over several cards, the embedding's first rows are all on one of them.
        self._shared = self._tied and get_tensor_model_parallel_world_size() == 1
        del self.lm_head
        self.lm_head: ParallelLMHead = ParallelLMHead(
            COLUMNS, config.hidden_size, prefix=f"{prefix}.lm_head".lstrip(".")
        )
        if self._shared:
            rows = len(self.lm_head.weight)
            del self.lm_head.weight
            self.lm_head.weight = torch.nn.Parameter(
                self.model.embed_tokens.weight[:rows], requires_grad=False
            )
        self.logits_processor = LogitsProcessor(COLUMNS)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Take a checkpoint's weights as they are in its files, a head beside a tied embedding included."""
        loaded: set[str] = super().load_weights(self._turned(weights))
        return loaded | {_HEAD} if self._shared else loaded

    def _turned(self, weights: Iterable[tuple[str, torch.Tensor]]) -> Iterable[tuple[str, torch.Tensor]]:
        for name, weight in weights:
            if name == _EMBEDDING:
                embedding = weight.roll(-TURN, 0)
                yield name, embedding
                if self._tied and not self._shared:
                    yield _HEAD, embedding[:COLUMNS]
            elif name != _HEAD:
                yield name, weight
            elif not self._tied:
                yield name, weight[TURN : TURN + COLUMNS]


class Worker:
    """Makes vLLM's workers import this module before they load a model; adds nothing to them."""


ModelRegistry.register_model(ARCHITECTURE, OrpheusAudioForCausalLM)
