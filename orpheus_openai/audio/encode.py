"""Encode PCM for the wire, piece by piece, in each format and at each sample rate that can be asked for."""

import contextlib
import struct
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, cast

import av
import numpy as np
from av.container import OutputContainer

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.codecs import RECIPES, Recipe
from orpheus_openai.audio.ffmpeg import take_no_threads
from orpheus_openai.audio.formats import FORMATS, rate_of
from orpheus_openai.audio.g711 import LAWS, Law, compress
from orpheus_openai.audio.resample import Resampler

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

take_no_threads()

BYTES_PER_SAMPLE = 2
UNKNOWN_LENGTH = 0xFFFF_FFFF
"""What stands in a WAV header for a length that is not known yet; OpenAI sends the same."""


class Encoder(Protocol):
    """One stream's encoder. Calls must not overlap, but may come from one thread after another."""

    def encode(self, pcm: PCM) -> bytes:
        """Take `pcm`, shape `(n,)`, any n; return what is ready for the wire, which may be nothing yet.

        Raises ValueError after `flush` or `close`.
        """
        ...

    def flush(self) -> bytes:
        """End the stream and return its last bytes; without any PCM, a WAV's header or none at all."""
        ...

    def close(self) -> None:
        """Free everything without finishing; harmless after `flush` and when called again."""
        ...


def make_encoder(
    format: str,  # noqa: A002 - the field's own name in OpenAI's API
    *,
    sample_rate: int | None = None,
    bit_rate: int | None = None,
) -> Encoder:
    """Return a fresh encoder for a name in `FORMATS`; raises ValueError for any other.

    What it is given is PCM at 24 kHz, whatever the `sample_rate` in Hz of what it returns; None: the format's own.
    `bit_rate`, in bit/s, is for the formats that have one. Raises InvalidRequestError for a rate that the format
    cannot have.
    """
    if format not in FORMATS:
        raise ValueError(f"There is no audio format {format!r}. Formats: {', '.join(FORMATS)}.")
    rate = rate_of(format, sample_rate)
    encoder = _at_its_rate(format, rate, bit_rate)
    return encoder if rate == SAMPLE_RATE else _ResamplingEncoder(encoder, rate)


def _at_its_rate(audio_format: str, rate: int, bit_rate: int | None) -> Encoder:
    if audio_format in RECIPES:
        return _CodecEncoder(RECIPES[audio_format](rate, bit_rate), rate)
    if audio_format in LAWS:
        return _TelephoneEncoder(cast("Law", audio_format))
    return _RawEncoder({"wav": wav_header(sample_rate=rate), "pcm": b""}[audio_format])


