"""LoRA adapters in real llama.cpp: what each says, how one comes and goes while others speak."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from orpheus_openai.errors import (
    EngineError,
    InvalidRequestError,
    ModelUnavailableError,
    NotReadyError,
    OverloadedError,
)
from orpheus_openai.synthesis import Sampling

pytest.importorskip("torch")
pytest.importorskip("xllamacpp")

from orpheus_openai.models.orpheus import tokens_llama
from orpheus_openai.models.orpheus.adapter_gguf import write_gguf_adapter
from orpheus_openai.models.orpheus.adapters import Adapter
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf
from orpheus_openai.models.orpheus.llama_engine import LlamaEngine, LlamaOptions
from orpheus_openai.models.orpheus.llama_start import LlamaStart
from orpheus_openai.models.orpheus.tokens_llama import load_llama
from tests.support.llama_children import llama_children
from tests.support.llama_server import program_of_ones_own
from tests.support.random_llama import (
    continued,
    random_llama,
    with_adapter,
    write_random_adapter,
    write_random_gguf,
)

PROMPT = [128_259, 128_000, *b"tara: Hello", 128_009, 128_260, 128_261, 128_257]
TOKENS = 14


@pytest.fixture(scope="module")
def weights():
    return random_llama()


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    return write_random_gguf(weights, tmp_path_factory.mktemp("random") / "random-f32.gguf")


async def unmeasured(_engine):
    """How fast it is has nothing to do with any of this."""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(LlamaEngine, "measure", unmeasured)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "written"))
    (tmp_path / "written").mkdir()
    yield [write_random_adapter(tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    assert processes() == []
    assert list((tmp_path / "written").iterdir()) == []


def processes():
    return llama_children(psutil.Process().children(recursive=True))


@contextlib.asynccontextmanager
async def loaded(model, recent=None, **options):
    told = LlamaOptions(**{"max_streams": 4, "max_model_len": 2_048, "adapters": 2, **options})
    source = await load_llama(str(model), told, recent)
    try:
        yield source
    finally:
        await source.close()


async def said(source, adapter=None, tokens=TOKENS):
    sampling = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=tokens)
    named = None if adapter is None else str(adapter)
    return [token async for ids in source.generate(PROMPT, sampling, named) for token in ids]


@contextlib.asynccontextmanager
async def speaking(source, adapter=None, tokens=100):
    """A stream of which nobody has read more than the first id."""
    named = None if adapter is None else str(adapter)
    sampling = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=tokens)
    async with contextlib.aclosing(source.generate(PROMPT, sampling, named)) as stream:
        assert await anext(stream)
        yield stream


async def test_adapters_and_the_base_at_once_say_what_each_says_alone_and_one_comes_and_goes_meanwhile(
    weights, model, folders, tmp_path
):
    one, two, three = folders
    expected = {each: continued(with_adapter(weights, each), PROMPT, TOKENS) for each in folders}
    expected[None] = continued(weights, PROMPT, TOKENS)
    assert len({tuple(ids) for ids in expected.values()}) == 4, "four different voices"
    async with loaded(model) as source:
        first = source.pid
        async with speaking(source) as base:
            order = (one, None, two, None, two, one)
            together = await asyncio.gather(*(said(source, each) for each in order))
            assert together == [expected[each] for each in order]
            assert source.pid != first
            assert len(processes()) == 2, "both came with one process, beside the one that speaks"
            assert await anext(base)
        alone = {each: await said(source, each) for each in (None, one, two)}
        assert alone.items() <= expected.items()
        async with speaking(source, two) as of_two:
            shutil.rmtree(one)
            shutil.copytree(three, one)
            assert await said(source, one) == expected[three], "another has come in the place of the first"
            shutil.rmtree(two)
            assert await anext(of_two)
            assert await said(source, two) == expected[two], "a speech goes on whose voice is removed"
        before = source.pid
        with pytest.raises(InvalidRequestError, match="is gone"):
            await said(source, tmp_path / "nowhere")
        with pytest.raises(ModelUnavailableError, match="ORPHEUS_ADAPTER_RANK allows 64"):
            await said(source, write_random_adapter(tmp_path / "large", 4, rank=65))
        assert (source.pid, len(processes())) == (before, 1), "what cannot work starts nothing"


async def test_a_kill_while_an_adapter_comes_breaks_what_was_spoken_and_the_adapter_speaks(model, folders):
    async with loaded(model) as source:
        async with speaking(source, tokens=1_500) as base:
            hung_up = asyncio.create_task(said(source, folders[1]))
            coming = asyncio.create_task(said(source, folders[0]))
            while len(processes()) < 2:  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.01)
            hung_up.cancel()
            os.kill(source.pid, signal.SIGKILL)
            with pytest.raises(EngineError, match="died"):
                async with asyncio.timeout(60):
                    async for _ in base:
                        pass
        assert len(await coming) == TOKENS
        assert not source.dead


async def test_a_program_of_the_users_own_takes_several_adapters_and_is_gone_with_its_owner(
    weights, model, folders, tmp_path
):
    one, two, _ = folders
    recent = dict.fromkeys(map(str, (one, two)), time.monotonic())
    async with loaded(model, recent, program=str(program_of_ones_own(tmp_path))) as source:
        (server,) = psutil.Process(source.pid).children()
        order = (one, None, two)
        expected = [
            continued(with_adapter(weights, each) if each else weights, PROMPT, TOKENS) for each in order
        ]
        assert await asyncio.gather(*(said(source, each) for each in order)) == expected
        assert [server] == psutil.Process(source.pid).children(), "it had them from the start"
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_a_file_that_is_written_over_while_it_is_read_is_told_of(model, tmp_path):
    folder = write_random_adapter(tmp_path / "a", 1)
    weights = folder / "adapter_model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(OSError, match="it has changed meanwhile"):
        write_gguf_adapter(Adapter(folder, 4, 6.0), fetch_gguf(str(model)).shape, tmp_path / "a.gguf")


class _Engine:
    """In llama.cpp's place where it starts: every stream says what it was started with and asked for."""

    in_host_memory = True
    pace = None

    def __init__(self, editions):
        self.editions, self.dead = [Path(each.partition("@")[0]).name for each in editions], False
        self.go = asyncio.Event()

    async def generate(self, _prompt, _sampling, adapter):
        yield [None if adapter is None else self.editions[adapter]]
        await self.go.wait()
        yield ["end"]

    async def close(self):
        self.dead = True


