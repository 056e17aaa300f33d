"""A request for speech, in the core's own terms: whichever door it came through."""

from typing import Annotated

import msgspec
from msgspec import Meta

from orpheus_openai.catalog import DEFAULT_MODEL
from orpheus_openai.synthesis import Sampling

MIN_SPEED, MAX_SPEED = 0.25, 4.0
Speed = Annotated[float, Meta(ge=MIN_SPEED, le=MAX_SPEED)]


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said, by whom, and how."""

    text: str
    model: str = DEFAULT_MODEL
    voice: str = "tara"
    speed: Speed = 1.0
    sampling: Sampling = Sampling()
