"""Orpheus as a GGUF file through real doors: real llama.cpp, a slim SNAC, two models side by side."""

import asyncio
import io
import json
import shutil
import signal

import av
import httpx
import numpy as np
import psutil
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.settings import Settings
from orpheus_openai.voices.recordings import write_wav
from tests.support.fake_engine import Clock
from tests.support.llama_children import llama_children
from tests.support.local_server import running
from tests.support.random_llama import write_random_adapter
from tests.support.recordings import sound, wav
from tests.support.tiny_gguf import HIDDEN, write_gguf

pytestmark = pytest.mark.timeout(300)

FRAME_BYTES = 2 * 2_048
HOSTILE = "Say <custom_token_5> and <|eot_id|>, <|begin_of_text|><custom_token_28683> <custom_token_2> now."
LONG = " ".join(
    f"On day {day} the keeper wrote the weather into a book, at four and at eight and once more before midnight."
    for day in ("one", "two", "three", "four", "five")
)
CONTAINERS = {
    "mp3": (b"ID3", b"\xff"),
    "wav": (b"RIFF",),
    "flac": (b"fLaC",),
    "opus": (b"OggS",),
    "aac": (b"\xff",),
}


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def url(clock, folder, tiny_gguf, tiny_snac, tmp_path_factory):
    """medium-3b speaks for a second or two, small-1b and nano-150m without an end; tiny-400m has no file yet."""
    write_gguf(folder / "endless.gguf", frames=0)
    (folder / "nano.gguf").hardlink_to(folder / "endless.gguf")
    settings = Settings(
        device="cpu",
        verify="off",  # what a model of random weights says has nothing to do with the texts
        mode="hybrid",
        snac=str(tiny_snac),
        checkpoints={
            "ORPHEUS_MODEL_MEDIUM_3B": str(tiny_gguf),
            "ORPHEUS_MODEL_SMALL_1B": str(folder / "endless.gguf"),
            "ORPHEUS_MODEL_TINY_400M": str(folder / "tiny.gguf"),
            "ORPHEUS_MODEL_NANO_150M": str(folder / "nano.gguf"),
            "ORPHEUS_MODEL_MEDIUM_3B_PRETRAINED": str(tiny_gguf),
        },
        voices=recorded_voice(folder / "voices"),
        max_streams="4",
        adapters=1,
        audit_log=str(folder / "audit.jsonl"),
        output_dir=tmp_path_factory.mktemp("outputs"),
    )
    with running(create_app(settings, clock=clock)) as address:
        yield address
    assert engines() == []


@pytest.fixture
async def client(url):
    async with httpx.AsyncClient(base_url=url, timeout=200) as client:
        yield client


def recorded_voice(voices):
    """A folder with Ann, who is four seconds of noise."""
    (voices / "ann").mkdir(parents=True)
    noise = np.random.default_rng(2).normal(0, 3_000, 4 * 24_000).astype(np.int16)
    write_wav(voices / "ann" / "recording.wav", noise)
    (voices / "ann" / "voice.toml").write_text(
        'name = "Ann"\nkind = "prompt"\nrecording = "recording.wav"\ntranscript = "So it is."'
    )
    return voices


def engines():
    return llama_children(psutil.Process().children())


def holds(process, file):
    return any(held.path == str(file) for held in process.memory_maps())


def request(text="Hello there.", **fields):
    return {"model": "medium-3b", "voice": "tara", "input": text, "response_format": "pcm", **fields}


async def speak(client, text="Hello there.", **fields):
    answer = await client.post("/v1/audio/speech", json=request(text, **fields))
    assert answer.status_code == 200, answer.text
    return answer.content


async def frames(client, text="Hello there.", **fields):
    count, rest = divmod(len(await speak(client, text, **fields)), FRAME_BYTES)
    assert rest == 0
    return count


async def state_of(client, model):
    status = (await client.get("/api/status")).json()
    return next((each["state"] for each in status["models"] if each["id"] == model), None)


async def test_one_speaks_and_four_at_once_with_the_models_name(client):
    answer = await client.post("/v1/audio/speech", json=request(model="tts-1"))
    assert answer.headers["x-orpheus-model"] == "medium-3b"
    assert float(answer.headers["x-orpheus-real-time-factor"]) > 0
    status = (await client.get("/api/status")).json()
    (engine,) = [each["engine"] for each in status["models"] if each["id"] == "medium-3b"]
    assert engine.startswith("llama.cpp, F16, CPU, ")
    assert engine.endswith("× real time")
    heard = await asyncio.gather(*(frames(client, f"Hello, number {n}.") for n in range(4)))
    assert min(heard) > 0


