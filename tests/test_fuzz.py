"""Ten thousand malformed conversations with a real server: each is answered as meant, and nothing of them stays."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.serving import Server, serving
from tests.malformed import KEY
from tests.stranger import PATIENCE, Findings, meet

pytest.importorskip("espeakng_loader")
pytestmark = pytest.mark.timeout(300)

SEED = 1
WARM_UP, IN_ALL = 2_000, 10_000
"""Conversations: codecs, pools and caches have grown to their size after the first."""
GROWTH = 48 * 1024 * 1024
"""Bytes that the later conversations may add to the server; 1 KiB kept of each would be 8 MiB, an answer each more."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    ours = ("ORPHEUS_", "PORT", "GPU_IDLE_TIMEOUT", "NVIDIA_VISIBLE_DEVICES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    limits = {"ORPHEUS_OUTPUT_MAX_BYTES": str(64 * 1024 * 1024), "GPU_IDLE_TIMEOUT": "0"}
    environ = {**kept, **limits, "ORPHEUS_MODEL": "preview", "ORPHEUS_API_KEYS": KEY}
    with serving(tmp_path_factory.mktemp("fuzz"), environ) as server:
        yield server
        os.kill(server.pid, signal.SIGINT)  # after a SIGTERM it would wait for who asked /ready to look again


def ask(server: Server, path: str) -> httpx.Response:
    return httpx.get(server.url + path, headers={"authorization": f"Bearer {KEY}"}, timeout=PATIENCE)


def quiet(server: Server) -> bool:
    """Whether nobody speaks, waits, or holds a model."""
    status = ask(server, "/api/status").json()
    busy = (
        status["active_speeches"],
        status["queued_speeches"],
        *(model["waiting"] for model in status["models"]),
    )
    return not any(busy)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def held(server: Server) -> tuple[int, int, int]:
    """Files and sockets, threads, resident bytes of the server, once it is quiet."""
    until(lambda: quiet(server), "a speech is stuck")
    process = psutil.Process(server.pid)
    return process.num_fds(), process.num_threads(), process.memory_info().rss


def test_ten_thousand_malformed_requests_find_no_fault_and_leave_nothing_behind(server: Server) -> None:
    def converse(numbers: range) -> Findings:
        return asyncio.run(meet(server.url, SEED, numbers))

    first = converse(range(WARM_UP))
    _, threads, memory = held(server)
    rest = converse(range(WARM_UP, IN_ALL))

    faults = first.faults + rest.faults
    assert not faults, "\n".join([f"{len(faults)} faults", *faults[:10]])
    statuses = first.statuses + rest.statuses
    assert {200, 204, 400, 401, 403, 404, 405, 413} <= statuses.keys(), "it asked less than it should"

    until(lambda: held(server)[0] < 100, "files or sockets stay open")
    _, threads_now, memory_now = held(server)
    assert threads_now <= threads + 8
    assert memory_now - memory < GROWTH

    log = Path(server.log).read_text(errors="replace")
    assert "Traceback" not in log
    assert "unhandled" not in log
    assert KEY not in log

    body = {"model": "tts-1", "voice": "tara", "input": "Good day.", "response_format": "pcm"}
    headers = {"authorization": f"Bearer {KEY}"}
    spoken = httpx.post(f"{server.url}/v1/audio/speech", json=body, headers=headers, timeout=PATIENCE)
    assert spoken.status_code == 200
    assert any(spoken.content)
