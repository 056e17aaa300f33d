"""What ORPHEUS_SNAC_PRECISION costs in sound: how far each precision is from float32, without a GPU.

    python -m benchmarks.precision                                  # a SNAC of the true shape with random weights
    python -m benchmarks.precision --snac hubertsiuzdak/snac_24khz

`fp32` and `fp16` are the kernels for GPUs themselves, which Triton interprets here. `tf32` is emulated: the inputs of
every matrix product are rounded to ten bits of mantissa, as a GPU rounds them. All are compared with the CPU's float32,
without noise, over one utterance.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.codec import random_frames
from orpheus_openai.models.orpheus.snac_fused import FusedNetwork
from orpheus_openai.models.orpheus.snac_network import Step
from orpheus_openai.models.orpheus.snac_weights import load_snac
from tests.support.tiny_snac import write_snac

TILE = (16_384, 1_024)
"""The interpreter pays by the program."""
KEPT_BITS = 10
"""Of a float32's 23 bits of mantissa, in TF32."""


def rounded(numbers: Tensor) -> Tensor:
    """Round float32 to the nearest number of TF32."""
    dropped = 23 - KEPT_BITS
    bits = numbers.contiguous().view(torch.int32)
    return ((bits + (1 << (dropped - 1))) & -(1 << dropped)).view(torch.float32)


def in_tf32(network: Any, codes: Tensor) -> Tensor:
    """Decode with products as TF32 has them."""
    product = functional.linear

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return product(rounded(x), rounded(weight), bias)

    with mock.patch.object(functional, "linear", linear):
        return whole(network, codes)


def whole(network: Any, codes: Tensor) -> Tensor:
    """Decode an utterance in one step."""
    samples: Tensor = network.run(Step(codes.shape[1], first=True, last=True), codes, None, None)[0]
    return samples.float()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--snac", help="a SNAC checkpoint; default: random weights")
    parser.add_argument("--frames", type=int, default=6, help="of the utterance (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        network = load_snac(options.snac or str(write_snac(Path(scratch))))
        codes = torch.from_numpy(random_frames(options.frames, 0)).long()[None]
        exact = whole(network, codes)
        found = {
            "fp32": whole(FusedNetwork(network, tile=TILE), codes),
            "tf32": in_tf32(network, codes),
            "fp16": whole(FusedNetwork(network, torch.float16, TILE), codes),
        }
    print(f"{'precision':>9}{'relative error':>16}{'noise below the sound':>23}{'largest, of 32 767':>20}")
    for name, samples in found.items():
        error = samples - exact
        relative = float(error.norm() / exact.norm())
        largest = float(error.abs().max()) * 32_767
        print(f"{name:>9}{relative:16.1e}{-20 * np.log10(relative):20.0f} dB{largest:20.1f}")


if __name__ == "__main__":
    main()
