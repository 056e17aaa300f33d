"""Orpheus through real doors: real vLLM on the CPU, a tiny checkpoint, a slim SNAC."""

import asyncio
import base64
import concurrent.futures
import contextlib
import functools
import json
import multiprocessing
import os
import re
import signal
import socket
import threading
import time

import fastmcp
import httpx
import numpy as np
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.gpu.device import list_gpus
from orpheus_openai.settings import Settings
from tests.support.fake_engine import Clock
from tests.support.forked import from_template
from tests.support.local_server import running
from tests.support.sampling import PLAIN

psutil = pytest.importorskip("psutil")  # vLLM brings it along
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

FRAME_BYTES = 2 * 2_048
MIB = 1 << 20
LONG = "One two three four. " * 30


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def url(clock, tiny_checkpoint, tiny_snac, tmp_path_factory):
    """Two models of one card, so to speak: medium-3b and small-1b, one loaded at a time."""
    settings = Settings(
        device="cpu",
        verify="off",  # what a model of random weights says has nothing to do with the texts
        snac=str(tiny_snac),
        checkpoints={
            "ORPHEUS_MODEL_MEDIUM_3B": str(tiny_checkpoint),
            "ORPHEUS_MODEL_SMALL_1B": str(tiny_checkpoint),
        },
        max_model_len=384,
        output_dir=tmp_path_factory.mktemp("outputs"),
    )
    with from_template(), running(create_app(settings, clock=clock)) as address:
        yield address


@pytest.fixture
def client(url):
    with httpx.Client(base_url=url, timeout=200) as client:
        yield client


def generate(client, text="Hello there.", **fields):
    body = {"text": text, "response_format": "pcm", "max_tokens": 70, **PLAIN, **fields}
    answer = client.post("/api/generate", json=body)
    assert answer.status_code == 200, answer.text
    return answer


def model(client, name="medium-3b"):
    return next(
        (m for m in client.get("/api/status").json()["models"] if m["id"] == name), {"state": "unloaded"}
    )


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def engines():
    """The processes in which vLLM's engines live."""
    return [process for process in multiprocessing.active_children() if "Engine" in process.name]


class Told:
    """The page's events, collected in a thread."""

    def __init__(self, url):
        self.events = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(url,))
        self._thread.start()
        until(lambda: self.events)

    def _listen(self, url):
        with httpx.stream("GET", f"{url}/api/events", timeout=None) as answer:
            kind = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((kind, json.loads(line.removeprefix("data: "))))
                if self._stop.is_set() and kind == "speech.queued":
                    return

    def states(self):
        return [(data["model"], data["state"]) for kind, data in self.events if kind == "model.state"]

    def of_kinds(self, *kinds):
        """Kind, model and state or outcome of each such event."""
        return [
            (kind, data["model"], data.get("state") or data.get("outcome"))
            for kind, data in self.events
            if kind in kinds
        ]

    def close(self, client):
        self._stop.set()
        client.post("/api/generate", json={"text": "End.", "model": "preview"})
        self._thread.join(10)


def test_the_openai_sdk_gets_every_sample_the_model_meant(url):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=200)
    with client.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="alloy",
        input="Hello.",
        response_format="pcm",
        stream_format="sse",
        extra_body={"max_tokens": 140},
    ) as answer:
        assert answer.headers["x-orpheus-model"] == "medium-3b"
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
    audio = b"".join(
        base64.b64decode(event["audio"]) for event in events if event["type"] == "speech.audio.delta"
    )
    usage = events[-1]["usage"]
    # <start of human> <begin of text> "tara: Hello." and four more; the tiny tokenizer has a token for each byte.
    assert usage["input_tokens"] == 2 + len("tara: Hello.") + 4
    assert len(audio) == usage["output_tokens"] // 7 * FRAME_BYTES > 0
    assert len(events) > 3


