"""Voices that are files: each a folder with a description beside its data, and seen by whoever may speak with it."""

from orpheus_openai.voices.folder import VoiceFolder
from orpheus_openai.voices.keeper import VoiceKeeper
from orpheus_openai.voices.shelf import VoiceShelf

__all__ = ["VoiceFolder", "VoiceKeeper", "VoiceShelf"]
