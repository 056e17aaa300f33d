"""The audit log: one line a request, through every door."""

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError

from orpheus_openai.app import create_app
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.http.middleware import audit
from orpheus_openai.settings import Settings
from tests.support.environment import environ
from tests.support.local_server import running

pytest.importorskip("espeakng_loader")

TEXT = "The secret of the mill."
SPEECH = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "wav"}
HEADERS = {"authorization": "Bearer ka"}


def entries(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def audited(tmp_path, work, **settings):
    """The log's lines after `work` was done with a client of a server; closing the server writes them all."""
    file = tmp_path / "audit.jsonl"
    app = create_app(Settings(model="preview", output_dir=tmp_path / "out", audit_log=str(file), **settings))
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        work(client)
    return entries(file)


def test_a_speech_is_one_line_with_everything_but_its_text(tmp_path):
    answers = []
    began = datetime.now(UTC)
    lines = audited(
        tmp_path,
        lambda client: answers.append(client.post("/v1/audio/speech", json=SPEECH, headers=HEADERS)),
        api_keys=("phone:ka",),
    )
    (line,), (answer,) = lines, answers
    assert abs((datetime.fromisoformat(line["time"]) - began).total_seconds()) < 10
    assert line["id"] == answer.headers["x-request-id"]
    assert (line["key"], line["address"]) == ("phone", "127.0.0.1")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/audio/speech", 200)
    assert (line["model"], line["voice"]) == ("preview", answer.headers["x-orpheus-voice"])
    assert line["characters"] == len(TEXT)
    assert line["audio_seconds"] == pytest.approx((len(answer.content) - 44) / 48_000, abs=0.01)
    assert 0 < line["first_audio_seconds"] <= line["seconds"]
    assert line["queue_seconds"] <= line["first_audio_seconds"]
    assert line["load_seconds"] > 0
    assert line["outcome"] == "completed"
    assert "text" not in line


def test_the_text_is_there_only_where_it_was_switched_on(tmp_path):
    def work(client):
        client.post("/v1/audio/speech", json=SPEECH)

    assert audited(tmp_path, work, audit_text=True)[0]["text"] == TEXT
    assert TEXT not in (tmp_path / "out").name


def test_refusals_and_what_is_no_speech_have_a_line_each_and_signs_of_life_none(tmp_path):
    def work(client):
        client.get("/health")
        client.get("/")
        client.get("/v1/models", headers=HEADERS)
        client.get("/v1/models", headers={"authorization": "Bearer wrong"})
        client.post("/v1/audio/speech", json=SPEECH, headers=HEADERS)
        client.post("/v1/audio/speech", json=SPEECH, headers=HEADERS)
        client.post("/v1/audio/speech", json={**SPEECH, "voice": "nobody"}, headers=HEADERS)

    lines = audited(tmp_path, work, api_keys=("phone:ka",), rate_limit="1/hour")
    told = [(line["path"], line["status"], line["key"], line["outcome"]) for line in lines]
    speech = "/v1/audio/speech"
    assert told == [
        ("/v1/models", 200, "phone", None),
        ("/v1/models", 401, None, None),
        (speech, 200, "phone", "completed"),
        (speech, 429, "phone", None),
        (speech, 400, "phone", None),
    ]


def test_a_listener_who_hangs_up_is_a_cancelled_line(tmp_path):
    def work(client):
        long = {**SPEECH, "input": "It was a bright cold day in April. " * 1000}
        with client.stream("POST", "/v1/audio/speech", json=long) as answer:
            next(answer.iter_raw())

    (line,) = audited(tmp_path, work)
    assert (line["status"], line["outcome"]) == (200, "cancelled")
    assert 0 < line["audio_seconds"] < 2000


async def test_speech_through_mcp_is_limited_and_audited_like_all_other(tmp_path):
    file = tmp_path / "audit.jsonl"
    app = create_app(
        Settings(
            model="preview",
            output_dir=tmp_path / "out",
            audit_log=str(file),
            api_keys=("agent:ka",),
            rate_limit="1/hour",
        )
    )
    with running(app) as url:
        async with Client(StreamableHttpTransport(f"{url}/mcp", headers=HEADERS)) as client:
            spoken = await client.call_tool("generate_speech", {"text": TEXT})
            with pytest.raises(ToolError, match=r"Rate limit reached.*Try again in \d+ s"):
                await client.call_tool("generate_speech", {"text": TEXT})
    (line,) = [line for line in entries(file) if line["outcome"] is not None]
    assert (line["path"], line["key"], line["characters"]) == ("/mcp", "agent", len(TEXT))
    assert line["id"] == spoken.structured_content["id"]
    assert line["audio_seconds"] == pytest.approx(spoken.structured_content["audio_seconds"], abs=0.01)


def test_the_file_is_its_owners_and_is_begun_anew_when_it_was_moved_away(tmp_path):
    file, kept = tmp_path / "audit.jsonl", tmp_path / "audit.1"

    def work(client):
        assert client.get("/v1/models").status_code == 200
        deadline = time.monotonic() + 10
        while not file.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600  # noqa: PTH116
        file.rename(kept)
        assert client.get("/v1/audio/voices").status_code == 200

    assert [line["path"] for line in audited(tmp_path, work)] == ["/v1/audio/voices"]
    assert [line["path"] for line in entries(kept)] == ["/v1/models"]


def test_a_path_cannot_forge_a_line(tmp_path):
    lines = audited(tmp_path, lambda client: client.get('/v1/x%0A{"id":"forged"}'))
    assert len(lines) == 1


def test_a_log_that_cannot_be_written_stops_the_start(tmp_path):
    with pytest.raises(ConfigurationError, match="ORPHEUS_AUDIT_LOG"):
        create_app(Settings(audit_log=str(tmp_path / "no" / "such" / "folder.jsonl")))


def test_a_dash_is_standard_output(tmp_path):
    settings = environ(ORPHEUS_AUDIT_LOG="-", ORPHEUS_HOST="127.0.0.1", PORT="0")
    command = [sys.executable, "-m", "orpheus_openai", "serve"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        log = iter(server.stderr.readline, "")
        url = next(line.split()[1] for line in log if line.lstrip().startswith("API "))
        httpx.get(f"{url}/models")
        server.terminate()
        output, _ = server.communicate()
    assert [json.loads(line)["path"] for line in output.splitlines()] == ["/v1/models"]


def test_what_comes_faster_than_it_can_be_written_is_counted(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(audit, "BACKLOG", 2)
    os.mkfifo(tmp_path / "slow")
    reader = os.open(tmp_path / "slow", os.O_RDONLY | os.O_NONBLOCK)
    log = audit.AuditLog(str(tmp_path / "slow"))
    wide = {"text": "x" * 60_000}  # two of them fill the pipe
    for _ in range(20):
        log.write(wide)
        time.sleep(0.005)
    read = b""
    for _ in range(2000):
        with contextlib.suppress(BlockingIOError):
            read += os.read(reader, 1 << 20)
        if log._listener.queue.empty():
            break
        time.sleep(0.005)
    log.write({"text": "last"})
    closing = threading.Thread(target=log.close)
    closing.start()
    while closing.is_alive():
        with contextlib.suppress(BlockingIOError):
            read += os.read(reader, 1 << 20)
        time.sleep(0.005)
    with contextlib.suppress(BlockingIOError):
        read += os.read(reader, 1 << 20)
    os.close(reader)
    lines = [json.loads(line) for line in read.splitlines()]
    lost = int(re.search(r"lost (\d+) lines", caplog.text)[1])
    assert lines[-1] == {"text": "last"}
    assert len(lines) + lost == 21


def test_a_file_that_cannot_be_begun_anew_is_told_and_comes_back(tmp_path, caplog):
    folder = tmp_path / "logs"
    folder.mkdir()
    log = audit.AuditLog(str(folder / "audit.jsonl"))
    log.write({"n": 1})
    until((folder / "audit.jsonl").read_text)
    folder.rename(tmp_path / "kept")
    log.write({"n": 2})
    until(lambda: "could not be written" in caplog.text)
    folder.mkdir()
    log.write({"n": 3})
    log.close()
    assert entries(folder / "audit.jsonl") == [{"n": 3}]


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
