"""A body: what it may take to come."""

import asyncio
import json

import httpx
import pytest

from orpheus_eleven.messages import client_message
from orpheus_openai.errors import InvalidRequestError, RequestTimeoutError, RequestTooLargeError
from orpheus_openai.fields import require_small
from orpheus_openai.http import body
from tests.support.socket_client import Talk


async def test_a_body_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(body, "BODY_SECONDS", 0.05)

    async def drip():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(RequestTimeoutError, match="The body took longer than"):
        await body.read_body(drip)


BRACKETS = "[[]]," * 15_000 + "[]"
"""JSON of which each five bytes are two objects."""
POSTED = {
    "/v1/audio/speech": '"model": "tts-1", "voice": "tara", "input": "Hi."',
    "/api/generate": '"text": "Hi."',
    "/api/text": '"text": "Hi."',
    "/v1/text-to-speech/tara": '"text": "Hi."',
    "/v1/text-to-speech/tara/with-timestamps": '"text": "Hi."',
    "/api/speech/none/interrupt": '"played_ms": 1',
    "/api/offload": '"wait_seconds": 1',
    "/mcp": '"method": "tools/call", "params": {"arguments": {"text": "Hi."}}',
}


def test_what_stands_beside_a_text_has_an_end_at_every_door(server_url):
    with httpx.Client(
        base_url=server_url, timeout=60, headers={"content-type": "application/json"}
    ) as client:
        for path, fields in POSTED.items():
            answer = client.post(path, content=f'{{{fields}, "more": [{BRACKETS}]}}')
            assert (answer.status_code, "64 KiB" in answer.text) == (413, True), path
    with Talk(server_url) as talk:
        talk.send("session.config", more=json.loads(f"[{BRACKETS}]"))
        assert "64 KiB" in talk.until("error").messages[-1]["message"]
    with pytest.raises(InvalidRequestError, match="64 KiB"):
        client_message(f'{{"text": "Hi.", "more": [{BRACKETS}]}}')


@pytest.mark.parametrize("text", ["a" * 200_000, "\\u4e00" * 50_000, '\\",[{' * 40_000])
def test_a_text_may_be_long_however_it_is_written(text):
    message = f'{{"params": {{"more": {{}}, "text": "{text}"}}, "id": 1}}'
    require_small(message, "params", "text")
    require_small(message.encode(), "params", "text")
    for path in [(), ("text",), ("params",), ("params", "more")]:
        with pytest.raises(RequestTooLargeError):
            require_small(message, *path)


def test_what_only_passes_for_a_long_text_is_not_read():
    for odd in (
        f'{{"text": [{BRACKETS}]}}',
        f'{{"text": "a", "text": [{BRACKETS}]}}',
        "[" * 100_000,
        "\x00" * 100_000,
    ):
        with pytest.raises(RequestTooLargeError):
            require_small(odd, "text")
