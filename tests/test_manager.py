"""The manager: one load for all who wait, no unload under a lease, out when idle."""

import asyncio
import contextlib

import pytest

from orpheus_openai.catalog import load_catalog
from orpheus_openai.errors import EngineError, ModelUnavailableError, ShuttingDownError
from orpheus_openai.events import EventHub
from orpheus_openai.gpu.manager import GPUManager, ModelState

MODEL = load_catalog().models["medium-3b"]


class FakeSpeaker:
    """Stands where an engine would: it only remembers whether it was closed."""

    def __init__(self):
        self.alive = True
        self.closed = False

    async def synthesize(self, text, voice, sampling, usage):
        raise NotImplementedError
        yield

    async def close(self):
        await asyncio.sleep(0)
        self.closed = True


class Loader:
    def __init__(self, *, seconds=0.01, fail=0):
        self.seconds, self.fail, self.loads = seconds, fail, 0
        self.made = []

    async def __call__(self, model):
        self.loads += 1
        await asyncio.sleep(self.seconds)
        if self.loads <= self.fail:
            raise RuntimeError("no such file")
        self.made.append(FakeSpeaker())
        return self.made[-1]


async def test_many_waiters_share_one_load():
    loader = Loader()
    manager = GPUManager(loader, EventHub())

    async def use():
        async with manager.get_model(MODEL) as speaker:
            return speaker

    assert len(set(await asyncio.gather(*(use() for _ in range(8))))) == 1
    assert loader.loads == 1


async def test_a_leased_model_outlives_its_idle_time_and_leaves_after_it():
    loader = Loader()
    manager = GPUManager(loader, EventHub(), idle_timeout=0.03)
    async with manager.get_model(MODEL) as speaker:
        await asyncio.sleep(0.1)
        assert not speaker.closed
    await asyncio.sleep(0.1)
    assert loader.made[0].closed
    assert manager.get_status()[0].state is ModelState.UNLOADED


async def test_zero_keeps_a_model_for_ever():
    loader = Loader()
    manager = GPUManager(loader, EventHub(), idle_timeout=0)
    async with manager.get_model(MODEL):
        pass
    await asyncio.sleep(0.05)
    assert manager.get_status()[0].state is ModelState.READY


async def test_a_failed_load_is_every_waiters_error_and_the_next_request_tries_again():
    loader = Loader(fail=1)
    manager = GPUManager(loader, EventHub())

    async def use():
        async with manager.get_model(MODEL):
            pass

    results = await asyncio.gather(use(), use(), return_exceptions=True)
    assert all(isinstance(result, EngineError) and "no such file" in result.message for result in results)
    assert manager.get_status()[0].state is ModelState.FAILED
    assert manager.get_status()[0].error == "no such file"
    await use()
    assert loader.loads == 2


async def test_a_waiter_that_gives_up_does_not_stop_the_load_for_others():
    loader = Loader(seconds=0.05)
    manager = GPUManager(loader, EventHub())

    async def use():
        async with manager.get_model(MODEL) as speaker:
            return speaker

    impatient, patient = asyncio.create_task(use()), asyncio.create_task(use())
    await asyncio.sleep(0.01)
    impatient.cancel()
    assert (await patient).alive
    assert loader.loads == 1


async def test_waiting_for_a_load_has_an_end():
    manager = GPUManager(Loader(seconds=5), EventHub(), load_wait=0.05)
    with pytest.raises(ModelUnavailableError, match="still loading") as caught:
        async with manager.get_model(MODEL):
            pass
    assert caught.value.retry_after
    await manager.close()


async def test_a_dead_engine_is_loaded_anew():
    loader = Loader()
    manager = GPUManager(loader, EventHub())
    async with manager.get_model(MODEL) as first:
        first.alive = False
    async with manager.get_model(MODEL) as second:
        assert second is not first
    assert first.closed


async def test_offload_waits_for_running_streams():
    loader = Loader()
    manager = GPUManager(loader, EventHub())
    entered = asyncio.Event()

    async def use():
        async with manager.get_model(MODEL) as speaker:
            entered.set()
            await asyncio.sleep(0.05)
            assert not speaker.closed

    task = asyncio.create_task(use())
    await entered.wait()
    assert await manager.force_offload() == [MODEL.id]
    await task
    assert loader.made[0].closed


async def test_after_closing_nothing_is_loaded():
    loader = Loader(seconds=1)
    manager = GPUManager(loader, EventHub())
    waiting = asyncio.ensure_future(contextlib.AsyncExitStack().enter_async_context(manager.get_model(MODEL)))
    await asyncio.sleep(0.01)
    await manager.close()
    with pytest.raises(ShuttingDownError):
        await waiting
    with pytest.raises(ShuttingDownError):
        async with manager.get_model(MODEL):
            pass
