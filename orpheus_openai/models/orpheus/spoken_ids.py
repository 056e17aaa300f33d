"""The ids that can be spoken as an engine has them whose output layer knows no others: turned, so as to come first."""

from collections.abc import Sequence

from orpheus_openai.models.orpheus.frames import LAST_AUDIO_TOKEN

TURN = 128_256
"""The id that becomes 0: `<custom_token_0>`, with which Orpheus' own begin."""
COLUMNS = LAST_AUDIO_TOKEN + 1 - TURN
"""How many ids the output layer knows: the start and the end of speech and all codes are among them."""

ARCHITECTURE = "OrpheusAudioForCausalLM"
"""The name under which vLLM knows the model."""


def turned(ids: Sequence[int], vocabulary: int) -> list[int]:
    """Return a prompt's ids, each below `vocabulary`, as such an engine takes them."""
    return [(number - TURN) % vocabulary for number in ids]


def turned_back(ids: Sequence[int]) -> list[int]:
    """Return the ids that such an engine drew as the checkpoint has them."""
    return [number + TURN for number in ids]
