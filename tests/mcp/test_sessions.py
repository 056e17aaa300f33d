"""Sessions of MCP: bounded for each caller and in all, ended when nobody uses them, and their owner's alone."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from orpheus_mcp import door
from orpheus_mcp.sessions import IDLE_SECONDS, Sessions
from orpheus_openai.app import create_app
from orpheus_openai.errors import NotFoundError, OverloadedError
from orpheus_openai.gpu import monitor
from orpheus_openai.limits.caller import Caller
from orpheus_openai.settings import Settings
from tests.support.fake_engine import Clock
from tests.support.local_server import running
from tests.support.mcp_greeting import ACCEPT, INITIALIZE

ANNE, BERT = Caller("10.0.0.1"), Caller("10.0.0.2")
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


async def open_session(client: httpx.AsyncClient, **headers: str) -> str:
    answer = await client.post("/mcp", json=INITIALIZE, headers={**ACCEPT, **headers})
    assert answer.status_code == 200, answer.text
    return answer.headers["mcp-session-id"]


async def status_of(client: httpx.AsyncClient, session: str, **headers: str) -> int:
    known = {"mcp-session-id": session, "mcp-protocol-version": "2025-06-18"}
    return (await client.post("/mcp", json=LIST, headers={**ACCEPT, **known, **headers})).status_code


def serve(folder: Path, **settings: Any) -> Any:
    pytest.importorskip("espeakng_loader")
    return running(create_app(Settings(model="preview", output_dir=folder, **settings)))


async def test_who_opens_too_many_sessions_loses_the_one_they_have_not_used_for_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "Sessions", lambda: Sessions(per_caller=3))
    with serve(tmp_path) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            kept, *others = [await open_session(client) for _ in range(3)]
            assert await status_of(client, kept) == 200
            newest = await open_session(client)
            statuses = [await status_of(client, session) for session in (kept, *others, newest)]
    assert statuses == [200, 404, 200, 200]


async def test_a_session_that_nobody_uses_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "IDLE_SECONDS", 0.2)
    with serve(tmp_path) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            session = await open_session(client)
            async with asyncio.timeout(30):
                await asyncio.sleep(0.5)
                while await status_of(client, session) != 404:  # noqa: ASYNC110  under load each look may come too early
                    await asyncio.sleep(0.5)


async def test_a_session_is_its_keys_alone(tmp_path: Path) -> None:
    with serve(tmp_path, api_keys=("anne:key-a", "bert:key-b")) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            session = await open_session(client, authorization="Bearer key-a")
            assert await status_of(client, session, authorization="Bearer key-b") == 404
            assert await status_of(client, session, authorization="Bearer key-a") == 200


def test_who_uses_all_their_sessions_gets_no_more_and_takes_nobodys() -> None:
    sessions = Sessions(limit=10, per_caller=2, clock=Clock())
    for session in "ab":
        sessions.opened(session, ANNE)
    with sessions.used("a", ANNE), sessions.used("b", ANNE):
        with pytest.raises(OverloadedError) as caught, sessions.opening(ANNE):
            pass
        assert caught.value.retry_after
        with sessions.opening(BERT):
            pass
    with sessions.opening(ANNE):
        sessions.opened("c", ANNE)
    assert sessions.surplus(ANNE) == ["a"]


def test_all_sessions_together_have_a_bound_and_idle_ones_make_room() -> None:
    clock = Clock()
    sessions = Sessions(limit=2, per_caller=2, clock=clock)
    sessions.opened("a", ANNE)
    with sessions.opening(ANNE), pytest.raises(OverloadedError), sessions.opening(BERT):
        pass
    sessions.opened("b", ANNE)
    with pytest.raises(OverloadedError), sessions.opening(BERT):
        pass
    with sessions.used("b", ANNE):
        clock.now += IDLE_SECONDS + 1
    with sessions.opening(BERT):
        sessions.opened("c", BERT)
    with sessions.used("c", BERT):
        pass
    with pytest.raises(OverloadedError), sessions.opening(Caller("10.0.0.3")):
        pass


def test_a_session_of_another_key_is_as_good_as_none() -> None:
    sessions = Sessions()
    sessions.opened("a", Caller("10.0.0.1", "anne"))
    with sessions.used("a", Caller("10.0.0.9", "anne")):
        pass
    with pytest.raises(NotFoundError), sessions.used("a", Caller("10.0.0.1", "bert")):
        pass


async def test_the_gpu_tool_asks_the_driver_as_the_server_does_once_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    release = threading.Event()

    def hang() -> None:
        calls.append(1)
        release.wait(60)

    monkeypatch.setattr(monitor, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(monitor, "sample_gpus", hang)
    call = {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "tools/call",
        "params": {"name": "get_gpu_status", "arguments": {}},
    }
    with serve(tmp_path) as url:
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
                known = {"mcp-session-id": await open_session(client), "mcp-protocol-version": "2025-06-18"}
                for _ in range(3):
                    answer = await client.post("/mcp", json=call, headers={**ACCEPT, **known})
                    assert "has not answered" in answer.text
        finally:
            release.set()
    assert len(calls) == 1
