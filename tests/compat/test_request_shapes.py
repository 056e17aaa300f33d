"""What programs send, as recorded or as their source has it: headers, odd fields, and the order of their calls."""

import http.client
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.settings import Settings
from tests.support.local_server import running

pytest.importorskip("espeakng_loader")

DOCS = Path(__file__).parents[2] / "docs"
KEY = "sk-mine-4711"
BEARER = {"authorization": f"Bearer {KEY}"}
STAINLESS = {
    "x-stainless-lang": "python",
    "x-stainless-async": "async:asyncio",
    "x-stainless-raw-response": "stream",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "6000.0",
    "accept": "application/octet-stream",
}
NODE = {"accept": "*/*", "accept-language": "*", "sec-fetch-mode": "cors", "accept-encoding": "gzip, deflate"}
AIOHTTP = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate, br",
    "user-agent": "Python/3.11 aiohttp/3.14.5",
}
N8N = {"user-agent": "n8n", "accept-encoding": "gzip, compress, deflate, br", "connection": "close"}
SPEECHES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "openai-python": ({**BEARER, **STAINLESS}, {"voice": "alloy"}),
    "openai-node": ({**BEARER, **NODE, "accept": "application/octet-stream"}, {"voice": "tara"}),
    "openai-node-sse": (
        {**BEARER, **NODE},
        {"voice": "coral", "stream_format": "sse", "response_format": "pcm", "instructions": "Cheerful."},
    ),
    "open-webui": (
        {**BEARER, **AIOHTTP, "x-openwebui-user-name": "Ann%20B", "x-openwebui-user-role": "user"},
        {"voice": "tara", "chat_id": "c-1", "message_id": None},
    ),
    "wyoming-openai": ({**BEARER, **STAINLESS}, {"voice": "alloy", "response_format": "wav"}),
    "livekit": (
        {**BEARER, **STAINLESS},
        {"voice": "tara", "response_format": "mp3", "speed": 1.0, "stream_format": "audio"},
    ),
    "pipecat": ({**BEARER, **STAINLESS}, {"voice": "nova", "response_format": "pcm"}),
    "litellm": ({**BEARER, **STAINLESS}, {"voice": "alloy", "response_format": "wav", "speed": 1.2}),
    "litellm-pass-through": ({**BEARER, "user-agent": "litellm/1.108.7"}, {"voice": "tara"}),
    "vercel": ({**BEARER, **NODE}, {"voice": "tara", "response_format": "mp3"}),
    "sillytavern": ({**BEARER, **NODE}, {"voice": "tara", "response_format": "mp3", "speed": 1}),
    "n8n": (
        {**BEARER, **N8N, "accept": "*/*", "openai-organization": ""},
        {"voice": "nova", "response_format": "opus", "speed": 1.1},
    ),
    "n8n-http": (
        {
            **BEARER,
            **N8N,
            "accept": "application/json,text/html,application/xhtml+xml,text/*;q=0.9, */*;q=0.7",
        },
        {"voice": "tara"},
    ),
    "anthropic-like": ({"x-api-key": KEY, "anthropic-version": "2023-06-01"}, {"voice": "tara"}),
    "azure-like": ({"api-key": KEY}, {"voice": "tara", "response_format": "MP3"}),
}
"""The headers of each, and what its body holds beside model and input."""

AGENT_SENTENCES = ["The lights are on.", "—", " — *** And the door is locked.", "...", "```", "。"]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    with running(create_app(Settings(model="preview", api_keys=(KEY,), output_dir=outputs))) as url:
        yield url


def ask(url, method, path, headers, **more):
    return httpx.request(method, url + path, headers=headers, timeout=60, **more)


def say(url, program, text="Hello there.", path="/v1/audio/speech"):
    headers, fields = SPEECHES[program]
    return ask(url, "POST", path, headers, json={"model": "tts-1", "input": text, **fields})


@pytest.mark.parametrize("program", SPEECHES)
def test_what_a_program_sends_is_spoken(url, program):
    answer = say(url, program)
    assert answer.status_code == 200, answer.text
    assert len(answer.content) > 4_000
    fields = SPEECHES[program][1]
    is_sse = fields.get("stream_format") == "sse"
    assert answer.headers["content-type"].startswith("text/event-stream" if is_sse else "audio/")


@pytest.mark.parametrize("program", ["livekit", "pipecat", "wyoming-openai"])
def test_sentences_of_an_agent_are_all_answered_with_audio(url, program):
    for sentence in AGENT_SENTENCES:
        answer = say(url, program, sentence)
        assert (answer.status_code, bool(answer.content)) == (200, True), sentence


def test_open_webui_lists_without_its_key_and_then_speaks_with_it(url):
    models = ask(url, "GET", "/v1/audio/models", {}).json()["models"]
    voices = ask(url, "GET", "/v1/audio/voices", {}).json()["voices"]
    assert {"id", "name"} <= models[0].keys()
    assert {"id": "tara", "name": "tara"}.items() <= voices[0].items()
    assert say(url, "open-webui", path="/v1//audio/speech").status_code == 200


def test_home_assistants_bridge_finds_all_voices_and_speaks_a_text_in_pieces(url):
    listed = ask(url, "GET", "/v1/audio/voices", {}).json()["voices"]
    assert {"tara", "长乐", "alloy"} <= {voice["name"] for voice in listed}
    for sentence in AGENT_SENTENCES[:3]:
        assert say(url, "wyoming-openai", sentence).content.startswith(b"RIFF")


def test_home_assistants_bridge_asks_which_server_it_is_and_takes_no_harm(url):
    for path in ("/v1/readyz", "/v1/test", "/v1/audio/speech/voices?model_id=tts-1"):
        assert ask(url, "GET", path, {}).status_code == 401
        assert ask(url, "GET", path, BEARER).status_code == 404
    assert ask(url, "GET", "/v1/models/tts-1", BEARER).json()["voices"][0] == {
        "name": "tara",
        "language": "en",
    }


@pytest.fixture(scope="module")
def remapped(tmp_path_factory):
    """A server without keys, with the catalog that docs/integrations.md gives."""
    folder = tmp_path_factory.mktemp("remapped")
    page = (DOCS / "integrations.md").read_text(encoding="utf-8")
    (catalog,) = re.findall(r"^```toml\n(# voices.toml\n.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    (folder / "voices.toml").write_text(catalog, encoding="utf-8")
    settings = Settings(model="preview", output_dir=folder, catalog=folder / "voices.toml")
    with running(create_app(settings)) as url:
        yield url


def test_a_remapped_voice_answers_to_openais_name(remapped):
    assert say(remapped, "pipecat").headers["x-orpheus-voice"] == "zoe"


def test_sillytavern_sends_an_empty_key_where_it_has_none_and_is_heard_where_none_is_asked_for(remapped):
    headers, fields = SPEECHES["sillytavern"]
    connection = http.client.HTTPConnection(httpx.URL(remapped).netloc.decode(), timeout=60)
    body = json.dumps({"model": "tts-1", "input": "Hello.", **fields})
    empty = {**headers, "authorization": "Bearer ", "content-type": "application/json"}
    connection.request("POST", "/v1/audio/speech", body, empty)
    assert connection.getresponse().status == 200
    connection.close()
