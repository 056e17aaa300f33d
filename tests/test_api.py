"""Orpheus from Python, without a server: real SNAC, tokens from an engine that replays them."""

import asyncio
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

for package in ("snac", "tokenizers"):
    pytest.importorskip(package, reason="what decodes needs the extra 'orpheus'")

from benchmarks.replay_server import ReplayServer, in_ids, random_speech  # noqa: E402
from orpheus_openai import OrpheusModel  # noqa: E402
from orpheus_openai.catalog import load_catalog  # noqa: E402
from orpheus_openai.errors import ConfigurationError, InvalidRequestError, ModelUnavailableError  # noqa: E402
from tests.support.model_hub import model_hub, use  # noqa: E402
from tests.support.tiny_tokenizer import write_tokenizer  # noqa: E402

FRAMES = 12


@pytest.fixture(scope="module")
def engine():
    """An engine in a thread of its own, as one elsewhere would be; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def serve():
        async with ReplayServer(in_ids(random_speech(FRAMES)), port=port):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{port}/v1"
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return str(folder)


@pytest.fixture
def model(engine, checkpoint, tiny_snac):
    with OrpheusModel(checkpoint, remote_url=engine, snac=tiny_snac, snac_noise="off", device="cpu") as model:
        yield model


def test_a_plain_generator_yields_pcm_as_it_is_spoken(model):
    chunks = list(
        model.generate_speech(prompt="Hello there.", voice="tara", temperature=0.4, repetition_penalty=1.1)
    )
    assert len(chunks) > 1
    assert sum(map(len, chunks)) == FRAMES * 2_048 * 2
    assert np.abs(np.frombuffer(b"".join(chunks), "<i2")).max() > 100


async def test_an_event_loop_gets_the_same_without_being_blocked(model):
    chunks = [chunk async for chunk in model.generate_speech_async("Hello there.", "leo")]
    assert sum(map(len, chunks)) == FRAMES * 2_048 * 2


def test_leaving_early_stops_the_work(model):
    speech = model.generate_speech("Hello there.")
    next(speech)
    speech.close()
    assert len(list(model.generate_speech("Once more."))) > 1


def test_a_published_name_stands_for_what_the_settings_have_in_its_place(
    engine, checkpoint, tiny_snac, monkeypatch
):
    monkeypatch.setenv("ORPHEUS_MODEL_MEDIUM_3B", checkpoint)
    with OrpheusModel(
        "Canopylabs/orpheus-3b-0.1-ft", remote_url=engine, snac=tiny_snac, device="cpu"
    ) as model:
        assert len(list(model.generate_speech("Hello."))) > 1


@pytest.fixture
def hub(checkpoint, tmp_path, monkeypatch):
    """One that gives the catalog's first names only to those who have accepted a licence."""
    *gated, mirror = load_catalog().models["medium-3b"].checkpoints
    with model_hub({**dict.fromkeys(gated, "gated"), mirror: Path(checkpoint)}) as hub:
        use(hub.url, tmp_path, monkeypatch)
        yield hub


def test_a_published_name_that_is_gated_falls_through_to_the_catalogs_mirror(hub, engine, tiny_snac, caplog):
    first, second, mirror = hub.repositories
    with OrpheusModel(first, remote_url=engine, snac=tiny_snac, device="cpu") as model:
        assert len(list(model.generate_speech("Hello."))) > 1
    asked = [name for line in hub.asked for name in hub.repositories if name in line]
    assert list(dict.fromkeys(asked)) == [first, second, mirror]
    assert f"{mirror} is used" in caplog.text
    assert f"{hub.url}/{first}" in caplog.text


def test_what_is_wrong_is_said_in_words(model):
    with pytest.raises(InvalidRequestError, match="speed"):
        list(model.generate_speech("Hello.", speed=9))
    with pytest.raises(InvalidRequestError, match="no voice 'nobody'"):
        list(model.generate_speech("Hello.", "nobody"))
    with pytest.raises(ConfigurationError, match="colour: there is no such setting"):
        OrpheusModel("preview", colour="red")
    with pytest.raises(ConfigurationError, match="PORT=many"):
        OrpheusModel("preview", port="many")
    with pytest.raises(ModelUnavailableError, match="ORPHEUS_MODEL_NANO_150M"):
        OrpheusModel("nano-150m")


def test_closing_twice_does_no_harm_and_leaves_no_thread(checkpoint, engine, tiny_snac):
    before = set(threading.enumerate())
    model = OrpheusModel(checkpoint, remote_url=engine, snac=tiny_snac, device="cpu")
    list(model.generate_speech("Hello."))
    model.close()
    model.close()
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert {name for name in left if not name.startswith("asyncio_")} == set(), (
        "pools of to_thread stay, idle"
    )
