"""The preview model: eSpeak NG speaks where there is no GPU, with a voice of its own for each of Orpheus'."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from fractions import Fraction
from functools import partial

import av
import numpy as np
from av import AudioFrame
from av.filter import Graph

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.catalog import EspeakVoice, Voice
from orpheus_openai.errors import EngineError, ShuttingDownError, SpeechError
from orpheus_openai.models.orpheus.frames import SAMPLES_PER_FRAME, TOKENS_PER_FRAME
from orpheus_openai.models.preview.clauses import PAUSE, Piece, pieces
from orpheus_openai.models.preview.espeak import ESPEAK_SAMPLE_RATE, Espeak, EspeakThread, Job
from orpheus_openai.synthesis import Sampling, Usage

TAG_PAUSE_SECONDS = 0.3
"""eSpeak NG cannot laugh: an emotion tag is a pause of this length."""

SHORTEST_CHARACTER_SECONDS = 0.05
"""What a character takes to say at the least, on average over a text: English 0.06 s, Chinese 0.26 s."""

LONGEST_HEAD_START = 5.0
"""Seconds of sound, at most, that a later segment believes its listener to have in hand when it begins."""

_LOW_WATER = 10  # chunks still unheard, 2 s, when the next piece is asked for
_TAG_PAUSE = bytes(2 * round(TAG_PAUSE_SECONDS * ESPEAK_SAMPLE_RATE))

# The cutoff is relative to half the output's rate: 0.873 * 12 000 = 10 476 Hz, in the middle of the slope
# that 128 taps need to be down before 11 025 Hz, where the images begin.
_RESAMPLE = f"{SAMPLE_RATE}:filter_size=128:cutoff=0.873:filter_type=kaiser:kaiser_beta=9"

_logger = logging.getLogger(__name__)


class PreviewModel:
    """A `SpeechModel` that speaks all languages of the catalog, at once and on any machine.

    All streams share one eSpeak NG in one thread, a clause or two at a time. First comes the stream whose
    listener would be the first to run dry: a new listener waits behind nobody who has sound in hand. A stream
    asks for its next piece when most of the last one was taken: a slow listener costs neither time nor memory.
    """

    def __init__(self, emotion_tags: Sequence[str]) -> None:
        """Start eSpeak NG, which takes a few ms; `emotion_tags` are names without brackets, e.g. `laugh`.

        Raises ModelUnavailableError when it is not installed.
        """
        self._emotion_tags = tuple(emotion_tags)
        self._thread = EspeakThread.acquire()
        self._thread.submit(_warm_up, time.monotonic())
        self._closed = False

    @property
    def alive(self) -> bool:
        """True until it is closed: there is no engine that could die."""
        return not self._closed

    async def synthesize(
        self,
        text: str,
        voice: Voice,
        sampling: Sampling,  # noqa: ARG002 - nothing is sampled here
        usage: Usage,
    ) -> AsyncGenerator[PCM]:
        """Speak `text`: yields PCM, int16 of shape `(n,)` at 24 kHz, of up to about 0.2 s each, the first one too.

        An emotion tag becomes a pause of `TAG_PAUSE_SECONDS`; a text with nothing to say yields nothing. Two
        renderings of a text sound alike, but not bit for bit: eSpeak NG's flutter of the pitch goes on from
        call to call. `sampling` has no effect. A call is urgent when it is the first to count into its `usage`;
        one after it is a later segment of the same request, whose listener hears the earlier ones first.

        Counts the characters spoken as input tokens, and as output tokens what Orpheus would have needed: 7
        for each 2 048 samples begun. Raises ModelUnavailableError when eSpeak NG does not have the voice.
        """
        if self._closed:
            raise ShuttingDownError("The preview has been closed.")
        parts = pieces(text, self._emotion_tags)
        if not parts:
            return
        utterance = _Utterance(parts, voice.espeak, self._thread.submit, usage)
        samples = frames = 0
        try:
            utterance.proceed()
            while (chunk := await utterance.next()) is not None:
                samples += len(chunk)
                begun = -(-samples // SAMPLES_PER_FRAME)
                usage.output_tokens += TOKENS_PER_FRAME * (begun - frames)
                frames = begun
                yield chunk
        finally:
            utterance.cancelled = True

    async def close(self) -> None:
        """End the thread and the library, unless another PreviewModel of this process uses them."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._thread.release)


def _warm_up(espeak: Espeak) -> None:
    """Spare the first listener the search for voices, about 25 ms."""
    espeak.speak("a", EspeakVoice(language="en-us"), lambda _samples: False)
    Resampler()


