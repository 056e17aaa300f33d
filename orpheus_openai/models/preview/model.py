"""The preview model: eSpeak NG speaks where there is no GPU, with a voice of its own for each of Orpheus'."""

import contextlib
import re
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.catalog import EspeakVoice, Voice
from orpheus_openai.errors import ShuttingDownError
from orpheus_openai.models.orpheus.frames import SAMPLES_PER_FRAME, TOKENS_PER_FRAME
from orpheus_openai.models.preview.espeak import Espeak, Part, Pause, WordBegin
from orpheus_openai.models.preview.process import ESPEAK_SAMPLE_RATE
from orpheus_openai.models.preview.upsample import Upsampling, filter_table
from orpheus_openai.synthesis import Sampling, Usage
from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.normalise import has_speech

if TYPE_CHECKING:
    from orpheus_openai.models.preview.turns import When

TAG_PAUSE_SECONDS = 0.3
"""eSpeak NG cannot laugh: an emotion tag is a pause of this length."""

ESPEAK_LANGUAGES = {"zh": "cmn", "en": "en-us"}
"""Where eSpeak NG has another name for a language than ISO 639-1."""

PLAIN_VARIANTS = {"female": "f2", "male": "m3", "neutral": "f2"}
"""By the gender of a voice that has no table for eSpeak NG."""

BUSY = 16
"""Segments at once with which it rather takes no other one yet."""

_TAG_PAUSE = Pause(round(1_000 * TAG_PAUSE_SECONDS))
# What commands eSpeak NG in the middle of a text, or is not a character at all.
_UNSPEAKABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACE = re.compile(r"\s+")


class WordTime(NamedTuple):
    """Where a word begins in speech and text."""

    sample: int
    """At 24 kHz."""
    start: int
    """In the text, in characters."""
    length: int


class PreviewModel:
    """A `SpeechModel` that speaks all languages of the catalog, at once and on any machine.

    Each call speaks in a process of its own: what kills eSpeak NG kills that one speech. A process to which nobody
    listens waits with a second or two in hand.
    """

    def __init__(self, emotion_tags: Sequence[str]) -> None:
        """Start eSpeak NG, which takes some 30 ms; `emotion_tags` are names without brackets, e.g. `laugh`.

        Raises ModelUnavailableError when it is not installed.
        """
        self._tag = re.compile(rf"<(?:{'|'.join(map(re.escape, emotion_tags)) or '(?!)'})>", re.IGNORECASE)
        self._espeak = Espeak()
        filter_table()  # else the first speech would wait for it
        self._speaking = 0
        self._closed = False

    @property
    def alive(self) -> bool:
        """True until it is closed: a process that dies is replaced."""
        return not self._closed

    @property
    def one_by_one(self) -> bool:
        """True: it speaks a segment two hundred times as fast as it is heard."""
        return True

    @property
    def busy(self) -> bool:
        """Whether it has as many processes as are soon done: more would take memory, and be done no sooner."""
        return self._speaking >= BUSY

    async def synthesize(
        self,
        text: str,
        voice: Voice,
        sampling: Sampling,
        usage: Usage,
    ) -> AsyncGenerator[PCM]:
        """Speak `text`: yields PCM, int16 of shape `(n,)` at 24 kHz, of up to about 0.2 s each, the first one too.

        An emotion tag becomes a pause of `TAG_PAUSE_SECONDS`; a text with nothing to say yields nothing. The same
        text and voice give the same samples. Of `sampling`, `ahead` leaves the processor to those who are waited for,
        `spelt` has phonemes for words, and nothing else has an effect.

        Counts the characters to be spoken as input tokens, and as output tokens what Orpheus would have needed: 7 for
        each 2 048 samples begun. Raises ModelUnavailableError when eSpeak NG does not have the voice,
        UnspeakableError when it dies of the text, EngineError when it fails otherwise.
        """
        async with contextlib.aclosing(
            self.read(text, stand_in(voice), usage, spelt=sampling.spelt, ahead=sampling.ahead)
        ) as items:
            async for item in items:
                if not isinstance(item, WordTime):
                    yield item

    async def read(
        self,
        text: str,
        voice: EspeakVoice,
        usage: Usage,
        *,
        spelt: Sequence[Lexicon] = (),
        ahead: bool = False,
    ) -> AsyncGenerator[PCM | WordTime]:
        """Like `synthesize`, with each word before the samples in which it begins, in eSpeak NG's idea of words."""
        if self._closed:
            raise ShuttingDownError("The preview has been closed.")
        parts = self._parts(text, spelt)
        if not parts:
            return
        when: When = "later" if ahead else "soon" if usage.input_tokens else "first"
        usage.input_tokens += sum(len(part.text) for part in parts if isinstance(part, Part))
        async with (
            self._counted(),
            contextlib.aclosing(self._espeak.speak(parts, voice, when=when)) as spoken,
        ):
            upsampling = Upsampling()
            samples = 0
            async for item in spoken:
                if isinstance(item, WordBegin):
                    yield WordTime(
                        round(item.sample * SAMPLE_RATE / ESPEAK_SAMPLE_RATE), item.start, item.length
                    )
                    continue
                pcm = upsampling.process(np.frombuffer(item, np.int16))
                samples = _count(usage, samples, len(pcm))
                if len(pcm):
                    yield pcm
            rest = upsampling.flush()
            _count(usage, samples, len(rest))
            if len(rest):
                yield rest

    @contextlib.asynccontextmanager
    async def _counted(self) -> AsyncGenerator[None]:
        self._speaking += 1
        try:
            yield
        finally:
            self._speaking -= 1

    async def close(self) -> None:
        """End all its processes."""
        if not self._closed:
            self._closed = True
            await self._espeak.close()

    def _parts(self, text: str, spelt: Sequence[Lexicon]) -> list[Part | Pause]:
        """Cut `text` at its emotion tags, and at words that have phonemes; characters keep their places."""
        text = _SPACE.sub(_plain_space, _UNSPEAKABLE.sub(" ", text))
        parts: list[Part | Pause] = []
        start = 0
        for tag in self._tag.finditer(text):
            parts += [*_parts_between(text, start, tag.start(), spelt), _TAG_PAUSE]
            start = tag.end()
        return [*parts, *_parts_between(text, start, len(text), spelt)]


