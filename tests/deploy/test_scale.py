"""Several servers behind the load balancers of deploy/: one stops, one is killed, and who hears it."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.serving import Server
from tests.support.balancers import BALANCERS, balancer, caddy_version, listens, make_certificate
from tests.support.environment import environ
from tests.support.listeners import LONG, PATIENCE, SHORT, Load, heard, paused_listeners
from tests.support.mcp_greeting import ACCEPT, INITIALIZE
from tests.support.ports import free_port
from tests.support.served import serving
from tests.support.socket_client import assert_sockets_pass

GONE_SECONDS = 1.0
"""Until a killed process' port refuses: what its kernel took before that breaks with it."""


@dataclass
class Fleet:
    """Servers behind one address."""

    url: str
    certificate: Path
    servers: list[Server]
    hides_breaks: bool
    """Ends an answer properly when its server breaks it off, so that half looks whole."""

    def client(self) -> httpx.AsyncClient:
        trusted = ssl.create_default_context(cafile=str(self.certificate))
        return httpx.AsyncClient(base_url=self.url, verify=trusted, timeout=PATIENCE)


@pytest.fixture(scope="module", params=BALANCERS)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three servers; each test here stops one at most."""
    pytest.importorskip("espeakng_loader")
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    write_config, scheme = BALANCERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    folder.chmod(0o755)
    make_certificate(folder)
    with contextlib.ExitStack() as stack:
        servers = []
        for name in "abc":
            (folder / name).mkdir()
            servers.append(stack.enter_context(serving(folder / name, environ())))
        port = free_port()
        command = write_config(folder, port, [server.url.removeprefix("http://") for server in servers])
        stack.enter_context(balancer(command, folder, port))
        hides_breaks = request.param == "caddy" and caddy_version() < (2, 7, 6)
        yield Fleet(f"{scheme}://localhost:{port}", folder / "cert.pem", servers, hides_breaks)
        for server in servers:
            if alive(server):
                os.kill(server.pid, signal.SIGKILL)  # they are watched, and would give notice


async def test_sockets_pass_the_balancer(fleet: Fleet) -> None:
    trusted = ssl.create_default_context(cafile=str(fleet.certificate))
    await assert_sockets_pass(fleet.url, **({"ssl": trusted} if fleet.url.startswith("https") else {}))


# --- what becomes of the listeners ------------------------------------------------------------------------------------


async def speaking_by_pid(fleet: Fleet) -> dict[int, int]:
    """How many requests each server that runs is speaking now."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        return {
            server.pid: (await client.get(f"{server.url}/api/status")).json()["active_speeches"]
            for server in fleet.servers
            if alive(server)
        }


def alive(server: Server) -> bool:
    """Whether the process runs; a child that has ended stays as a zombie until it is waited for."""
    try:
        return Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


async def until(condition, *arguments) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition(*arguments):  # noqa: ASYNC110  of another process
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def whole(server_url: str) -> object:
    """Bytes of the long speech, straight from a server; eSpeak's pauses differ by milliseconds."""
    answer = httpx.post(f"{server_url}/v1/audio/speech", json=LONG, timeout=PATIENCE)
    return pytest.approx(len(answer.content), rel=0.001)


async def test_a_server_that_is_stopped_breaks_no_stream_behind_a_balancer(fleet: Fleet, whole: Any) -> None:
    async with fleet.client() as client, paused_listeners(client) as listeners:
        counts = await speaking_by_pid(fleet)
        assert sum(counts.values()) == len(listeners)
        going = next(server for server in fleet.servers if counts[server.pid])
        async with Load(client).running() as load:
            os.kill(going.pid, signal.SIGTERM)
            await until(lambda: not listens(port_of(going)))
            await load.some_more(10)
            assert alive(going), "it left while somebody was listening"
            assert await heard(listeners) == [whole] * len(listeners)
            await until(lambda: not alive(going))
            await load.some_more(10)
            assert load.failed_at == []


