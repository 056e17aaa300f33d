"""A recording as frames: SNAC's encoding half, which is in memory only while it works."""

import gc

import numpy as np
import torch
from numpy.typing import NDArray

from orpheus_openai.audio import PCM
from orpheus_openai.models.orpheus.snac_weights import read_snac

LEVELS = (0, 1, 2, 2, 1, 2, 2)
"""Of each slot of a frame, SNAC's level, the coarsest first."""
PLACES = (0, 0, 0, 1, 1, 2, 3)
"""Of each slot, which of its level's codes for that frame."""


def encode_recording(source: str, pcm: PCM, device: str = "cpu") -> NDArray[np.int16]:
    """Encode PCM (24 kHz mono int16) with the SNAC checkpoint `source`: frames of shape `(n, 7)`, codes 0 to 4095.

    The last frame is filled up with silence. Blocking, about a tenth of the recording's length on a CPU; raises as
    `read_snac` does. The same codes as `snac.SNAC.encode` gives, because it is what encodes.
    """
    model = read_snac(source).eval()
    model.decoder = None
    try:
        with torch.inference_mode():
            samples = torch.from_numpy(pcm.astype(np.float32) / 32_768).to(device)
            codes = [level[0].cpu().numpy() for level in model.to(device).encode(samples[None, None])]
    finally:
        del model
        gc.collect()
    return interleaved(codes)


def interleaved(codes: list[NDArray[np.int64]]) -> NDArray[np.int16]:
    """Codes by level, of lengths n, 2n and 4n, as n frames in the order in which Orpheus speaks them."""
    count = len(codes[0])
    by_frame = [level.reshape(count, -1) for level in codes]
    slots = [by_frame[level][:, place] for level, place in zip(LEVELS, PLACES, strict=True)]
    return np.stack(slots, 1).astype(np.int16)