def test_the_first_token_is_timed_and_tokens_are_counted(client):
    def counted():
        metrics = client.get("/metrics").text
        series = r'^orpheus_tokens_total\{kind="(\w+)",model="medium-3b"\} (\S+)'
        return {kind: float(value) for kind, value in re.findall(series, metrics, re.MULTILINE)}, metrics

    before, _ = counted()
    answer = generate(client)
    assert re.search(r"first-token;dur=[\d.]+, first-audio;dur=[\d.]+", answer.headers["server-timing"])
    after, metrics = counted()
    assert after["input"] > before.get("input", 0)
    assert (after["output"] - before.get("output", 0)) // 7 == whole_frames(answer.content) > 0
    assert 'orpheus_frames_dropped_total{model="medium-3b"} 0.0' in metrics


def test_the_same_seed_says_the_same(client):
    first, second, third = (generate(client, seed=seed, max_tokens=35).content for seed in (5, 5, 6))
    assert first == second
    assert first != third


def test_sound_comes_before_the_engine_has_ended(client):
    with speaking(client, "Hello.", max_tokens=210, **PLAIN) as stream:
        pieces = [(time.monotonic(), piece) for piece in stream]
    assert len(pieces) > 3
    assert pieces[-1][0] - pieces[0][0] > 0.2


def test_eight_at_once(url):
    def speak(number):
        with httpx.Client(base_url=url, timeout=200) as client:
            return len(generate(client, text=f"Number {number}.", voice="leo", max_tokens=35).content)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        lengths = list(pool.map(speak, range(8)))
    assert all(length % FRAME_BYTES == 0 and length > 0 for length in lengths)


def test_long_text_is_spoken_in_order_and_joined(client, url):
    told = Told(url)
    content = generate(client, text=LONG, max_tokens=35).content
    told.close(client)
    spoken = [data for kind, data in told.events if kind == "speech.segment"]
    assert " ".join(s["text"] for s in spoken if s["text"] != "End.") == LONG.strip()
    starts = [s["audio_seconds"] for s in spoken if s["text"] != "End."]
    assert starts == sorted(starts)
    assert len(content) >= len(starts) * 5 * FRAME_BYTES


def test_the_stream_is_audible_and_not_clipped(client):
    samples = np.frombuffer(generate(client).content, "<i2") / 32768
    assert 0.001 < float(np.sqrt(np.mean(samples**2))) < 0.9


def test_hanging_up_frees_the_engine(client, url):
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"text": LONG, "response_format": "pcm"}).encode()
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert b" 200 " in connection.recv(65536)
        assert model(client)["leases"] == 1
    until(lambda: model(client)["leases"] == 0, seconds=5)


def test_an_engine_that_is_killed_breaks_its_streams_and_the_next_request_works(client):
    with pytest.raises(httpx.RemoteProtocolError):
        with client.stream("POST", "/api/generate", json={"text": LONG, "response_format": "pcm"}) as answer:
            for count, _ in enumerate(answer.iter_raw()):
                if count == 1:
                    for process in engines():
                        os.kill(process.pid, signal.SIGKILL)
    assert whole_frames(generate(client).content)