class _Utterance:
    """One call's text on its way through the thread, a piece at a time, and its audio on the way back.

    `_speak`, `_take` and `_call` run in eSpeak's thread, one piece after the other; all else belongs
    to the event loop. `cancelled` is what both look at.

    A piece's deadline is when its listener has heard all sound before it, if playback never paused but for want
    of sound. Nobody has run dry in the past: one who waits, or did not listen for a while, is due now.
    """

    def __init__(
        self, parts: Sequence[Piece], voice: EspeakVoice, submit: Callable[[Job, float], None], usage: Usage
    ) -> None:
        self.cancelled = False
        self._waiting = deque(parts)
        self._voice = voice
        self._submit = submit
        self._usage = usage
        self._loop = asyncio.get_running_loop()
        # Bounded by what is put in: one piece at a time, and the next one waits for the low water mark.
        self._heard: asyncio.Queue[PCM | SpeechError | None] = asyncio.Queue()
        self._speaking = False
        # What the request has counted is heard before this call, but how much of it was heard already is not
        # known here. The bound keeps a guess that is too late from costing much: even then the piece waits for
        # no listener who is LONGEST_HEAD_START ahead.
        head_start = min(usage.input_tokens * SHORTEST_CHARACTER_SECONDS, LONGEST_HEAD_START)
        self._dry_at = time.monotonic() + head_start
        self._resampler: Resampler | None = None

    async def next(self) -> PCM | None:
        """Wait for the next chunk; None at the end. Raises what went wrong in the thread."""
        chunk = await self._heard.get()
        if isinstance(chunk, SpeechError):
            raise chunk
        self.proceed()
        return chunk

    def proceed(self) -> None:
        """Ask for the next piece, if its turn has come."""
        if self._speaking or not self._waiting or self._heard.qsize() > _LOW_WATER:
            return
        piece = self._waiting.popleft()
        deadline = max(self._dry_at, time.monotonic())
        self._submit(partial(self._speak, piece=piece, last=not self._waiting), deadline)
        self._speaking = True
        self._usage.input_tokens += len(piece.text)

    def _piece_ended(self, *, last: bool) -> None:
        self._speaking = False
        if last:
            self._heard.put_nowait(None)
        elif not self.cancelled:
            try:
                self.proceed()
            except SpeechError as error:
                self._heard.put_nowait(error)

    def _speak(self, espeak: Espeak, piece: Piece, *, last: bool) -> None:
        if self.cancelled:
            return
        try:
            if piece == PAUSE:
                self._take(_TAG_PAUSE)
            else:
                # The comma keeps the voice up where the clause goes on.
                text = f"{piece.text}," if piece.broken_off else piece.text
                espeak.speak(text, self._voice, self._take, end_pause=not piece.broken_off)
            if last:
                self._take(b"", last=True)
        except SpeechError as error:
            self._call(self._heard.put_nowait, error)
        except Exception as error:
            _logger.exception("the preview failed at a piece of %d characters", len(piece.text))
            self._call(self._heard.put_nowait, EngineError(f"The preview failed: {error}"))
        else:
            self._call(partial(self._piece_ended, last=last))

    def _take(self, samples: bytes, *, last: bool = False) -> bool:
        """Send `samples`, int16 at eSpeak's rate; returns whether to go on."""
        if self._resampler is None:
            self._resampler = Resampler()
        chunk = self._resampler.feed(np.frombuffer(samples, np.int16), last=last)
        if len(chunk):
            self._dry_at = max(self._dry_at, time.monotonic()) + len(chunk) / SAMPLE_RATE
            self._call(self._heard.put_nowait, chunk)
        return not self.cancelled

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: nobody will ever listen
            self.cancelled = True


class Resampler:
    """22 050 Hz to 24 000 Hz, as it comes: what is fed in pieces comes out as if it had been one.

    The filter is flat within 0.1 dB up to 10 kHz and keeps the images, all above 11 025 Hz, 90 dB down.
    """

    def __init__(self) -> None:
        time_base = Fraction(1, ESPEAK_SAMPLE_RATE)
        self._graph = Graph()
        source = self._graph.add_abuffer(
            sample_rate=ESPEAK_SAMPLE_RATE, format="s16", layout="mono", time_base=time_base
        )
        resample = self._graph.add("aresample", _RESAMPLE)
        self._graph.link_nodes(source, resample, self._graph.add("abuffersink")).configure()
        self._fed = 0

    def feed(self, samples: PCM, *, last: bool = False) -> PCM:
        """Take `samples` and return the output that is certain by now; all of it when they are the `last`.

        Both are int16 of shape `(n,)`. Over all calls n samples, at least 147 of them, become n * 160 / 147,
        within one.
        """
        if len(samples):
            frame = AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
            frame.sample_rate = ESPEAK_SAMPLE_RATE
            frame.pts = self._fed
            self._fed += len(samples)
            self._graph.push(frame)
        if last:
            self._graph.push(None)
        resampled: list[PCM] = [np.empty(0, np.int16)]
        while True:
            try:
                resampled.append(self._graph.pull().to_ndarray()[0])
            except (av.BlockingIOError, av.EOFError):
                return np.concatenate(resampled)
