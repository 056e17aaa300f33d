"""Token ids from llama.cpp, in processes of its own that this server starts, watches and ends."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence

from orpheus_openai.errors import EngineError, NotReadyError, SpeechError
from orpheus_openai.models.orpheus.adapters import edition
from orpheus_openai.models.orpheus.adapters_held import IDLE_SECONDS, ROOM_SECONDS, no_place
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf
from orpheus_openai.models.orpheus.llama_engine import LlamaEngine, LlamaOptions
from orpheus_openai.models.orpheus.llama_start import LlamaStart
from orpheus_openai.models.orpheus.pace import Pace
from orpheus_openai.models.threads import in_thread
from orpheus_openai.synthesis import Sampling

FAILURE_SECONDS = 30.0
"""How long an adapter that llama.cpp could not start with is refused without another try."""
GATHER_SECONDS = 0.05
"""How long a new process waits for others who want adapters: those who come together get one."""
MOST_LEAVING = 2
"""Processes that still speak when their successors have taken over; a new adapter waits for the end of more."""

logger = logging.getLogger(__name__)


class _Running:
    """A llama.cpp, the editions of the adapters that it was started with, and who speaks with them."""

    def __init__(self, engine: LlamaEngine, editions: Sequence[str]) -> None:
        self.engine = engine
        self.editions = list(editions)
        self.users: Counter[str | None] = Counter()
        self.ending: asyncio.Task[None] | None = None

    @property
    def in_use(self) -> list[str]:
        return [each for each in self.editions if self.users[each]]

    @property
    def busy(self) -> bool:
        return self.users.total() > 0


class LlamaTokenSource:
    """llama.cpp with the adapters that are asked for; made by `load_llama`, and used in its event loop.

    It takes adapters only when it starts: one that is new comes with another process, which starts beside the one that
    speaks and takes its place, and that one ends with its last stream. Where the model is on a card, or there is no
    memory for two, the adapter waits until nobody is spoken for: others' speech never waits for it.
    """

    def __init__(
        self, start: LlamaStart, engine: LlamaEngine, names: dict[str, str], recent: dict[str, float]
    ) -> None:
        self._start = start
        self._options = start.options
        self._running = _Running(engine, list(names))
        self._leaving: list[_Running] = []
        self._recent = recent
        self._names = names
        """Of editions: the adapters' own names."""
        self._wanted: Counter[str] = Counter()
        self._failures: dict[str, tuple[float, SpeechError]] = {}
        self._one_at_a_time = False
        self._change: asyncio.Task[None] | None = None
        self._replacing = False
        self._changed = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        """Until it is looked whether adapters are there that nobody speaks with any more."""

    @property
    def dead(self) -> bool:
        """Whether its process has ended, so that only another source can speak."""
        return self._running.engine.dead and not self._replacing

    @property
    def streams(self) -> int:
        """Prompts that it continues at once; more wait their turn."""
        return self._start.parameters.slots

    @property
    def pace(self) -> Pace | None:
        """Of one stream, as measured when it was loaded; None where that gave too few tokens."""
        return self._running.engine.pace

    @property
    def engine(self) -> str:
        """What it is, for people: engine, quantisation, device, speed."""
        return self._running.engine.words

    @property
    def pid(self) -> int:
        """Of the process that newcomers speak with."""
        return self._running.engine.pid

    async def encode(self, text: str) -> list[int]:
        """Tokenize a text, never into special tokens that it spells; raises EngineError when the engine fails."""
        async with self._lease(None) as running:
            return await running.engine.encode(text)

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, adapter: str | None = None
    ) -> AsyncGenerator[list[int]]:
        """Continue a prompt, with an adapter by its folder or repository; see `LlamaEngine.generate`.

        Raises as `adapters.fetch_adapter` does, NotReadyError or OverloadedError where an adapter waited in vain.
        """
        wanted = None if adapter is None else await self._edition(adapter)
        async with self._lease(wanted) as running:
            number = None if wanted is None else running.editions.index(wanted)
            async with contextlib.aclosing(running.engine.generate(prompt_ids, sampling, number)) as stream:
                async for ids in stream:
                    yield ids

    async def close(self) -> None:
        """End its processes: they are gone, and their memory is free, when this returns."""
        if self._idle is not None:
            self._idle.cancel()
        if self._change is not None:
            self._change.cancel()
            await asyncio.wait([self._change])
        await asyncio.gather(*(each.ending or self._end(each) for each in (self._running, *self._leaving)))
        await in_thread(self._start.files.close)

    async def _edition(self, adapter: str) -> str:
        held = next((each for each in self._running.editions if self._names[each] == adapter), None)
        found = await edition(adapter, held)
        self._names[found] = adapter
        return found

    @contextlib.asynccontextmanager
    async def _lease(self, wanted: str | None) -> AsyncGenerator[_Running]:
        """The process that newcomers speak with, which has the adapter of that edition; it stays while this lasts."""
        while self._replacing or (wanted is not None and wanted not in self._running.editions):
            if wanted is None or self._replacing:
                await self._changed.wait()
            else:
                await self._bring(wanted)
        running = self._running
        running.users[wanted] += 1
        try:
            yield running
        finally:
            running.users[wanted] -= 1
            if wanted is not None:
                self._recent[self._names[wanted]] = time.monotonic()
                self._expect_idle()
            self._signal()

    async def _bring(self, wanted: str) -> None:
        """Have the adapter in a process that takes the place of this one, or wait for somebody's change that may."""
        if self.dead:
            raise EngineError("The speech engine has died; the next request starts it again.")
        await in_thread(lambda: self._start.files.fetch(self._names[wanted]))
        self._wanted[wanted] += 1
        try:
            deadline = asyncio.get_running_loop().time() + ROOM_SECONDS
            while wanted not in self._running.editions:
                since, error = self._failures.get(wanted, (0.0, None))
                if error is not None and time.monotonic() < since + FAILURE_SECONDS:
                    raise NotReadyError(error.message, code=error.code, retry_after=int(FAILURE_SECONDS))
                if self._change is None and (obstacle := self._obstacle()) is not None:
                    try:
                        async with asyncio.timeout_at(deadline):
                            await self._changed.wait()
                    except TimeoutError:
                        raise obstacle from None
                    continue
                if self._change is None:
                    self._change = asyncio.create_task(self._succeed(wanted), name="llama.cpp successor")
                await self._finished(self._change, deadline)
        finally:
            self._wanted -= Counter([wanted])

    async def _finished(self, change: "asyncio.Task[None]", deadline: float) -> None:
        """Wait for a change, which goes on when whoever wanted it hangs up, or has waited for long enough."""
        left = deadline - asyncio.get_running_loop().time()
        done, _ = await asyncio.wait([change], timeout=max(0.0, left))
        if not done:
            raise NotReadyError(
                "llama.cpp is being started again with the adapter of this voice. Try again shortly.",
                code="adapter_waits",
                retry_after=5,
            )
        if change.cancelled():
            raise EngineError("The speech engine is being unloaded; send the request again.")
        change.result()

    def _obstacle(self) -> SpeechError | None:
        """What a new adapter has to wait for."""
        if len(self._running.in_use) >= self._options.adapters:
            return no_place(self._options.adapters)
        if len(self._leaving) < MOST_LEAVING and (not self._running.busy or self._fits_beside()):
            return None
        return NotReadyError(
            "This voice is new to llama.cpp, which takes another adapter only when it starts, and it has spoken for "
            "others all the time. Try again shortly.",
            code="adapter_waits",
            retry_after=5,
        )

    def _fits_beside(self) -> bool:
        """Whether another process can start while this one speaks, by the memory of the host."""
        return self._running.engine.in_host_memory and self._start.another_fits

    def _expect_idle(self) -> None:
        """Look in a while whether adapters may go that nobody speaks with any more."""
        if self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS / 4, self._let_go)

    def _let_go(self) -> None:
        """Start without the adapters that nobody has spoken with lately, where that is in nobody's way."""
        self._idle = None
        if self.dead or not self._running.editions:
            return
        self._expect_idle()
        idle = set(self._running.editions) - set(self._chosen(()))
        if idle and self._change is None and (not self._running.busy or self._fits_beside()):
            self._change = asyncio.create_task(self._succeed_without(idle), name="llama.cpp without adapters")

    async def _succeed_without(self, idle: Collection[str]) -> None:
        with contextlib.suppress(SpeechError):  # then they stay until another one comes
            await self._succeed(None)
            logger.info("llama.cpp has let go of %d adapters that nobody speaks with", len(idle))

    async def _succeed(self, wanted: str | None) -> None:
        """Put a process with that adapter, and others that are waited for, in the place of the one that speaks."""
        await asyncio.sleep(GATHER_SECONDS)
        others = [] if self._one_at_a_time else [each for each in self._wanted if each != wanted]
        new = others if wanted is None else [wanted, *others]
        try:
            started = await self._started(new)
        except SpeechError as error:
            if wanted is not None and (self._one_at_a_time or not others):
                self._failures[wanted] = (time.monotonic(), error)
            self._one_at_a_time = bool(new)  # which of them it was shows next
        else:
            self._one_at_a_time = False
            started.engine.pace = self._running.engine.pace
            if not self._replacing:
                self._leaving.append(self._running)
            self._running = started
            await in_thread(lambda: self._start.files.keep(started.editions))
        finally:
            self._change = None
            self._replacing = False
            self._signal()

    async def _started(self, new: Sequence[str]) -> _Running:
        before = self._running
        chosen = self._chosen(new)
        for each in chosen.copy():
            try:
                await self._start.prepare(self._names[each], each)
            except SpeechError:
                if each in new:
                    raise
                chosen.remove(each)
        if not before.busy and not self._fits_beside():
            self._replacing = True  # from here on newcomers wait
            await before.engine.close()
            try:
                return _Running(await self._start.run(chosen), chosen)
            except SpeechError:
                self._running = _Running(await self._start.run(before.editions), before.editions)
                self._running.engine.pace = before.engine.pace
                raise
        return _Running(await self._start.run(chosen), chosen)

    def _chosen(self, new: Sequence[str]) -> list[str]:
        """The adapters to start with: those in use, the new ones, and others that were used lately, the last first."""
        oldest = time.monotonic() - IDLE_SECONDS
        used = {each: self._recent.get(self._names[each], 0.0) for each in self._running.editions}
        lately = sorted((each for each in used if used[each] > oldest), key=lambda each: -used[each])
        return list(dict.fromkeys([*self._running.in_use, *new, *lately]))[: self._options.adapters]

    def _signal(self) -> None:
        """Wake who waits for a change, and end who has spoken for the last time."""
        self._changed.set()
        self._changed = asyncio.Event()
        for each in self._leaving:
            if not each.busy and each.ending is None:
                each.ending = asyncio.create_task(self._end(each), name="llama.cpp predecessor")

    async def _end(self, running: _Running) -> None:
        await running.engine.close()
        if running in self._leaving:
            self._leaving.remove(running)
            self._signal()


