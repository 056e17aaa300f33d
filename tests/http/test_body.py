"""A body: what it may take to come."""

import asyncio

import pytest

from orpheus_openai.errors import RequestTimeoutError
from orpheus_openai.http import body


async def test_a_body_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(body, "BODY_SECONDS", 0.05)

    async def drip():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(RequestTimeoutError, match="The body took longer than"):
        await body.read_body(drip)
