"""Our HTTP door with the model behind ORPHEUS_REMOTE_URL: an engine that replays tokens, a SNAC of the true size."""

import asyncio
import contextlib
import os
import socket
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest

openai = pytest.importorskip("openai")
for package in ("snac", "tokenizers"):
    pytest.importorskip(package, reason="what decodes needs the extra 'orpheus'")

from benchmarks import replay  # noqa: E402
from benchmarks.replay_server import ReplayServer, in_ids, random_speech  # noqa: E402
from benchmarks.serving import Server  # noqa: E402
from orpheus_openai.app import create_app  # noqa: E402
from orpheus_openai.limits.gate import UNCOUNTED  # noqa: E402
from orpheus_openai.settings import Settings  # noqa: E402
from tests.support.local_server import running  # noqa: E402
from tests.support.tiny_tokenizer import write_tokenizer  # noqa: E402

FRAMES = 12
FRAME_BYTES = 2 * 2_048
SPEECH = in_ids(random_speech(FRAMES))
KEY = "sk-of-the-engine"
SENTENCES = (
    "The keeper of the lighthouse wrote the weather into a book at four and at eight and once more before midnight.",
    f"On the first page there is {'a ship with red sails and ' * 5}a bird that flew against the glass one night.",
    f"Between them lie {'two hundred years of rain and fog and ' * 4}one quiet morning which nobody wrote down.",
    f"The light still goes round {'as it did on the first night and ' * 4}the sea does not seem to mind it much.",
)
"""Each too long to share a segment with its neighbour."""


