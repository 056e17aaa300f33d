"""POST /v1/audio/speech with timestamp_granularities: words and segments between the pieces of audio."""

import base64
import json

import httpx
import pytest

from orpheus_openai.audio import SAMPLE_RATE

TEXT = "The quick brown fox jumped over the lazy dog.\n\nThen it slept for $5."
WORDS = "The quick brown fox jumped over the lazy dog Then it slept for $5".split()


@pytest.fixture(scope="module")
def client(server_url):
    with httpx.Client(base_url=server_url, timeout=60) as client:
        yield client


def events(client, **changes):
    body = {
        "model": "preview",
        "voice": "tara",
        "input": TEXT,
        "response_format": "pcm",
        "stream_format": "sse",
    }
    answer = client.post("/v1/audio/speech", json={**body, **changes})
    assert answer.status_code == 200, answer.text
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def timestamps(found):
    return [event for event in found if event["type"] == "speech.audio.timestamps"]


def test_words_come_with_their_times_and_places_before_the_end(client):
    found = events(client, timestamp_granularities=["word"])
    assert found[-1]["type"] == "speech.audio.done"
    words = [word for event in timestamps(found) for word in event["words"]]
    assert [word["word"] for word in words] == WORDS
    assert all(TEXT[slice(*word["span"])] == word["word"] for word in words)
    audio = b"".join(base64.b64decode(e["audio"]) for e in found if e["type"] == "speech.audio.delta")
    edges = [edge for word in words for edge in (word["start"], word["end"])]
    assert edges == sorted(edges)
    assert 0 <= edges[0] < edges[-1] <= len(audio) / 2 / SAMPLE_RATE
    assert all(event["timing"] == "exact" and "segments" not in event for event in timestamps(found))


def test_the_first_segments_words_come_before_the_last_audio(client):
    long = "\n\n".join(f"This is paragraph number {n}, and it is spoken like all others." for n in range(12))
    kinds = [event["type"] for event in events(client, input=long, timestamp_granularities=["word"])]
    last_audio = len(kinds) - 1 - kinds[::-1].index("speech.audio.delta")
    assert kinds.index("speech.audio.timestamps") < last_audio


def test_segments_come_where_they_are_asked_for(client):
    found = timestamps(events(client, timestamp_granularities=["segment"]))
    segments = [segment for event in found for segment in event["segments"]]
    assert [TEXT[slice(*segment["span"])] for segment in segments] == TEXT.split("\n\n")
    assert all("words" not in event for event in found)
    both = timestamps(events(client, timestamp_granularities=["word", "segment"]))
    assert all(event["words"] and event["segments"] for event in both)


def test_without_being_asked_nobody_is_told(client):
    for nothing in ({}, {"timestamp_granularities": None}, {"timestamp_granularities": []}):
        assert not timestamps(events(client, **nothing))


@pytest.mark.parametrize(
    "bad",
    [
        {"timestamp_granularities": ["letter"]},
        {"timestamp_granularities": ["word"], "stream_format": "audio"},
    ],
)
def test_what_cannot_be_told_is_an_error_that_names_the_field(client, bad):
    body = {"model": "preview", "voice": "tara", "input": TEXT, "stream_format": "sse"}
    answer = client.post("/v1/audio/speech", json={**body, **bad})
    assert answer.status_code == 400
    assert "timestamp_granularities" in answer.json()["error"]["message"]
