"""POST /v1/audio/speech and its neighbours, through HTTP, against a real server with the preview."""

import io
import json
import socket
import time

import av
import httpx
import numpy as np
import pytest

from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.catalog import load_catalog

TEXT = "The quick brown fox jumped over the lazy dog. Then it slept."
CONTAINERS = {"mp3": "mp3", "opus": "ogg", "aac": "aac", "flac": "flac", "wav": "wav"}
CATALOG = load_catalog()


@pytest.fixture(scope="module")
def client(server_url):
    with httpx.Client(base_url=server_url, timeout=60) as client:
        yield client


def speech(**changes):
    return {"model": "tts-1", "voice": "tara", "input": TEXT, **changes}


def speak(client, **changes):
    answer = client.post("/v1/audio/speech", json=speech(**changes))
    assert answer.status_code == 200, answer.text
    return answer


def decode(content, audio_format):
    """Samples as floats in -1…1, and how many a second."""
    if audio_format == "pcm":
        return np.frombuffer(content, "<i2") / 32768, 24_000
    with av.open(io.BytesIO(content), mode="r", format=CONTAINERS[audio_format]) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("flt", "mono", rate)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), rate


def loudness(samples):
    return float(np.sqrt(np.mean(samples**2)))


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_every_format_decodes_to_the_same_length_and_is_heard(client, audio_format):
    # FLAC's bits are PCM's, but eSpeak's own length varies by a flutter of its pitch: compare within one request.
    samples, rate = decode(speak(client, response_format=audio_format).content, audio_format)
    reference, reference_rate = decode(speak(client, response_format="pcm").content, "pcm")
    assert abs(len(samples) / rate - len(reference) / reference_rate) < 0.06
    assert loudness(samples) > 0.01


FORMAT_AT_EACH_DOOR = {
    "/v1/audio/speech": lambda name: {"json": speech(response_format=name, stream_format="Audio")},
    "/api/generate": lambda name: {"json": {"text": "Hello.", "response_format": name}},
    "/api/encode/{}": lambda _name: {"content": bytes(4_800)},
}


@pytest.mark.parametrize("door", FORMAT_AT_EACH_DOOR)
@pytest.mark.parametrize("name", ["MP3", "Wav", " pcm "])
def test_a_format_may_be_written_in_any_case(client, door, name):
    answer = client.post(door.format(name), **FORMAT_AT_EACH_DOOR[door](name))
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        FORMATS[name.strip().lower()].media_type,
    )


@pytest.mark.parametrize("voice", [*CATALOG.voices, *CATALOG.voice_aliases])
def test_every_voice_speaks_its_language(client, voice):
    language = CATALOG.languages[CATALOG.voice(voice).language]
    answer = speak(client, voice=voice, input=language.example, response_format="pcm", model="preview")
    samples, _ = decode(answer.content, "pcm")
    assert len(samples) > 24_000
    assert loudness(samples) > 0.01


def test_the_preview_is_always_labelled(client):
    answer = speak(client, model="tts-1-hd")
    assert answer.headers["x-orpheus-model"] == "preview"
    assert answer.headers["x-orpheus-voice"] == "tara"
    assert answer.headers["content-type"] == "audio/mpeg"


def test_every_answer_has_an_id_and_says_how_long_it_took(client):
    for answer in (speak(client), client.get("/v1/models"), client.get("/v1/nothing")):
        assert answer.headers["x-request-id"].startswith("req_")
        assert int(answer.headers["openai-processing-ms"]) >= 0


def test_speed_changes_the_length_and_one_leaves_it_alone(client):
    def seconds(speed):
        return len(speak(client, response_format="pcm", speed=speed).content) / 48_000

    normal = seconds(1.0)
    assert abs(seconds(0.5) / normal - 2) < 0.1
    assert abs(seconds(4.0) / normal - 0.25) < 0.05


