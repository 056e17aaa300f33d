"""The manager: one load for all who wait, no unload under a lease, room made without hurting anybody."""

import asyncio
import contextlib

import pytest

from orpheus_openai.catalog import Model
from orpheus_openai.errors import EngineError, ModelUnavailableError, NotReadyError, ShuttingDownError
from orpheus_openai.events import EventHub
from orpheus_openai.gpu.manager import GPUManager, Residency
from orpheus_openai.gpu.policy import GIB
from orpheus_openai.gpu.slot import ModelState
from tests.support.fake_engine import Clock, FakeLoader, Light, Rigid, Slow

A, B, C = (Model(id=name, title=name, memory_gib=8) for name in "abc")
SMALL = Model(id="small", title="small", memory_gib=0)


def make(loader, clock=None, **rules):
    return GPUManager(loader, EventHub(), Residency(**rules), clock=clock or Clock())


def state(manager, model=A):
    return next((status.state for status in manager.get_status() if status.id == model.id), None)


async def use(manager, model=A, seconds=0.0):
    async with manager.get_model(model) as engine:
        await asyncio.sleep(seconds)
        assert not engine.closed
        assert not engine.asleep
        return engine


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  there is no event for what a test looks at
            await asyncio.sleep(0.001)


async def test_many_waiters_share_one_load():
    loader = FakeLoader(24, seconds=0.01)
    manager = make(loader)
    assert len(set(await asyncio.gather(*(use(manager) for _ in range(8))))) == 1
    assert loader.loads == ["a"]


async def test_an_idle_model_sleeps_wakes_for_a_request_and_is_unloaded_when_it_sleeps_on():
    loader, clock = FakeLoader(24), Clock()
    manager = make(loader, clock, idle_timeout=60, unload_timeout=600)
    engine = await use(manager)
    clock.now += 59
    manager.tick()
    assert state(manager) is ModelState.READY
    clock.now += 1
    manager.tick()
    await until(lambda: state(manager) is ModelState.ASLEEP)
    assert loader.free == loader.total

    assert await use(manager) is engine
    assert loader.loads == ["a"]

    clock.now += 60
    manager.tick()
    await until(lambda: state(manager) is ModelState.ASLEEP)
    clock.now += 600
    manager.tick()
    await until(lambda: state(manager) is ModelState.UNLOADED)
    assert engine.closed


async def asleep(manager, clock, model=A):
    engine = await use(manager, model)
    clock.now += 60
    manager.tick()
    await until(lambda: state(manager, model) is ModelState.ASLEEP)
    return engine


async def test_a_sleeper_needs_only_what_sleeping_gave_back():
    loader, clock = FakeLoader(10, engine=Light), Clock()
    manager = make(loader, clock, idle_timeout=60)
    engine = await asleep(manager, clock)
    loader.free[0] = 7 * GIB  # another program has come: 8 would not fit any more, the 6 that it gave back do
    assert await use(manager) is engine
    assert loader.loads == ["a"]


async def test_a_sleeper_whose_card_is_taken_is_loaded_afresh_on_another():
    loader, clock = FakeLoader(24, 20, engine=Light), Clock()
    manager = make(loader, clock, idle_timeout=60)
    first = await asleep(manager, clock)
    loader.free[0] = 5 * GIB
    second = await use(manager)
    assert first.closed
    assert (second.gpu, loader.loads) == (1, ["a", "a"])


async def test_a_sleeper_whose_card_is_taken_says_so_where_there_is_no_other():
    loader, clock = FakeLoader(24, engine=Light), Clock()
    manager = make(loader, clock, idle_timeout=60)
    await asleep(manager, clock)
    loader.free[0] = 5 * GIB
    with pytest.raises(NotReadyError, match=r"needs 8\.0 GiB.*7\.0 of 24\.0 GiB free"):
        await use(manager)


@pytest.mark.parametrize("mode", ["single", "hybrid"])
@pytest.mark.parametrize(("size", "closed"), [(9.5, True), (24, False)])
async def test_a_sleeper_leaves_for_good_only_where_its_rest_is_needed(mode, size, closed):
    loader, clock = FakeLoader(size, engine=Light), Clock()
    manager = make(loader, clock, idle_timeout=60, mode=mode)
    sleeper = await asleep(manager, clock)
    await use(manager, B)
    assert sleeper.closed == closed


