"""Checkpoints from a hub: names tried in order, what is refused said in one message, the cache before the network."""

import contextlib
import shutil
import socket

import msgspec
import pytest

pytest.importorskip("huggingface_hub", reason="checkpoints come with the extra 'orpheus'")

from huggingface_hub import constants

from orpheus_openai.catalog import load_catalog
from orpheus_openai.errors import ModelUnavailableError, NotReadyError
from orpheus_openai.gpu.policy import Card
from orpheus_openai.models import hub as our_hub
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.models.orpheus.checkpoint import fetch_checkpoint, read_checkpoint
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf
from orpheus_openai.models.orpheus.tokenizer import load_tokenizer
from orpheus_openai.settings import Settings
from tests.support.model_hub import model_hub, point_at, use
from tests.support.paper_checkpoint import write_paper

GATED, ABSENT, MIRROR = "canopylabs/gated", "canopylabs/absent", "unsloth/mirror"
SETTING = "ORPHEUS_MODEL_MEDIUM_3B"


@pytest.fixture
def published(tmp_path):
    """An Orpheus of the right vocabulary and almost no size, as a repository has it."""
    folder = tmp_path / "published"
    folder.mkdir()
    write_paper(folder, files=1, hidden_size=2, num_hidden_layers=1, intermediate_size=2)
    (folder / "model-0.safetensors").rename(folder / "model.safetensors")
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Enter a hub with repositories, to which the library is pointed, with a cache of its own."""
    monkeypatch.setattr(our_hub, "ANSWER_SECONDS", 1.0)
    with contextlib.ExitStack() as opened:

        def enter(repositories):
            hub = opened.enter_context(model_hub(repositories))
            use(hub.url, tmp_path / "cache", monkeypatch)
            return hub

        yield enter


def fetch(*names):
    return fetch_checkpoint(*names, setting=SETTING)


def test_the_next_name_is_tried_where_one_is_refused_and_the_log_says_why(serve, published, caplog):
    hub = serve({GATED: "gated", MIRROR: published})
    found = fetch(GATED, ABSENT, MIRROR)
    assert found.weights == read_checkpoint(published).weights
    assert (found.directory / "tokenizer.json").is_file()
    assert f"{MIRROR} is used" in caplog.text
    assert "licence" in caplog.text
    assert [hub.asked_for(name) > 0 for name in (GATED, ABSENT, MIRROR)] == [True] * 3


def test_all_that_was_refused_stands_in_one_message_with_the_way_out(serve):
    hub = serve({GATED: "gated"})
    with pytest.raises(ModelUnavailableError) as caught:
        fetch(GATED, ABSENT)
    message = caught.value.message
    assert f"{hub.url}/{GATED}" in message
    assert "HF_TOKEN" in message
    assert f"There is no checkpoint {ABSENT}" in message
    assert SETTING in message
    assert "\n" not in message


def test_what_is_in_the_cache_is_used_without_asking_the_hub(serve, published):
    hub = serve({MIRROR: published})
    first = fetch(MIRROR)
    hub.asked.clear()
    assert fetch(GATED, MIRROR) == first
    assert hub.asked == []


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_download_that_was_broken_off_is_taken_up_again(serve, published, missing):
    hub = serve({MIRROR: published})
    directory = fetch(MIRROR).directory
    (directory / missing).unlink()
    shutil.rmtree(directory.parents[1] / "trees", ignore_errors=True)
    hub.asked.clear()
    assert (fetch(MIRROR).directory / missing).is_file()
    assert hub.asked


def test_shards_are_counted_by_their_names(serve, published):
    (published / "model.safetensors").rename(published / "model-00001-of-00002.safetensors")
    shutil.copy(
        published / "model-00001-of-00002.safetensors", published / "model-00002-of-00002.safetensors"
    )
    hub = serve({MIRROR: published})
    directory = fetch(MIRROR).directory
    hub.asked.clear()
    fetch(MIRROR)
    assert hub.asked == []
    (directory / "model-00002-of-00002.safetensors").unlink()
    fetch(MIRROR)
    assert hub.asked


async def test_a_name_in_the_settings_is_the_only_one_that_is_asked_for(serve, monkeypatch):
    hub = serve({})
    monkeypatch.setattr("orpheus_openai.models.orpheus.engine.missing", lambda _packages, _extra: None)
    catalog = load_catalog()
    model = catalog.models["medium-3b"]
    assert model.checkpoints[-1] == "unsloth/orpheus-3b-0.1-ft"
    named = ModelFactory(Settings(device="cpu", checkpoints={SETTING: ABSENT}), catalog)
    with pytest.raises(ModelUnavailableError) as caught:
        await named.prepare(model)
    assert ABSENT in caught.value.message
    assert hub.asked
    assert hub.asked == [f"GET /api/models/{ABSENT}"]


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def snac(name):
    pytest.importorskip("snac")
    from orpheus_openai.models.orpheus.snac_weights import load_snac  # noqa: PLC0415  needs torch

    return load_snac(name)


ASKING = {
    "checkpoint": fetch,
    "tokenizer": load_tokenizer,
    "gguf": lambda name: fetch_gguf(f"{name}:q4_k_m"),
    "snac": snac,
}


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_a_hub_that_refuses_connections_is_told_as_that(serve, monkeypatch, asking):
    serve({})
    endpoint = f"http://127.0.0.1:{closed_port()}"
    point_at(endpoint, monkeypatch)
    with pytest.raises(NotReadyError) as caught:
        asking(MIRROR)
    assert f"cannot be reached at {endpoint}" in caught.value.message
    assert caught.value.retry_after
    assert asking is not snac or "Set ORPHEUS_SNAC to a directory" in caught.value.message


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_a_hub_that_does_not_answer_is_asked_once_and_told_as_that(serve, asking):
    hub = serve({MIRROR: "silent"})
    with pytest.raises(NotReadyError, match="cannot be reached"):
        asking(MIRROR)
    assert hub.asked == [f"GET /api/models/{MIRROR}"]


def test_a_hub_that_cannot_be_reached_is_not_asked_for_the_other_names(serve):
    hub = serve({GATED: "silent"})
    with pytest.raises(NotReadyError):
        fetch(GATED, ABSENT)
    assert hub.asked_for(ABSENT) == 0


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_a_repository_that_is_gated_or_not_there_is_told_as_that(serve, asking):
    serve({GATED: "gated"})
    if asking is not ASKING["gguf"]:  # of which there is no file to be refused
        with pytest.raises(ModelUnavailableError, match="accept its licence"):
            asking(GATED)
    with pytest.raises(ModelUnavailableError, match=f"There is no checkpoint {ABSENT}"):
        asking(ABSENT)


def test_trouble_at_the_hub_is_worth_another_try(serve):
    serve({MIRROR: "failing"})
    with pytest.raises(NotReadyError, match="could not be downloaded"):
        fetch(MIRROR)


def test_without_leave_to_ask_the_hub_that_is_the_reason(serve, monkeypatch):
    hub = serve({MIRROR: "gated"})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailableError, match="HF_HUB_OFFLINE"):
        fetch(MIRROR)
    assert hub.asked == []


def test_the_codec_is_fetched_once_and_then_found_in_the_cache(serve, tiny_snac):
    hub = serve({"hubertsiuzdak/snac_24khz": tiny_snac})
    first = snac("hubertsiuzdak/snac_24khz")
    hub.asked.clear()
    assert snac("hubertsiuzdak/snac_24khz").codebooks.equal(first.codebooks)
    assert hub.asked == []


async def test_a_server_is_ready_to_load_with_what_a_mirror_gives(serve, published, monkeypatch):
    serve({GATED: "gated", MIRROR: published})
    catalog_model = load_catalog().models["medium-3b"]
    monkeypatch.setattr("orpheus_openai.models.orpheus.engine.gpu_count", lambda: 1)
    monkeypatch.setattr("orpheus_openai.models.orpheus.engine.missing", lambda _packages, _extra: None)
    monkeypatch.setattr("orpheus_openai.models.orpheus.engine.machine_gaps", list)
    factory = ModelFactory(Settings(), load_catalog())
    monkeypatch.setattr(factory, "cards", lambda: [Card(0, 0, 0)])
    several = msgspec.structs.replace(catalog_model, checkpoint=(GATED, MIRROR))
    before = factory.footprint(several)
    await factory.prepare(several)
    assert 0 < factory.footprint(several) < before
