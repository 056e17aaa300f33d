"""Audio tokens to SNAC frames: aligned by the id range of each slot, so that a bad token costs one frame."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import SAMPLE_RATE

TOKENS_PER_FRAME = 7
"""One token of SNAC's coarsest level, two of the middle one, four of the finest."""
SAMPLES_PER_FRAME = 2_048
"""Samples a frame decodes to: four latent steps of 512 samples each."""
SECONDS_PER_FRAME = SAMPLES_PER_FRAME / SAMPLE_RATE
REALTIME_TOKENS_PER_SECOND = TOKENS_PER_FRAME / SECONDS_PER_FRAME
"""How fast the model must speak for a listener to hear no gap: 82.03 tokens a second."""

CODEBOOK_SIZE = 4_096
"""Codes of each level; a code is 0 to 4095."""
FIRST_CUSTOM_TOKEN = 128_256
"""`<custom_token_0>`: what comes before are Llama 3's own."""
END_OF_SPEECH = 128_258
"""`<custom_token_2>`, the token after the last frame."""
FIRST_AUDIO_TOKEN = 128_266
"""`<custom_token_10>`: code 0 in slot 0. Id = FIRST_AUDIO_TOKEN + code + CODEBOOK_SIZE * slot
(Orpheus-TTS, decoder)."""
AUDIO_TOKENS = TOKENS_PER_FRAME * CODEBOOK_SIZE
LAST_AUDIO_TOKEN = FIRST_AUDIO_TOKEN + AUDIO_TOKENS - 1

_NO_FRAMES: NDArray[np.int16] = np.empty((0, TOKENS_PER_FRAME), np.int16)
_NO_FRAMES.flags.writeable = False


class FrameAssembler:
    """Collects the tokens of one utterance into frames.

    A token belongs to the slot its id says, wherever it comes. One that is missing, repeated or out of place
    spoils the frame it falls into and nothing after it: the next frame starts at the next token of slot 0.
    """

    def __init__(self) -> None:
        self.ended = False
        """The end token has been seen; what comes after it is ignored."""
        self.dropped = 0
        """Frames that were begun and could not be finished."""
        self.stray = 0
        """Tokens that are not audio, or do not fit into a frame."""
        self._partial: list[int] = []

    @property
    def lost(self) -> int:
        """Frames there would be more, about, if every token had been in its place."""
        return max(self.dropped, -(-self.stray // TOKENS_PER_FRAME))

    def push(self, token_ids: Sequence[int]) -> NDArray[np.int16]:
        """Return the frames that `token_ids` complete: shape `(n, 7)`, codes 0 to 4095; `n` may be 0.

        `token_ids` go on where the last call stopped, and may stop anywhere.
        """
        if self.ended:
            return _NO_FRAMES
        partial = self._partial
        complete: list[list[int]] = []
        for token_id in token_ids:
            slot, code = divmod(token_id - FIRST_AUDIO_TOKEN, CODEBOOK_SIZE)
            if slot == len(partial):
                partial.append(code)
                if slot == TOKENS_PER_FRAME - 1:
                    complete.append(partial)
                    partial = []
            elif 0 <= slot < TOKENS_PER_FRAME:
                self.dropped += bool(partial)
                self.stray += slot != 0
                partial = [code] if slot == 0 else []
            elif token_id == END_OF_SPEECH:
                self.ended = True
                self.dropped += bool(partial)
                partial = []
                break
            else:
                self.stray += 1
        self._partial = partial
        return np.array(complete, np.int16) if complete else _NO_FRAMES


def token_ids(frames: NDArray[np.int16]) -> list[int]:
    """The ids that say `frames`, shape `(n, 7)`: what FrameAssembler takes apart."""
    slots = FIRST_AUDIO_TOKEN + CODEBOOK_SIZE * np.arange(TOKENS_PER_FRAME)
    ids: list[int] = (frames.astype(np.int64) + slots).reshape(-1).tolist()
    return ids
