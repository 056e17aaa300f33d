"""Sockets are guests like others: keys, log, audit, an end in order when the server stops."""

import asyncio
import dataclasses
import json
import os
import signal

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from benchmarks.sockets import DOORS, run
from orpheus_openai.http.sockets import beside
from tests.support.environment import environ
from tests.support.served import serving
from tests.support.socket_client import PCM, Talk

pytest.importorskip("espeakng_loader")

KEY, AGENT = "sk-phone-5521", "sk-agent-5522"


async def speak_with_the_key_in_the_first_message(url, key):
    _, *of_elevenlabs = DOORS
    for door in of_elevenlabs:
        (first,) = door.begin
        knocking = dataclasses.replace(door, begin=({**first, "xi_api_key": key},))
        async with await knocking.opened(url) as opened:
            await door.write(opened, "Hello there. ", end=True)
            assert await door.heard(opened)


def test_a_socket_needs_a_key_and_each_utterance_is_counted_and_audited_at_every_door(tmp_path):
    audit = tmp_path / "audit.jsonl"
    settings = environ(
        ORPHEUS_API_KEYS=f"phone:{KEY},agent:{AGENT}",
        ORPHEUS_AUDIT_LOG=str(audit),
        ORPHEUS_RATE_LIMIT="3/hour",
    )
    bearer = {"authorization": f"Bearer {KEY}"}
    with serving(tmp_path, settings) as server:
        for headers in ({}, {"authorization": "Bearer sk-wrong"}):
            with pytest.raises(InvalidStatus) as refused, Talk(server.url, additional_headers=headers):
                pass
            assert refused.value.response.status_code == 401
        nowhere = Talk(server.url.rstrip("/") + "/nowhere", additional_headers=bearer)
        with pytest.raises(InvalidStatus) as refused, nowhere:
            pass
        assert refused.value.response.status_code == 403

        protocols = ["speech", f"openai-insecure-api-key.{KEY}"]
        with Talk(server.url, subprotocols=protocols) as talk:
            assert talk.socket.subprotocol == "speech"
            socket_id = talk.socket.response.headers["x-request-id"]
            talk.send("session.config", **PCM)
            for _ in range(4):
                talk.say("Hello.")
            codes = [[error["code"] for error in talk.until("session.done").of("error")] for _ in range(4)]
            assert codes == [[], [], [], ["rate_limit_exceeded"]]
            status = httpx.get(f"{server.url}/metrics", headers=bearer).text
            assert 'orpheus_speeches_total{model="preview",outcome="completed"} 3.0' in status

        asyncio.run(speak_with_the_key_in_the_first_message(server.url, AGENT))

    for written in (server.log.read_text(), audit.read_text()):
        assert KEY not in written
        assert AGENT not in written
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    spoken = [line for line in lines if line["id"].startswith(f"{socket_id}.")]
    assert [(line["status"], line["key"], line["characters"]) for line in spoken] == [
        *[(200, "phone", 6)] * 3,
        (429, "phone", 6),
    ]
    elsewhere = [line for line in lines if line["path"].startswith("/v1/text-to-speech/tara/")]
    for path in ("stream-input", "multi-stream-input"):
        told = [line for line in elsewhere if line["path"].endswith(f"/{path}")]
        assert [(line["id"][36:], line["status"], line["key"], line["characters"]) for line in told] == [
            (".0", 200, "agent", 13),
            ("", 101, "agent", None),
        ]


def test_hang_ups_bad_messages_and_still_readers_leave_nothing_and_at_the_end_the_last_utterance_is_spoken(
    tmp_path,
):
    with serving(tmp_path, environ()) as server:
        assert asyncio.run(run(server, sockets=8, messages=11, still=2)), "see what it printed"
        with Talk(server.url) as idle, Talk(server.url) as talk:
            idle.send("session.config", **PCM)
            talk.send("session.config", **PCM)
            talk.say("Good morning, everybody, and so on. ", done=False)
            heard = talk.until(bytes)
            os.kill(server.pid, signal.SIGTERM)
            assert idle.closed() == 1012
            talk.say("This is still said.")
            talk.until("session.done", heard)
            assert not heard.of("error")
            assert talk.closed() == 1012


async def test_what_is_being_told_when_a_speech_ends_is_told_to_its_end():
    told, waits = [], asyncio.Event()

    async def wait():
        await asyncio.sleep(0.3 if told else 0)

    async def tell():
        told.append("begun")
        waits.set()
        await asyncio.sleep(0.02)
        told.append("done")

    async with beside(wait, tell):
        await waits.wait()
    assert told == ["begun", "done"]

    async def fail():
        raise ValueError("nobody is there")

    with pytest.raises(ValueError, match="nobody"):
        async with beside(wait, fail):
            await asyncio.sleep(0.4)