@pytest.fixture
def started(monkeypatch):
    """The engines that were started; the adapter `3` cannot be."""
    engines = []

    async def run(start, editions):
        assert all(start.files.path(each).stat().st_size for each in editions)
        engine = _Engine(editions)
        if "3" in engine.editions:
            raise NotReadyError("llama.cpp could not start", code="model_load_failed")
        engines.append(engine)
        return engine

    monkeypatch.setattr(LlamaStart, "run", run)
    monkeypatch.setattr(_Engine, "measure", unmeasured, raising=False)
    return engines


async def _hangs(_start, _editions):
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def begun(source, adapter=None):
    named = None if adapter is None else str(adapter)
    async with contextlib.aclosing(source.generate(PROMPT, Sampling(), named)) as stream:
        assert await anext(stream) == [None if adapter is None else adapter.name]
        yield


async def test_without_memory_for_two_processes_an_adapter_waits_for_silence_and_others_never(
    model, folders, started, monkeypatch
):
    one, two, _ = folders
    monkeypatch.setattr(LlamaStart, "another_fits", False)
    async with loaded(model) as source:
        async with begun(source):
            monkeypatch.setattr(tokens_llama, "ROOM_SECONDS", 0.05)
            with pytest.raises(NotReadyError, match="takes another adapter only when it starts") as refused:
                async with begun(source, two):
                    pass
            assert refused.value.retry_after
            monkeypatch.setattr(tokens_llama, "ROOM_SECONDS", 60)
            waiting = asyncio.create_task(begun(source, one).__aenter__())
            await asyncio.sleep(0.1)
            async with begun(source):
                assert not waiting.done()
            assert len(started) == 1
        await waiting
        async with begun(source):
            assert [each.dead for each in started] == [True, False]