async def test_a_model_that_can_do_with_less_takes_what_there_is_and_evicts_nobody_pinned():
    loader = FakeLoader(13)
    loader.least_footprint = lambda model: 4 * GIB
    manager = make(loader, mode="hybrid", pinned=frozenset("b"))
    await use(manager, B)
    loader.footprint = lambda model: (8 if model is B else 9) * GIB
    loader.take = lambda *_: None
    await use(manager)
    assert {s.id: s.state for s in manager.get_status()} == {"b": ModelState.READY, "a": ModelState.READY}


async def test_what_must_be_fetched_is_fetched_before_anybody_is_evicted():
    loader, fetching = FakeLoader(9), asyncio.Event()
    manager = make(loader)
    first = await use(manager)
    loader.prepare = lambda _: fetching.wait()
    second = asyncio.create_task(use(manager, B))
    await asyncio.sleep(0.02)
    assert not first.closed
    async with manager.get_model(A):
        pass
    fetching.set()
    await second
    assert first.closed


async def test_the_manager_counts_the_streams_of_all_that_is_loaded():
    loader, clock = FakeLoader(24), Clock()
    manager = make(loader, clock, idle_timeout=60, mode="hybrid")
    assert manager.streams is None
    for model, streams in ((A, 5), (B, 8)):
        async with manager.get_model(model) as engine:
            engine.streams = streams
    assert manager.streams == 13
    await asleep(manager, clock)
    assert manager.streams == 13
    await manager.force_offload("b")
    assert manager.streams == 5


async def test_an_engine_that_cannot_sleep_is_unloaded_when_idle():
    loader, clock = FakeLoader(24, engine=Rigid), Clock()
    manager = make(loader, clock, idle_timeout=60)
    engine = await use(manager)
    clock.now += 60
    manager.tick()
    await until(lambda: state(manager) is ModelState.UNLOADED)
    assert engine.closed


async def test_a_leased_model_is_never_idle():
    loader, clock = FakeLoader(24), Clock()
    manager = make(loader, clock, idle_timeout=60)
    async with manager.get_model(A) as engine:
        clock.now += 3600
        manager.tick()
        await asyncio.sleep(0.01)
        assert not engine.asleep
        assert not engine.closed


@pytest.mark.parametrize("rules", [{"idle_timeout": 0}, {"idle_timeout": 60, "pinned": frozenset("a")}])
async def test_zero_and_pinning_keep_a_model_for_ever(rules):
    clock = Clock()
    manager = make(FakeLoader(24), clock, **rules)
    await use(manager)
    clock.now += 1e9
    manager.tick()
    await asyncio.sleep(0.01)
    assert state(manager) is ModelState.READY


async def test_in_mode_single_a_second_model_waits_for_the_firsts_streams_and_takes_its_place():
    loader = FakeLoader(24)
    manager = make(loader)
    async with manager.get_model(A) as first:
        second = asyncio.create_task(use(manager, B))
        await until(lambda: any(s.id == "b" and s.state is ModelState.LOADING for s in manager.get_status()))
        await asyncio.sleep(0.02)
        assert not first.closed
        assert loader.loads == ["a"]
    await second
    assert first.closed
    assert loader.loads == ["a", "b"]


async def test_models_that_take_turns_on_one_card_all_get_to_speak():
    loader = FakeLoader(8.5)
    manager = make(loader, mode="hybrid")
    async with asyncio.timeout(20):
        await asyncio.gather(*(use(manager, model, 0.001) for _ in range(6) for model in (A, B, C)))
    assert len(loader.loads) >= 3


async def test_a_sleeper_that_is_wanted_while_another_model_makes_room_waits_its_turn():
    clock = Clock()
    manager = make(FakeLoader(24), clock, idle_timeout=60)
    await use(manager, A)
    clock.now += 60
    manager.tick()
    await until(lambda: state(manager, A) is ModelState.ASLEEP)
    async with manager.get_model(B):
        waiting = []
        for model in (C, A):
            waiting.append(asyncio.create_task(use(manager, model)))
            await asyncio.sleep(0.02)
            assert state(manager, model) is ModelState.LOADING
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


async def test_in_mode_hybrid_the_least_used_model_makes_room():
    loader, clock = FakeLoader(20), Clock()
    manager = make(loader, clock, mode="hybrid")
    await use(manager, A)
    await use(manager, A)
    await use(manager, B)
    await use(manager, C)
    assert state(manager, A) is ModelState.READY
    assert state(manager, B) is ModelState.UNLOADED