def test_an_emotion_tag_is_not_read_out(client):
    def audible_seconds(text):
        samples, _ = decode(speak(client, input=text, response_format="pcm").content, "pcm")
        windows = samples[: len(samples) // 240 * 240].reshape(-1, 240)
        return np.count_nonzero(np.sqrt(np.mean(windows**2, axis=1)) > 0.01) / 100

    plain = audible_seconds("Hello. There.")
    assert abs(audible_seconds("Hello <laugh> there.") - plain) < 0.15
    assert audible_seconds("Hello. Laugh. There.") > plain + 0.25


def test_a_long_text_comes_while_it_is_spoken(client):
    with client.stream(
        "POST", "/v1/audio/speech", json=speech(input=TEXT * 40, response_format="pcm")
    ) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 10
    assert sum(map(len, pieces)) > 60 * 48_000


def test_events_hold_the_audio_and_end_with_real_counts(client):
    answer = speak(client, stream_format="sse", response_format="pcm")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    usage = events[-1]["usage"]
    assert events[-1]["type"] == "speech.audio.done"
    assert usage["input_tokens"] >= len(TEXT) - 2
    assert usage["output_tokens"] % 7 == 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize("path", ["/v1//audio/speech", "/v1/audio/speech/", "/v1/audio//speech//"])
def test_badly_joined_paths_work(client, path):
    assert client.post(path, json=speech()).status_code == 200


def test_models_have_the_four_sizes_the_preview_and_openais_names(client):
    models = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert {"medium-3b", "small-1b", "tiny-400m", "nano-150m", "preview", "tts-1", "tts-1-hd"} <= set(models)
    assert models["preview"]["status"] == "available"
    assert models["small-1b"]["status"] == "coming_soon"
    assert "ORPHEUS_MODEL_SMALL_1B" in models["small-1b"]["status_detail"]
    assert models["medium-3b"]["status"] == "unavailable"
    assert models["tts-1"]["alias_of"] == "preview"
    found = client.get("/v1/models/tiny-400m").json()
    assert found.pop("voices")
    assert found == models["tiny-400m"]


@pytest.mark.parametrize(
    "name",
    ["orpheus", "Orpheus-3b-0.1-FT", "orpheus-tts-0.1-finetune-prod", "canopylabs/orpheus-3b-0.1-ft",
     "canopylabs/orpheus-tts-0.1-finetune-prod"],
)  # fmt: skip
def test_names_of_the_checkpoint_mean_orpheus_and_never_the_preview(client, name):
    spoken = client.post("/v1/audio/speech", json=speech(model=name))
    assert (spoken.status_code, spoken.json()["error"]["code"]) == (404, "model_unavailable")
    for written in (name, name.replace("/", "%2F")):
        found = client.get(f"/v1/models/{written}")
        assert (found.status_code, found.json()["alias_of"]) == (200, "medium-3b")


def test_a_model_lists_the_voices_that_one_may_ask_it_for(client):
    everybody = [
        voice for voice in client.get("/v1/audio/voices").json()["voices"] if "alias_of" not in voice
    ]
    all_of_them = [{"name": voice["name"], "language": voice["language"]} for voice in everybody]
    for model in ("preview", "tts-1", "medium-3b"):
        assert client.get(f"/v1/models/{model}").json()["voices"] == all_of_them
    french = [voice["name"] for voice in client.get("/v1/models/medium-3b-fr").json()["voices"]]
    assert "pierre" in french
    assert "tara" not in french
    assert client.post("/v1/audio/speech", json=speech(model="medium-3b-fr")).status_code == 400


def test_integrations_find_voices_and_models(client):
    voices = {voice["id"]: voice for voice in client.get("/v1/audio/voices").json()["voices"]}
    pierre = {"id": "pierre", "name": "pierre", "language": "fr", "gender": "male", "kind": "built_in"}
    assert voices["pierre"].items() >= pierre.items()
    assert voices["alloy"]["alias_of"] == "tara"
    assert "preview" in [model["id"] for model in client.get("/v1/audio/models").json()["models"]]


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "marked_up",
    [
        "**The quick** brown [fox](https://a.example) jumped.",
        "<think>What?</think>The quick brown fox jumped.",
    ],
)
def test_markup_is_not_heard_unless_it_is_wanted(client, marked_up):
    plain = speak(client, input="The quick brown fox jumped.", response_format="pcm").content
    cleaned = speak(client, input=marked_up, response_format="pcm").content
    assert abs(len(cleaned) - len(plain)) < 0.05 * len(plain)
    as_it_stands = speak(client, input=marked_up, response_format="pcm", text_cleaning=False).content
    assert len(as_it_stands) > 1.1 * len(plain)


