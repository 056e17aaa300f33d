"""What stands before the text in the prompt of a voice that was made of a recording."""

import asyncio
import wave
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.catalog import OwnVoice
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.models.orpheus.frames import token_ids
from orpheus_openai.models.orpheus.prompt import recorded_prompt

MOST_KEPT = 64
"""Recordings whose tokens are kept; the one not asked for longest goes."""


class _Version(NamedTuple):
    path: Path
    changed: int
    size: int


class RecordedPrompts:
    """The tokens of recordings, each encoded when its voice is first spoken with. For one event loop."""

    def __init__(self, encode: Callable[[PCM], NDArray[np.int16]]) -> None:
        """`encode` makes frames of PCM, and blocks."""
        self._encode = encode
        self._known: OrderedDict[_Version, asyncio.Task[list[int]]] = OrderedDict()

    async def prompt(
        self, text_ids: Sequence[int], voice: OwnVoice, tokenize: Callable[[str], Awaitable[list[int]]]
    ) -> list[int]:
        """The whole prompt in which `voice` goes on with the text.

        The speech of a voice that is removed goes on: what was encoded lasts where its recording has gone. Else raises
        InvalidRequestError for that, and as `recorded_prompt` does.
        """
        if voice.recording is None:
            raise InvalidRequestError(f"The voice '{voice.title}' has no recording.", param="voice")
        said = await tokenize(voice.transcript)
        return recorded_prompt(text_ids, said, await self._tokens(voice.recording))

    async def _tokens(self, path: Path) -> list[int]:
        try:
            status = await asyncio.to_thread(path.stat)
            version = _Version(path, status.st_mtime_ns, status.st_size)
        except OSError as error:
            held = next((each for each in reversed(self._known) if each.path == path), None)
            if held is None:
                raise InvalidRequestError(
                    "The recording of this voice is gone.", param="voice", code="voice_not_found"
                ) from error
            version = held
        if version not in self._known:
            self._known[version] = asyncio.create_task(asyncio.to_thread(self._encoded, path))
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(version)
        try:
            return await asyncio.shield(self._known[version])
        except asyncio.CancelledError:
            raise
        except Exception:
            self._known.pop(version, None)
            raise

    def _encoded(self, path: Path) -> list[int]:
        with wave.open(str(path), "rb") as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (SAMPLE_RATE, 1, 2):
                raise InvalidRequestError(
                    f"The recording {path.name} has a different format than before.", param="voice"
                )
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
        return token_ids(self._encode(pcm))