async def test_a_frequency_from_long_ago_counts_little():
    loader, clock = FakeLoader(20), Clock()
    manager = make(loader, clock, mode="hybrid", idle_timeout=0)
    for _ in range(5):
        await use(manager, A)
    clock.now += 3600
    await use(manager, B)
    await use(manager, C)
    assert state(manager, A) is ModelState.UNLOADED
    assert state(manager, B) is ModelState.READY


async def test_a_model_comes_to_the_idlest_card_that_fits():
    manager = make(FakeLoader(10, 24, 17), mode="hybrid")
    await use(manager, A)
    await use(manager, B)
    assert {s.id: s.gpu for s in manager.get_status()} == {"a": 1, "b": 2}


async def test_what_is_larger_than_every_card_can_never_speak_here():
    with pytest.raises(ModelUnavailableError, match=r"b needs 8.0 GiB.*6.0 of 6.0 GiB free"):
        await use(make(FakeLoader(6)), B)


async def test_what_does_not_fit_now_is_an_error_that_names_need_room_and_holders():
    loader = FakeLoader(12)
    manager = make(loader, mode="hybrid", pinned=frozenset("a"))
    await use(manager, A)
    with pytest.raises(NotReadyError, match=r"b needs 8.0 GiB.*4.0 of 12.0 GiB free.*a on GPU 0") as caught:
        await use(manager, B)
    assert caught.value.code == "insufficient_gpu_memory"
    assert state(manager, B) is ModelState.FAILED


async def test_cards_that_stop_answering_leave_no_request_without_an_answer():
    loader = FakeLoader(24)
    manager = make(loader, mode="hybrid")
    engine = await use(manager, A)
    loader.cards = list
    assert await use(manager, A) is engine, "what is loaded speaks on"
    async with asyncio.timeout(5):
        await asyncio.gather(use(manager, B), use(manager, C))
        assert (await manager.force_offload()).still_busy == []
    assert {status.state for status in manager.get_status()} == {ModelState.UNLOADED}


async def test_a_model_that_needs_no_card_disturbs_nobody():
    loader = FakeLoader(24)
    manager = make(loader)
    async with manager.get_model(A) as engine:
        await use(manager, SMALL)
        assert not engine.closed
    assert state(manager, A) is ModelState.READY


async def test_a_failed_load_is_every_waiters_error_and_the_next_request_tries_again():
    loader = FakeLoader(24, fail=1)
    manager = make(loader)
    results = await asyncio.gather(use(manager), use(manager), return_exceptions=True)
    assert all(isinstance(result, EngineError) and "no such file" in result.message for result in results)
    assert manager.get_status()[0].error == "no such file"
    await use(manager)
    assert manager.get_status()[0].error is None
    assert loader.loads == ["a", "a"]


async def test_a_waiter_that_gives_up_does_not_stop_the_load_for_others():
    loader = FakeLoader(24, seconds=0.05)
    manager = make(loader)
    impatient, patient = asyncio.create_task(use(manager)), asyncio.create_task(use(manager))
    await asyncio.sleep(0.01)
    impatient.cancel()
    assert (await patient).alive
    assert loader.loads == ["a"]


@pytest.mark.parametrize("slept", [False, True])
async def test_a_load_that_nobody_waits_for_any_more_ends_as_if_it_had_not_begun(slept, monkeypatch):
    monkeypatch.setattr("orpheus_openai.gpu.changes.EVICTION_SECONDS", 0.01)
    clock = Clock()
    manager = make(FakeLoader(24), clock, mode="single", idle_timeout=60, unload_timeout=0)
    if slept:
        await use(manager, B)
        clock.now += 60
        manager.tick()
        await until(lambda: state(manager, B) is ModelState.ASLEEP)
    async with manager.get_model(A) as engine:
        impatient = asyncio.create_task(use(manager, B))
        await until(lambda: state(manager, B) is ModelState.LOADING)
        impatient.cancel()
        await until(lambda: state(manager, B) is not ModelState.LOADING)
        assert state(manager, B) is (ModelState.ASLEEP if slept else ModelState.UNLOADED)
        assert {status.error for status in manager.get_status()} == {None}
        assert not engine.closed
    await use(manager, B)


