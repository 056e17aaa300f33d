"""The preview as an engine: eSpeak NG, which needs one package and no GPU."""

import asyncio
import logging

from orpheus_openai.catalog import Catalog, Model
from orpheus_openai.installation import installing
from orpheus_openai.models.cards import Cards
from orpheus_openai.models.engine import AVAILABLE, Availability, Engine, installed
from orpheus_openai.settings import Settings
from orpheus_openai.synthesis import SpeechModel

logger = logging.getLogger(__name__)


class PreviewEngine(Engine):
    """The embedded voice: always named, never in Orpheus' place unasked."""

    def __init__(self, settings: Settings, catalog: Catalog, cards: Cards) -> None:  # noqa: ARG002
        self._emotion_tags = catalog.emotion_tags

    def availability(self, model: Model) -> Availability:  # noqa: ARG002
        """Whether eSpeak NG is installed."""
        if installed("espeakng_loader"):
            return AVAILABLE
        return Availability("unavailable", f"The embedded voice is not installed: {installing('preview')}.")

    async def load(self, model: Model, gpu: int | None) -> SpeechModel:  # noqa: ARG002
        """Start eSpeak NG, and say in the log who speaks."""
        from orpheus_openai.models.preview.model import PreviewModel  # noqa: PLC0415  pulls in the codec's frames

        logger.warning("the preview speaks: eSpeak NG, a synthetic stand-in that is not Orpheus")
        return await asyncio.to_thread(PreviewModel, self._emotion_tags)
