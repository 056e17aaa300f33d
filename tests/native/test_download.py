"""A model's file is downloaded at the word of an admin, or of whoever is at the machine."""

import asyncio
import shutil
import threading
import time
from types import SimpleNamespace

import httpx
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.catalog import load_catalog
from orpheus_openai.events import EventHub
from orpheus_openai.models import downloads
from orpheus_openai.models.pull import RepositoryFile
from orpheus_openai.settings import Settings
from tests.support.environment import environ
from tests.support.hub import Hub
from tests.support.served import serving

pytest.importorskip("xllamacpp", reason="llama.cpp needs the extra 'gguf'")

MIRRORS = load_catalog(None).models["medium-3b"].gguf
FRAME_BYTES = 2 * 2_048
PATH = "/api/models/medium-3b/download"


def client(app, address, **headers):
    transport = httpx.ASGITransport(app=app, client=(address, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


@pytest.fixture
def offered(monkeypatch):
    offer = RepositoryFile(MIRRORS[0], "a-Q4_K_M.gguf", "q4_k_m", 5, None)
    monkeypatch.setattr(downloads, "offered", lambda model, quantisation: offer)


@pytest.mark.parametrize(
    ("address", "headers", "allowed"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("192.168.1.20", {}, False),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.5"}, False),
        ("127.0.0.1", {"forwarded": "for=203.0.113.5"}, False),
    ],
)
async def test_without_keys_it_is_for_whoever_is_at_the_machine(offered, address, headers, allowed):
    async with client(create_app(Settings(model="preview")), address, **headers) as asking:
        for method in ("GET", "POST", "DELETE"):
            if allowed and method == "POST":
                continue
            answer = await asking.request(method, PATH)
            assert (answer.status_code != 403) is allowed, method
        if not allowed:
            assert "machine" in answer.json()["error"]["message"]


async def test_with_keys_it_is_for_admins_wherever_they_are(offered, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=12_345))
    app = create_app(Settings(model="preview", api_keys=("ann:one", "root:two:admin")))
    async with client(app, "127.0.0.1", authorization="Bearer one") as asking:
        for method in ("GET", "POST", "DELETE"):
            answer = await asking.request(method, PATH)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_only"), method
    async with client(app, "192.168.1.20", authorization="Bearer two") as asking:
        told = (await asking.get(PATH)).json()
    assert (told["name"], told["bytes"], told["here"]) == (f"{MIRRORS[0]}:q4_k_m", 5, False)
    assert told["free_bytes"] == 12_345


@pytest.mark.parametrize(
    ("settings", "path", "status", "words"),
    [
        ({}, "/api/models/preview/download", 404, "no file to download"),
        ({}, "/api/models/nobody/download", 404, "nobody"),
        ({}, f"{PATH}?quantisation=..%2F", 400, "quantisation"),
        ({"remote_url": ("http://127.0.0.1:9/v1",)}, PATH, 404, "ORPHEUS_REMOTE_URL"),
        ({"llama_server": "/nowhere/llama-server"}, PATH, 404, "ORPHEUS_LLAMA_SERVER"),
    ],
)
async def test_what_cannot_be_downloaded_is_told(offered, settings, path, status, words):
    async with client(create_app(Settings(model="preview", **settings)), "127.0.0.1") as asking:
        answer = await asking.get(path)
    assert answer.status_code == status
    assert words in answer.text


def until(server, state):
    """The download when it is in that state."""
    for _ in range(600):
        (found,) = httpx.get(f"{server.url}/api/status", trust_env=False).json()["downloads"]
        if found["state"] == state:
            return found
        assert found["state"] == "running", found
        time.sleep(0.1)
    raise AssertionError(found)


def test_it_can_be_watched_and_broken_off_and_is_spoken_with_when_it_is_here(tiny_gguf, tiny_snac, tmp_path):
    content = tiny_gguf.read_bytes()
    with Hub({MIRRORS[0]: {"a-Q4_K_M.gguf": content}}) as hub:
        hub.held = threading.Event()
        env = environ(
            ORPHEUS_MODEL="auto",
            ORPHEUS_SNAC=str(tiny_snac),
            ORPHEUS_VERIFY="off",
            HF_ENDPOINT=hub.url,
            HF_HUB_CACHE=str(tmp_path / "hub"),
            HF_HUB_DISABLE_XET="1",
            HF_HUB_OFFLINE="0",
            CUDA_VISIBLE_DEVICES="",
        )
        with serving(tmp_path, env) as server, httpx.Client(base_url=server.url, trust_env=False) as asking:
            assert asking.get(PATH).json()["bytes"] == len(content)
            assert asking.get("/api/status").json()["default_model"] == "preview"
            begun = asking.post(PATH, json={"quantisation": "q4_k_m"})
            assert (begun.status_code, begun.json()["state"]) == (202, "running")
            assert asking.post(PATH).status_code == 409
            for _ in range(300):
                (on_its_way,) = asking.get("/api/status").json()["downloads"]
                if on_its_way["done_bytes"]:
                    break
                time.sleep(0.1)
            assert 0 < on_its_way["done_bytes"] < len(content)
            assert asking.delete(PATH).json()["state"] == "cancelled"
            hub.held.set()
            assert asking.post(PATH).status_code == 202
            done = until(server, "done")
            assert (done["done_bytes"], done["message"]) == (len(content), "")
            assert asking.get(PATH).json()["here"]
            assert asking.get("/api/status").json()["default_model"] == "medium-3b"
            text = {"model": "tts-1", "voice": "tara", "input": "Hello.", "response_format": "pcm"}
            spoken = asking.post("/v1/audio/speech", json=text, timeout=200)
            assert (spoken.status_code, spoken.headers["x-orpheus-model"]) == (200, "medium-3b")
            assert len(spoken.content) % FRAME_BYTES == 0 < len(spoken.content)
            assert not (tmp_path / ".env").exists()
            hub.repos[MIRRORS[1]] = {"b-Q8_0.gguf": content}
            hub.lies.add("b-Q8_0.gguf")
            assert asking.post(PATH, json={"quantisation": "q8_0"}).status_code == 202
            assert "checksum" in until(server, "failed")["message"]


async def test_whoever_follows_events_is_told_how_far_it_is(offered, monkeypatch):
    async def pulled(*_):
        return 0, ""

    monkeypatch.setattr(downloads, "check_room", lambda offer: None)
    monkeypatch.setattr(downloads.Downloads, "_pulled", pulled)
    events, seen = EventHub(), []
    events.observe(
        "model.download", lambda event: seen.append((event.data["state"], event.data["done_bytes"]))
    )
    work = downloads.Downloads(events)
    await work.start(load_catalog(None).models["medium-3b"], None, lambda name: f"set {name}")
    assert work._running is not None
    await asyncio.wait([work._running])
    assert seen == [("running", 0), ("done", 5)]
    assert work.all()[0].message == f"set {MIRRORS[0]}:q4_k_m"
    await work.close()


async def test_a_download_that_takes_too_long_is_given_up(offered, monkeypatch):
    async def pulled(*_):
        await asyncio.sleep(3_600)

    monkeypatch.setattr(downloads, "check_room", lambda offer: None)
    monkeypatch.setattr(downloads.Downloads, "_pulled", pulled)
    monkeypatch.setattr(downloads, "LONGEST", 0.01)
    work = downloads.Downloads(EventHub())
    await work.start(load_catalog(None).models["medium-3b"], None, str)
    assert work._running is not None
    await asyncio.wait([work._running])
    assert [(end.state, "start it again" in end.message) for end in work.all()] == [("failed", True)]
    await work.close()
