"""The manager under every order of events that Hypothesis can think of."""

import asyncio
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orpheus_openai.catalog import Model
from orpheus_openai.errors import SpeechError
from orpheus_openai.events import EventHub
from orpheus_openai.gpu.manager import GPUManager, Residency
from tests.support.fake_engine import Clock, Engine, FakeLoader, Rigid, Slow

MODELS = [
    Model(id=name, title=name, memory_gib=size) for name, size in (("a", 8), ("b", 8), ("c", 5), ("free", 0))
]


class ManagerMachine(RuleBasedStateMachine):
    """Requests come and go, time passes, loads fail, engines die, somebody offloads.

    The fakes themselves check that no card is over budget, that a model is never loaded twice at a time and that
    an engine is closed once.
    """

    @initialize(
        cards=st.lists(st.sampled_from([9, 14, 24]), max_size=2),
        mode=st.sampled_from(["single", "multi", "hybrid"]),
        pinned=st.sampled_from([frozenset(), frozenset("c")]),
        engine=st.sampled_from([Engine, Rigid, Slow]),
        seconds=st.sampled_from([0, 0.003]),
    )
    def start(self, cards, mode, pinned, engine, seconds):
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.loader = FakeLoader(*cards, engine=engine, seconds=seconds)
        rules = Residency(mode=mode, pinned=pinned, idle_timeout=60, unload_timeout=600)
        self.manager = GPUManager(self.loader, EventHub(), rules, clock=self.clock)
        self.streams = []
        self.offloads = []
        self.forced = False

    def turn(self, times=30):
        async def some() -> None:
            for _ in range(times):
                await asyncio.sleep(0)
            if times:
                await asyncio.sleep(0.001)  # a card is measured in a thread

        self.loop.run_until_complete(some())

    async def stream(self, model, end):
        try:
            async with self.manager.get_model(model) as leased:
                engine = cast("Engine", leased)
                await end.wait()
                assert self.forced or not engine.alive or (not engine.closed and not engine.asleep)
        except SpeechError as error:
            # Without a card room is never short.
            assert self.loader.total or "could not be loaded" in error.message or self.forced  # noqa: PT017

    @rule(model=st.sampled_from(MODELS), times=st.sampled_from([0, 1, 30]))
    def ask(self, model, times):
        end = asyncio.Event()
        self.streams.append((self.loop.create_task(self.stream(model, end)), end))
        self.turn(times)

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def end_a_stream(self, data):
        _, end = data.draw(st.sampled_from(self.streams))
        end.set()
        self.turn()

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def hang_up(self, data):
        task, _ = data.draw(st.sampled_from(self.streams))
        task.cancel()
        self.turn()

    @rule(seconds=st.sampled_from([1, 30, 60, 600]))
    def time_passes(self, seconds):
        self.clock.now += seconds
        self.loop.call_soon(self.manager.tick)
        self.turn()

    @rule()
    def next_load_fails(self):
        self.loader.fail += 1

    @rule(which=st.integers(0, 3))
    def an_engine_dies(self, which):
        for engine in self.loader.made[-1 - which :][:1]:
            engine.alive = False

    @rule(name=st.sampled_from([None, "a", "b"]), force=st.booleans())
    def offload(self, name, force):
        self.forced = self.forced or force
        self.offloads.append(self.loop.create_task(self.manager.force_offload(name, force=force, wait=0.01)))
        self.turn()

    @invariant()
    def nothing_crashed(self):
        for task in [task for task, _ in getattr(self, "streams", [])] + getattr(self, "offloads", []):
            if task.done() and not task.cancelled():
                assert task.exception() is None

    def teardown(self):
        if not hasattr(self, "loop"):
            return

        async def finish():
            for _, end in self.streams:
                end.set()
            tasks = [task for task, _ in self.streams] + self.offloads
            async with asyncio.timeout(20):
                results = await asyncio.gather(*tasks, return_exceptions=True)
                await self.manager.close()
            assert all(r is None or not isinstance(r, Exception) for r in results)
            assert self.loader.free == self.loader.total, "memory was not given back"
            assert all(engine.closed for engine in self.loader.made)

        self.loop.run_until_complete(finish())
        self.loop.close()


ManagerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestManager = ManagerMachine.TestCase