async def test_waiting_for_a_load_has_an_end():
    manager = make(FakeLoader(24, seconds=5), load_wait=0.05)
    with pytest.raises(NotReadyError, match="not ready") as caught:
        await use(manager)
    assert caught.value.retry_after
    await manager.close()


async def test_a_dead_engine_is_loaded_anew():
    manager = make(FakeLoader(24))
    first = await use(manager)
    first.alive = False
    assert await use(manager) is not first
    assert first.closed


async def test_offload_drains_and_new_requests_wait_for_the_next_load():
    loader = FakeLoader(24)
    manager = make(loader)
    running = asyncio.create_task(use(manager, seconds=0.05))
    await until(lambda: loader.made)
    await asyncio.sleep(0.01)
    offload = asyncio.create_task(manager.force_offload())
    await asyncio.sleep(0)
    late = asyncio.create_task(use(manager))
    assert (await offload).offloaded == ["a"]
    first, second = await running, await late
    assert first.closed
    assert second is not first


async def test_offload_gives_up_when_streams_go_on_and_says_so():
    manager = make(FakeLoader(24))
    async with manager.get_model(A) as engine:
        result = await manager.force_offload("a", wait=0.01)
        assert (result.offloaded, result.still_busy) == ([], ["a"])
        assert not engine.closed
    assert await use(manager) is engine


async def test_whoever_comes_while_an_offload_waits_is_told_to_come_again_and_why(monkeypatch):
    monkeypatch.setattr("orpheus_openai.gpu.manager.HELD_SECONDS", 0.02)
    manager = make(FakeLoader(24))
    async with manager.get_model(A) as engine:
        offload = asyncio.create_task(manager.force_offload("a", wait=3600))
        await until(lambda: manager.get_status()[0].draining_seconds)
        with pytest.raises(NotReadyError, match="a is being offloaded") as caught:
            await use(manager)
        assert (caught.value.code, caught.value.retry_after) == ("model_offloading", 30)
        await use(manager, SMALL)
        assert not engine.closed
    assert (await offload).offloaded == ["a"]
    await use(manager)


async def test_an_offload_that_is_given_up_holds_nobody():
    manager = make(FakeLoader(24))
    async with manager.get_model(A) as engine:
        offload = asyncio.create_task(manager.force_offload("a", wait=3600))
        await until(lambda: manager.get_status()[0].draining_seconds)
        late = asyncio.create_task(use(manager))
        await asyncio.sleep(0.01)
        assert not late.done()
        offload.cancel()
        assert await late is engine
        assert manager.get_status()[0].draining_seconds is None


async def test_events_tell_that_an_offload_waits_and_that_it_has_given_up():
    events = EventHub()
    manager = GPUManager(FakeLoader(24), events, clock=Clock())
    async with manager.get_model(A):
        with events.subscribe() as stream:
            await manager.force_offload("a", wait=0.01)
            began, ended = [await anext(stream) for _ in range(2)]
    assert {began.type, ended.type} == {"model.draining"}
    assert 0 < began.data.pop("seconds") <= 0.01
    assert began.data == {"model": "a", "leases": 1}
    assert ended.data == {"model": "a", "leases": 1, "seconds": None}


async def test_offload_says_what_it_has_freed():
    clock = Clock()
    manager = make(FakeLoader(24), clock, mode="multi")
    await use(manager, A)
    clock.now += 60
    manager.tick()
    await until(lambda: state(manager, A) is ModelState.ASLEEP)
    for model in (B, SMALL):
        await use(manager, model)
    assert (await manager.force_offload("b")).freed_bytes == 8 * GIB
    assert (await manager.force_offload()).freed_bytes == 0, "one slept, the other needs no card"


async def test_offload_by_force_does_not_wait():
    manager = make(FakeLoader(24))
    async with manager.get_model(A) as engine:
        assert (await manager.force_offload(force=True)).offloaded == ["a"]
        assert engine.closed


async def test_whoever_speaks_is_told_of_an_offload_by_force_and_of_a_stop_as_that():
    manager = make(FakeLoader(24))
    with pytest.raises(NotReadyError, match="offloaded by force") as caught:
        async with manager.get_model(A):
            await manager.force_offload(force=True)
            raise ShuttingDownError("The codec is closed.")
    assert (caught.value.code, caught.value.retry_after) == ("model_offloading", 1)
    with pytest.raises(ShuttingDownError):
        async with manager.get_model(A):
            await manager.close()
            raise ShuttingDownError("The codec is closed.")