def test_a_users_day(client, url, clock):
    """A model that was idle leaves, another is shared, a third takes its place and is offloaded by an agent."""
    openai = pytest.importorskip("openai")
    generate(client)
    told = Told(url)

    idle = family(engines())
    held, own = memory(idle), memory([psutil.Process()])
    assert held > 300 * MIB
    clock.now += 61
    until(lambda: model(client)["state"] == "unloaded")
    assert engines() == []
    assert memory(idle) == 0

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=200)
        speak = functools.partial(sdk.audio.speech.create, model="medium-3b", voice="alloy", input="Hello.")
        first = pool.submit(generate, client)
        until(lambda: model(client)["state"] == "loading")
        sharing = [pool.submit(speak, response_format="pcm", extra_body=PLAIN)]
        sharing += [pool.submit(generate, client, max_tokens=35) for _ in range(7)]
        for each in (first, *sharing):
            assert whole_frames(each.result().content)

    with speaking(client, LONG, max_tokens=70, **PLAIN) as stream:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(generate, client, model="small-1b", max_tokens=35) for _ in range(8)]
            until(lambda: model(client, "small-1b")["state"] == "loading")
            assert model(client)["leases"] == 1
            evicted = family(engines())
            assert sum(map(len, stream)) > 0
            for each in asked:
                assert whole_frames(each.result().content)
    assert model(client)["state"] == "unloaded"
    assert memory(evicted) == 0

    drained = family(engines())
    with speaking(client, "Hello.", model="small-1b", max_tokens=280) as stream:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            offloading = pool.submit(asyncio.run, offload_as_an_agent(url, "small-1b"))
            content = b"".join(stream)
            done = offloading.result()
    assert whole_frames(content)
    assert (done["offloaded"], done["still_busy"]) == (["small-1b"], [])
    assert engines() == []
    assert memory(drained) == 0
    assert memory([psutil.Process()]) < own + held, "this process holds what the engine held"

    told.close(client)
    assert [state for state in told.states() if state[0] != "preview"] == [
        ("medium-3b", "unloading"),
        ("medium-3b", "unloaded"),
        ("medium-3b", "loading"),
        ("medium-3b", "ready"),
        ("small-1b", "loading"),
        ("medium-3b", "unloading"),
        ("medium-3b", "unloaded"),
        ("small-1b", "ready"),
        ("small-1b", "unloading"),
        ("small-1b", "unloaded"),
    ]
    said = told.of_kinds("model.state", "speech.ended")
    before = said[: said.index(("model.state", "small-1b", "unloading"))]
    assert before.count(("speech.ended", "small-1b", "completed")) == 8 + 1, "the agent did not wait"


@contextlib.contextmanager
def speaking(client, text, **fields):
    """A speech that has begun to sound: its pieces."""
    body = {"text": text, "response_format": "pcm", **fields}
    with client.stream("POST", "/api/generate", json=body) as answer:
        assert answer.status_code == 200
        yield answer.iter_raw()


async def offload_as_an_agent(url, name):
    async with fastmcp.Client(f"{url}/mcp") as agent:
        return (await agent.call_tool("offload_gpu", {"model": name, "wait_seconds": 120})).structured_content


def whole_frames(pcm):
    """How many frames these bytes are; 0 where the last one is cut."""
    frames, rest = divmod(len(pcm), FRAME_BYTES)
    return 0 if rest else frames


def family(processes):
    """The processes with all that they have started."""
    parents = [psutil.Process(process.pid) for process in processes]
    return [each for parent in parents for each in (parent, *parent.children(recursive=True))]


def memory(processes):
    """Resident bytes of those that still live."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


@pytest.mark.skipif(not list_gpus(), reason="needs an NVIDIA GPU")
def test_unloading_gives_the_cards_memory_back(tiny_checkpoint, tiny_snac, tmp_path):
    """NVML's word for it: none of the engine's processes is on a card any more."""

    def on_cards():
        return {process.pid: process.memory for gpu in list_gpus() for process in gpu.processes or ()}

    checkpoints = {"ORPHEUS_MODEL_MEDIUM_3B": str(tiny_checkpoint)}
    settings = Settings(
        device="cuda", snac=str(tiny_snac), checkpoints=checkpoints, max_model_len=512, output_dir=tmp_path
    )
    with running(create_app(settings)) as address, httpx.Client(base_url=address, timeout=200) as client:
        generate(client, model="medium-3b")
        engine = {process.pid for process in family(engines())} & on_cards().keys()
        assert engine, "the engine is on no card"
        assert client.post("/api/offload", json={"model": "medium-3b"}).json()["offloaded"] == ["medium-3b"]
        until(lambda: not engine & on_cards().keys())
