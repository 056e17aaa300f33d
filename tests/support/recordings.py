"""Recordings that a voice can be made of."""

import io
import wave

import numpy as np

from orpheus_openai.audio import PCM

RATE = 24_000
SAID = "The quick brown fox jumped over the lazy dog."


def sound(seconds: float = 5.0, level: float = 0.3) -> PCM:
    """Something with the ups and downs of speech."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave_form = np.sin(2 * np.pi * 150 * time) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
    return (32_767 * level * wave_form).astype(np.int16)


def wav(pcm: PCM, rate: int = RATE) -> bytes:
    """A mono WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm.tobytes())
    return file.getvalue()
