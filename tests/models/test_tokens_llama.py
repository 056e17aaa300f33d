"""llama.cpp in a process of ours: it speaks, and whatever happens to it, nothing of it is left."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from orpheus_openai.catalog import load_catalog
from orpheus_openai.errors import EngineError, InvalidRequestError, ModelUnavailableError, NotReadyError
from orpheus_openai.models.orpheus import llama_start
from orpheus_openai.models.orpheus.budget import Budget
from orpheus_openai.models.orpheus.frames import END_OF_SPEECH
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf
from orpheus_openai.models.orpheus.llama_engine import LlamaOptions
from orpheus_openai.models.orpheus.llama_process import LlamaProcess
from orpheus_openai.models.orpheus.loader import OrpheusLoader
from orpheus_openai.models.orpheus.tokens_llama import load_llama
from orpheus_openai.settings import Settings
from orpheus_openai.synthesis import Sampling
from tests.support.llama_children import llama_children
from tests.support.llama_server import program_of_ones_own
from tests.support.tiny_gguf import write_gguf

PROMPT = [128_259, 128_000, *b"tara: Hello", 128_009, 128_260, 128_261, 128_257]
IMPATIENT = {"quiet_seconds": 2.0, "answer_seconds": 3.0}


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "endless-f16.gguf", frames=0)


def processes(parent=None):
    """llama.cpp's processes below this one, or another."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return llama_children(psutil.Process(parent).children(recursive=True))
    return []


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    assert processes() == []


@contextlib.asynccontextmanager
async def loaded(model, **options):
    source = await load_llama(str(model), LlamaOptions(**{"max_streams": 4, **options}))
    try:
        yield source
    finally:
        await source.close()


async def speak(source, **sampling):
    return [token async for ids in source.generate(PROMPT, Sampling(**sampling)) for token in ids]


async def fails(source, begun):
    """Run a stream, do something to the engine when it has begun, and return the error."""
    async with contextlib.aclosing(source.generate(PROMPT, Sampling(max_tokens=3_000))) as stream:
        await anext(stream)
        begun()
        with pytest.raises(EngineError) as caught:
            async with asyncio.timeout(60):
                async for _ in stream:
                    pass
    return caught.value


