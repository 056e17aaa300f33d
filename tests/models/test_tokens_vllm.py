"""A vLLM engine with a tiny checkpoint, on a CPU: what it draws, how it stops, how it fails."""

import asyncio
import contextlib
import importlib
import importlib.util
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import pytest_asyncio

from orpheus_openai.errors import EngineError, InvalidRequestError, NotReadyError
from orpheus_openai.models.orpheus.checkpoint import read_checkpoint
from orpheus_openai.models.orpheus.tokens_vllm import load_vllm
from orpheus_openai.models.orpheus.vllm_engine import ENVIRONMENT
from orpheus_openai.models.orpheus.vllm_options import EngineOptions
from orpheus_openai.synthesis import Sampling
from tests.support.forked import from_template
from tests.support.paper_checkpoint import write_paper
from tests.support.sampling import PLAIN, PUBLISHED

psutil = pytest.importorskip("psutil")  # vLLM brings it along
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

PROMPT = [128_259, 128_000, *b"tara: Hello", 128_009, 128_260, 128_261, 128_257]
OPTIONS = EngineOptions(max_streams=8, stream_tokens=272, dtype="float32", enforce_eager=True)
"""Numbers are exact enough to compare what is drawn, and long streams have to make room for each other."""
FIRST_AUDIO, START, END = 128_266, 128_257, 128_258


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    make_checkpoint = importlib.import_module("tests.support.tiny_checkpoint").make_checkpoint
    return str(make_checkpoint(tmp_path_factory.mktemp("checkpoint")))


class Loop:
    """The longest that the event loop was held while an engine was loaded, in seconds."""

    held = 0.0

    async def watch(self):
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.01)
            self.held = max(self.held, time.monotonic() - start)


@pytest.fixture(scope="module")
def loop_while_loading():
    return Loop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def source(checkpoint, loop_while_loading):
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # so that a test can ask its engine what it holds
    watching = asyncio.create_task(loop_while_loading.watch())
    source = await load_vllm(checkpoint, OPTIONS)
    watching.cancel()
    yield source
    await source.close()
    del os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"]
    assert not engine_processes()


def engine_processes():
    """The processes that a source's engine lives in, with those they have started in turn."""
    children = [psutil.Process(process.pid) for process in multiprocessing.active_children()]
    found = [process for child in children for process in (child, *child.children(recursive=True))]
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


async def deviation(source, checkpoint, options):
    """By how much what vLLM holds of weights and cache differs from the footprint, the worse of the two."""

    def held(worker):
        import torch  # noqa: PLC0415  in the engine's process

        def size(tensors):
            stores = [tensor.untyped_storage() for tensor in tensors]  # a head may be a part of the embedding
            return sum({store.data_ptr(): store.nbytes() for store in stores}.values())

        caches = [cache for cache in worker.model_runner.kv_caches if isinstance(cache, torch.Tensor)]
        return size(worker.model_runner.model.parameters()), size(caches)

    ((weights, cache),) = await source._engine.llm.collective_rpc(held)
    reckoned = options.footprint(read_checkpoint(Path(checkpoint)))
    return max(abs(weights / reckoned.weights - 1), abs(cache / reckoned.cache - 1))


async def speak(source, prompt=PROMPT, **sampling):
    stream = source.generate(prompt, Sampling(**{**PLAIN, **sampling}))
    return [token async for ids in stream for token in ids]


