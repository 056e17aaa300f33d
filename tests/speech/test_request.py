"""What a request may ask for is said once, and judged alike whichever door it comes through."""

import asyncio
import contextlib
import json

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError
from websockets.exceptions import ConnectionClosed

from orpheus_openai import OrpheusModel
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.speech.request import Tuning, speech_request
from tests.support.socket_client import PCM, Talk

pytest.importorskip("espeakng_loader")

DOORS = ["compat", "native", "mcp", "python", "socket"]


@pytest.fixture(scope="module")
def model():
    with OrpheusModel("preview") as model:
        yield model


@pytest.fixture
def ask(server_url, model):
    """Ask through a door; what it says of a request that it does not take, None where it speaks."""

    async def ask(door, **fields):
        if door == "python":
            try:
                return None if list(model.generate_speech("Hi.", **fields)) else "nothing"
            except InvalidRequestError as error:
                return error.message
        if door == "mcp":
            async with Client(StreamableHttpTransport(f"{server_url}/mcp")) as client:
                try:
                    await client.call_tool("generate_speech", {"text": "Hi.", **fields})
                except ToolError as error:
                    return str(error)
                return None
        if door == "socket":
            return await asyncio.to_thread(_ask_socket, server_url, fields)
        body = {"model": "tts-1", "voice": "tara", "input": "Hi.", "text": "Hi.", **fields}
        path = {"compat": "/v1/audio/speech", "native": "/api/generate"}[door]
        async with httpx.AsyncClient(base_url=server_url, timeout=60) as client:
            answer = await client.post(path, json=body)
        return None if answer.status_code == 200 else answer.json()["error"]["message"]

    return ask


def _ask_socket(url, fields):
    with Talk(url) as talk:
        talk.send("session.config", **PCM, **fields)
        with contextlib.suppress(ConnectionClosed):  # it closes the socket behind a refusal
            talk.say("Hi.")
        while (message := talk.receive()) and (
            isinstance(message, bytes) or message["type"] != "session.done"
        ):
            if not isinstance(message, bytes) and message["type"] == "error":
                return message["message"]
        return None


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": 2**70}, "Invalid value for 'seed': Expected a whole number of at most 9223372036854775807."),
        ({"seed": -2}, "Invalid value for 'seed': Expected a whole number of at least -1."),
        ({"speed": 4.5}, "Invalid value for 'speed': Expected a number of at most 4.0."),
        ({"speed": 0.2}, "Invalid value for 'speed': Expected a number of at least 0.25."),
        ({"top_p": 0}, "Invalid value for 'top_p': Expected a number above 0.0."),
        ({"temperature": 2.1}, "Invalid value for 'temperature': Expected a number of at most 2.0."),
        ({"repetition_penalty": 0.9}, "Invalid value for 'repetition_penalty': Expected a number of at least 1.0."),
        ({"max_tokens": 6}, "Invalid value for 'max_tokens': Expected a whole number of at least 7."),
    ],
)  # fmt: skip
async def test_a_value_out_of_its_range_is_refused_in_the_same_words_at_every_door(ask, door, fields, words):
    assert await ask(door, **fields) == words


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "fields", [{"seed": -1}, {"seed": -1.0}, {"seed": 5.0}, {"seed": 2**63 - 1}, {"max_tokens": 700.0}, {"speed": 1}]
)  # fmt: skip
async def test_what_clients_send_for_a_whole_number_or_for_no_seed_is_taken_at_every_door(ask, door, fields):
    assert await ask(door, **fields) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": 2**70}, "Expected a whole number of at most 9223372036854775807."),
        ({"voice_settings": {"speed": 4.5}}, "Expected a number of at most 4.0."),
        ({"seed": -1, "voice_settings": {"speed": 0.25}}, None),
        ({"seed": 5.0}, None),
    ],
)
def test_elevenlabs_fields_have_the_same_limits(server_url, fields, words):
    answer = httpx.post(f"{server_url}/v1/text-to-speech/tara", json={"text": "Hi.", **fields}, timeout=60)
    assert answer.status_code == (400 if words else 200)
    if words:
        assert answer.json()["detail"]["message"].endswith(words)


@pytest.mark.parametrize("door", ["compat", "native", "python"])
@pytest.mark.parametrize("value", [5.5, True, "5"])
async def test_what_is_no_whole_number_is_none(ask, door, value):
    assert await ask(door, seed=value) is not None


def test_no_seed_is_no_seed_however_it_is_said():
    for seed in (None, -1, -1.0):
        assert speech_request(text="Hi.", seed=seed).sampling == {}
    assert speech_request(text="Hi.", seed=5.0).sampling == {"seed": 5}


def test_a_field_that_does_not_exist_is_said_to_who_calls_from_python():
    with pytest.raises(InvalidRequestError, match="no field 'temprature'; there are speed, temperature"):
        speech_request(text="Hi.", temprature=0.4)


@pytest.mark.parametrize("speed", [float("nan"), float("inf")])
def test_a_speed_that_is_no_number_is_refused(speed):
    with pytest.raises(InvalidRequestError, match="speed"):
        speech_request(text="Hi.", speed=speed)


async def test_every_door_describes_these_fields_in_the_same_words_and_limits(server_url):
    async with httpx.AsyncClient(base_url=server_url) as client:
        paths = (await client.get("/apidocs/openapi.json")).json()["paths"]
    async with Client(StreamableHttpTransport(f"{server_url}/mcp")) as client:
        tools = {tool.name: tool for tool in await client.list_tools()}
    seen = [
        paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
        for path in ("/v1/audio/speech", "/api/generate")
    ]
    seen.append(tools["generate_speech"].input_schema["properties"])
    for name in Tuning.__struct_fields__:
        described = [(fields[name]["description"], limits(fields[name])) for fields in seen]
        assert described[0] == described[1] == described[2]


def limits(field):
    """The bounds and types of a schema's field, in whichever version of JSON Schema it is written."""
    kinds = field.get("oneOf") or field["anyOf"]
    return sorted(
        sorted((name, json.dumps(value, sort_keys=True)) for name, value in kind.items() if name != "title")
        for kind in kinds
    )