async def test_it_speaks_and_is_gone_when_it_is_closed(tiny_gguf):
    async with loaded(tiny_gguf, max_model_len=1_024) as source:
        (process,) = processes()
        (connection,) = [each for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
        assert connection.laddr.ip == "127.0.0.1"
        key = source._running.engine._process.parameters.api_key
        environ = process.environ()
        assert key not in " ".join([*process.cmdline(), *environ.values()]), "for others to see"
        assert environ["OMP_WAIT_POLICY"] == "PASSIVE", "threads that wait leave the codec its core"
        *_, end = await speak(source, seed=1)
        assert end == END_OF_SPEECH
        lengths = await asyncio.gather(*(speak(source, seed=seed, max_tokens=21) for seed in range(9)))
        assert all(len(ids) == 21 or ids[-1] == END_OF_SPEECH for ids in lengths)
        with pytest.raises(InvalidRequestError, match="1024"):
            async for _ in source.generate([40] * 1_020, Sampling()):
                pass
        assert not source.dead
    assert source.dead


async def test_only_so_many_streams_run_and_whoever_leaves_makes_room(endless):
    async with loaded(endless, max_streams=2) as source:
        assert source.streams == 2
        running = [source.generate(PROMPT, Sampling(max_tokens=3_000)) for _ in range(2)]
        for stream in running:
            await anext(stream)
        third = asyncio.create_task(speak(source, max_tokens=7))
        await asyncio.sleep(0.2)
        assert not third.done()
        await running[0].aclose()
        async with asyncio.timeout(60):
            assert len(await third) == 7
        await running[1].aclose()


async def test_a_killed_engine_ends_its_streams_with_the_signal_and_is_dead(endless):
    async with loaded(endless) as source:
        error = await fails(source, lambda: os.kill(source.pid, signal.SIGKILL))
        assert "died" in error.message
        assert "SIGKILL" in error.message
        assert source.dead
        with pytest.raises(EngineError, match="died"):
            await speak(source)


async def test_a_held_up_engine_is_found_and_killed(endless):
    async with loaded(endless, **IMPATIENT) as source:
        error = await fails(source, lambda: os.kill(source.pid, signal.SIGSTOP))
        assert "died" in error.message
        assert source.dead


async def test_an_engine_that_waits_is_not_taken_for_one_that_hangs(tiny_gguf):
    async with loaded(tiny_gguf, quiet_seconds=0.05, max_streams=1) as source:
        await asyncio.sleep(0.5)
        assert len(await speak(source, max_tokens=7)) == 7
        stream = source.generate(PROMPT, Sampling(max_tokens=3_000))
        await anext(stream)
        await asyncio.sleep(0.5)  # a listener who reads nothing: it still answers when it is asked
        assert not source.dead
        await stream.aclose()


async def test_a_held_up_engine_can_be_closed(endless, monkeypatch):
    monkeypatch.setattr("orpheus_openai.models.orpheus.llama_process.EXIT_SECONDS", 0.5)
    async with loaded(endless) as source:
        os.kill(source.pid, signal.SIGSTOP)


async def test_a_start_that_is_cancelled_leaves_nothing(tiny_gguf):
    start = asyncio.create_task(load_llama(str(tiny_gguf), LlamaOptions()))
    while not processes():  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(0.01)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start


async def test_what_llama_cpp_says_of_a_file_is_the_error(tiny_gguf, tmp_path):
    content = tiny_gguf.read_bytes()
    odd = tmp_path / "odd.gguf"
    odd.write_bytes(content.replace(b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"))
    with pytest.raises(NotReadyError, match=r"odd\.gguf: .*attn_"):
        await load_llama(str(odd), LlamaOptions())


async def test_a_model_that_does_not_fit_is_told_with_what_is_free(tiny_gguf, monkeypatch):
    monkeypatch.setattr(llama_start, "available_memory", lambda: 10_000_000)
    with pytest.raises(NotReadyError, match="GiB are free") as caught:
        await load_llama(str(tiny_gguf), LlamaOptions())
    assert caught.value.code == "insufficient_memory"


async def test_there_are_no_more_streams_than_fit_and_the_log_says_so(tiny_gguf, monkeypatch, caplog):
    header = fetch_gguf(str(tiny_gguf))
    monkeypatch.setattr(llama_start, "available_memory", lambda: header.memory_bytes(3 * 4_096))
    asked = []

    async def start(parameters):
        asked.append(parameters.slots)
        raise ModelUnavailableError("seen enough")

    monkeypatch.setattr(LlamaProcess, "start", start)
    adapter = header.shape.adapter_bytes(64)
    places = header.cache_bytes(4_096) // adapter  # of adapters that take as much as a stream
    for wanted, adapters in ((2, 0), (8, 0), (2, places)):
        with pytest.raises(ModelUnavailableError, match="enough"):
            await load_llama(str(tiny_gguf), LlamaOptions(max_streams=wanted, adapters=adapters))
    assert asked == [2, 3, 2]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "speaks 3 streams at once of 8" in said


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), (3, None)),
        (Settings(llama_threads=6, gpu_layers=20), (6, 20)),
        (Settings(gpu_layers=20, device="cpu"), (3, 0)),
    ],
)
def test_threads_and_layers_on_the_card_are_those_of_the_settings_or_all_cores_but_the_codecs(
    tiny_gguf, monkeypatch, settings, expected
):
    monkeypatch.setattr(llama_start, "physical_cores", lambda: 4)
    options = OrpheusLoader(settings, load_catalog(), Budget(settings), list)._llama_options()
    told = llama_start.LlamaStart(fetch_gguf(str(tiny_gguf)), options).parameters
    assert (told.threads, told.gpu_layers) == expected


OWNER = """
import asyncio, sys
from orpheus_openai.models.orpheus.llama_process import LlamaProcess, Parameters

async def main():
    process = await LlamaProcess.start(Parameters(model=sys.argv[1], context=512, slots=1, threads=1))
    print(process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("held_up", [False, True], ids=["running", "held up"])
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends what is held up with its parent")
def test_an_engine_does_not_outlive_a_server_that_is_killed(tiny_gguf, held_up):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(tiny_gguf)], stdout=subprocess.PIPE, text=True
    ) as owner:
        pid = int(owner.stdout.readline())
        if held_up:
            os.kill(pid, signal.SIGSTOP)
        owner.kill()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it outlives its owner"
        time.sleep(0.05)


async def test_a_program_of_the_users_own_is_started_the_same_way_and_its_death_is_told(endless, tmp_path):
    program = str(program_of_ones_own(tmp_path))
    # Whoever is killed in mid-speech must not have ended it already.
    async with loaded(endless, program=program, max_model_len=1_024) as source:
        assert len(await speak(source, max_tokens=14)) == 14
        (server,) = psutil.Process(source.pid).children()
        error = await fails(source, lambda: os.kill(server.pid, signal.SIGKILL))
        assert "died" in error.message
        assert "llama-server ended" in error.message


async def test_a_program_that_cannot_be_run_is_named(tiny_gguf, tmp_path):
    missing = tmp_path / "no-such-server"
    with pytest.raises(NotReadyError, match="no-such-server cannot be run"):
        await load_llama(str(tiny_gguf), LlamaOptions(program=str(missing)))
