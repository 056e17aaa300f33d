"""ElevenLabs' HTTP API, asked by its official SDK as it is, and by hand."""

import base64
import io
import json

import av
import httpx
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.settings import Settings
from tests.support.in_process import asking

elevenlabs = pytest.importorskip("elevenlabs")
from elevenlabs.client import ElevenLabs  # noqa: E402
from elevenlabs.core.api_error import ApiError  # noqa: E402

TEXT = "The quick brown fox jumped over the lazy dog. <laugh>\n\nThen it slept for $5."


@pytest.fixture(scope="module")
def sdk(server_url):
    return ElevenLabs(base_url=server_url, api_key="none")


@pytest.fixture(scope="module")
def client(server_url):
    with httpx.Client(base_url=server_url, timeout=60, trust_env=False) as client:
        yield client


def rate_and_seconds(mp3):
    with av.open(io.BytesIO(mp3), "r") as file:
        return file.streams.audio[0].rate, sum(f.samples / f.sample_rate for f in file.decode(audio=0))


def test_the_sdk_lists_and_finds_voices(sdk):
    voices = sdk.voices.get_all().voices
    assert {"tara", "pierre", "长乐"} <= {voice.voice_id for voice in voices}
    assert voices[0].labels == {"language": "en", "gender": "female"}
    assert {voice.voice_id for voice in sdk.voices.search(search="fr").voices} >= {
        "pierre",
        "amelie",
        "marie",
    }
    assert sdk.voices.get("alloy").voice_id == "tara"


def test_the_sdk_speaks_and_streams_in_elevenlabs_formats(sdk):
    asked = {"text": TEXT, "model_id": "eleven_multilingual_v2"}
    rate, seconds = rate_and_seconds(b"".join(sdk.text_to_speech.convert("tara", **asked)))
    assert rate == 44_100
    pcm = b"".join(sdk.text_to_speech.stream("tara", **asked, output_format="pcm_16000"))
    assert len(pcm) / 32_000 == pytest.approx(seconds, abs=0.1)
    ulaw = b"".join(sdk.text_to_speech.stream("tara", **asked, output_format="ulaw_8000"))
    assert len(ulaw) == round(len(pcm) / 4)


def test_its_speed_is_ours_and_its_other_settings_do_no_harm(sdk):
    def size(**settings):
        asked = {
            "text": TEXT,
            "output_format": "pcm_8000",
            "voice_settings": elevenlabs.VoiceSettings(**settings),
        }
        return len(
            b"".join(
                sdk.text_to_speech.convert(
                    "tara", **asked, seed=7, previous_text="Before.", language_code="en"
                )
            )
        )

    plain = size(stability=0.3, similarity_boost=0.2, style=0.1, use_speaker_boost=True)
    assert size(speed=2.0) == pytest.approx(plain / 2, rel=0.01)


def test_the_sdk_hears_when_each_character_sounds(sdk):
    whole = sdk.text_to_speech.convert_with_timestamps("tara", text=TEXT, output_format="pcm_16000")
    lines = list(sdk.text_to_speech.stream_with_timestamps("tara", text=TEXT, output_format="pcm_16000"))
    audio = base64.b64decode(whole.audio_base_64)
    assert b"".join(base64.b64decode(line.audio_base_64) for line in lines) == audio
    streamed = [line.alignment for line in lines if line.alignment]
    for name in ("characters", "character_start_times_seconds", "character_end_times_seconds"):
        assert [value for each in streamed for value in getattr(each, name)] == getattr(whole.alignment, name)
    assert "".join(whole.alignment.characters) == TEXT
    starts, ends = whole.alignment.character_start_times_seconds, whole.alignment.character_end_times_seconds
    assert starts == sorted(starts)
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    assert ends[-1] == pytest.approx(len(audio) / 32_000, abs=0.3)  # a silence follows the last word
    assert whole.normalized_alignment == whole.alignment


def test_characters_sound_within_their_words(client):
    told = client.post("/v1/text-to-speech/tara/with-timestamps", json={"text": TEXT}).json()["alignment"]
    asked = {
        "model": "preview",
        "voice": "tara",
        "input": TEXT,
        "stream_format": "sse",
        "timestamp_granularities": ["word"],
    }
    lines = client.post("/v1/audio/speech", json=asked).text.splitlines()
    found = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    words = [word for event in found if event["type"] == "speech.audio.timestamps" for word in event["words"]]
    for word in words:
        first, last = word["span"]
        assert told["character_start_times_seconds"][first] == pytest.approx(word["start"], abs=0.0001)
        assert told["character_end_times_seconds"][last - 1] == pytest.approx(word["end"], abs=0.0001)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"voice_id": "21m00Tcm4TlvDq8ikWAM"}, (404, "voice_not_found", "voice_id")),
        ({"output_format": "midi"}, (400, "invalid_output_format", "output_format")),
        ({"model_id": "nothing"}, (404, "model_not_found", "model_id")),
        ({"text": " "}, (400, "empty_input", "text")),
        ({"voice_settings": {"speed": 9}}, (400, "invalid_value", "voice_settings.speed")),
    ],
)
@pytest.mark.parametrize("how", ["convert", "stream", "stream_with_timestamps"])
def test_an_error_has_elevenlabs_form_and_reaches_the_sdks_exception(sdk, how, asked, expected):
    with pytest.raises(ApiError) as refused:
        list(getattr(sdk.text_to_speech, how)(**{"voice_id": "tara", "text": "Hello.", **asked}))
    detail = refused.value.body["detail"]
    assert (refused.value.status_code, detail["status"], detail["param"]) == expected
    assert detail["message"]


async def test_its_list_of_models_is_for_those_who_bring_their_key_as_its_clients_do():
    async with asking(create_app(Settings(model="preview", api_keys=("sk-1",)))) as client:
        theirs = (await client.get("/v1/models", headers={"xi-api-key": "sk-1"})).json()
        assert {"preview", "eleven_multilingual_v2"} <= {model["model_id"] for model in theirs}
        assert all(model["can_do_text_to_speech"] for model in theirs)
        for headers in ({"authorization": "Bearer sk-1"}, {"x-api-key": "sk-1"},
                        {"authorization": "Bearer sk-1", "xi-api-key": "sk-1"}):  # fmt: skip
            assert (await client.get("/v1/models", headers=headers)).json()["object"] == "list"


@pytest.mark.parametrize(
    "path", ["/v1/text-to-speech/tara", "/v1//text-to-speech/tara/stream/", "/v1/voices", "/v2/voices"]
)
async def test_a_key_is_asked_for_in_elevenlabs_form(path):
    async with asking(create_app(Settings(model="preview", api_keys=("sk-1",)))) as client:
        for headers in ({}, {"xi-api-key": "sk-2"}):
            answer = await client.request("POST" if "speech" in path else "GET", path, headers=headers)
            assert (answer.status_code, answer.json()["detail"]["status"]) == (401, "invalid_api_key")
        answer = await client.get("/v1/audio/speech")
        assert answer.json()["error"]["code"] == "invalid_api_key"
