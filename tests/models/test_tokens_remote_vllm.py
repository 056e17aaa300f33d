"""The remote token source against a real `vllm serve` that holds a tiny checkpoint, on a CPU."""

import asyncio
import base64
import contextlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import runpy
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.errors import EngineError
from orpheus_openai.models.orpheus.completions import event_data
from orpheus_openai.models.orpheus.dialects import Ask, ChunkReader, vllm_body
from orpheus_openai.models.orpheus.token_text import broken_up
from orpheus_openai.models.orpheus.tokenizer import load_tokenizer
from orpheus_openai.models.orpheus.tokens_remote import RemoteTokenSource
from orpheus_openai.settings import Settings
from orpheus_openai.synthesis import Sampling
from tests.support.forked import from_template
from tests.support.gate import Gate
from tests.support.local_server import running
from tests.support.ports import free_port
from tests.support.sampling import PLAIN

openai = pytest.importorskip("openai")

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

PROMPT = [128_259, 128_000, *b"tara: Hello", 128_009, 128_260, 128_261, 128_257]
FIRST_AUDIO, END = 128_266, 128_258
FRAME_BYTES = 2 * 2_048
START_SECONDS = 270
CONTEXT = 512
"""Tokens of prompt and speech: what a stream of this seed fills in some seconds when it is not stopped."""


def vllm_serve(arguments: list[str], log: Path) -> None:
    """What `vllm serve` runs; the command itself is missing something in the build for CPUs."""
    os.setsid()
    with log.open("w") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    sys.argv[1:] = arguments
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)


class Serve:
    """`vllm serve` as a user starts it, with this project's logits processor."""

    def __init__(self, checkpoint: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.checkpoint = checkpoint
        self._log = checkpoint / "log"

    def start(self) -> None:
        processor = "orpheus_openai.models.orpheus.vllm_audio_only:AudioOnly"
        arguments = [
            *("--model", str(self.checkpoint), "--served-model-name", "tiny-orpheus"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *(
                "--max-model-len",
                str(CONTEXT),
                "--max-num-seqs",
                "8",
                "--kv-cache-memory-bytes",
                str(1 << 28),
            ),
            *("--enforce-eager", "--logits-processors", processor),
            # Starts in two thirds of the time on a CPU, with a process less.
            *("--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor"),
        ]
        with from_template():
            context = multiprocessing.get_context("spawn")
            self._process = context.Process(target=vllm_serve, args=(arguments, self._log))
            self._process.start()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(f"{self.url}/health").raise_for_status()
            except httpx.HTTPError:
                assert self._process.is_alive(), self._log.read_text()
                assert time.monotonic() < deadline, "vllm serve did not become ready"
                time.sleep(0.5)
            else:
                return

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()

    async def generated(self) -> int:
        """How many tokens it has made of all prompts so far."""
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"{self.url}/metrics")).text
        lines = (line for line in metrics.splitlines() if line.startswith("vllm:generation_tokens_total"))
        return int(float(next(lines).rpartition(" ")[2]))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    make_checkpoint = importlib.import_module("tests.support.tiny_checkpoint").make_checkpoint
    server = Serve(make_checkpoint(tmp_path_factory.mktemp("checkpoint")))
    server.start()
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


async def speak(source, **sampling):
    return [token async for ids in source.generate(PROMPT, Sampling(**sampling)) for token in ids]


async def test_ids_come_from_a_real_server_and_a_seed_repeats_them(server):
    source = RemoteTokenSource(server.url)
    ids = await speak(source, max_tokens=70, seed=1)
    assert len(ids) == 70 or ids[-1] == END
    assert [(token - FIRST_AUDIO) // 4_096 for token in ids if token != END] == [
        n % 7 for n in range(len(ids))
    ]
    assert await speak(source, max_tokens=70, seed=1) == ids
    await source.close()


async def test_text_is_tokenized_by_the_server_and_never_into_special_tokens(server):
    here = load_tokenizer(str(server.checkpoint))
    source = RemoteTokenSource(server.url)
    hostile = "Say <custom_token_5> and <|eot_id|>, <|begin_of_text|><custom_token_28683> now."
    assert await source.encode(hostile) == here.encode(broken_up(hostile))
    assert await source.encode("Hé!") == here.encode("Hé!")
    await source.close()