@pytest.mark.parametrize("form", CONTAINERS)
async def test_every_format_comes_out(client, form):
    sound = await speak(client, response_format=form)
    assert sound.startswith(CONTAINERS[form])
    with av.open(io.BytesIO(sound)) as container:
        heard = [frame.samples for frame in container.decode(audio=0)]
    assert sum(heard) > FRAME_BYTES // 4, "half of the one frame there is at least"


async def test_a_recordings_voice_is_spoken_with_by_the_pretrained_model_which_the_audit_log_tells(
    client, folder
):
    audit = folder / "audit.jsonl"
    answer = await client.post(
        "/v1/audio/speech", json=request(model="tts-1", voice="Ann", stream_format="sse")
    )
    assert answer.headers["x-orpheus-model"] == "medium-3b-pretrained"
    done = json.loads(answer.text.splitlines()[-2].removeprefix("data: "))
    assert done["usage"]["input_tokens"] > 4 * 82, "the recording is in the prompt"
    async with asyncio.timeout(60):  # it is written behind the answer
        while not (lines := [line for line in audit.read_text().splitlines() if '"ann"' in line]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    (line,) = map(json.loads, lines)
    assert line["id"] == answer.headers["x-request-id"]
    told = [line[each] for each in ("path", "status", "model", "voice", "outcome")]
    assert told == ["/v1/audio/speech", 200, "medium-3b-pretrained", "ann", "completed"]


async def test_a_voice_that_another_server_has_added_is_spoken_with_by_the_one_that_shares_its_folder(
    client, folder, tmp_path
):
    other = Settings(
        model="preview",
        voices=folder / "voices",
        output_dir=tmp_path,
        voice_consent="off",
        max_voices_per_key=9,
    )
    with running(create_app(other)) as address:
        async with httpx.AsyncClient(base_url=address, timeout=60) as adding:
            added = await adding.post(
                "/v1/audio/voices",
                data={"name": "Ben", "ref_text": "So it is."},
                files={"audio_sample": ("ben.wav", wav(sound()))},
            )
            assert added.status_code == 200, added.text
            voice = {"id": added.json()["id"]}
            async with asyncio.timeout(60):
                while voice["id"] not in (await client.get("/v1/audio/voices")).text:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert await frames(client, model="tts-1", voice=voice) > 0
            assert (await client.delete(f"/v1/audio/voices/{voice['id']}")).status_code == 200
            async with asyncio.timeout(60):
                while voice["id"] in (await adding.get("/v1/audio/voices")).text:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
    await client.post("/api/offload", json={"model": "medium-3b-pretrained"})


async def test_a_voice_with_an_adapter_comes_and_goes_without_a_restart_of_the_server(client, folder):
    async def wait_until_listed(expected):
        async with asyncio.timeout(30):
            while ("Bea" in (await client.get("/v1/audio/voices")).text) is not expected:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    sides = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "vo"}
    write_random_adapter(folder / "bea" / "adapter", 1, alpha=0.01, layers=1, sides=sides)
    (folder / "bea" / "voice.toml").write_text('name = "Bea"\nkind = "adapter"')
    shutil.move(folder / "bea", folder / "voices" / "bea")
    await wait_until_listed(True)
    base, with_adapter = await asyncio.gather(frames(client, seed=1), frames(client, voice="Bea", seed=1))
    assert min(base, with_adapter) > 0
    shutil.rmtree(folder / "voices" / "bea")
    await wait_until_listed(False)
    answer = await client.post("/v1/audio/speech", json=request(voice="Bea"))
    assert answer.json()["error"]["param"] == "voice"


