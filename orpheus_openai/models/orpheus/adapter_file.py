"""The file of an adapter's weights: whole, of plain numbers, each matrix in a place of its own and named as one."""

import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from orpheus_openai.models.orpheus.checkpoint import Tensor, header, header_bytes

WEIGHTS = "adapter_model.safetensors"
TENSOR = re.compile(
    r"(?:base_model\.model\.)?model\.layers\.(0|[1-9][0-9]{0,3})\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight"
)
"""The whole name of what an adapter may change: layer, projection, and which half of the product it is."""
_EXPONENTS = {"F32": (4, 0x7F80_0000), "F16": (2, 0x7C00), "BF16": (2, 0x7F80)}
"""Of a type of numbers, its bytes, and the bits that are all set in what is infinite or no number."""
_CHUNK = 1 << 24
"""Bytes that are looked at together."""


class WeightsError(ValueError):
    """What is wrong with the file, in words."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The matrices in an adapter's file, as its header tells them.

    Raises WeightsError where header and file do not go together, ModelUnavailableError where there is no header.
    """
    tensors = header(path)
    begin = header_bytes(path)
    for name, tensor in tensors.items():
        if tensor.dtype not in _EXPONENTS:
            raise WeightsError(
                f"{told(name)} is of {told(tensor.dtype)}; save it as 16-bit or 32-bit numbers"
            )
        start, end = tensor.data_offsets
        if (
            min(tensor.shape, default=1) < 1
            or end - start != math.prod(tensor.shape) * _EXPONENTS[tensor.dtype][0]
        ):
            raise WeightsError(f"{told(name)} has not as many numbers as its shape says")
    matrices = [found.groups() for found in map(TENSOR.fullmatch, tensors) if found]
    if len(set(matrices)) < len(matrices):
        raise WeightsError("it holds a matrix under two names")
    places = sorted(tensor.data_offsets for tensor in tensors.values())
    if places and (places[0][0] != 0 or any(one[1] != other[0] for one, other in pairwise(places))):
        raise WeightsError("its matrices overlap, or there is something between them")
    if begin + (places[-1][1] if places else 0) != path.stat().st_size:
        raise WeightsError("it is not whole; copy or download it again")
    return tensors


def require_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    """Raise WeightsError for a number that is none: it would silence whoever speaks with the adapter. Reads it all."""
    begin = header_bytes(path)
    with path.open("rb") as file:  # not mapped: who writes over it meanwhile would end this process
        for name, tensor in tensors.items():
            width, exponent = _EXPONENTS[tensor.dtype]
            start, end = tensor.data_offsets
            file.seek(begin + start)
            for left in range(end - start, 0, -_CHUNK):
                read = file.read(wanted := min(left, _CHUNK))
                if len(read) < wanted:
                    raise WeightsError("it is not whole; copy or download it again")
                numbers = np.frombuffer(read, f"<u{width}")
                if ((numbers & exponent) == exponent).any():
                    raise WeightsError(f"{told(name)} holds numbers that no training gives")


def told(name: str) -> str:
    """A name out of a stranger's file, short enough for a message and without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in name[:100])