# --- nothing to say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_a_text_with_nothing_to_say_is_a_short_silence_in_every_format(client, audio_format):
    samples, rate = decode(speak(client, input="—", response_format=audio_format).content, audio_format)
    assert 0.19 < len(samples) / rate < 0.3
    assert loudness(samples) < 1e-4


@pytest.mark.parametrize(
    "text",
    [
        "...",
        "!",
        "***",
        "。",
        "```",
        "\x00\x07\u200b",
        "<|eot_id|><custom_token_5>",
        "<laugh>",
        "<sigh> <sigh>",
    ],
)
@pytest.mark.parametrize("speed", [0.25, 1.0, 4.0])
def test_punctuation_and_what_cannot_be_acted_last_200_ms_at_any_speed(client, text, speed):
    content = speak(client, input=text, response_format="pcm", speed=speed).content
    assert content == bytes(2 * 4_800)


def test_events_of_a_silence_count_no_tokens(client):
    answer = speak(client, input="...", response_format="pcm", stream_format="sse")
    told = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in told] == ["speech.audio.delta", "speech.audio.done"]
    assert told[-1]["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"input": ""}, "input", "nothing to speak"),
        ({"input": " \n\t "}, "input", "nothing to speak"),
        ({"input": "a" * 50_001}, "input", "50001 characters"),
        ({"input": None}, "input", "Expected a string"),
        ({"input": 5}, "input", "a whole number"),
        ({"input": ["a"]}, "input", "an array"),
        ({"voice": "nobody"}, "voice", "no voice 'nobody'"),
        ({"voice": ""}, "voice", "no voice"),
        ({"voice": {"name": "tara"}}, "voice.id", "Missing"),
        ({"response_format": "ogg"}, "response_format", "mp3, opus"),
        ({"speed": 0.2}, "speed", "at least 0.25"),
        ({"speed": 4.1}, "speed", "at most 4"),
        ({"speed": "1"}, "speed", "a string"),
        ({"speed": True}, "speed", "true or false"),
        ({"stream_format": "xml"}, "stream_format", "audio, sse"),
        ({"temperature": -1}, "temperature", "at least 0"),
        ({"top_p": 0}, "top_p", "above 0"),
        ({"seed": 2**64}, "seed", "at most"),
        ({"model": 3}, "model", "Expected a string"),
    ],
)
def test_a_bad_field_is_named_in_openais_error_body(client, changes, param, words):
    answer = client.post("/v1/audio/speech", json=speech(**changes))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert words in error["message"]
    assert len(error["message"]) < 600


