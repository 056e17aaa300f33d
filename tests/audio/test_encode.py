"""Every format plays back what was encoded, complete, in time, and as soon as it can."""

import io
import struct
import subprocess
import sys
import wave
from typing import get_args
from unittest.mock import Mock

import av
import numpy as np
import pytest

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.encode import make_encoder
from orpheus_openai.audio.formats import FORMATS, AudioFormat
from orpheus_openai.errors import InvalidRequestError

SAMPLES_PER_FRAME = 2_048  # what the codec of the model returns first
PLAYED_AS = {
    "mp3": "mp3",
    "opus": "ogg",
    "aac": "aac",
    "flac": "flac",
    "wav": "wav",
    "pcmu": "mulaw",
    "pcma": "alaw",
}
BARE = {"pcmu", "pcma"}
"""Without a header that tells the sample rate."""


def voice(size: int) -> PCM:
    """Harmonics with a wandering pitch and syllables, loud from the first sample."""
    time = np.arange(size) / SAMPLE_RATE
    pitch = 140 * time + 3 * np.sin(2 * np.pi * 1.5 * time)
    harmonics = [np.cos(2 * np.pi * n * pitch) / n for n in range(1, 16)]
    syllables = 0.6 + 0.4 * np.cos(2 * np.pi * 4 * time)
    pcm: PCM = (6_000 * np.sum(harmonics, axis=0) * syllables).clip(-32_768, 32_767).astype(np.int16)
    return pcm


def encode(
    format_: str, pcm: PCM, chunk: int = SAMPLES_PER_FRAME, *, sample_rate: int | None = None
) -> bytes:
    encoder = make_encoder(format_, sample_rate=sample_rate)
    encoded = [encoder.encode(pcm[start : start + chunk]) for start in range(0, pcm.size, chunk)]
    return b"".join([*encoded, encoder.flush()])


def play(format_: str, encoded: bytes, sample_rate: int | None = None) -> PCM:
    """What a player hears, at 24 kHz; `sample_rate` is what it must be told where there is no header."""
    if format_ == "pcm" and sample_rate is None:
        return np.frombuffer(encoded, "<i2")
    told = {"sample_rate": str(sample_rate or 8_000)} if format_ in (*BARE, "pcm") else {}
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    played_as = PLAYED_AS.get(format_, "s16le")
    with av.open(io.BytesIO(encoded), "r", format=played_as, options=told) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([np.zeros(0), *(frame.to_ndarray()[0] for frame in frames)]).astype(np.int16)


