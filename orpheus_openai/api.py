"""Orpheus from Python, without a server: for those who used the original package."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Generator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.catalog import DEFAULT_VOICE, load_catalog
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.limits.caller import PROGRAM
from orpheus_openai.settings import Settings, checkpoint_variable, load_settings, variable_name
from orpheus_openai.speech.request import speech_request
from orpheus_openai.speech.service import SpeechService

if TYPE_CHECKING:
    import concurrent.futures

T = TypeVar("T")

FAMILY = "medium-3b"
"""The size that a checkpoint is taken to have when it is named itself."""


class OrpheusModel:
    """A model that speaks, in this process; it is loaded when it first speaks.

    `settings` are those of docs/configuration.md, as keywords in lower case without the prefix, for example
    `OrpheusModel("medium-3b", remote_url="http://127.0.0.1:8000/v1")`; the environment and `.env` count, too.
    Use it as a context manager, or call `close`.
    """

    sample_rate = SAMPLE_RATE
    """Samples a second of everything it yields."""

    def __init__(self, model_name: str = FAMILY, **settings: Any) -> None:
        """Choose a model by its id, or by a checkpoint of medium-3b's size: a folder, or a repo id with a slash.

        The names under which the family's own checkpoint was published stand for all that the catalog has in its place.

        It is loaded when it first speaks. Raises ConfigurationError for a setting that makes no sense, and the
        request's own errors for a model that does not exist or cannot run here.
        """
        chosen = _with_overrides(settings)
        self._model = model_name
        published = model_name.strip().lower() in load_catalog(chosen.catalog).model_aliases
        if "/" in model_name and (not published or Path(model_name).is_dir()):
            self._model = FAMILY
            checkpoints = {**chosen.checkpoints, checkpoint_variable(FAMILY): model_name}
            chosen = msgspec.structs.replace(chosen, checkpoints=checkpoints)
        self._service = SpeechService.create(chosen)
        factory, catalog = self._service.factory, self._service.catalog
        factory.require(catalog.model(self._model, factory.default_model))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="orpheus", daemon=True)
        self._thread.start()

    @property
    def available_voices(self) -> list[str]:
        """The ids of all voices that are there for everybody."""
        return list(self._service.voices.catalog(PROGRAM).voices)

    def generate_speech(
        self, prompt: str, voice: str = DEFAULT_VOICE, *, speed: float | None = None, **sampling: Any
    ) -> Generator[bytes]:
        """Speak `prompt`: yields PCM as it is spoken, 16 bit, little-endian, mono, at `sample_rate`.

        `sampling` may hold temperature, top_p, repetition_penalty, max_tokens, seed and text_cleaning. Leaving the loop
        early stops the work. Raises a SpeechError when the request or the engine is at fault.
        """
        stream = self._stream(prompt, voice, speed, sampling)
        try:
            while (pcm := self._wait(anext(stream, None))) is not None:
                yield pcm.astype("<i2", copy=False).tobytes()
        finally:
            self._wait(stream.aclose())

    async def generate_speech_async(
        self, prompt: str, voice: str = DEFAULT_VOICE, *, speed: float | None = None, **sampling: Any
    ) -> AsyncGenerator[bytes]:
        """The same from an event loop of yours, which it does not block."""
        stream = self._stream(prompt, voice, speed, sampling)
        try:
            while (pcm := await asyncio.wrap_future(self._submit(anext(stream, None)))) is not None:
                yield pcm.astype("<i2", copy=False).tobytes()
        finally:
            await asyncio.shield(asyncio.wrap_future(self._submit(stream.aclose())))

    def close(self) -> None:
        """Unload the model; give memory, processes and threads back."""
        if self._loop.is_closed():
            return
        self._wait(self._service.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(
        self, prompt: str, voice: str, speed: float | None, sampling: dict[str, Any]
    ) -> AsyncGenerator[PCM]:
        request = speech_request(text=prompt, model=self._model, voice=voice, speed=speed, **sampling)
        return self._service.stream(request, account=PROGRAM)

    def _submit(self, work: Awaitable[T]) -> "concurrent.futures.Future[T]":
        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def _wait(self, work: Awaitable[T]) -> T:
        return self._submit(work).result()


def _with_overrides(overrides: dict[str, Any]) -> Settings:
    """The settings of the environment with `overrides`, which are checked as if they stood there."""
    if unknown := overrides.keys() - set(Settings.__struct_fields__):
        raise ConfigurationError(f"{', '.join(sorted(unknown))}: there is no such setting")
    values = {
        variable_name(name): ",".join(value) if isinstance(value, (tuple, list)) else str(value)
        for name, value in overrides.items()
    }
    return load_settings({**os.environ, **values})
