"""A SNAC checkpoint, from disk or from the hub, folded into a SnacNetwork."""

import json
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.errors import ModelUnavailableError, NotReadyError
from orpheus_openai.models.hub import first_that_gives, folder_of
from orpheus_openai.models.orpheus.frames import CODEBOOK_SIZE
from orpheus_openai.models.orpheus.snac_network import (
    SLOTS_OF_LATENTS,
    Block,
    Filter,
    Residual,
    SnacNetwork,
)

CONFIG_FILE = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""In the order they are looked for."""
WAY_OUT = (
    f"Set ORPHEUS_SNAC to a directory with {CONFIG_FILE} and {' or '.join(WEIGHT_FILES)}, or to a repository: "
    "hubertsiuzdak/snac_24khz"
)

REQUIRED_CONFIG = {
    "sampling_rate": SAMPLE_RATE,
    "codebook_size": CODEBOOK_SIZE,
    "vq_strides": [4, 2, 1],
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "depthwise": True,
    "noise": True,
}
"""What makes a SNAC the one that Orpheus' tokens are made for (hubertsiuzdak/snac_24khz)."""

SMALLEST_ALPHA = 1e-6
"""Below it a snake is the identity to float32's precision, for any input a decoder meets."""


def load_snac(source: str) -> SnacNetwork:
    """Read a checkpoint's decoding half; see `read_snac`."""
    return fold_decoder(read_snac(source))


def read_snac(source: str) -> Any:
    """Read a checkpoint directory or a Hugging Face repo id onto the CPU, as a `snac.SNAC`. Blocking, may download.

    What is in the cache is used without asking the hub. Raises ModelUnavailableError when there is no such checkpoint
    or it is not the 24 kHz SNAC, and NotReadyError when the hub cannot be reached.
    """
    from snac import SNAC  # noqa: PLC0415

    try:
        directory = first_that_gives(
            [source], lambda name: folder_of(name, [CONFIG_FILE, *WEIGHT_FILES], _is_whole), f"{WAY_OUT}."
        )
    except NotReadyError as error:
        words = f"{error.message} {WAY_OUT}."
        raise NotReadyError(words, code=error.code, retry_after=error.retry_after) from error
    try:
        config = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
        differing = [key for key, value in REQUIRED_CONFIG.items() if config.get(key) != value]
        if not differing:
            model = SNAC(**config)
            model.load_state_dict(_weights(directory))
    except Exception as error:  # torch raises dozens of kinds
        raise ModelUnavailableError(
            f"The SNAC checkpoint {source} cannot be read ({error}). {WAY_OUT}."
        ) from error
    if differing:
        raise ModelUnavailableError(
            f"{source} is not the SNAC that Orpheus speaks through: its {CONFIG_FILE} differs in "
            f"{', '.join(differing)}. Set ORPHEUS_SNAC to hubertsiuzdak/snac_24khz or a copy of it."
        )
    return model


def to_device(network: SnacNetwork, device: torch.device) -> SnacNetwork:
    """Return the same network with its weights on `device`."""
    moved: SnacNetwork = _moved(network, device)
    return moved


def fold_decoder(model: Any) -> SnacNetwork:
    """Take the decoding half out of a `snac.SNAC` of that configuration; `model` is read, not changed.

    Reading `weight` of its layers is what applies weight norm; it happens once, here.
    """
    with torch.inference_mode():
        levels = model.quantizer.quantizers
        first, widen, *blocks, snake, taps, _tanh = model.decoder.model
        projection = torch.cat([level.out_proj.weight[:, :, 0] for level in levels], 1)
        unscaled = torch.ones(first.weight.shape[0])
        # What the snake after each layer wants its channels multiplied by.
        alphas = [_scale(block.block[0]) for block in blocks] + [_scale(snake)]
        return SnacNetwork(
            codebooks=torch.cat([level.codebook.weight for level in levels]),
            project=(projection.contiguous(), sum(level.out_proj.bias for level in levels)),
            filter=_filter(first, unscaled, unscaled),
            widen=(_product(widen, unscaled, alphas[0]), widen.bias * alphas[0]),
            blocks=tuple(
                _block(block.block, *scales) for block, scales in zip(blocks, pairwise(alphas), strict=True)
            ),
            taps=(taps.weight[0] / alphas[-1][:, None]).T.contiguous(),
            bias=taps.bias.clone(),
            slots=torch.tensor(SLOTS_OF_LATENTS),
            levels=torch.arange(len(levels)) * CODEBOOK_SIZE,
        )


def _block(layers: Any, scale_in: Tensor, scale_out: Tensor) -> Block:
    _snake, upsample, noise, *residuals = layers
    scales = [*(_scale(unit.block[0]) for unit in residuals), scale_out]
    weight = upsample.weight / scale_in[:, None, None] * scales[0][:, None]
    channels_in, channels_out, taps = weight.shape
    stride = taps // 2
    # Output j of the inputs (before, now) is before·w[stride + j] + now·w[j].
    halves = weight.view(channels_in, channels_out, 2, stride).flip(2)
    return Block(
        stride=stride,
        weight=halves.permute(3, 1, 2, 0).reshape(stride * channels_out, 2 * channels_in).contiguous(),
        bias=(upsample.bias * scales[0]).repeat(stride),
        noise_weight=_product(noise.linear, scales[0], scales[0]),
        residuals=tuple(
            _residual(unit.block, *edges) for unit, edges in zip(residuals, pairwise(scales), strict=True)
        ),
    )


def _residual(layers: Any, scale_in: Tensor, scale_out: Tensor) -> Residual:
    _first_snake, depthwise, snake, pointwise = layers
    inside = _scale(snake)
    return Residual(
        filter=_filter(depthwise, scale_in, inside),
        weight=_product(pointwise, inside, scale_out),
        bias=pointwise.bias * scale_out,
        rescale=scale_out / scale_in,
    )


def _filter(convolution: Any, scale_in: Tensor, scale_out: Tensor) -> Filter:
    kernel = convolution.weight[:, :, None, :] * (scale_out / scale_in)[:, None, None, None]
    return Filter(
        kernel=kernel.contiguous(memory_format=torch.channels_last),
        bias=convolution.bias * scale_out,
        dilation=convolution.dilation[0],
    )


def _product(convolution: Any, scale_in: Tensor, scale_out: Tensor) -> Tensor:
    """Fold a convolution of one tap into a matrix (channels out, channels in)."""
    weight: Tensor = convolution.weight[:, :, 0] / scale_in * scale_out[:, None]
    return weight.contiguous()


def _scale(snake: Any) -> Tensor:
    """Read a snake's alpha, kept away from 0, where snake(x) is x and dividing by alpha would lose it."""
    alpha: Tensor = snake.alpha.flatten()
    return torch.where(alpha.abs() < SMALLEST_ALPHA, SMALLEST_ALPHA, alpha)


def _moved(value: Any, device: torch.device) -> Any:
    """Move every tensor in `value`, however deep in dataclasses and tuples."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value)})
    return value


def _weights(directory: Path) -> dict[str, Tensor]:
    file = next((directory / name for name in WEIGHT_FILES if (directory / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"no {' and no '.join(WEIGHT_FILES)} there")
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file  # noqa: PLC0415

        return dict(load_file(file))
    return dict(torch.load(file, map_location="cpu", weights_only=True))


def _is_whole(directory: Path) -> bool:
    has_weights = any((directory / name).is_file() for name in WEIGHT_FILES)
    return has_weights and (directory / CONFIG_FILE).is_file()