def stand_in(voice: Voice) -> EspeakVoice:
    """How eSpeak NG is to say it for `voice`: as the catalog has it, else plainly in its language and gender."""
    if voice.espeak is not None:
        return voice.espeak
    language = ESPEAK_LANGUAGES.get(voice.language, voice.language)
    return EspeakVoice(language=language, variant=PLAIN_VARIANTS[voice.gender])


def _plain_space(space: re.Match[str]) -> str:
    """As many spaces; a blank line, which ends a clause, stays one."""
    length = len(space[0])
    return "\n\n".ljust(length) if space[0].count("\n") > 1 else " " * length


def _parts_between(text: str, start: int, end: int, spelt: Sequence[Lexicon]) -> list[Part]:
    """What is to be spoken of `text[start:end]`; the first lexicon that has phonemes for a word counts."""
    if not spelt:
        return _part(text, start, end)
    first, *others = spelt
    parts: list[Part] = []
    for word_start, word_end, names in first.spelt(text, start, end):
        parts += [p for p in _parts_between(text, start, word_start, others) if has_speech(p.text)]
        parts.append(Part(names, word_start, "phonemes"))
        start = word_end
    rest = _parts_between(text, start, end, others)
    return [*parts, *(p for p in rest if not parts or has_speech(p.text))]


def _part(text: str, start: int, end: int) -> list[Part]:
    """What is to be spoken of `text[start:end]`, if anything."""
    stripped = text[start:end].lstrip()
    return [Part(stripped.rstrip(), end - len(stripped))] if stripped else []


def _count(usage: Usage, before: int, more: int) -> int:
    """Count the tokens of so many more samples; returns how many samples there are now."""
    begun = -(-(before + more) // SAMPLES_PER_FRAME) - -(-before // SAMPLES_PER_FRAME)
    usage.output_tokens += TOKENS_PER_FRAME * begun
    return before + more
