"""sample_rate, pcmu and pcma at OpenAI's door, the native one, and for takes: the same speech, the right length."""

import base64
import io
import json
import wave

import av
import httpx
import pytest

TEXT = "Your call is important to us. Please hold."


@pytest.fixture(scope="module")
def client(server_url):
    with httpx.Client(base_url=server_url, timeout=60, trust_env=False) as client:
        yield client


def speak(client, path="/v1/audio/speech", **changes):
    body = {"model": "preview", "voice": "tara", "input": TEXT, "text": TEXT}
    answer = client.post(path, json={**body, **changes}, headers={"x-orpheus-keep": "true"})
    assert answer.status_code == 200, answer.text
    return answer


@pytest.fixture(scope="module")
def samples(client):
    """How many there are at 24 kHz: the preview says the same text in the same samples every time."""
    return len(speak(client, response_format="pcm").content) // 2


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/generate"])
def test_the_telephones_formats_have_one_byte_for_every_third_sample(client, samples, path):
    for law in ("pcmu", "PCMA"):
        answer = speak(client, path, response_format=law)
        assert answer.headers["content-type"] == f"audio/{law.lower()}"
        assert len(answer.content) == round(samples / 3)
    wide = speak(client, path, response_format="pcmu", sample_rate=16_000)
    assert len(wide.content) == round(samples * 2 / 3)


def test_a_container_says_the_rate_that_was_asked_for_and_lasts_as_long(client, samples):
    heard = speak(client, response_format="wav", sample_rate=16_000).content
    with wave.open(io.BytesIO(heard)) as file:
        assert file.getframerate() == 16_000
    assert (len(heard) - 44) // 2 == round(samples * 2 / 3)
    with av.open(io.BytesIO(speak(client, response_format="mp3", sample_rate=44_100).content), "r") as file:
        assert file.streams.audio[0].rate == 44_100


def test_a_saved_file_and_a_take_at_another_rate_tell_their_length(client, samples):
    answer = speak(client, "/api/generate", response_format="flac", sample_rate=8_000, save=True)
    saved = answer.json()
    assert saved["audio_seconds"] == pytest.approx(samples / 24_000, abs=0.001)
    with av.open(io.BytesIO(client.get(saved["url"]).content), "r") as file:
        assert (file.streams.audio[0].rate, file.streams.audio[0].duration) == (8_000, round(samples / 3))
    take = speak(client, response_format="pcmu").headers["x-orpheus-take"]
    for asked, size in (
        ({"format": "pcma"}, round(samples / 3)),
        ({"format": "wav", "sample_rate": 48_000}, 44 + 2 * 2 * samples),
        ({"format": "pcm"}, 2 * samples),
    ):
        again = client.get(take, params=asked)
        assert int(again.headers["content-length"]) == len(again.content) == size
    with av.open(
        io.BytesIO(client.get(take, params={"format": "flac", "sample_rate": 16_000}).content)
    ) as file:
        assert (file.streams.audio[0].rate, file.streams.audio[0].duration) == (
            16_000,
            round(samples * 2 / 3),
        )


def test_words_sound_when_they_do_at_any_rate(client):
    def words(**changes):
        answer = speak(client, stream_format="sse", timestamp_granularities=["word"], **changes)
        told = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        size = sum(len(base64.b64decode(e["audio"])) for e in told if e["type"] == "speech.audio.delta")
        return size, [w for e in told if e["type"] == "speech.audio.timestamps" for w in e["words"]]

    size, found = words(response_format="pcmu")
    assert found == words(response_format="pcm")[1]
    assert found[-1]["end"] <= size / 8_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sample_rate": 7_999}, "at least 8000"),
        ({"sample_rate": 48_001}, "at most 48000"),
        ({"sample_rate": "telephone"}, "whole number"),
        ({"sample_rate": 44_100, "response_format": "opus"}, "8000, 12000, 16000, 24000, 48000"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/generate"])
def test_a_rate_that_cannot_be_had_is_an_error_that_names_the_field(client, path, changes, words):
    body = {"model": "preview", "voice": "tara", "input": TEXT, "text": TEXT}
    answer = client.post(path, json={**body, **changes})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "sample_rate")
    assert words in answer.json()["error"]["message"]
