"""Thousands of malformed conversations with real servers: each is answered as meant, and nothing of them stays.

FUZZ_CONVERSATIONS=50000 in the environment has so many with each of the two.
"""

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.serving import Server
from tests.support.census import QUESTION
from tests.support.environment import environ
from tests.support.malformed import KEY
from tests.support.served import serving
from tests.support.stranger import PATIENCE, meet

pytest.importorskip("espeakng_loader")
pytestmark = pytest.mark.timeout(300)

SEED = 1
IN_ALL = int(os.environ.get("FUZZ_CONVERSATIONS", "2500"))
WARM_UP = 1_000
"""Conversations with each server: codecs, pools and caches have grown to their size after the first."""
GROWTH = (8 << 20) + 4 * 1024 * (IN_ALL - WARM_UP)
"""Bytes that the later conversations may add to a server; 10 KiB kept of each would be more."""
MORE_THREADS = 32
"""Pools grow with the processors of the machine; a thread kept of each speech would be hundreds."""

SERVERS = {
    "open": (
        {"ORPHEUS_LOG_FORMAT": "text"},
        {200, 204, 400, 403, 404, 405, 413, 431},
    ),
    "with a key": (
        {"ORPHEUS_LOG_FORMAT": "json", "ORPHEUS_API_KEYS": f"fuzz:{KEY}",
         "ORPHEUS_CORS_ORIGINS": "http://evil.example"},
        {200, 204, 400, 401, 404, 405, 413, 431},
    ),
}  # fmt: skip
"""Settings, and the statuses that are met at least: one guards against foreign pages, the other asks for a key."""

SESSIONS = "TaskHandle._run_coro"
"""Tasks of MCP's sessions, which last until nobody has used them for half an hour."""

WATCHER = "_shutdown_watcher"
"""sse-starlette's one task for all its streams, from the first one on."""

BREAKS = ("the stream broke off",)
"""What the log says where somebody offloads a model by force that speaks for another."""

TEXT_LINE = re.compile(r"\d\d:\d\d:\d\d (debug|info|warning|error) +\S")


def environment(settings):
    here = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    ours = {
        "PYTHONPATH": here,
        "GPU_IDLE_TIMEOUT": "0",
        "ORPHEUS_OUTPUT_MAX_BYTES": "4000000",
        "ORPHEUS_MODERATION": "tests.support.census:judge",
        "ORPHEUS_AUDIT_LOG": "audit.jsonl",
        "ORPHEUS_LOG_LEVEL": "debug",
    }
    return environ(**ours, **settings)


@pytest.mark.parametrize(("settings", "statuses"), SERVERS.values(), ids=SERVERS)
def test_malformed_requests_are_answered_as_meant_and_leave_nothing_behind(tmp_path, settings, statuses):
    with serving(tmp_path, environment(settings)) as server:
        first = asyncio.run(meet(server.url, SEED, range(WARM_UP)))
        descriptors, threads, memory = held(server)
        tasks = tasks_of(server)
        rest = asyncio.run(meet(server.url, SEED, range(WARM_UP, IN_ALL)))

        faults = first.faults + rest.faults
        assert not faults, "\n".join([f"{len(faults)} faults", *faults[:10]])
        assert statuses <= (first.statuses + rest.statuses).keys(), "it asked less than it should"

        until(lambda: held(server)[0] <= descriptors, "files or sockets stay open")
        until(lambda: not tasks_of(server) - tasks, f"tasks stay: {tasks_of(server) - tasks}")
        _, threads_now, memory_now = held(server)
        assert threads_now <= threads + MORE_THREADS
        assert memory_now - memory < GROWTH

        spoken = speak(server, "Good day.")
        assert spoken.status_code == 200
        assert any(spoken.content)
        os.kill(server.pid, signal.SIGINT)  # after a SIGTERM it would wait for who asked /ready to look again

    assert_in_order(server.log.read_text(errors="replace"), settings["ORPHEUS_LOG_FORMAT"])
    audit = (tmp_path / "audit.jsonl").read_text()
    assert KEY not in audit
    assert all(json.loads(line)["id"].startswith("req_") for line in audit.splitlines())


def speak(server: Server, text: str) -> httpx.Response:
    body = {"model": "tts-1", "voice": "tara", "input": text, "response_format": "pcm"}
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(f"{server.url}/v1/audio/speech", json=body, headers=headers, timeout=PATIENCE)


def quiet(server: Server) -> bool:
    """Whether nobody speaks, waits, or holds a model."""
    headers = {"authorization": f"Bearer {KEY}"}
    status = httpx.get(f"{server.url}/api/status", headers=headers, timeout=PATIENCE).json()
    waiting = [model["waiting"] for model in status["models"]]
    return not any([status["active_speeches"], status["queued_speeches"], *waiting])


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def held(server: Server) -> tuple[int, int, int]:
    """Files and sockets, threads, resident bytes of the server, once it is quiet and its model loaded."""
    until(lambda: quiet(server), "a speech is stuck")
    until(
        lambda: speak(server, "Good day.").status_code == 200, "nothing is spoken"
    )  # eSpeak's process has sockets
    until(lambda: quiet(server), "a speech is stuck")
    process = psutil.Process(server.pid)
    return process.num_fds(), process.num_threads(), process.memory_info().rss


def tasks_of(server: Server) -> Counter[str]:
    """The tasks of the server's event loop by what they run, but for MCP's sessions and their one watcher."""
    tasks = Counter(json.loads(speak(server, QUESTION).json()["error"]["message"]))
    del tasks[SESSIONS]
    if tasks[WATCHER] == 1:
        del tasks[WATCHER]
    return tasks


def assert_in_order(log: str, form: str) -> None:
    """Every line is one the server meant to write: no trace, no key, nothing that a client has put there."""
    assert KEY not in log
    assert "Traceback" not in log
    assert "never retrieved" not in log
    if form == "text":
        log = log.partition("orpheus-openai is ready")[2]
    records = [
        line for line in log.splitlines() if line and not line.startswith("  ")
    ]  # the lines of addresses
    assert len(records) > IN_ALL / 4
    for line in records:
        if form == "json":
            record = json.loads(line)
            level, message = record["level"], record["message"]
        else:
            assert TEXT_LINE.match(line), line
            _, level, message = line.split(maxsplit=2)
        assert level != "error" or message.startswith(BREAKS), line
