"""What a listener hears who plays a stream in real time from its first audio on."""

import io
import itertools
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import av

from benchmarks.http_stream import Arrival

PCM_SAMPLE_RATE = 24_000
PCM_BYTES_PER_SAMPLE = 2
"""OpenAI's `pcm`: 24 kHz, 16 bit, mono, without a header."""
PLAYABLE = ("pcm", "wav", "mp3", "opus", "aac", "flac")
"""The formats of which it is known when what has come can be heard."""


class UnplayableError(Exception):
    """The body is no audio of the format asked for."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A stream as it was heard; all times in seconds."""

    first_audio: float
    """From the request until there was something to play."""
    audio: float
    """How long the audio is."""
    underruns: int
    """How often the sound stopped because nothing more was there."""
    silence: float
    """How long it stopped in all."""


def listen(audio_format: str, arrivals: Sequence[Arrival], body: bytes) -> Heard:
    """Play a whole stream; `body` may be empty for pcm. Raises UnplayableError when nothing is heard."""
    if audio_format == "pcm":
        playable = [arrival.size // PCM_BYTES_PER_SAMPLE / PCM_SAMPLE_RATE for arrival in arrivals]
    elif audio_format == "wav":
        playable = _wav(arrivals, body)
    else:
        playable = _decoded(arrivals, body)
    grew = (now > before for before, now in itertools.pairwise([0.0, *playable]))
    return _play(
        [(at.seconds, audio) for at, audio, new in zip(arrivals, playable, grew, strict=True) if new]
    )


def _play(timeline: Sequence[tuple[float, float]]) -> Heard:
    """Play what `timeline` tells: when more audio came in, and how many seconds there were by then."""
    if not timeline:
        raise UnplayableError("no audio")
    first, _ = timeline[0]
    underruns, silence = 0, 0.0
    for (_, before), (now, _) in itertools.pairwise(timeline):
        runs_dry = first + before + silence
        if now > runs_dry:
            underruns += 1
            silence += now - runs_dry
    return Heard(first, timeline[-1][1], underruns, silence)


def _wav(arrivals: Sequence[Arrival], body: bytes) -> list[float]:
    """Seconds of audio at each arrival, to the sample."""
    form, data = body.find(b"fmt "), body.find(b"data")
    if not body.startswith(b"RIFF") or form < 0 or data < 0:
        raise UnplayableError("no WAV header")
    bytes_per_second = struct.unpack_from("<I", body, form + 16)[0]
    return [max(0, arrival.size - data - 8) / bytes_per_second for arrival in arrivals]


def _decoded(arrivals: Sequence[Arrival], body: bytes) -> list[float]:
    """Seconds of audio at each arrival: those of the packets that are whole by then."""
    starts, lengths = [], []
    try:
        with av.open(io.BytesIO(body), "r") as container:
            for packet in container.demux(container.streams.audio[0]):
                seconds = sum(frame.samples / frame.sample_rate for frame in packet.decode())
                starts.append(len(body) if packet.pos is None else packet.pos)
                lengths.append(seconds)
    except (av.error.FFmpegError, IndexError) as error:
        raise UnplayableError(f"not decodable: {error}") from error
    ends: list[int] = []
    for start, following in reversed(list(itertools.pairwise([*starts, len(body)]))):
        # Packets of one Ogg page all stand where the page begins, and can be played once it is whole.
        ends.append(ends[-1] if ends and start == following else following)
    ends.reverse()
    audio_until = list(itertools.accumulate(lengths, initial=0.0))
    return [audio_until[bisect_right(ends, arrival.size)] for arrival in arrivals]
