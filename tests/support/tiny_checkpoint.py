"""A checkpoint with all that an engine asks of Orpheus', and nothing to say: a Llama, random and tiny.

python -m tests.support.tiny_checkpoint DIRECTORY
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.tiny_tokenizer import write_tokenizer

VOCABULARY = 156_940
HIDDEN = 64
LAYERS = 2
HEAD = 32
"""Numbers of a head, the least that vLLM's CPU attention takes; as many heads for keys and values."""
MAX_POSITIONS = 2_048
SEED = 7


def make_checkpoint(directory: Path, *, hidden: int = HIDDEN, layers: int = LAYERS) -> Path:
    """Write config, weights (float32, from a fixed seed) and tokenizer into `directory`, and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // HEAD,
        "num_key_value_heads": hidden // HEAD,
        "head_dim": HEAD,
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "bos_token_id": 128_000,
        "eos_token_id": 128_009,
    }
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", {"bos_token_id": 128_000, "eos_token_id": 128_009})
    save_file(_weights(hidden, layers), directory / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(directory)
    return directory


def _weights(hidden: int, layers: int) -> dict[str, torch.Tensor]:
    """Small normal weights under the names of transformers' Llama; the embedding is the output head too."""
    generator = torch.Generator().manual_seed(SEED)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.05

    weights = {
        "model.embed_tokens.weight": normal(VOCABULARY, hidden),
        "model.norm.weight": torch.ones(hidden),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for name in "qkvo":
            weights[f"{prefix}.self_attn.{name}_proj.weight"] = normal(hidden, hidden)
        weights[f"{prefix}.mlp.gate_proj.weight"] = normal(2 * hidden, hidden)
        weights[f"{prefix}.mlp.up_proj.weight"] = normal(2 * hidden, hidden)
        weights[f"{prefix}.mlp.down_proj.weight"] = normal(hidden, 2 * hidden)
        weights[f"{prefix}.input_layernorm.weight"] = torch.ones(hidden)
        weights[f"{prefix}.post_attention_layernorm.weight"] = torch.ones(hidden)
    return weights


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    make_checkpoint(Path(sys.argv[1]))