async def load_llama(
    checkpoint: str, options: LlamaOptions, recent: dict[str, float] | None = None
) -> LlamaTokenSource:
    """Start llama.cpp for a checkpoint: a GGUF file, a folder that holds one, or a hub name.

    `recent` says when adapters were used last, in time.monotonic()'s seconds: it starts with those of the last minutes,
    and the source goes on with the notes. Nothing of it is left when this is cancelled or fails. Raises
    ModelUnavailableError, with the way out, when the model cannot run here, NotReadyError when there is no memory for
    it now.
    """
    header = await in_thread(lambda: fetch_gguf(checkpoint))
    start = LlamaStart(header, options)
    recent = {} if recent is None else recent
    async with contextlib.AsyncExitStack() as undo:
        undo.callback(start.files.close)
        names = await _lately(start, recent)
        try:
            engine = await start.run(list(names))
        except NotReadyError:
            if not names:
                raise
            names = {}
            engine = await start.run([])
        undo.push_async_callback(lambda: asyncio.shield(engine.close()))
        await engine.measure()
        undo.pop_all()
    return LlamaTokenSource(start, engine, names, recent)


async def _lately(start: LlamaStart, recent: dict[str, float]) -> dict[str, str]:
    """Names of adapters that were used in the last minutes, by their editions; they are files now."""
    names: dict[str, str] = {}
    oldest = time.monotonic() - IDLE_SECONDS
    for named in sorted(recent, key=lambda each: -recent[each]):
        if recent[named] < oldest or len(names) >= start.options.adapters:
            break
        with contextlib.suppress(SpeechError):
            found = await edition(named)
            await start.prepare(named, found)
            names[found] = named
    return names