def delay_and_likeness(original: PCM, played: PCM) -> tuple[int, float]:
    """Samples by which `played` is late, and its signal-to-noise ratio in dB when put back."""
    size = 1 << (original.size + played.size).bit_length()
    spectra = np.conj(np.fft.rfft(original.astype(float), size)) * np.fft.rfft(played.astype(float), size)
    delay = int(np.fft.irfft(spectra, size)[: SAMPLE_RATE // 5].argmax())
    aligned = played[delay : delay + original.size].astype(float)
    wanted = original[: aligned.size].astype(float)
    return delay, float(10 * np.log10((wanted**2).sum() / (((wanted - aligned) ** 2).sum() + 1)))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("size", [1, 479, 480, 577, 2_048, 24_011, 240_000])
def test_what_is_played_is_as_long_as_what_was_spoken(format_: str, size: int) -> None:
    played = play(format_, encode(format_, voice(size)))
    assert abs(played.size - size) <= 0.06 * SAMPLE_RATE
    if size >= 480:
        assert np.abs(played.astype(int)).max() > 3_000


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_played_sounds_like_what_was_spoken(format_: str) -> None:
    pcm = voice(5 * SAMPLE_RATE)
    delay, likeness = delay_and_likeness(pcm, play(format_, encode(format_, pcm)))
    assert delay <= 0.03 * SAMPLE_RATE
    assert likeness > 15


@pytest.mark.parametrize(
    ("format_", "sample_rate"),
    [
        *(("mp3", rate) for rate in (8_000, 12_000, 22_050, 32_000, 44_100, 48_000)),
        *(("opus", rate) for rate in (8_000, 16_000, 48_000)),
        *(("aac", rate) for rate in (8_000, 24_000, 44_100)),
        *((format_, rate) for format_ in ("flac", "wav", "pcm") for rate in (8_000, 47_999)),
        *((format_, 16_000) for format_ in sorted(BARE)),
    ],
)
def test_at_any_rate_it_sounds_the_same_comes_in_time_and_says_its_rate(
    format_: str, sample_rate: int
) -> None:
    pcm = voice(SAMPLE_RATE)
    encoded = encode(format_, pcm, sample_rate=sample_rate)
    played = play(format_, encoded, sample_rate)
    assert abs(played.size - pcm.size) <= 0.06 * SAMPLE_RATE + 2 * 1_152 * SAMPLE_RATE / sample_rate
    delay, likeness = delay_and_likeness(pcm, played)
    slow = {"mp3": 1_152, "aac": 1_024}.get(format_, 0) * SAMPLE_RATE / sample_rate
    assert delay <= 0.01 * SAMPLE_RATE + slow
    assert likeness > 11
    if format_ not in (*BARE, "pcm"):
        with av.open(io.BytesIO(encoded), "r", format=PLAYED_AS[format_]) as container:
            # Opus is played at 48 kHz, whatever went in (RFC 7845, section 5.1).
            assert container.streams.audio[0].rate == (48_000 if format_ == "opus" else sample_rate)


@pytest.mark.parametrize("format_", ["wav", "pcm", "flac", "pcmu"])
@pytest.mark.parametrize("sample_rate", [8_000, 44_100])
@pytest.mark.parametrize("size", [1, 24_011])
def test_a_format_without_frames_is_as_long_as_the_speech_to_the_sample(
    format_: str, sample_rate: int, size: int
) -> None:
    encoded = encode(format_, voice(size), sample_rate=sample_rate)
    if format_ == "flac":
        with av.open(io.BytesIO(encoded), "r", format="flac") as container:
            samples = sum(frame.samples for frame in container.decode(audio=0))
    else:
        samples = (len(encoded) - (44 if format_ == "wav" else 0)) // (1 if format_ in BARE else 2)
    assert samples == round(size * sample_rate / SAMPLE_RATE)


@pytest.mark.parametrize(
    ("format_", "sample_rate"), [("mp3", 8_001), ("opus", 44_100), ("aac", 9_000), ("wav", 7_999)]
)
def test_a_rate_that_a_format_cannot_have_is_refused_in_words(format_: str, sample_rate: int) -> None:
    with pytest.raises(InvalidRequestError, match=r"sample rate|samples a second.*24000") as refused:
        make_encoder(format_, sample_rate=sample_rate)
    assert refused.value.param == "sample_rate"


def test_a_bit_rate_that_is_asked_for_is_kept() -> None:
    pcm = voice(2 * SAMPLE_RATE)
    for bit_rate in (32_000, 128_000):
        encoder = make_encoder("mp3", sample_rate=44_100, bit_rate=bit_rate)
        assert 4 * len(encoder.encode(pcm) + encoder.flush()) == pytest.approx(bit_rate, rel=0.05)


@pytest.mark.parametrize("format_", ["flac", "wav", "pcm"])
def test_a_lossless_format_keeps_every_sample(format_: str) -> None:
    pcm = np.random.default_rng(0).integers(-32_768, 32_768, 50_001).astype(np.int16)
    np.testing.assert_array_equal(play(format_, encode(format_, pcm)), pcm)


@pytest.mark.parametrize("format_", FORMATS)
def test_one_frame_of_the_model_is_enough_for_the_first_bytes(format_: str) -> None:
    assert make_encoder(format_).encode(voice(SAMPLES_PER_FRAME))


@pytest.mark.parametrize("format_", FORMATS)
def test_most_of_a_first_fifth_of_a_second_can_be_played_at_once(format_: str) -> None:
    sent = make_encoder(format_).encode(voice(SAMPLE_RATE // 5))
    assert play(format_, sent).size > 0.13 * SAMPLE_RATE


@pytest.mark.parametrize("format_", FORMATS)
def test_what_was_sent_so_far_can_be_played(format_: str) -> None:
    encoder = make_encoder(format_)
    sent = b"".join(encoder.encode(voice(SAMPLES_PER_FRAME)) for _ in range(12))
    encoder.close()
    assert play(format_, sent).size >= 12 * SAMPLES_PER_FRAME - 0.1 * SAMPLE_RATE


@pytest.mark.parametrize("format_", FORMATS)
def test_the_cut_into_chunks_is_not_heard(format_: str) -> None:
    pcm = voice(20_000)
    whole = play(format_, encode(format_, pcm, chunk=pcm.size))
    for chunk in (37, 1_000):
        np.testing.assert_array_equal(play(format_, encode(format_, pcm, chunk)), whole)


@pytest.mark.parametrize("format_", FORMATS)
def test_streams_side_by_side_do_not_mix(format_: str) -> None:
    voices = [voice(24_000), voice(24_000)[::-1]]
    encoders = [make_encoder(format_) for _ in voices]
    encoded = [b"", b""]
    for start in range(0, 24_000, 800):
        for i, encoder in enumerate(encoders):
            encoded[i] += encoder.encode(voices[i][start : start + 800])
    for i, encoder in enumerate(encoders):
        alone = play(format_, encode(format_, voices[i]))
        np.testing.assert_array_equal(play(format_, encoded[i] + encoder.flush()), alone)


@pytest.mark.parametrize("format_", FORMATS)
def test_pcm_may_lie_in_memory_any_way(format_: str) -> None:
    pcm = voice(48_000)[::-2]
    assert not pcm.flags.c_contiguous
    np.testing.assert_array_equal(
        play(format_, encode(format_, pcm)), play(format_, encode(format_, np.ascontiguousarray(pcm)))
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_no_pcm_makes_no_sound(format_: str) -> None:
    encoder = make_encoder(format_)
    assert len(encoder.encode(np.zeros(0, np.int16)) + encoder.flush()) == (44 if format_ == "wav" else 0)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_closed_encoder_takes_and_gives_nothing(format_: str) -> None:
    for end in ("flush", "close"):
        encoder = make_encoder(format_)
        encoder.encode(voice(5_000))
        getattr(encoder, end)()
        encoder.close()
        assert encoder.flush() == b""
        with pytest.raises(ValueError, match="closed"):
            encoder.encode(voice(5_000))


def test_a_wav_says_what_it_is_and_leaves_its_length_open() -> None:
    pcm = voice(5_000)
    encoded = encode("wav", pcm)
    assert struct.unpack_from("<I", encoded, 4) == struct.unpack_from("<I", encoded, 40) == (0xFFFF_FFFF,)
    with wave.open(io.BytesIO(encoded)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (1, 2, SAMPLE_RATE)
        assert reader.readframes(pcm.size + 1) == encoded[44:] == pcm.tobytes()


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'ogg'.*mp3, opus, aac, flac, wav, pcm, pcmu, pcma"):
        make_encoder("ogg")


def test_every_format_has_a_media_type_and_an_extension() -> None:
    assert {name: (f.name, f.media_type, f.extension) for name, f in FORMATS.items()} == {
        "mp3": ("mp3", "audio/mpeg", "mp3"),
        "opus": ("opus", "audio/ogg", "opus"),
        "aac": ("aac", "audio/aac", "aac"),
        "flac": ("flac", "audio/flac", "flac"),
        "wav": ("wav", "audio/wav", "wav"),
        "pcm": ("pcm", "audio/pcm", "pcm"),
        "pcmu": ("pcmu", "audio/pcmu", "pcmu"),
        "pcma": ("pcma", "audio/pcma", "pcma"),
    }


CLOSED_IN_USE = """
import sys, threading, time
import numpy as np
from orpheus_openai.audio.encode import make_encoder

speech = np.random.default_rng(0).integers(-9_000, 9_000, 24_000).astype(np.int16)
for turn in range(60):
    encoder = make_encoder(sys.argv[1])

    def encode():
        try:
            for _ in range(5):
                encoder.encode(speech)
        except ValueError:
            pass

    thread = threading.Thread(target=encode)
    thread.start()
    time.sleep(turn % 12 / 2_000)
    encoder.close()
    thread.join()
"""


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac"])
def test_closing_an_encoder_that_is_in_use_in_another_thread_is_safe(audio_format):
    # In a process of its own, since what used to happen is a fault that no exception tells of.
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_IN_USE, audio_format], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_encoders_and_tempo_take_no_threads_of_their_own() -> None:
    program = """
import os
import numpy as np
from orpheus_openai.audio.encode import make_encoder
from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.audio.tempo import make_tempo
threads = lambda: len(os.listdir("/proc/self/task"))
before, second = threads(), np.zeros(24_000, np.int16)
encoders, tempos = [make_encoder(name) for name in FORMATS], [make_tempo(speed) for speed in (0.25, 1.5, 4)]
for each in encoders: each.encode(second)
for each in tempos: each.process(second)
print(threads() - before)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "0\n"


def test_an_encoder_that_cannot_be_set_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    container = Mock(**{"add_stream.side_effect": ValueError("no such codec")})
    monkeypatch.setattr(av, "open", Mock(return_value=container))
    with pytest.raises(ValueError, match="no such codec"):
        make_encoder("mp3")
    container.close.assert_called_once_with()


def test_the_type_that_requests_are_checked_against_names_all_formats():
    assert get_args(AudioFormat) == tuple(FORMATS)