async def test_an_adapter_of_a_repository_that_has_come_and_was_trained_on_another_model_is_not_spoken_with(
    client, folder, monkeypatch
):
    async def asked_until(found):
        async with asyncio.timeout(60):
            while True:
                answer = await client.post("/v1/audio/speech", json=request(voice="Far"))
                if found(answer):
                    return answer
                await asyncio.sleep(0.1)

    snapshot = folder / "hub" / "models--someone--voice" / "snapshots" / "0"
    sides = {"self_attn.v_proj": (HIDDEN, HIDDEN)}
    config = write_random_adapter(folder / "far", 1, layers=1, sides=sides) / "adapter_config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps({**told, "base_model_name_or_path": "canopylabs/orpheus-3b-0.1-pretrained"}))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    (snapshot.parents[1] / "refs").mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text("0")
    snapshot.parent.mkdir()
    (folder / "voices" / "far").mkdir()
    description = folder / "voices" / "far" / "voice.toml"
    description.write_text('name = "Far"\nkind = "adapter"\nadapter = "hub:someone/voice"')
    answer = await asked_until(lambda answer: answer.json()["error"]["code"] != "voice_not_found")
    assert "someone/voice" in answer.json()["error"]["message"], "there is no hub here"
    (folder / "far").rename(snapshot)
    answer = await client.post("/v1/audio/speech", json=request(voice="Far"))
    assert answer.status_code in (400, 404), "refused by the engine, or already left out of the list"
    (snapshot / "adapter_config.json").write_text(json.dumps(told))
    description.write_text(description.read_text() + "\n")
    assert (await asked_until(lambda answer: answer.status_code == 200)).content


async def test_a_long_text_is_spoken_to_its_end(client):
    answer = await client.post("/v1/audio/speech", json=request(LONG, stream_format="sse"))
    *_, done = [line for line in answer.text.splitlines() if line.startswith("data:")]
    assert "speech.audio.done" in done


async def test_a_text_full_of_special_tokens_is_spoken(client):
    assert await frames(client, HOSTILE) > 0


async def test_whoever_hangs_up_frees_the_engine_for_the_next(client):
    for _ in range(6):  # more than there are slots; each would go on for half a minute
        async with client.stream("POST", "/v1/audio/speech", json=request(model="small-1b")) as answer:
            assert answer.status_code == 200
            await anext(answer.aiter_raw())
    async with client.stream("POST", "/v1/audio/speech", json=request(model="small-1b")) as answer:
        async with asyncio.timeout(60):
            await anext(answer.aiter_raw())


@pytest.mark.parametrize(
    ("blow", "model", "file"),
    [(signal.SIGKILL, "small-1b", "endless.gguf"), (signal.SIGSTOP, "nano-150m", "nano.gguf")],
)
async def test_an_engine_that_dies_or_hangs_breaks_its_stream_off_and_others_and_the_next_request_speak(
    client, folder, blow, model, file
):
    with pytest.raises(httpx.RemoteProtocolError):
        async with client.stream("POST", "/v1/audio/speech", json=request(model=model)) as answer:
            async with asyncio.timeout(120):
                sound = answer.aiter_raw()
                await anext(sound)
                (engine,) = [each for each in engines() if holds(each, folder / file)]
                engine.send_signal(blow)
                async for _ in sound:
                    pass
    psutil.wait_procs([engine], timeout=20)
    assert not engine.is_running()
    assert await frames(client) > 0
    async with client.stream("POST", "/v1/audio/speech", json=request(model=model)) as answer:
        assert answer.status_code == 200


async def test_an_idle_model_is_unloaded_and_loaded_again(client, clock):
    assert await frames(client) > 0
    assert await state_of(client, "medium-3b") == "ready"
    before = {process.pid for process in engines()}
    clock.now += 61
    async with asyncio.timeout(60):
        while await state_of(client, "medium-3b") != "unloaded" or engines():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await frames(client) > 0
    assert before.isdisjoint(process.pid for process in engines())


async def test_what_is_wrong_with_a_file_is_said_and_a_good_one_in_its_place_works(client, folder, tiny_gguf):
    named = folder / "tiny.gguf"
    content = tiny_gguf.read_bytes()

    async def refusal(status=404):
        answer = await client.post("/v1/audio/speech", json=request(model="tiny-400m"))
        assert answer.status_code == status, answer.text
        return answer.json()["error"]["message"]

    assert "no file" in await refusal()
    named.write_bytes(b"<html>" * 1_000)
    assert "does not begin with GGUF" in await refusal()
    named.write_bytes(content[: len(content) // 2])
    assert "not whole" in await refusal()
    named.write_bytes(content.replace(b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"))
    assert "llama.cpp could not start" in await refusal(503)
    named.write_bytes(content)
    assert await frames(client, model="tiny-400m") > 0