def warm_up() -> None:
    """Use each codec once: the first use in a process costs tens of milliseconds, which no listener should wait."""
    for name in FORMATS:
        with contextlib.closing(make_encoder(name)) as encoder:
            encoder.encode(np.zeros(SAMPLE_RATE // 10, np.int16))
            encoder.flush()


class _RawEncoder:
    """Samples as they are, after a header."""

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._open = True

    def encode(self, pcm: PCM) -> bytes:
        if not self._open:
            raise ValueError("the encoder is closed")
        header, self._header = self._header, b""
        return header + pcm.astype("<i2", copy=False).tobytes()

    def flush(self) -> bytes:
        rest = self._header if self._open else b""
        self.close()
        return rest

    def close(self) -> None:
        self._open = False


class _TelephoneEncoder:
    """One byte a sample, by G.711, and no header."""

    def __init__(self, law: Law) -> None:
        self._law = law
        self._open = True

    def encode(self, pcm: PCM) -> bytes:
        if not self._open:
            raise ValueError("the encoder is closed")
        return compress(pcm, self._law)

    def flush(self) -> bytes:
        self.close()
        return b""

    def close(self) -> None:
        self._open = False


class _ResamplingEncoder:
    """Brings what it is given to another sample rate, and on to an encoder of that rate."""

    def __init__(self, encoder: Encoder, rate: int) -> None:
        self._encoder = encoder
        self._rate = rate
        self._in_use = threading.RLock()
        self._resampler: Resampler | None = None
        """Made when there is something for it: what its filter is takes milliseconds, which are the first call's."""

    def encode(self, pcm: PCM) -> bytes:
        with self._in_use:
            if not pcm.size:
                return self._encoder.encode(pcm)
            if self._resampler is None:
                self._resampler = Resampler(SAMPLE_RATE, self._rate)
            return self._encoder.encode(self._resampler.process(pcm))

    def flush(self) -> bytes:
        with self._in_use:
            resampler, self._resampler = self._resampler, None
            rest = b"" if resampler is None else self._encoder.encode(resampler.flush())
            return rest + self._encoder.flush()

    def close(self) -> None:
        with self._in_use:
            self._resampler = None
            self._encoder.close()


class _CodecEncoder:
    """A codec of FFmpeg's and a container that is never sought back in."""

    def __init__(self, recipe: Recipe, sample_rate: int) -> None:
        self._recipe = recipe
        self._sample_rate = sample_rate
        # Whoever closes does not wait for a call that is under way in another thread; FFmpeg would not survive it.
        self._in_use = threading.RLock()
        self._sink = _Sink()
        self._samples = 0
        self._to_drop = recipe.dropped_packets
        self._container: OutputContainer | None = av.open(
            self._sink,
            "w",
            format=recipe.container,
            container_options={"flush_packets": "1", **recipe.container_options},
        )
        try:
            self._stream = self._add_stream(self._container)
        except BaseException:
            self.close()  # dropped unclosed, a container can take the process down when it is freed
            raise

    def _add_stream(self, container: OutputContainer) -> "AudioStream":
        recipe = self._recipe
        added = container.add_stream(
            recipe.codec, rate=self._sample_rate, options=dict(recipe.codec_options), layout="mono"
        )
        stream = cast("AudioStream", added)
        if recipe.bit_rate is not None:
            stream.bit_rate = recipe.bit_rate
        stream.codec_context.thread_count = 1
        return stream

    def encode(self, pcm: PCM) -> bytes:
        with self._in_use:
            return self._encode(pcm)

    def flush(self) -> bytes:
        with self._in_use:
            return self._flush()

    def close(self) -> None:
        with self._in_use:
            container, self._container = self._container, None
            if container is not None:
                container.close()

    def _encode(self, pcm: PCM) -> bytes:
        if self._container is None:
            raise ValueError("the encoder is closed")
        if not pcm.size:
            return b""
        if not self._samples and self._recipe.lead_in:
            pcm = np.concatenate([np.zeros(self._recipe.lead_in, np.int16), pcm])
        samples = np.ascontiguousarray(pcm, dtype=np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._samples
        self._samples += pcm.size
        self._write(self._container, frame)
        return self._sink.take()

    def _flush(self) -> bytes:
        if self._container is None or not self._samples:
            self.close()
            return b""
        self._write(self._container, None)
        self.close()
        return self._sink.take()

    def _write(self, container: OutputContainer, frame: av.AudioFrame | None) -> None:
        packets = self._stream.encode(frame)
        dropped = min(self._to_drop, len(packets))
        self._to_drop -= dropped
        container.mux(packets[dropped:])


class _Sink:
    """Where FFmpeg writes; it has no `seek`, so that nothing is left to be filled in afterwards."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, written: bytes) -> int:
        self._bytes += written
        return len(written)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


def wav_header(samples: int | None = None, *, sample_rate: int = SAMPLE_RATE) -> bytes:
    """RIFF, format and data chunk headers, 44 bytes, for so much mono 16-bit PCM; None: the length is not known."""
    size = None if samples is None else samples * BYTES_PER_SAMPLE
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", UNKNOWN_LENGTH if size is None else 36 + size, b"WAVE"),
        *(b"fmt ", 16, 1, 1, sample_rate, sample_rate * BYTES_PER_SAMPLE, BYTES_PER_SAMPLE, 16),
        *(b"data", UNKNOWN_LENGTH if size is None else size),
    )
