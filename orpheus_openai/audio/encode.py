"""Encode PCM for the wire, piece by piece, in each format that OpenAI's speech API offers."""

import contextlib
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

import av
import numpy as np
from av.container import OutputContainer

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.ffmpeg import take_no_threads
from orpheus_openai.audio.formats import FORMATS

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

take_no_threads()

BYTES_PER_SAMPLE = 2
UNKNOWN_LENGTH = 0xFFFF_FFFF
"""What stands in a WAV header for a length that is not known yet; OpenAI sends the same."""

MP3_BIT_RATE = 96_000
"""bit/s, constant. At 24 kHz mono 64 kbit/s leaves speech intact; half as much again costs little."""
MP3_QUALITY = 7
"""LAME's, 0 to 9. Against its default, at the same bit rate, 116 s of the preview's speech come back with a
segmental signal-to-noise ratio of 25.1 instead of 24.5 dB and a log-spectral distance of 0.82 instead of
0.75 dB, in 1/168 of real time instead of 1/89 (one shared core). 8 and 9 are the same, 0 to 2 worse in both."""
MP3_FRAME = 576
"""Samples of an MPEG-2 Layer III frame."""
MP3_DECODER_DELAY = 529
"""Samples by which a decoder is late, after the 576 of LAME's own (LAME's technical FAQ)."""
OPUS_BIT_RATE = 40_000
"""bit/s, the aim of a variable rate. Speech of full band needs 28 to 40 kbit/s (RFC 6716, section 2.1.1)."""
OPUS_COMPLEXITY = 5
"""libopus', 0 to 10. From 7 on it analyses the signal and speaks much of it as a hybrid, in 1/83 of real time;
below, it is CELT, in 1/285. 49 s of the preview's speech at 64 kbit/s in fact, of 40 asked for, come back with
a segmental signal-to-noise ratio of 18.5 dB and a log-spectral distance of 1.7 dB; complexity 10 had 18.2 and
2.1 dB with 57 kbit/s in fact, of 48 asked for. At equal rates they are within 1 dB and 0.2 dB."""
AAC_BIT_RATE = 96_000
"""bit/s. FFmpeg's own AAC encoder needs more than Opus for the same quality."""
AAC_SAMPLE_RATE = 48_000
"""Hz. ADTS cannot tell a player to skip the 1 024 samples in front; at twice our rate they last 21 ms."""
AAC_SHORTEST = 64
"""Samples at `SAMPLE_RATE`: what the resampler before AAC must be given to return anything."""
FLAC_FRAME = 1_024
"""Samples: 43 ms instead of FFmpeg's 96 ms before the first bytes, for 3 % more of them."""


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


def make_encoder(format: str) -> Encoder:  # noqa: A002 - the field's own name in OpenAI's API
    """Return a fresh encoder for a name in `FORMATS`; raises ValueError for any other."""
    if format == "pcm":
        return _RawEncoder(b"")
    if format == "wav":
        return _RawEncoder(wav_header())
    if format in _RECIPES:
        return _CodecEncoder(_RECIPES[format])
    raise ValueError(f"There is no audio format {format!r}. Formats: {', '.join(FORMATS)}.")


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


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How FFmpeg is told to write one format."""

    container: str
    codec: str
    bit_rate: int | None = None
    sample_rate: int = SAMPLE_RATE
    codec_options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)
    lead_in: int = 0
    """Samples of silence before the first of ours."""
    dropped_packets: int = 0
    """The first packets of the codec, which hold nothing but its delay."""
    shortest: int = 1
    """Samples; less PCM than this is padded with silence."""


class _CodecEncoder:
    """A codec of FFmpeg's and a container that is never sought back in."""

    def __init__(self, recipe: _Recipe) -> None:
        self._recipe = recipe
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
            recipe.codec, rate=recipe.sample_rate, options=dict(recipe.codec_options), layout="mono"
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
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        frame.pts = self._samples
        self._samples += pcm.size
        self._write(self._container, frame)
        return self._sink.take()

    def _flush(self) -> bytes:
        if self._container is None or not self._samples:
            self.close()
            return b""
        padding = self._encode(np.zeros(max(0, self._recipe.shortest - self._samples), np.int16))
        self._write(self._container, None)
        self.close()
        return padding + self._sink.take()

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


def wav_header(samples: int | None = None) -> bytes:
    """RIFF, format and data chunk headers, 44 bytes, for so much mono 16-bit PCM; None: the length is not known."""
    size = None if samples is None else samples * BYTES_PER_SAMPLE
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", UNKNOWN_LENGTH if size is None else 36 + size, b"WAVE"),
        *(b"fmt ", 16, 1, 1, SAMPLE_RATE, SAMPLE_RATE * BYTES_PER_SAMPLE, BYTES_PER_SAMPLE, 16),
        *(b"data", UNKNOWN_LENGTH if size is None else size),
    )


_RECIPES: Mapping[str, _Recipe] = MappingProxyType(
    {
        "mp3": _Recipe(
            container="mp3",
            codec="libmp3lame",
            bit_rate=MP3_BIT_RATE,
            # Without a reservoir a frame waits for none after it: first bytes 30 ms earlier.
            codec_options={"reservoir": "0", "compression_level": str(MP3_QUALITY)},
            # Players trim the delay only by a tag that needs the length, which is not known yet. So
            # the delay is made two whole frames, and the first of them goes: nothing of ours is in it.
            container_options={"id3v2_version": "0", "write_xing": "0"},
            lead_in=MP3_FRAME - MP3_DECODER_DELAY,
            dropped_packets=1,
        ),
        "opus": _Recipe(
            container="ogg",
            codec="libopus",
            bit_rate=OPUS_BIT_RATE,
            # "voip" would filter the voice; "audio" keeps its waveform.
            codec_options={
                "application": "audio",
                "vbr": "on",
                "frame_duration": "20",
                "compression_level": str(OPUS_COMPLEXITY),
            },
            # In µs: a page for every packet. FFmpeg holds the newest page back, since the last of all needs a flag.
            container_options={"page_duration": "20000"},
        ),
        "aac": _Recipe(
            container="adts",
            codec="aac",
            bit_rate=AAC_BIT_RATE,
            sample_rate=AAC_SAMPLE_RATE,
            codec_options={"aac_coder": "fast"},  # better than "twoloop" from 64 kbit/s on (FFmpeg's manual)
            shortest=AAC_SHORTEST,
        ),
        "flac": _Recipe(
            container="flac",
            codec="flac",
            codec_options={"frame_size": str(FLAC_FRAME)},
            container_options={"metadata_header_padding": "0"},  # else 8 KiB of nothing before the sound
        ),
    }
)
