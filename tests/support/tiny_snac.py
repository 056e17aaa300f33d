"""A SNAC checkpoint of the true shape, with seeded random weights: it speaks noise, at the true price or a tenth."""

import json
from pathlib import Path
from typing import Any

import torch
from snac import SNAC

CONFIG: dict[str, Any] = {
    "sampling_rate": 24_000,
    "encoder_dim": 48,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 1_024,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 4_096,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
"""What hubertsiuzdak/snac_24khz has in its config.json."""

SLIM = 128
"""Channels of a decoder that speaks the same noise, but for its sound, at a tenth of the price."""


def tiny_snac(seed: int = 0, decoder_dim: int = CONFIG["decoder_dim"]) -> SNAC:
    """Untrained, and as loud as a trained one: enough that errors show, not so much that tanh hides them.

    With a smaller `decoder_dim` it is narrower, and cheaper.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SNAC(**CONFIG | {"decoder_dim": decoder_dim}).eval()
        for name, parameter in model.decoder.named_parameters():
            if name.endswith("alpha"):
                parameter.data.uniform_(0.5, 2.0)
            elif name.endswith("original0"):
                parameter.data.mul_(1.2)
    return model


def write_snac(directory: Path, seed: int = 0, decoder_dim: int = CONFIG["decoder_dim"]) -> Path:
    """Write config.json and pytorch_model.bin, as the published checkpoint has them."""
    directory.mkdir(parents=True, exist_ok=True)
    config = CONFIG | {"decoder_dim": decoder_dim}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save(tiny_snac(seed, decoder_dim).state_dict(), directory / "pytorch_model.bin")
    return directory