@pytest.mark.parametrize("beside", [True, False])
async def test_what_llama_cpp_cannot_start_with_is_said_and_the_others_speak_on(
    model, folders, started, monkeypatch, beside
):
    one, two, three = folders
    monkeypatch.setattr(LlamaStart, "another_fits", beside)

    async def spoken(adapter):
        async with begun(source, adapter):
            return True

    async with loaded(model, adapters=3) as source:
        answers = await asyncio.gather(*(spoken(each) for each in folders), return_exceptions=True)
        assert answers[:2] == [True, True], "who came together with it does not go without"
        assert isinstance(answers[2], NotReadyError)
        count = len(started)
        with pytest.raises(NotReadyError, match="could not start"):
            await spoken(three)
        assert all(await asyncio.gather(spoken(None), spoken(one), spoken(two)))
        assert len(started) == count, "what failed is not tried again at once"


async def test_no_more_adapters_than_there_are_places_and_who_waits_has_an_end(
    model, folders, started, monkeypatch
):
    one, two, _ = folders
    async with loaded(model, adapters=1) as source:
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
        with pytest.raises(NotReadyError, match="could not be written as a GGUF file in /nowhere"):
            async with begun(source, two):
                pass
        monkeypatch.setattr(tempfile, "tempdir", str(one.parent / "written"))
        source._failures.clear()  # half a minute later
        async with begun(source, one):
            monkeypatch.setattr(tokens_llama, "ROOM_SECONDS", 0.05)
            with pytest.raises(OverloadedError, match="All 1 adapters"):
                async with begun(source, two):
                    pass
            monkeypatch.setattr(tokens_llama, "ROOM_SECONDS", 60)
        shutil.rmtree(next((one.parent / "written").iterdir()))  # as a system does with what is old
        async with begun(source, two):
            assert [each.editions for each in started] == [[], ["1"], ["2"]]
        monkeypatch.setattr(LlamaStart, "run", _hangs)
        monkeypatch.setattr(tokens_llama, "ROOM_SECONDS", 0.1)
        with pytest.raises(NotReadyError, match="is being started again"):
            async with begun(source, one):
                pass
        async with begun(source, two):
            assert not started[-1].dead


async def test_a_model_is_loaded_again_with_the_adapters_of_the_last_minutes_that_are_there(
    model, folders, started
):
    one, two, _ = folders
    recent = {}
    async with loaded(model, recent) as source, begun(source, one), begun(source, two):
        pass
    shutil.rmtree(one)
    async with loaded(model, recent) as source, begun(source, two):
        assert started[-1].editions == ["2"]


@pytest.mark.parametrize("beside", [True, False])
async def test_an_adapter_that_nobody_speaks_with_goes_and_one_that_is_spoken_with_stays(
    model, folders, started, monkeypatch, beside
):
    one, two, _ = folders
    monkeypatch.setattr(LlamaStart, "another_fits", beside)
    monkeypatch.setattr(tokens_llama, "IDLE_SECONDS", 0.4)

    async def until(what):
        async with asyncio.timeout(60):
            while not what():  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.01)

    async with loaded(model) as source:
        for each in (one, two):
            async with begun(source, each):
                pass
        async with begun(source, two):
            if beside:
                await until(lambda: started[-1].editions == ["2"])
            else:
                await asyncio.sleep(0.6)
                assert not started[-1].dead, "whoever is spoken for is spoken for to the end"
        await until(lambda: started[-1].editions == [] and all(each.dead for each in started[:-1]))
        async with begun(source):
            assert not started[-1].dead
        await asyncio.sleep(0.15)
        assert source._idle is None, "where there are none nothing is looked for"