def places(ids):
    return [(token - FIRST_AUDIO) // 4_096 for token in ids if token != END]


async def test_loading_leaves_the_event_loop_free(source, loop_while_loading):
    assert 0.01 < loop_while_loading.held < 5


async def test_its_output_layer_knows_only_what_can_be_spoken(source):
    def head(worker):
        return type(worker.model_runner.model).__name__, worker.model_runner.model.lm_head.num_embeddings

    assert await source._engine.llm.collective_rpc(head) == [("OrpheusAudioForCausalLM", 28_682)]


async def test_the_engine_is_told_what_it_must_not_do_in_words_that_vllm_knows(source):
    def told(_worker):
        from vllm import envs  # noqa: PLC0415  in the engine's process

        return envs.VLLM_USE_FLASHINFER_SAMPLER, dict(os.environ)

    ((flashinfer, environ),) = await source._engine.llm.collective_rpc(told)
    assert not flashinfer, "it would compile itself with nvcc, which runtime images do not have"
    assert ENVIRONMENT.items() <= environ.items()
    assert ENVIRONMENT.keys() <= importlib.import_module("vllm.envs").environment_variables.keys()


async def test_weights_and_cache_take_what_was_reckoned(source, checkpoint):
    assert await deviation(source, checkpoint, OPTIONS) < 0.1


async def test_every_token_is_an_audio_token_in_its_place(source):
    for temperature in (0.0, 0.6, 2.0):
        ids = await speak(source, max_tokens=70, temperature=temperature, **PUBLISHED)
        assert places(ids) == [n % 7 for n in range(len(ids))]


async def test_streams_at_once_keep_their_places_as_others_come_and_go(source):
    streams = [speak(source, max_tokens=15 + 5 * n, seed=n) for n in range(12)]
    for n, ids in enumerate(await asyncio.gather(*streams)):
        assert len(ids) == 15 + 5 * n
        assert places(ids) == [place % 7 for place in range(len(ids))]


async def test_a_newcomer_goes_before_what_nobody_waits_for_yet(source):
    came = []

    async def arrives(name, **sampling):
        stream = source.generate(PROMPT, Sampling(**{**PLAIN, "max_tokens": 7, **sampling}))
        async for _ in stream:
            came.append(name)
            break
        await stream.aclose()

    spoken = [asyncio.create_task(speak(source, max_tokens=200)) for _ in range(OPTIONS.max_streams)]
    await asyncio.sleep(0.1)
    ahead = [asyncio.create_task(arrives("ahead", ahead=True)) for _ in range(12)]
    await asyncio.sleep(0.1)
    await asyncio.gather(*spoken, *ahead, arrives("newcomer"))
    assert came.index("newcomer") < OPTIONS.max_streams


async def test_a_prompt_that_leaves_the_start_to_the_model_gets_frames_too(source):
    for seed in range(3):
        ids = await speak(source, PROMPT[:-1], max_tokens=70, seed=seed, temperature=2.0)
        spoken = ids[1:] if ids[0] == START else ids
        assert places(spoken) == [n % 7 for n in range(len(spoken))]


async def test_ids_come_a_frame_at_a_time_the_first_at_once(source):
    deltas = [len(ids) async for ids in source.generate(PROMPT, Sampling(max_tokens=50))]
    assert sum(deltas) == 50
    assert deltas[0] == 1
    assert all(count >= 7 for count in deltas[1:-1])


async def test_a_seed_gives_the_same_speech_again_whoever_else_speaks(source):
    alone = [await speak(source, max_tokens=35, seed=seed, **PUBLISHED) for seed in range(4)]
    assert len({tuple(ids) for ids in alone}) == 4
    for streams in (4, 8, 16):
        together = await asyncio.gather(
            *(speak(source, max_tokens=35, seed=seed, **PUBLISHED) for seed in range(streams))
        )
        assert together[:4] == alone


async def test_streams_that_must_make_room_for_each_other_say_what_they_would_have_said(source):
    length = OPTIONS.stream_tokens * 3 // 2  # together half as much again as there is room for
    alone = [await speak(source, max_tokens=length, seed=seed, **PUBLISHED) for seed in (6, 7)]
    streams = (
        speak(source, max_tokens=length, seed=seed, **PUBLISHED) for seed in range(OPTIONS.max_streams)
    )
    assert (await asyncio.gather(*streams))[6:] == alone


async def test_speech_without_a_seed_differs_each_time(source):
    spoken = [tuple(await speak(source, max_tokens=35, temperature=1.0)) for _ in range(3)]
    assert len(set(spoken)) == 3


async def test_the_likeliest_ids_are_those_of_the_same_model_elsewhere(source, checkpoint):
    import torch  # noqa: PLC0415
    from transformers import LlamaForCausalLM  # noqa: PLC0415

    model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    ids = []
    with torch.inference_mode():
        for n in range(35):
            logits = model(torch.tensor([PROMPT + ids])).logits[0, -1]
            seen = torch.tensor(sorted({*PROMPT, *ids}))
            logits[seen] = torch.where(logits[seen] > 0, logits[seen] / 1.1, logits[seen] * 1.1)
            first = FIRST_AUDIO + 4_096 * (n % 7)
            allowed = torch.tensor([END] * (n % 7 == 0) + list(range(first, first + 4_096)))
            ids.append(int(allowed[logits[allowed].argmax()]))
    assert await speak(source, max_tokens=35, temperature=0.0, **PUBLISHED) == ids


async def test_a_prompt_without_room_to_speak_is_refused(source):
    with pytest.raises(InvalidRequestError, match="too long"):
        await speak(source, PROMPT * 200)


async def test_speech_ends_where_the_context_does(source):
    prompt = [*b"x" * 2_000, 128_257]
    assert len(await speak(source, prompt)) == 2_048 - 2_001


async def test_leaving_frees_the_engine_at_once(source):
    """With all places taken by streams that nobody hears any more, the next would wait for minutes."""
    for leave in ("close", "cancel"):
        streams = [source.generate(PROMPT, Sampling()) for _ in range(OPTIONS.max_streams)]
        await asyncio.gather(*(anext(stream) for stream in streams))
        if leave == "close":
            await asyncio.gather(*(stream.aclose() for stream in streams))
        else:
            tasks = [asyncio.create_task(anext(stream)) for stream in streams]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        async with asyncio.timeout(20):
            assert len(await speak(source, max_tokens=8)) == 8


async def test_an_engine_that_does_not_answer_is_an_error(source):
    (core,) = multiprocessing.active_children()
    stuck = engine_processes()
    source._stall_seconds, before = 0.5, source._stall_seconds
    try:
        for process in stuck:
            process.suspend()
        with pytest.raises(EngineError, match="not answered"):
            await speak(source, max_tokens=8)
    finally:
        for process in stuck:
            process.resume()
        source._stall_seconds = before
    assert core.is_alive()
    assert not source.dead
    assert len(await speak(source, max_tokens=8)) == 8


async def test_ctrl_c_is_left_to_the_server(source):
    for process in engine_processes():
        process.send_signal(signal.SIGINT)
    await asyncio.sleep(1)
    assert len(await speak(source, max_tokens=8)) == 8


async def test_an_engine_that_dies_ends_its_streams_and_leaves_nothing(source):
    """It is the shared engine that dies: this is the last test to use it."""
    processes = engine_processes()
    streams = [source.generate(PROMPT, Sampling()) for _ in range(3)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    (core,) = multiprocessing.active_children()
    os.kill(core.pid, signal.SIGKILL)

    async def drain(stream):
        async for _ in stream:
            pass

    async with asyncio.timeout(20):
        ends = await asyncio.gather(*(drain(stream) for stream in streams), return_exceptions=True)
    assert [type(end) for end in ends] == [EngineError] * 3
    assert source.dead
    with pytest.raises(EngineError, match="died"):
        await speak(source)
    await source.close()
    await gone(processes, within=1)


def lives(process):
    """Whether a process does; one that has ended may still be listed until its parent takes note."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


async def gone(processes, within=10):
    async with asyncio.timeout(within):
        while any(map(lives, processes)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("processes", [0, 1])
async def test_a_start_that_is_cancelled_leaves_no_process(checkpoint, processes):
    loading = asyncio.create_task(load_vllm(checkpoint, OPTIONS))
    while len(started := engine_processes()) < processes:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert not engine_processes()
    await gone(started, within=1)


def serve(checkpoint, told):
    """A server, but for its doors: names its engine's processes and waits to die."""

    async def main():
        source = await load_vllm(checkpoint, OPTIONS)
        told.send([process.pid for process in engine_processes()])
        await asyncio.sleep(300)
        await source.close()

    asyncio.run(main())


async def test_an_engine_ends_with_a_server_that_is_killed(checkpoint):
    with from_template():
        context = multiprocessing.get_context("spawn")
        hears, tells = context.Pipe(duplex=False)
        server = context.Process(target=serve, args=(checkpoint, tells))
        server.start()
        tells.close()
    try:
        processes = [psutil.Process(pid) for pid in await asyncio.to_thread(hears.recv)]
        assert processes
    finally:
        server.kill()
        server.join()
    await gone(processes, within=30)


async def test_a_start_that_fails_says_why(checkpoint):
    with pytest.raises(NotReadyError, match="no-such-thing"):
        await load_vllm(checkpoint, EngineOptions(quantization="no-such-thing"))


async def test_another_shape_takes_what_was_reckoned_too(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
    shape = {"num_hidden_layers": 3, "hidden_size": 128, "intermediate_size": 384, "head_dim": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4_096}
    family = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rms_norm_eps": 1e-5}
    paper = str(write_paper(tmp_path, tie_word_embeddings=False, **shape, **heads, **family))
    options = EngineOptions(
        max_streams=1, enforce_eager=True, load_format="dummy"
    )  # a segment is all that must fit
    with from_template():
        source = await load_vllm(paper, options)
        try:
            assert await deviation(source, paper, options) < 0.1
        finally:
            await source.close()
