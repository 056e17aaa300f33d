"""An error is the same whichever door or middleware answers it, and speaks of the fields that its clients sent."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.errors import AuthenticationError, OverloadedError, RequestTimeoutError
from orpheus_openai.http.refusal import refuse
from orpheus_openai.settings import Settings
from tests.support.local_server import running

pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    settings = Settings(
        model="preview",
        block_list="mellon",
        rate_limit="30 chars/hour",
        output_dir=tmp_path_factory.mktemp("outputs"),
    )
    with running(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("text", ["Say mellon and enter.", "A text that is far longer than its share.", " "])
@pytest.mark.parametrize(
    ("path", "field"), [("/v1/audio/speech", "input"), ("/api/generate", "text"), ("/api/generate", "prompt")]
)
def test_an_error_about_the_text_names_the_field_that_held_it(client, path, field, text):
    answer = client.post(path, json={"model": "preview", "voice": "tara", field: text})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


class Shape(msgspec.Struct):
    detail: str


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (AuthenticationError("A key, please."), b"www-authenticate", b"Bearer"),
        (OverloadedError("Too many.", retry_after=2.2), b"retry-after", b"3"),
        (RequestTimeoutError("Too late."), b"connection", b"close"),
    ],
)
async def test_a_ring_answers_in_the_shape_of_the_door_behind_it(error, header, value):
    sent = []

    async def send(message):
        sent.append(message)

    scope: Any = {"type": "http", "state": {"error_shape": lambda error: Shape(error.message)}}
    await refuse(scope, send, error)
    assert dict(sent[0]["headers"])[header] == value
    assert json.loads(sent[1]["body"]) == {"detail": error.message}