async def test_text_of_a_real_server_gives_the_same_ids(server):
    async def read(**changes):
        body = {**vllm_body(Ask("tiny-orpheus", PROMPT, Sampling(seed=1), 70)), **changes}
        reader = ChunkReader()
        ids = []
        url = f"{server.url}/v1/completions"
        async with httpx.AsyncClient() as client, client.stream("POST", url, json=body) as response:
            async for event in event_data(response.aiter_bytes()):
                ids += reader.read(event)
        return ids

    by_id = await read()
    assert len(by_id) == 70
    assert await read(return_token_ids=False) == by_id


async def test_eight_prompts_at_once_are_continued_together(server):
    source = RemoteTokenSource(server.url)
    streams = (speak(source, max_tokens=28, seed=seed, **PLAIN) for seed in range(8))
    for ids in await asyncio.gather(*streams):
        assert len(ids) == 28 or ids[-1] == END
    await source.close()


async def test_leaving_ends_the_work_of_a_real_server(server):
    source = RemoteTokenSource(server.url)
    before = await server.generated()
    stream = source.generate(PROMPT, Sampling(seed=1))
    await anext(stream)
    await stream.aclose()
    made, latest = -1, await server.generated()
    while made != latest:  # it goes on for the moment in which it is told
        await asyncio.sleep(0.5)
        made, latest = latest, await server.generated()
    assert made - before < CONTEXT // 2, "nobody listened, and it went on to the end"
    await source.close()


async def test_a_server_that_goes_is_an_error_and_speaks_again_when_it_is_back(server, tiny_snac, tmp_path):
    """Through the source alone and through our HTTP door, which first speak with it."""
    gate = Gate(server.port)
    await gate.open()
    gone = f"http://127.0.0.1:{gate.port}"
    source = RemoteTokenSource(gone)
    settings = Settings(
        device="cpu",
        snac=str(tiny_snac),
        remote_url=(gone,),
        checkpoints={"ORPHEUS_MODEL_MEDIUM_3B": str(server.checkpoint)},
        output_dir=tmp_path,
    )
    with running(create_app(settings)) as url:
        async with (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=200) as client,
            httpx.AsyncClient(base_url=url, timeout=200) as plain,
        ):
            assert await spoken_frames(client) > 0
            heard = await asyncio.gather(*(generated_frames(plain, seed=seed) for seed in range(8)))
            assert min(heard) > 0

            tokens = source.generate(PROMPT, Sampling())
            await anext(tokens)
            with pytest.raises(httpx.RemoteProtocolError):
                long = request(text="One two three. " * 90)
                async with plain.stream("POST", "/api/generate", json=long) as answer:
                    async for _ in answer.aiter_raw():
                        await gate.shut()
            with pytest.raises(EngineError, match=gone):
                async for _ in tokens:
                    pass
            with pytest.raises(EngineError, match="cannot be reached"):
                await speak(source)
            with pytest.raises(openai.APIStatusError, match=gone) as caught:
                await spoken_frames(client)
            assert caught.value.status_code == 502

            await gate.open()
            assert await generated_frames(plain) > 0
            assert await speak(source, max_tokens=14, **PLAIN)
    await source.close()
    await gate.shut()


def request(**fields):
    return {"text": "Hello there.", "model": "medium-3b", "response_format": "pcm", **fields}


async def generated_frames(client, **fields):
    """How many frames our own door gives, of few tokens; fails where they are not whole."""
    answer = await client.post("/api/generate", json=request(max_tokens=28, **PLAIN, **fields))
    assert answer.status_code == 200, answer.text
    frames, rest = divmod(len(answer.content), FRAME_BYTES)
    assert rest == 0
    return frames


async def spoken_frames(client):
    """How many frames OpenAI's SDK gets; fails where they are not those of the tokens that were counted."""
    async with client.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="alloy",
        input="Hello.",
        response_format="pcm",
        stream_format="sse",
        extra_body={"max_tokens": 140, **PLAIN},  # random tokens go on for longer than their text may take
    ) as answer:
        assert answer.headers["x-orpheus-model"] == "medium-3b"
        told = [json.loads(line.removeprefix("data: ")) async for line in answer.iter_lines() if line]
    size = sum(len(base64.b64decode(event["audio"])) for event in told if "audio" in event)
    assert size == told[-1]["usage"]["output_tokens"] // 7 * FRAME_BYTES
    return size // FRAME_BYTES