async def test_offload_waits_for_a_load_and_for_those_whom_it_is_for():
    loader = FakeLoader(24, seconds=0.02)
    manager = make(loader)
    asked = asyncio.create_task(use(manager))
    await until(lambda: loader.loads)
    assert (await manager.force_offload(wait=0.001)).still_busy == ["a"]
    assert (await manager.force_offload(wait=5)).offloaded == ["a"]
    assert (await asked).closed


@pytest.mark.parametrize("seconds", [0, 0.01], ids=["at its first step", "in the middle"])
async def test_offload_by_force_breaks_a_load_off(seconds):
    loader = FakeLoader(24, seconds=5)
    manager = make(loader)
    asked = asyncio.create_task(use(manager))
    await asyncio.sleep(seconds)
    async with asyncio.timeout(1):
        assert (await manager.force_offload(force=True)).offloaded == ["a"]
        with pytest.raises(NotReadyError, match="offloaded while it was being loaded") as caught:
            await asked
    assert caught.value.retry_after
    assert state(manager) is ModelState.UNLOADED
    loader.seconds = 0
    assert not (await use(manager)).closed


async def test_memory_that_is_about_to_be_free_is_waited_for():
    clock = Clock()
    loader = FakeLoader(8, engine=Slow)
    manager = make(loader, clock, mode="multi")
    engine = await use(manager, A)
    leaving = asyncio.create_task(manager.force_offload("a"))
    await until(lambda: state(manager, A) is ModelState.UNLOADING)
    await use(manager, B)
    assert (await leaving).offloaded == ["a"]
    assert engine.closed


@pytest.mark.parametrize("pinned", [frozenset(), frozenset("a")])
async def test_room_is_taken_from_a_model_that_leaves_anyway_however_much_it_is_used(pinned):
    manager = make(FakeLoader(16, engine=Slow), mode="multi", pinned=pinned)
    other = await use(manager, B)
    async with manager.get_model(A):
        leaving = asyncio.create_task(manager.force_offload("a", force=True))
        await until(lambda: state(manager, A) is ModelState.UNLOADING)
        await use(manager, C)
    assert (await leaving).offloaded == ["a"]
    assert not other.closed


async def test_a_model_on_its_way_to_sleep_is_left_to_it_when_its_room_is_needed():
    clock = Clock()
    manager = make(FakeLoader(8, engine=Slow), clock, idle_timeout=60)
    engine = await use(manager, A)
    clock.now += 60
    manager.tick()
    await use(manager, B)
    assert not engine.closed
    assert await use(manager, A) is engine


async def test_after_closing_nothing_is_loaded():
    manager = make(FakeLoader(24, seconds=1))
    waiting = asyncio.ensure_future(use(manager))
    await asyncio.sleep(0.01)
    await manager.close()
    with pytest.raises(ShuttingDownError):
        await waiting
    with pytest.raises(ShuttingDownError):
        await use(manager)


async def test_closing_ends_a_load_that_has_not_begun():
    manager = make(FakeLoader(24, seconds=5))
    asked = asyncio.create_task(use(manager))
    closing = asyncio.create_task(manager.close())  # its first step comes before the load's
    async with asyncio.timeout(1):
        await closing
        with pytest.raises(ShuttingDownError):
            await asked
    assert state(manager) is ModelState.UNLOADED


async def test_the_events_tell_it_in_order():
    events = EventHub()
    manager = GPUManager(FakeLoader(24), events, Residency(), clock=Clock())
    with events.subscribe() as told:
        await use(manager, A)
        await use(manager, B)
        await manager.close()
        seen = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                async for event in told:
                    seen.append((event.data["model"], event.data["state"]))
    assert seen == [
        ("a", "loading"),
        ("a", "ready"),
        ("b", "loading"),
        ("a", "unloading"),
        ("a", "unloaded"),
        ("b", "ready"),
        ("b", "unloading"),
        ("b", "unloaded"),
    ]


async def test_fifty_requests_during_offloads_are_all_answered():
    manager = make(FakeLoader(24, seconds=0.002))
    async with asyncio.timeout(20):
        requests = [asyncio.create_task(use(manager, A, 0.001 * (i % 5))) for i in range(50)]
        for _ in range(10):
            await manager.force_offload()
            await asyncio.sleep(0.001)
        await asyncio.gather(*requests)
