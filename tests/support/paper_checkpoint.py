"""Checkpoints of true shapes that take no room: a config, and safetensors files that are all header and hole."""

import json
import struct
from pathlib import Path

ORPHEUS_3B = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 28,
    "vocab_size": 156_940,
    "hidden_size": 3_072,
    "intermediate_size": 8_192,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131_072,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1}


def write_paper(directory: Path, *, stored="BF16", files=2, **changes) -> Path:
    """Orpheus 3B with `changes` to its config; its files hold the head beside the embedding, as published ones do."""
    config = {**ORPHEUS_3B, **changes}
    (directory / "config.json").write_text(json.dumps(config))
    tensors = list(shapes(config).items())
    for part in range(files):
        _write_part(directory / f"model-{part}.safetensors", tensors[part::files], stored)
    return directory


def shapes(config: dict[str, int]) -> dict[str, list[int]]:
    """Each tensor of a Llama by its name in transformers."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries = config["num_attention_heads"] * heads
    values = config["num_key_value_heads"] * heads
    found = {
        "model.embed_tokens.weight": [config["vocab_size"], hidden],
        "lm_head.weight": [config["vocab_size"], hidden],
        "model.norm.weight": [hidden],
    }
    for layer in range(config["num_hidden_layers"]):
        for name, shape in {
            "self_attn.q_proj": [queries, hidden],
            "self_attn.k_proj": [values, hidden],
            "self_attn.v_proj": [values, hidden],
            "self_attn.o_proj": [hidden, queries],
            "mlp.gate_proj": [inner, hidden],
            "mlp.up_proj": [inner, hidden],
            "mlp.down_proj": [hidden, inner],
            "input_layernorm": [hidden],
            "post_attention_layernorm": [hidden],
        }.items():
            found[f"model.layers.{layer}.{name}.weight"] = shape
    return found


def _write_part(path: Path, tensors: list[tuple[str, list[int]]], stored: str) -> None:
    header: dict[str, dict[str, object]] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors:
        size = BYTES[stored]
        for side in shape:
            size *= side
        header[name] = {"dtype": stored, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
