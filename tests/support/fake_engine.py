"""What stands at the manager's edge in its tests: a clock that obeys, cards that count, engines that remember."""

import asyncio

from orpheus_openai.gpu.policy import GIB, Card


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Engine:
    """Takes memory of the cards while it is loaded and awake."""

    can_sleep = True

    def __init__(self, cards, model, gpu):
        self.cards, self.model, self.gpu = cards, model, gpu
        self.alive, self.asleep, self.closed = True, False, False
        cards.take(model, gpu)

    async def synthesize(self, text, voice, sampling, usage):
        raise NotImplementedError
        yield

    async def sleep(self):
        await asyncio.sleep(0)
        self.asleep = True
        self.cards.give(self.model, self.gpu)

    async def wake(self):
        await asyncio.sleep(0)
        self.asleep = False
        self.cards.take(self.model, self.gpu)

    async def close(self):
        await asyncio.sleep(0)
        assert not self.closed
        self.closed = True
        if not self.asleep:
            self.cards.give(self.model, self.gpu)


class Rigid(Engine):
    """An engine that cannot sleep."""

    can_sleep = False


class Light(Engine):
    """An engine that keeps a quarter of its memory while it sleeps: its process, its graphs."""

    @property
    def given(self):
        return self.cards.footprint(self.model) * 3 // 4

    async def sleep(self):
        await asyncio.sleep(0)
        self.asleep = True
        self.cards.free[self.gpu] += self.given

    async def wake(self):
        await asyncio.sleep(0)
        self.asleep = False
        self.cards.free[self.gpu] -= self.given
        assert self.cards.free[self.gpu] >= 0, "over budget"

    async def close(self):
        self.cards.free[self.gpu] -= self.given if self.asleep else 0
        self.asleep = False
        await super().close()


class Slow(Engine):
    """Takes a while to give its memory back."""

    async def close(self):
        await asyncio.sleep(0.02)
        await super().close()

    async def sleep(self):
        await asyncio.sleep(0.02)
        await super().sleep()


class FakeLoader:
    """Loads onto cards of so many GiB each; remembers what it made, and fails when told to."""

    def __init__(self, *sizes, seconds=0.0, fail=0, engine=Engine):
        self.total = [round(size * GIB) for size in sizes]
        self.free = list(self.total)
        self.seconds, self.fail, self.engine = seconds, fail, engine
        self.prepared, self.loads, self.made, self.running = [], [], [], set()

    def take(self, model, gpu):
        if gpu is not None:
            self.free[gpu] -= self.footprint(model)
            assert self.free[gpu] >= 0, "over budget"

    def give(self, model, gpu):
        if gpu is not None:
            self.free[gpu] += self.footprint(model)

    def footprint(self, model):
        return round(model.memory_gib * GIB)

    def least_footprint(self, model):
        return self.footprint(model)

    async def prepare(self, model):
        self.prepared.append(model.id)

    def cards(self):
        return [
            Card(i, free, total) for i, (free, total) in enumerate(zip(self.free, self.total, strict=True))
        ]

    async def load(self, model, gpu):
        assert model.id not in self.running, "two loads of one model at a time"
        assert not any(engine.model is model and not engine.closed for engine in self.made), "loaded twice"
        self.loads.append(model.id)
        self.running.add(model.id)
        try:
            await asyncio.sleep(self.seconds)
            if self.fail:
                self.fail -= 1
                raise RuntimeError("no such file")
            self.made.append(self.engine(self, model, gpu))
            return self.made[-1]
        finally:
            self.running.discard(model.id)
