"""A small Llama of random weights, in the form that checkpoints have: calculated here, and written as a GGUF file."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.tiny_gguf import HIDDEN, VOCABULARY, write_gguf

LAYERS, HEADS, KEY_HEADS, INNER = 2, 4, 2, 48
WIDTH = HIDDEN // HEADS
BASE = 500_000.0
SIDES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEY_HEADS * WIDTH, HIDDEN),
    "self_attn.v_proj": (KEY_HEADS * WIDTH, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
GGUF_NAMES = dict(
    zip(SIDES, ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"], strict=True)
)

PEAKED = 3.0
"""The last norm's weights: few tokens are likely, as with a trained model, and drawing one costs little."""

Weights = dict[str, torch.Tensor]


def random_llama(seed: int = 5) -> Weights:
    """Its projections, by layer and name, and the embedding, which is the head, too; the norms within are 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        f"{layer}.{name}": torch.randn(*sides, generator=generator) / sides[1] ** 0.5
        for layer in range(LAYERS)
        for name, sides in SIDES.items()
    }
    return weights | {"embedding": torch.randn(VOCABULARY, HIDDEN, generator=generator)}


def with_adapter(weights: Weights, folder: Path) -> Weights:
    """The weights with an adapter merged into them."""
    from safetensors.torch import load_file  # noqa: PLC0415

    told = json.loads((folder / "adapter_config.json").read_text())
    halves = load_file(folder / "adapter_model.safetensors")
    merged = dict(weights)
    for name in halves:
        if "lora_A" in name:
            place = name.removeprefix("base_model.model.model.layers.").removesuffix(".lora_A.weight")
            product = halves[name.replace("lora_A", "lora_B")].float() @ halves[name].float()
            merged[place] = weights[place] + told["lora_alpha"] / told["r"] * product
    return merged


def write_random_adapter(
    folder: Path,
    seed: int,
    *,
    rank: int = 4,
    alpha: float = 6.0,
    layers: int = LAYERS,
    sides: dict[str, tuple[int, int]] = SIDES,
) -> Path:
    """An adapter of all its projections, or of a model of other sides."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    halves = {}
    for layer in range(layers):
        for name, (outside, inside) in sides.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            halves[f"{prefix}.lora_A.weight"] = torch.randn(rank, inside, generator=generator) / inside**0.5
            halves[f"{prefix}.lora_B.weight"] = torch.randn(outside, rank, generator=generator) / rank**0.5
    # Numbers that 16 bits hold exactly, so that nothing but the calculation differs.
    save_file(
        {name: half.half().float() for name, half in halves.items()}, folder / "adapter_model.safetensors"
    )
    told = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": [*sides]}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def continued(weights: Weights, prompt: list[int], tokens: int) -> list[int]:
    """What the model most likely goes on with, as transformers' Llama calculates it."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int((_last_state(weights, ids) @ weights["embedding"].T).argmax()))
    return ids[len(prompt) :]


def _last_state(weights: Weights, ids: list[int]) -> torch.Tensor:
    state = weights["embedding"][ids]
    places = torch.arange(len(ids))
    angles = places[:, None] / BASE ** (torch.arange(0, WIDTH, 2) / WIDTH)
    turn = torch.cat([angles, angles], dim=-1)
    future = torch.full((len(ids), len(ids)), float("-inf")).triu(1)

    def rotated(x: torch.Tensor) -> torch.Tensor:
        half = torch.cat([-x[..., WIDTH // 2 :], x[..., : WIDTH // 2]], dim=-1)
        return x * turn.cos() + half * turn.sin()

    for layer in range(LAYERS):

        def project(x: torch.Tensor, name: str, layer: int = layer) -> torch.Tensor:
            return x @ weights[f"{layer}.{name}"].T

        x = _normed(state)
        queries, keys, values = (
            project(x, f"self_attn.{name}_proj").unflatten(-1, (-1, WIDTH)).transpose(0, 1) for name in "qkv"
        )
        queries, keys = rotated(queries), rotated(keys).repeat_interleave(HEADS // KEY_HEADS, 0)
        scores = queries @ keys.mT / WIDTH**0.5 + future
        heard = scores.softmax(-1) @ values.repeat_interleave(HEADS // KEY_HEADS, 0)
        state = state + project(heard.transpose(0, 1).flatten(1), "self_attn.o_proj")
        x = _normed(state)
        inner = torch.nn.functional.silu(project(x, "mlp.gate_proj")) * project(x, "mlp.up_proj")
        state = state + project(inner, "mlp.down_proj")
    return PEAKED * _normed(state[-1])


def _normed(x: torch.Tensor) -> torch.Tensor:
    return x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()


def write_random_gguf(weights: Weights, path: Path) -> Path:
    """As llama.cpp's own converter writes it: queries and keys with what a rotation turns together in pairs."""
    ones = torch.ones(HIDDEN)
    tensors = {"token_embd.weight": weights["embedding"], "output_norm.weight": PEAKED * ones}
    for layer in range(LAYERS):
        for name, renamed in GGUF_NAMES.items():
            matrix = weights[f"{layer}.{name}"]
            if renamed in {"attn_q", "attn_k"}:
                order = torch.arange(len(matrix)).view(-1, 2, WIDTH // 2).mT.flatten()
                matrix = matrix[order]
            tensors[f"blk.{layer}.{renamed}.weight"] = matrix
        tensors |= {f"blk.{layer}.{name}_norm.weight": ones for name in ("attn", "ffn")}
    return write_gguf(
        path,
        layers=LAYERS,
        heads=(HEADS, KEY_HEADS),
        inner=INNER,
        weights={name: tensor.contiguous().numpy() for name, tensor in tensors.items()},
    )