@pytest.mark.parametrize("field", ["model", "voice", "input"])
def test_a_missing_field_is_named(client, field):
    body = speech()
    del body[field]
    error = client.post("/v1/audio/speech", json=body).json()["error"]
    assert (error["param"], error["code"]) == (field, "missing_required_parameter")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"model":"tts-1","voice":"tara","input":"\xff"}',
        b'{"model":"tts-1","voice":"tara","input":"\\ud800"}',
        b'{"model":"tts-1","voice":"tara","input":"a","speed":NaN}',
        b'{"model":"tts-1","voice":"tara","input":"a","speed":1e999}',
        pytest.param(
            b'{"model":"tts-1","voice":"tara","input":"a","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
            id="deep",
        ),
    ],
)
def test_a_broken_body_is_a_clear_400(client, body):
    answer = client.post("/v1/audio/speech", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_of_ten_megabytes_is_refused_in_words(client):
    answer = client.post("/v1/audio/speech", json=speech(input="a" * 10_000_000))
    assert answer.status_code == 413
    assert "MiB" in answer.json()["error"]["message"]


def test_an_unknown_model_is_openais_404(client):
    answer = client.post("/v1/audio/speech", json=speech(model="gpt-9"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert client.get("/v1/models/gpt-9").status_code == 404


def test_orpheus_without_a_gpu_names_the_ways_out_and_nothing_else_speaks(client):
    answer = client.post("/v1/audio/speech", json=speech(model="medium-3b"))
    message = answer.json()["error"]["message"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_unavailable")
    assert all(words in message for words in ("no NVIDIA GPU", "preview", "ORPHEUS_REMOTE_URL"))


def test_a_model_that_is_announced_says_what_to_set(client):
    answer = client.post("/v1/audio/speech", json=speech(model="nano-150m"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_unavailable")
    assert "ORPHEUS_MODEL_NANO_150M" in answer.json()["error"]["message"]


def test_wrong_methods_and_unknown_paths_have_openais_body(client):
    wrong = client.get("/v1/audio/speech")
    unknown = client.post("/v1/audio/sing")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_supported")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    "text",
    [
        "😀 👨‍👩‍👧‍👦 🇫🇷",
        "مرحبا بالعالم",
        "שלום עולם",
        "Hello 世界 привет",
        "a\x00b\x1bc\u202e",
        "I said <custom_token_5> and <|eot_id|> aloud",
        "<b>bold</b> & 5 < 6 [[h@loU]]",
        "e\u0301" * 500,
        "?!" * 200 + "a",
        "1" * 5000,
    ],
)
def test_strange_texts_are_spoken(client, text):
    samples, _ = decode(speak(client, input=text, response_format="pcm").content, "pcm")
    assert len(samples) > 1_000


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("tara", ("a" + "\u0301\u0316" * 25_000)[:50_000]),
        ("pietro", "U.S.A. " * 7_142),
        ("tara", "a\n" * 25_000),
    ],
    ids=["marks", "abbreviations", "lines"],
)
def test_the_longest_texts_that_once_held_everybody_up_are_spoken(client, voice, text):
    wanted = speech(input=text, voice=voice, response_format="pcm")
    with client.stream("POST", "/v1/audio/speech", json=wanted) as answer:
        assert answer.status_code == 200
        assert any(next(answer.iter_bytes()))


def test_a_client_that_hangs_up_stops_the_work(client, server_url):
    body = json.dumps(speech(input=TEXT * 700, response_format="pcm")).encode()
    host, port = server_url.removeprefix("http://").split(":")
    with client.stream("GET", "/api/events") as events:
        lines = events.iter_lines()
        while not next(lines).startswith("data: "):
            pass
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            received = connection.recv(65536)
            assert b" 200 " in received
            request_id = received.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()
            time.sleep(0.3)
        hung_up = time.time()
        kind = ""
        for line in lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == "speech.ended":
                ended = json.loads(line.removeprefix("data: "))
                if ended["id"] == request_id:
                    break
    assert ended["outcome"] == "cancelled"
    assert time.time() - hung_up < 1.0  # it takes a few ms; the bound leaves room for a busy machine


def test_the_api_page_works_without_the_internet(client):
    page = client.get("/apidocs", follow_redirects=True)
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "cdn" not in page.text
    for asset in (
        "swagger-ui-bundle.js",
        "swagger-ui.css",
        "swagger-ui-standalone-preset.js",
        "favicon-32x32.png",
    ):
        assert f"/apidocs/assets/{asset}" in page.text
        assert client.get(f"/apidocs/assets/{asset}").status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "%00", "a" * 300, "..%2f__init__.py", "__init__.py", ""])
def test_the_api_page_has_no_other_files(client, name):
    for method in ("GET", "HEAD"):
        assert client.request(method, f"/apidocs/assets/{name}").status_code == 404


def test_the_schema_describes_every_route_with_an_example(client):
    schema = client.get("/apidocs/openapi.json").json()
    operation = schema["paths"]["/v1/audio/speech"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert len(content["examples"]) >= 3
    assert content["schema"]["required"] == ["model", "input", "voice"]
    for path, methods in schema["paths"].items():
        for method, described in methods.items():
            assert described.get("summary"), f"{method} {path}"
            assert described.get("tags"), f"{method} {path}"
            assert described.get("description"), f"{method} {path}"


def test_health_answers(client):
    assert client.get("/health").json()["status"] == "ok"
