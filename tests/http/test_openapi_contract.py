"""The server does what its OpenAPI document says, whether it is asked as the document wants it or not."""

import json
import os
import re
import signal

import httpx
import hypothesis
import msgspec
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from orpheus_eleven.errors import ElevenErrorBody
from orpheus_openai.app import create_app
from orpheus_openai.http.error_body import ErrorBody
from orpheus_openai.settings import Settings
from tests.support.environment import environ
from tests.support.served import serving

pytest.importorskip("espeakng_loader")

KEY = "sk-contract-51c0"
LONGEST = 30
"""Characters of a text that are really spoken: what is looked at here is the answers' form."""

MEANT = {(503, "model_offloading")}
"""Failures that anybody can bring about: status and code."""

BEYOND_SCHEMAS = {
    "voice_not_found",
    "missing_required_parameter",
    "invalid_output_format",
    "unreadable_audio",
    "audio_too_short",
    "silent_audio",
    "consent_not_found",
}
BEYOND_SCHEMAS_IN_WORDS = (
    "nothing to speak",
    "mean the same, but differ",
    "samples a second; it can have",
    "must have 1 to 100",
    "no language",
)
"""Why a request may be refused that fits its schema: voices come from a catalog, `text` may be called `prompt`, and
which sample rates there are depends on the format."""

OPEN_LISTS = ("/v1/audio/models", "/v1/audio/voices")
"""What clients ask for without the key that they have; ORPHEUS_OPEN_LISTS."""

CONFIG = {"seed": 1, "headers": {"Authorization": f"Bearer {KEY}"}, "request-timeout": 30}


def described():
    """The document as the server below sends it; operations become tests before there is a server."""
    app = create_app(Settings(model="preview", api_keys=(KEY,)))
    return json.loads(msgspec.json.encode(app.openapi_schema.to_schema()))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("contract"), environ(ORPHEUS_API_KEYS=KEY)) as server:
        yield server.url
        os.kill(server.pid, signal.SIGINT)  # after a SIGTERM it would wait for who asked /ready to look again


operations = schemathesis.openapi.from_dict(described(), config=schemathesis.Config.from_dict(CONFIG))


@operations.parametrize()
@hypothesis.settings(max_examples=25, deadline=None, derandomize=True, database=None)
def test_every_operation_answers_as_it_is_described(case, url):
    make_it_speak(case)
    endless = case.path == "/api/events"
    answer = case.call(url, timeout=0.2 if endless else 30)
    case.validate_response(
        answer,
        additional_checks=[is_named, fails_as_it_means_to, accepts_what_fits],
        # A key that is right counts, whatever stands in another header: that a wrong one does not is tested below.
        excluded_checks=[not_a_server_error, positive_data_acceptance, ignored_auth],
        transport_kwargs={"base_url": url, "timeout": 0.2 if endless else 30},
    )


def make_it_speak(case):
    """Give every other good request a voice and a model that exist, which chance does not find; keep it short."""
    body = case.body
    if case.method != "POST" or not isinstance(body, dict):
        return
    for field in ("input", "text", "prompt"):
        if isinstance(body.get(field), str) and len(body[field]) > LONGEST:
            body[field] = body[field][:LONGEST]
    if case.path != "/api/offload" and case.meta.generation.mode.is_positive and len(str(body)) % 2:
        body |= {"voice": "tara", "model": "preview"}


def is_named(_ctx, response, _case):
    assert response.headers["x-request-id"][0].startswith("req_")


def fails_as_it_means_to(_ctx, response, _case):
    if response.status_code < 400 or response.request.method == "HEAD" or response.status_code == 416:
        return
    code, _ = told(response)
    if response.status_code >= 500:
        assert (response.status_code, code) in MEANT


def accepts_what_fits(_ctx, response, case):
    if response.status_code == 400 and case.meta.generation.mode.is_positive:
        code, message = told(response)
        in_words = any(words in message for words in BEYOND_SCHEMAS_IN_WORDS)
        assert in_words or code in BEYOND_SCHEMAS, message


def told(response):
    """An error's code and words, from the body that its door has for errors."""
    if re.match("/v1/(text-to-speech|voices)|/v2/", httpx.URL(response.request.url).path):
        detail = msgspec.json.decode(response.content, type=ElevenErrorBody).detail
        return detail.status, detail.message
    error = msgspec.json.decode(response.content, type=ErrorBody).error
    return error.code, error.message


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_every_operation_that_asks_for_a_key_refuses_a_wrong_one(url, header):
    asked = 0
    for path, operations in described()["paths"].items():
        for method, operation in operations.items():
            if operation.get("security", [{"key": []}]) == [] or path in OPEN_LISTS:
                continue
            value = "Bearer sk-wrong" if header == "authorization" else "sk-wrong"
            answer = httpx.request(method, url + re.sub(r"\{.*?\}", "a", path), headers={header: value})

            assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
            asked += 1
    assert asked >= 13


def test_the_document_is_served_as_it_was_tested(url):
    assert httpx.get(f"{url}/apidocs/openapi.json").json() == described()