@pytest.fixture(scope="module")
def port():
    """Where the engine is to be, in those tests that have one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def url(port, tiny_snac, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    settings = Settings(
        device="cpu",
        snac=str(tiny_snac),
        snac_noise="off",
        verify="off",  # what the engine says here has nothing to do with the texts
        remote_url=(f"http://127.0.0.1:{port}/v1",),
        remote_api_key=KEY,
        checkpoints={"ORPHEUS_MODEL_MEDIUM_3B": str(folder), "ORPHEUS_MODEL_MEDIUM_3B_FR": str(folder)},
        output_dir=tmp_path_factory.mktemp("outputs"),
    )
    with running(create_app(settings)) as address:
        yield address


@pytest.fixture
async def client(url):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def speak(client, text="Hello there.", voice="alloy"):
    """A stream of PCM as the SDK opens it."""
    return client.audio.speech.with_streaming_response.create(
        model="tts-1", voice=voice, input=text, response_format="pcm"
    )


async def whole(client, text="Hello there."):
    async with speak(client, text) as answer:
        return await answer.read()


async def test_the_openai_sdk_hears_every_sample_of_every_frame(client, port):
    async with ReplayServer(SPEECH, port=port) as engine, speak(client) as answer:
        assert answer.headers["x-orpheus-model"] == "medium-3b"
        pieces = [piece async for piece in answer.iter_bytes(chunk_size=None)]
        assert engine.keys == {f"bearer {KEY}"}
    assert len(pieces) > 1
    assert sum(map(len, pieces)) == FRAMES * FRAME_BYTES


async def test_eight_listeners_at_once_each_hear_all_of_it(client, port):
    async with ReplayServer(SPEECH, port=port) as engine:
        heard = await asyncio.gather(*(whole(client) for _ in range(8)))
        assert len(engine.bodies) == 8
    assert {len(pcm) for pcm in heard} == {FRAMES * FRAME_BYTES}


async def test_an_engine_elsewhere_counts_for_itself(client, port):
    async with ReplayServer([*SPEECH[:FRAMES], 60.0], port=port) as engine:
        listeners = [asyncio.create_task(whole(client)) for _ in range(UNCOUNTED + 2)]
        async with asyncio.timeout(60):
            while len(engine.bodies) < len(listeners):  # noqa: ASYNC110  it is looked at from outside
                await asyncio.sleep(0.05)
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)


async def test_an_engine_that_dies_breaks_its_streams_off_and_speaks_again_when_it_is_back(url, client, port):
    engine = ReplayServer([*SPEECH[:FRAMES], 60.0], SPEECH, port=port)
    body = {"model": "tts-1", "voice": "alloy", "input": "Hello there.", "response_format": "pcm"}
    async with httpx.AsyncClient(base_url=url, timeout=60) as plain, contextlib.AsyncExitStack() as life:
        await life.enter_async_context(engine)
        async with plain.stream("POST", "/v1/audio/speech", json=body) as answer:
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in answer.aiter_raw():
                    await life.aclose()
    with pytest.raises(openai.APIStatusError, match="ORPHEUS_REMOTE_URL") as caught:
        await whole(client)
    assert caught.value.status_code == 502
    async with engine:
        assert len(await whole(client)) == FRAMES * FRAME_BYTES


async def test_an_engine_that_is_away_is_named_and_its_key_is_not(client, port):
    with pytest.raises(openai.APIStatusError) as away:
        await whole(client)
    async with ReplayServer((401, f"bad key: {KEY}".encode()), port=port):
        with pytest.raises(openai.APIStatusError) as refused:
            await whole(client)
    for caught in (away, refused):
        assert caught.value.status_code == 502
        assert f"http://127.0.0.1:{port}/v1" in caught.value.message
        assert KEY not in caught.value.response.text
    assert "cannot be reached" in away.value.message
    assert "ORPHEUS_REMOTE_API_KEY" in refused.value.message


async def test_a_busy_engine_says_when_to_come_again(client, port):
    async with ReplayServer((503, b"full", "Retry-After: 7\r\n"), port=port):
        with pytest.raises(openai.APIStatusError) as caught:
            await whole(client)
    assert caught.value.code == "engine_busy"
    assert caught.value.response.headers["retry-after"] == "7"


async def test_a_listener_who_leaves_frees_the_engine(client, port):
    async with ReplayServer([*SPEECH[:FRAMES], 60.0], port=port) as engine:
        async with speak(client) as answer:
            await anext(answer.iter_bytes(chunk_size=None))
        await asyncio.wait_for(engine.left.wait(), 20)


class EachItsOwn(ReplayServer):
    """Speaks noise that depends on nothing but the prompt."""

    def answer_to(self, body):
        return in_ids(random_speech(FRAMES, seed=zlib.crc32(str(body["prompt"]).encode())))


async def test_long_text_is_heard_in_order(client, port):
    async with EachItsOwn(port=port) as engine:
        alone = [np.frombuffer(await whole(client, sentence), "<i2") for sentence in SENTENCES]
        engine.bodies.clear()
        together = np.frombuffer(await whole(client, " ".join(SENTENCES)), "<i2")
        assert len(engine.bodies) == len(SENTENCES)
    places = [place(pcm[len(pcm) // 2 :][:64], together) for pcm in alone]
    assert places == sorted(places)
    assert len(together) >= sum(map(len, alone))


def place(piece, pcm):
    """Where the one place is at which `pcm` holds `piece`, to a rounding."""
    windows = np.lib.stride_tricks.sliding_window_view(pcm.astype(np.int32), len(piece))
    (found,) = np.flatnonzero(np.abs(windows - piece).max(axis=1) <= 2)
    return found


async def test_a_french_voice_is_spoken_by_the_french_model_which_says_so(client, port):
    async with ReplayServer(SPEECH, port=port), speak(client, "Bonjour.", voice="pierre") as answer:
        assert answer.headers["x-orpheus-model"] == "medium-3b-fr"
        assert len(await answer.read()) == FRAMES * FRAME_BYTES


async def test_the_benchmark_counts_every_sample(url, port, monkeypatch):
    monkeypatch.setattr(replay, "LENGTHS", (1,))
    monkeypatch.setattr(replay, "STREAMS", (1, 2))
    async with ReplayServer(SPEECH, port=port) as engine:
        one, two = await replay.measure(Server(url, os.getpid(), 0.0, Path()), engine, runs=2)
    assert (len(one.first_byte), len(two.first_byte)) == (2, 4)
    assert one.whole
    assert two.whole
    assert two.kept == 1.0
    assert 0 < max(two.first_byte) <= max(two.total)
