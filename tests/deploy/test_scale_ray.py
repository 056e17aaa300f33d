"""The application of deploy/ray on a real Ray Serve with two replicas on the CPU: new ones come, one is killed."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.listeners import LONG, PATIENCE, SHORT, Load, heard, paused_listeners
from tests.support.ports import free_port
from tests.support.socket_client import assert_sockets_pass

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(300)


def deploy() -> None:
    """Put two replicas in the place of those that run; returns when the new ones do, and the old ones are gone."""
    from ray import serve  # noqa: PLC0415  a second that only these tests wait for

    from deploy.ray.serve_app import Arguments, build  # noqa: PLC0415  needs Ray

    arguments = Arguments(gpus=0, cpus=0.5, min_replicas=2, max_replicas=2, drain_seconds=60)  # type: ignore[call-arg]  # the other fields have defaults
    serve.run(build(arguments), name="orpheus")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("espeakng_loader")
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[serve]'")
    serve = pytest.importorskip("ray.serve", reason="Ray Serve is not installed")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",  # it kills replicas when other programs fill the memory
        "RAY_worker_niceness": "0",  # 15 starves them where other tests run beside these
    }
    # A short name: there are sockets in it, whose paths may have 107 characters.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray") as folder:
        for name, value in settings.items():
            patch.setenv(name, value)
        try:
            ray.init(
                "local",  # never a cluster that is there already
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=100 * 1024 * 1024,
                runtime_env={"env_vars": {"PYTHONPATH": path, "ORPHEUS_MODEL": "preview"}},
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
            port = free_port()
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            deploy()
            yield f"http://127.0.0.1:{port}"
        finally:
            ray.shutdown(wait_for_processes=True)


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def replicas() -> set[int]:
    """The processes that speak, of the cluster that this one has started."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica:orpheus:speech")
            if named and parent(parent(int(folder.name))) == os.getpid():
                found.add(int(folder.name))
        except OSError:
            continue
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  of other processes
            await asyncio.sleep(0.05)


async def test_sockets_pass_ray_serve(url: str) -> None:
    await assert_sockets_pass(url)


async def test_new_replicas_take_over_without_breaking_a_stream(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        whole = len((await client.post("/v1/audio/speech", json=LONG)).content)
        old = replicas()
        assert len(old) == 2
        async with paused_listeners(client) as listeners, Load(client).running() as load:
            await asyncio.to_thread(deploy)
            assert await heard(listeners) == [pytest.approx(whole, rel=0.001)] * len(listeners)
            await until(lambda: not old & replicas())
            await load.some_more(10)
            assert load.failed_at == []


async def test_a_replica_that_is_killed_breaks_its_own_streams_and_no_others(url: str) -> None:
    very_long = {**LONG, "input": LONG["input"] * 2}  # Ray's proxy reads ahead of a listener who pauses

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
        await until(lambda: len(replicas()) == 2)
        tasks = []
        for _ in range(4):  # one by one: Ray's router learns from each where the next one goes
            begun = asyncio.Event()
            tasks.append(asyncio.create_task(listen(client, begun)))
            await begun.wait()
        os.kill(min(replicas()), signal.SIGKILL)
        async with Load(client).running() as load:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            noticed = time.monotonic()  # by Ray, which breaks the streams
            whole = await asyncio.gather(*tasks)
            await load.some_more(10)
        assert 0 < whole.count(False) < 4
        assert [at for at in load.failed_at if at > noticed] == []


async def test_openai_clients_are_answered(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        answer = await client.post("/v1/audio/speech", json={**SHORT, "response_format": "mp3"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
        assert (await client.get("/ready")).status_code == 200