async def test_a_server_that_is_killed_breaks_its_own_streams_and_no_others(fleet: Fleet, whole: Any) -> None:
    async with fleet.client() as client, paused_listeners(client) as listeners:
        counts = await speaking_by_pid(fleet)
        assert sum(counts.values()) == len(listeners)
        going = next(server for server in fleet.servers if counts.get(server.pid))
        async with Load(client).running() as load:
            await load.some_more(10)
            os.kill(going.pid, signal.SIGKILL)
            killed_at = time.monotonic()
            await until(lambda: not alive(going))
            answers = await heard(listeners)
            await load.some_more(30)
        assert answers.count(whole) == len(listeners) - counts[going.pid]
        if not fleet.hides_breaks:
            assert answers.count(None) == counts[going.pid]
        assert [at for at in load.failed_at if at > killed_at + GONE_SECONDS] == []
        assert len(load.failed_at) <= 3, "each of the three can have been under way there once"


async def test_a_moment_in_which_no_server_answers_is_waited_for(fleet: Fleet) -> None:
    """All are too busy to say that they are well: nobody is sent away for that."""
    living = [server.pid for server in fleet.servers if alive(server)]
    async with fleet.client() as client:
        for pid in living:
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(3.5)
            asked = asyncio.create_task(client.post("/v1/audio/speech", json=SHORT))
            await asyncio.sleep(0.5)
        finally:
            for pid in living:
                os.kill(pid, signal.SIGCONT)
        assert (await asked).status_code == 200


async def test_a_balancer_holds_nothing_back(fleet: Fleet) -> None:
    async with fleet.client() as client, client.stream("GET", "/api/events") as answer:
        lines = answer.aiter_lines()
        async with asyncio.timeout(PATIENCE):
            async for line in lines:  # the first event comes by itself; far less than any buffer
                if line.startswith("data:"):
                    assert json.loads(line.removeprefix("data:"))
                    break
            else:
                pytest.fail("the events ended")


async def test_a_balancer_lets_the_server_itself_refuse_what_is_too_large(fleet: Fleet) -> None:
    async with fleet.client() as client:
        answer = await client.post("/v1/audio/speech", json={**SHORT, "input": "a" * (9 * 1024 * 1024)})
    assert answer.status_code == 413, answer.text
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_a_balancer_passes_mcp_on(fleet: Fleet) -> None:
    async with fleet.client() as client:
        answer = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
    assert answer.status_code == 200
    assert answer.headers["mcp-session-id"]
    assert '"serverInfo"' in answer.text


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "//metrics", "/%6detrics"])
async def test_a_balancer_does_not_show_the_metrics(fleet: Fleet, path: str) -> None:
    async with fleet.client() as client:
        assert (await client.get(fleet.url + path)).status_code == 404


# --- what a stopping server does by itself ----------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    pytest.importorskip("espeakng_loader")
    with serving(tmp_path, environ()) as server:
        yield server


async def test_a_stopping_server_first_says_so_then_closes_its_port_then_finishes(
    server: Server, whole: Any
) -> None:
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client,
        paused_listeners(client, 1) as listeners,
    ):
        assert (await client.get("/ready")).status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        await asyncio.sleep(0.5)
        refusal = await client.get("/ready")
        assert refusal.status_code == 503
        assert refusal.json()["error"]["code"] == "shutting_down"
        assert (await client.get("/health")).status_code == 200
        assert (await client.post("/v1/audio/speech", json=SHORT)).status_code == 200
        await until(lambda: not listens(port_of(server)))
        assert alive(server)
        assert await heard(listeners) == [whole]
        await until(lambda: not alive(server))


async def test_a_server_that_nobody_watches_closes_its_port_at_once(server: Server) -> None:
    began = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    await until(lambda: not alive(server))
    assert time.monotonic() - began < 4.5  # the notice alone would take 5


async def test_those_who_only_listen_to_events_do_not_keep_a_stopping_server(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        session = (await client.post("/mcp", json=INITIALIZE, headers=ACCEPT, follow_redirects=True)).headers[
            "mcp-session-id"
        ]
        async with (
            client.stream("GET", "/api/events") as events,
            client.stream("GET", "/mcp", headers={**ACCEPT, "mcp-session-id": session}) as notices,
        ):
            assert (events.status_code, notices.status_code) == (200, 200)
            os.kill(server.pid, signal.SIGTERM)
            await until(lambda: not alive(server))
