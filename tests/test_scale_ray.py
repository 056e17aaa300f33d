"""The application of deploy/ray on a real Ray Serve with two replicas on the CPU: new ones come, one is killed."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.listeners import LONG, PATIENCE, SHORT, Load, heard, paused_listeners

ray = pytest.importorskip("ray", reason="Ray is not installed")
serve = pytest.importorskip("ray.serve", reason="Ray Serve is not installed")
pytest.importorskip("espeakng_loader")

from deploy.ray.serve_app import Arguments, build  # noqa: E402  needs Ray

ROOT = Path(__file__).parent.parent
APPLICATION = build(Arguments(gpus=0, cpus=0.5, min_replicas=2, max_replicas=2, drain_seconds=60))

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 1024 * 1024,
        runtime_env={"env_vars": {"PYTHONPATH": path, "ORPHEUS_MODEL": "preview"}},
    )
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(APPLICATION, name="orpheus")
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def replicas() -> set[int]:
    """The processes that speak."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica:orpheus:speech"):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


async def test_new_replicas_take_over_without_breaking_a_stream(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        whole = len((await client.post("/v1/audio/speech", json=LONG)).content)
        old = replicas()
        assert len(old) == 2
        async with paused_listeners(client, 6) as listeners, Load(client).running() as load:
            await asyncio.to_thread(serve.run, APPLICATION, name="orpheus")
            assert await heard(listeners) == [pytest.approx(whole, rel=0.001)] * 6
            await load.some_more(10)
            assert load.failed_at == []
        assert not old & replicas()


async def test_a_replica_that_is_killed_breaks_its_own_streams_and_no_others(url: str) -> None:
    very_long = {**LONG, "input": LONG["input"] * 4}  # Ray's proxy reads ahead of a listener who pauses

    async def listen(client: httpx.AsyncClient, begun: asyncio.Event) -> bool:
        try:
            async with client.stream("POST", "/v1/audio/speech", json=very_long) as answer:
                assert answer.status_code == 200, await answer.aread()
                async for _ in answer.aiter_raw():
                    begun.set()
        except httpx.TransportError:
            return False
        return True

    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        tasks = []
        for _ in range(4):  # one by one: Ray's router learns from each where the next one goes
            begun = asyncio.Event()
            tasks.append(asyncio.create_task(listen(client, begun)))
            await begun.wait()
        os.kill(min(replicas()), signal.SIGKILL)
        killed_at = time.monotonic()
        async with Load(client).running() as load:
            whole = await asyncio.gather(*tasks)
            await load.some_more(10)
        assert 0 < whole.count(False) < 4
        assert [at for at in load.failed_at if at > killed_at + 1] == []  # a second for Ray to notice


async def test_openai_clients_are_answered(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        answer = await client.post("/v1/audio/speech", json={**SHORT, "response_format": "mp3"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
        assert (await client.get("/ready")).status_code == 200
