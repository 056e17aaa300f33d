"""eSpeak NG: text goes to a child process, samples and words come back."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from orpheus_openai.catalog import EspeakVoice
from orpheus_openai.errors import (
    EngineError,
    ModelUnavailableError,
    ShuttingDownError,
    SpeechError,
    UnspeakableError,
)
from orpheus_openai.models.preview import process
from orpheus_openai.models.preview.children import ChildDiedError, Parent, ParentDiedError
from orpheus_openai.models.preview.turns import Turns, When

VOLUME: Final = 70
"""Of eSpeak NG's 100, at which its tone languages clip."""

PARENTS_A_SPEECH: Final = 3
"""How many parents may die under one speech before it fails."""
_LATER: Final = 10
"""How nice speech is that nobody waits for yet."""


_logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """What is spoken in one go."""

    text: str
    offset: int = 0
    """Its place in the whole text, in characters."""
    kind: Literal["text", "phonemes"] = "text"
    """`phonemes`: eSpeak NG's own names of phonemes, such as `h@l'oU`. Nothing in a text makes it phonemes."""


class Pause(NamedTuple):
    """Silence between two parts, where nothing of the text stands."""

    milliseconds: int


class WordBegin(NamedTuple):
    """Where a word begins. eSpeak NG joins some short words, such as "of the", to one."""

    sample: int
    """Of the speech, at eSpeak NG's rate."""
    start: int
    """In the whole text, in characters."""
    length: int


Spoken: TypeAlias = bytes | WordBegin
"""int16 samples at `process.ESPEAK_SAMPLE_RATE`, mono; or a word, before the samples in which it begins."""


class Espeak:
    """Speaks in child processes of a parent that is replaced when it dies."""

    def __init__(self) -> None:
        """Start the parent, which takes some 30 ms. Raises ModelUnavailableError when there is no eSpeak NG."""
        self._starting = threading.Lock()
        self._slots = asyncio.Semaphore(process.MAX_CHILDREN)
        self._turns = Turns()
        self._closed = False
        self._parent = Parent()

    async def speak(
        self, parts: Sequence[Part | Pause], voice: EspeakVoice, *, when: When = "first"
    ) -> AsyncGenerator[Spoken]:
        """Speak `parts` one after the other, the same samples every time.

        The child is about a second and a half ahead of whoever takes them, at most; closing the generator kills it.
        What is the `first` starts at once; of the rest few speak at a time, those that are waited for `soon` before
        those of `later`, who leave them the processor, too. Raises ModelUnavailableError when eSpeak NG does not have
        the voice, UnspeakableError when it dies of the text, EngineError when it fails otherwise.
        """
        request = _encode(parts, voice)
        progress = _Progress()
        async with self._slots, self._turns.turn(when) as moves:
            for _ in range(PARENTS_A_SPEECH):
                parent = await self._living()
                progress.restart()
                spoken = _spoken(parent, request, _LATER if when == "later" else 0)
                try:
                    async with contextlib.aclosing(spoken):
                        async for item in spoken:
                            moves()
                            if new := progress.new(item):
                                yield new
                except ParentDiedError:
                    _logger.warning("the preview's eSpeak NG process died; another one has taken over")
                    await asyncio.to_thread(parent.end)
                except ChildDiedError as error:
                    raise _explained(error, parts, voice) from None
                except NoVoiceError:
                    raise ModelUnavailableError(
                        f"eSpeak NG has no voice '{_name(voice)}'. Give the voice's espeak entry in the catalog a "
                        "language like 'en-us' and a variant like 'f2'."
                    ) from None
                else:
                    return
            raise EngineError("The preview's eSpeak NG process died again and again; try again.")

    async def close(self) -> None:
        """End all processes."""
        self._closed = True
        await asyncio.to_thread(self._end)

    async def _living(self) -> Parent:
        if not (self._parent.alive or self._closed):
            await asyncio.to_thread(self._replace)
        if self._closed:
            raise ShuttingDownError("The preview has been closed.")
        return self._parent

    def _replace(self) -> None:
        with self._starting:
            if not (self._parent.alive or self._closed):
                self._parent = Parent()

    def _end(self) -> None:
        with self._starting:  # a parent that is just being started must be ended, too
            self._parent.end()


class _Progress:
    """How far a speech has come: where a parent dies, the next one's child says the same again from the start."""

    def __init__(self) -> None:
        self._samples = self._words = 0
        self._known_samples = self._known_words = 0

    def restart(self) -> None:
        """All that was said so far will come once more."""
        self._known_samples, self._known_words = self._samples, self._words

    def new(self, item: Spoken) -> Spoken | None:
        """What of `item` has not been said yet."""
        if isinstance(item, WordBegin):
            self._known_words -= 1
            if self._known_words >= 0:
                return None
            self._words += 1
            return item
        rest = item[2 * self._known_samples :]
        self._known_samples = max(self._known_samples - len(item) // 2, 0)
        self._samples += len(rest) // 2
        return rest


class NoVoiceError(Exception):
    """eSpeak NG does not have the voice."""


async def _spoken(parent: Parent, request: bytes, niceness: int) -> AsyncGenerator[Spoken]:
    """What a new child of `parent` says to `request`, to the end."""
    child = parent.fork(niceness)
    try:
        async with contextlib.aclosing(child.frames(request)) as frames:
            async for kind, payload in frames:
                match kind:
                    case process.PCM:
                        yield payload
                    case process.WORD:
                        yield WordBegin(*process.WORD_EVENT.unpack(payload))
                    case process.END:
                        return
                    case process.NO_VOICE:
                        raise NoVoiceError
                    case process.FAILED:
                        raise EngineError(f"The preview's eSpeak NG failed on this text: {payload.decode()}.")
    finally:
        child.close()


def _encode(parts: Sequence[Part | Pause], voice: EspeakVoice) -> bytes:
    """Put a request into the frames that a child reads."""
    settings = process.VOICE_SETTINGS.pack(voice.rate, voice.pitch, VOLUME)
    frames = [(process.VOICE, settings + f"{voice.language}\n{voice.variant}".encode())]
    for part in parts:
        if isinstance(part, Pause):
            frames.append((process.PAUSE, process.MILLISECONDS.pack(part.milliseconds)))
        else:
            kind = process.PHONEMES if part.kind == "phonemes" else process.TEXT
            text = part.text.encode("utf-8", "replace")
            frames.append((kind, process.OFFSET.pack(part.offset) + text))
    frames.append((process.SPEAK, b""))
    return b"".join(process.FRAME.pack(kind, len(payload)) + payload for kind, payload in frames)


def _explained(error: ChildDiedError, parts: Sequence[Part | Pause], voice: EspeakVoice) -> SpeechError:
    """Log how a child ended, and say it to who asked for the speech."""
    texts = [part.text for part in parts if isinstance(part, Part)]
    _logger.warning(
        "eSpeak NG died of %d characters in the voice %s: %s; nobody else's speech is touched",
        sum(map(len, texts)),
        _name(voice),
        error,
    )
    _logger.debug("what eSpeak NG died of: %r", texts)
    if error.of_the_text:
        return UnspeakableError(
            f"The preview's eSpeak NG breaks down on this text ({error}), and would again. Change the text, or choose "
            "another voice or model."
        )
    return EngineError(f"The preview's eSpeak NG broke down ({error}); try again.")


def _name(voice: EspeakVoice) -> str:
    return f"{voice.language}+{voice.variant}" if voice.variant else voice.language
