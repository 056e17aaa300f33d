"""POST /api/generate with captions: files beside the speech, for whom that is, as long as it is there."""

import httpx
import pytest

TEXT = "The quick brown fox jumped over the lazy dog. <laugh> Then it slept."


@pytest.fixture(scope="module")
def client(server_url):
    with httpx.Client(base_url=server_url, timeout=60) as client:
        yield client


def saved(client, **changes):
    body = {"model": "preview", "text": TEXT, "save": True, "captions": ["SRT", "vtt", "Json "]}
    answer = client.post("/api/generate", json={**body, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_captions_lie_beside_the_speech_and_tell_its_words(client):
    found = saved(client)
    stem = found["file"].removesuffix(".wav")
    assert found["captions"] == {each: f"/api/files/{stem}.{each}" for each in ("srt", "vtt", "json")}
    subrip = client.get(found["captions"]["srt"])
    assert subrip.headers["content-type"].startswith("application/x-subrip")
    assert subrip.text.startswith("1\n00:00:00,000 --> ")
    assert "[laugh]" in subrip.text
    webvtt = client.get(found["captions"]["vtt"])
    assert webvtt.headers["content-type"].startswith("text/vtt")
    assert webvtt.text.startswith("WEBVTT\n")
    told = client.get(found["captions"]["json"]).json()
    assert [w["word"] for s in told["segments"] for w in s["words"]][-3:] == ["Then", "it", "slept"]
    assert told["duration"] == found["audio_seconds"]
    assert told["text"] == TEXT


def test_one_format_can_be_named_alone_and_none_is_the_default(client):
    assert list(saved(client, captions="vtt")["captions"]) == ["vtt"]
    assert saved(client, captions=None)["captions"] == {}


def test_captions_are_not_listed_as_speech_and_go_with_it(client):
    found = saved(client)
    names = [file["name"] for file in client.get("/api/files").json()["files"]]
    assert found["file"] in names
    assert not any(name.endswith((".srt", ".vtt", ".json")) for name in names)
    assert client.delete(found["url"]).status_code == 204
    assert {client.get(url).status_code for url in found["captions"].values()} == {404}


def test_captions_need_a_file_to_lie_beside(client):
    answer = client.post("/api/generate", json={"model": "preview", "text": TEXT, "captions": "srt"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "save"
    answer = client.post(
        "/api/generate", json={"model": "preview", "text": TEXT, "save": True, "captions": "ass"}
    )
    assert answer.status_code == 400
