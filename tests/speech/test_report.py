"""A speech is told of once: event, log line, audit line, JSON answer and MCP result say the same of it."""

import asyncio
import json
import logging

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from websockets.sync.client import connect

from orpheus_openai.app import create_app
from orpheus_openai.settings import Settings
from orpheus_openai.speech.report import FACTS
from tests.support.local_server import running
from tests.support.socket_client import PCM, Talk

pytest.importorskip("espeakng_loader")

TEXT = "One   thing that was said at length. <laugh>\n\nAnd another that was said at length."


async def ended(url, work):
    """Do `work` while listening; the events of speech that came."""
    seen = []
    async with (
        httpx.AsyncClient(base_url=url, timeout=60) as client,
        client.stream("GET", "/api/events") as stream,
    ):
        lines = stream.aiter_lines()
        async for line in lines:
            if line.startswith("data:"):
                break
        working = asyncio.create_task(work(client))
        kind = ""
        async for line in lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind.startswith("speech."):
                seen.append((kind, json.loads(line.removeprefix("data: "))))
                if kind == "speech.ended":
                    break
        return await working, seen


@pytest.mark.parametrize("door", ["native", "mcp"])
async def test_event_log_audit_log_and_answer_are_views_of_one_report(tmp_path, caplog, door):
    caplog.set_level(logging.INFO, "orpheus_openai.http.middleware.telemetry")
    audit = tmp_path / "audit.jsonl"
    app = create_app(Settings(model="preview", output_dir=tmp_path / "out", audit_log=str(audit)))
    with running(app) as url:

        async def work(client):
            if door == "native":
                return (await client.post("/api/generate", json={"text": TEXT, "save": True})).json()
            async with Client(StreamableHttpTransport(f"{url}/mcp")) as agent:
                return (await agent.call_tool("generate_speech", {"text": TEXT})).structured_content

        answer, seen = await ended(url, work)
    event = next(data for kind, data in seen if kind == "speech.ended")
    line = next(line for line in map(json.loads, audit.read_text().splitlines()) if line["outcome"])
    log = next(record.fields for record in caplog.records if getattr(record, "fields", {}).get("outcome"))
    for name in FACTS:
        assert answer[name] == line[name] == log[name] == event[name], name
    assert answer["id"] == line["id"] == event["id"]
    assert answer["outcome"] == "completed"
    assert answer["characters"] == len(TEXT)
    assert answer["segments"] == 2
    assert 0 <= answer["queue_seconds"] + answer["load_seconds"] <= answer["first_audio_seconds"]
    assert answer["first_audio_seconds"] <= answer["first_bytes_seconds"] <= answer["total_seconds"] + 0.001
    spans = [TEXT[data["start"] : data["end"]] for kind, data in seen if kind == "speech.segment"]
    assert spans == TEXT.split("\n\n")


def _speak_at_sockets(url):
    with Talk(url) as talk:
        talk.send("session.config", **PCM)
        talk.say(TEXT)
        talk.until("session.done")
    with connect(url.replace("http", "ws", 1) + "/v1/text-to-speech/tara/stream-input", proxy=None) as opened:
        for text in (" ", f"{TEXT} ", ""):
            opened.send(json.dumps({"text": text}))
        while not json.loads(opened.recv(60)).get("isFinal"):
            pass


async def test_every_door_notes_when_its_first_bytes_were_there(tmp_path):
    audit = tmp_path / "audit.jsonl"
    app = create_app(Settings(model="preview", output_dir=tmp_path / "out", audit_log=str(audit)))
    body = {"model": "tts-1", "voice": "tara", "input": TEXT, "text": TEXT}
    with running(app) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            for path, more in (
                ("/v1/audio/speech", {}),
                ("/v1/audio/speech", {"stream_format": "sse"}),
                ("/api/generate", {}),
                ("/api/generate", {"save": True}),
                ("/v1/text-to-speech/tara", {}),
                ("/v1/text-to-speech/tara/stream/with-timestamps", {}),
            ):
                assert (await client.post(path, json=body | more)).status_code == 200
        await asyncio.to_thread(_speak_at_sockets, url)
        async with Client(StreamableHttpTransport(f"{url}/mcp")) as agent:
            await agent.call_tool("generate_speech", {"text": TEXT})
    told = [line for line in map(json.loads, audit.read_text().splitlines()) if line["outcome"]]
    assert len(told) == 9
    assert all(line["first_bytes_seconds"] >= line["first_audio_seconds"] > 0 for line in told)
