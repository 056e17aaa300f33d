"""The native API over real HTTP: speech, files, models, status, events, readiness."""

import asyncio
import contextlib
import io
import json
import os
import re
import time
import wave
from urllib.parse import unquote

import httpx
import psutil
import pytest
import uvicorn
from litestar import Litestar
from litestar.di import Provide

from orpheus_openai.app import create_app
from orpheus_openai.gpu import monitor
from orpheus_openai.gpu.device import GPU, GPUSample
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.http.errors import EXCEPTION_HANDLERS
from orpheus_openai.http.middleware.caller import Callers
from orpheus_openai.native import events as events_route
from orpheus_openai.native.events import Pulse
from orpheus_openai.native.routes import native_router
from orpheus_openai.outputs import OutputFolder
from orpheus_openai.settings import Settings
from orpheus_openai.speech.service import SpeechService

LONG_TEXT = "This sentence is here to be spoken, again and again. " * 600


@pytest.fixture
async def client(server_url):
    async with httpx.AsyncClient(base_url=server_url, timeout=30) as client:
        yield client


@contextlib.asynccontextmanager
async def listening(app):
    """`app` behind a real socket, on this event loop, so that a test can look inside while it is used."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110  uvicorn offers no event
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def native(folder, **settings):
    """The native door alone, with its service in hand."""
    pytest.importorskip("espeakng_loader")
    chosen = Settings(**{"model": "preview", **settings})
    service = SpeechService.create(chosen)
    app = Litestar(
        [native_router(service, OutputFolder(folder), chosen, GPUMonitor())],
        dependencies={"service": Provide(lambda: service, sync_to_thread=False)},
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
    )
    app.asgi_handler = Callers(app.asgi_handler, None, audit_text=False, with_keys=False)
    async with listening(app) as client:
        yield client, service
    await service.manager.close()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  it is looked at from outside
            await asyncio.sleep(0.01)


async def read_events(response):
    """Server-sent events as (id, type, data)."""
    event = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            yield int(event["id"]), event["event"], json.loads(event["data"])
            event = {}


def error_of(response):
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


# --- speech ---


async def test_text_becomes_a_wav_stream_whose_headers_tell_who_speaks(client):
    response = await client.post("/api/generate", json={"text": "Hello there."})
    assert response.status_code == 200
    assert response.headers["content-type"] == "audio/wav"
    assert response.headers["x-orpheus-model"] == "preview"
    assert response.headers["x-orpheus-voice"] == "tara"
    assert float(response.headers["x-orpheus-load-seconds"]) >= 0
    assert response.headers["x-request-id"].startswith("req_")
    assert "content-length" not in response.headers
    assert response.content[:4] == b"RIFF"
    assert len(response.content) > 24_000


@pytest.mark.parametrize(
    ("audio_format", "media_type", "magic"),
    [
        ("mp3", "audio/mpeg", b"\xff\xf3"),
        ("opus", "audio/ogg", b"OggS"),
        ("aac", "audio/aac", b"\xff\xf1"),
        ("flac", "audio/flac", b"fLaC"),
        ("wav", "audio/wav", b"RIFF"),
        ("pcm", "audio/pcm", b""),
        ("pcmu", "audio/pcmu", b""),
        ("pcma", "audio/pcma", b""),
    ],
)
async def test_every_format_can_be_had(client, audio_format, media_type, magic):
    response = await client.post("/api/generate", json={"text": "Hello.", "response_format": audio_format})
    assert response.headers["content-type"] == media_type
    assert response.content.startswith(magic)


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "Hello."},
        {"text": "Hello.", "prompt": "Hello."},
        {
            "text": "Hello.",
            "speed": None,
            "seed": None,
            "voice": None,
            "model": None,
            "response_format": None,
        },
        {
            "text": "Hello.",
            "temperature": 0.4,
            "top_p": 0.8,
            "repetition_penalty": 1.2,
            "max_tokens": 700,
            "seed": 7,
        },
        {"text": "Hello.", "model": "tts-1", "voice": "alloy", "speed": 2, "something": {"of": ["others"]}},
    ],
)
async def test_requests_in_all_their_forms_are_spoken(client, body):
    response = await client.post("/api/generate", json=body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({}, 400, "text", "Missing required field 'text'"),
        ({"text": "a", "prompt": "b"}, 400, "prompt", "send one of them"),
        ({"text": ""}, 400, "text", "nothing to speak"),
        ({"prompt": " "}, 400, "prompt", "nothing to speak"),
        ({"text": "x" * 50_001}, 400, "text", "at most 50000"),
        ({"text": 1}, 400, "text", "Expected a string for 'text'"),
        ({"text": "a", "voice": "nobody"}, 400, "voice", "There is no voice 'nobody'"),
        ({"text": "a", "model": "nothing"}, 404, "model", "does not exist"),
        ({"text": "a", "model": "small-1b"}, 404, "model", "ORPHEUS_MODEL_SMALL_1B"),
        (
            {"text": "a", "response_format": "ogg"},
            400,
            "response_format",
            "mp3, opus, aac, flac, wav, pcm, pcmu, pcma",
        ),
        ({"text": "a", "speed": 5}, 400, "speed", "at most 4"),
        ({"text": "a", "temperature": 3}, 400, "temperature", "at most 2"),
        ({"text": "a", "max_tokens": 1}, 400, "max_tokens", "at least 7"),
        ({"text": "a", "save": "yes"}, 400, "save", "true or false"),
        ([], 400, None, "Expected an object as the body"),
    ],
)
async def test_what_is_wrong_is_said_with_the_fields_name(client, body, status, param, words):
    response = await client.post("/api/generate", json=body)
    error = error_of(response)
    assert (response.status_code, error["param"]) == (status, param)
    assert words in error["message"]


async def test_a_text_with_nothing_to_say_is_a_short_silence_streamed_or_saved(client):
    streamed = await client.post("/api/generate", json={"text": "—", "response_format": "pcm"})
    assert (streamed.status_code, streamed.content) == (200, bytes(2 * 4_800))
    saved = (await client.post("/api/generate", json={"text": "...", "save": True})).json()
    assert (saved["audio_seconds"], saved["load_seconds"]) == (0.2, 0.0)


async def test_a_body_that_is_no_json_is_said_so(client):
    response = await client.post("/api/generate", content=b'{"text": ')
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_json")


# --- files ---


async def test_a_file_says_all_that_can_be_done_with_it(client):
    response = await client.options("/api/files/a.mp3")
    assert response.status_code == 204
    assert response.headers["allow"] == "DELETE, GET, OPTIONS"


async def test_saved_speech_is_listed_fetched_and_removed(client):
    body = {"text": "<chuckle> Keep this, please.", "voice": "leo", "save": True}
    response = await client.post("/api/generate", json=body)
    saved = response.json()
    assert response.headers["content-type"] == "application/json"
    assert saved["id"] == response.headers["x-request-id"]
    assert (saved["model"], saved["voice"], saved["format"]) == ("preview", "leo", "wav")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-leo-keep-this-please-[0-9a-f]{6}\.wav", saved["file"])
    assert 0 <= saved["first_audio_seconds"] <= saved["total_seconds"]

    listed = (await client.get("/api/files")).json()["files"]
    (entry,) = [file for file in listed if file["name"] == saved["file"]]
    assert (entry["bytes"], entry["format"], entry["url"]) == (saved["bytes"], "wav", saved["url"])

    fetched = await client.get(saved["url"])
    assert fetched.headers["content-type"] == "audio/wav"
    assert int(fetched.headers["content-length"]) == saved["bytes"] == len(fetched.content)
    with wave.open(io.BytesIO(fetched.content)) as file:
        assert file.getnframes() / 24_000 == pytest.approx(saved["audio_seconds"], abs=0.001)

    assert (await client.delete(saved["url"])).status_code == 204
    assert error_of(await client.get(saved["url"]))["code"] == "file_not_found"
    assert (await client.delete(saved["url"])).status_code == 404


async def test_a_name_in_another_script_can_be_fetched(client):
    body = {"text": "你好", "voice": "长乐", "save": True, "response_format": "mp3"}
    saved = (await client.post("/api/generate", json=body)).json()
    assert "-长乐-你好-" in saved["file"]
    assert saved["url"].isascii()
    assert unquote(saved["url"]).endswith(saved["file"])
    assert len((await client.get(saved["url"])).content) == saved["bytes"]
    await client.delete(saved["url"])


RANGES = [
    ("bytes=0-3", 206, slice(0, 4)),
    ("bytes=4-", 206, slice(4, None)),
    ("bytes=-5", 206, slice(-5, None)),
    ("bytes=-999999999", 200, slice(None)),
    ("bytes=0-", 200, slice(None)),
    ("bytes=10-999999999", 206, slice(10, None)),
    ("bytes=999999999-", 416, slice(0)),
    ("bytes=-0", 416, slice(0)),
    ("bytes=5-4", 200, slice(None)),
    ("bytes=0-1,4-5", 200, slice(None)),
    ("lines=1-2", 200, slice(None)),
    ("bytes=-", 200, slice(None)),
]


async def test_a_player_gets_the_part_it_seeks_to(tmp_path):
    content = bytes(range(250)) * 4000
    (tmp_path / "a.mp3").write_bytes(content)
    async with native(tmp_path) as (client, _):
        for asked, status, part in RANGES:
            response = await client.get("/api/files/a.mp3", headers={"range": asked})
            assert response.status_code == status, asked
            assert response.content == content[part], asked
            first, end, _ = part.indices(len(content))
            told = {206: f"bytes {first}-{end - 1}/1000000", 416: "bytes */1000000"}.get(status)
            assert response.headers.get("content-range") == told, asked


async def test_an_empty_file_is_fetched_as_such(tmp_path):
    (tmp_path / "a.mp3").touch()
    async with native(tmp_path) as (client, _):
        response = await client.get("/api/files/a.mp3")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    "name", ["..%2fserver.log", "%2e%2e", "..%5cx.wav", ".x.wav", "x%00.wav", "x.txt", "%ff.wav"]
)
async def test_no_name_leads_out_of_the_folder(client, name):
    for method in ("GET", "DELETE"):
        response = await client.request(method, f"/api/files/{name}")
        assert response.status_code == 404, (method, name)
        assert error_of(response)["message"]


async def test_who_leaves_while_speech_is_saved_leaves_no_file_and_no_lease(tmp_path):
    async with native(tmp_path) as (client, service):
        asked = asyncio.create_task(client.post("/api/generate", json={"text": LONG_TEXT, "save": True}))
        await until(lambda: list(tmp_path.iterdir()))
        asked.cancel()
        await until(lambda: not list(tmp_path.iterdir()))
        await until(lambda: service.manager.get_status()[0].leases == 0)


async def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").touch()
    async with native(tmp_path / "file" / "outputs") as (client, _):
        response = await client.post("/api/generate", json={"text": "Hello.", "save": True})
    assert (response.status_code, error_of(response)["code"]) == (500, "output_folder_failed")
    assert "ORPHEUS_OUTPUT_DIR" in error_of(response)["message"]


async def test_old_speech_goes_when_the_server_starts_and_a_name_that_no_json_can_hold_breaks_no_list(
    tmp_path,
):
    (tmp_path / "a.mp3").write_bytes(b"x" * 20)
    os.utime(tmp_path / "a.mp3", (0, 0))
    (tmp_path / "b.mp3").write_bytes(b"x")
    (tmp_path / os.fsdecode(b"caf\xe9.mp3")).write_bytes(b"x")
    settings = Settings(model="preview", output_dir=tmp_path, output_max_bytes=10)
    async with listening(create_app(settings)) as client:
        listed = (await client.get("/api/files")).json()["files"]
    assert [file["name"] for file in listed] == ["b.mp3"]


# --- models, status, readiness ---


async def test_the_catalog_tells_all_that_a_form_needs(client):
    catalog = (await client.get("/api/models")).json()
    models = {model["id"]: model for model in catalog["models"]}
    assert catalog["default"] == "preview"
    assert {"medium-3b", "small-1b", "tiny-400m", "nano-150m", "medium-3b-fr", "preview"} <= models.keys()
    assert models["medium-3b-fr"]["family"] == "medium-3b"
    assert models["medium-3b-fr"]["voices"] == ["pierre", "amelie", "marie"]
    assert models["small-1b"]["status"] == "coming_soon"
    assert "ORPHEUS_MODEL_SMALL_1B" in models["small-1b"]["status_detail"]
    assert models["preview"]["status"] == "available"
    (tara,) = [voice for voice in catalog["voices"] if voice["id"] == "tara"]
    assert tara.items() >= {"name": "tara", "language": "en", "gender": "female", "kind": "built_in"}.items()
    assert catalog["voice_aliases"].keys() >= {"alloy", "nova"}
    assert catalog["model_aliases"]["tts-1"] == "default"
    assert "laugh" in catalog["emotion_tags"]
    assert catalog["formats"] == ["mp3", "opus", "aac", "flac", "wav", "pcm", "pcmu", "pcma"]
    assert catalog["limits"] == {"max_input_chars": 50_000, "min_speed": 0.25, "max_speed": 4.0}
    assert catalog["recordings"] == {
        "model": "medium-3b-pretrained",
        "consent_required": True,
        "max_voices": 20,
        "min_seconds": 3,
        "max_seconds": 30,
    }
    assert catalog["defaults"]["voice"] == "tara"
    assert {"id", "english", "native", "example"} == catalog["languages"][0].keys()


async def test_a_models_state_is_shown_in_the_catalog_and_in_the_status(client):
    await client.post("/api/generate", json={"text": "Hello."})
    catalog = (await client.get("/api/models")).json()
    assert {model["id"]: model["state"] for model in catalog["models"]}["preview"] == "ready"
    status = (await client.get("/api/status")).json()
    (preview,) = [model for model in status["models"] if model["id"] == "preview"]
    assert (preview["state"], preview["leases"], preview["error"]) == ("ready", 0, None)
    assert status["ready"] is True
    assert status["default_model"] == "preview"
    assert 0 < status["uptime_seconds"] < time.time() - psutil.Process().create_time()
    assert status["versions"].keys() >= {"python", "litestar"}
    assert bool(status["gpus"]) != bool(status["gpu_error"])


async def test_offloading_frees_what_nobody_uses_and_waits_for_what_is_used(tmp_path):
    async with native(tmp_path) as (client, service):
        preview = service.catalog.models["preview"]
        async with service.manager.get_model(preview):
            assert (await client.get("/api/status")).json()["active_speeches"] == 1
            busy = await client.post("/api/offload", json={"wait_seconds": 0})
            assert busy.json() == {"offloaded": [], "still_busy": ["preview"], "freed_bytes": 0}
            waiting = asyncio.create_task(client.post("/api/offload", json={"model": "tts-1"}))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert (await waiting).json()["offloaded"] == ["preview"]
        async with service.manager.get_model(preview):
            forced = await client.post("/api/offload", json={"model": "preview", "force": True})
            assert forced.json()["offloaded"] == ["preview"]
        nothing = await client.post("/api/offload")
        assert nothing.json() == {"offloaded": [], "still_busy": [], "freed_bytes": 0}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nothing"}, 404, "model"),
        ({"wait_seconds": -1}, 400, "wait_seconds"),
        ({"wait_seconds": 3601}, 400, "wait_seconds"),
        ({"force": 1}, 400, "force"),
    ],
)
async def test_a_wrong_offload_is_said_so(client, body, status, param):
    response = await client.post("/api/offload", json=body)
    assert (response.status_code, error_of(response)["param"]) == (status, param)


async def test_an_offload_that_waits_for_a_slow_reader_is_told_and_ends_when_its_client_hangs_up(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("orpheus_openai.gpu.manager.HELD_SECONDS", 0.05)
    async with native(tmp_path) as (client, service):
        preview = service.catalog.models["preview"]

        def draining():
            return service.manager.get_status()[0].draining_seconds

        async with service.manager.get_model(preview):
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/api/offload", json={"wait_seconds": 3600}, timeout=0.2)
            await until(lambda: draining() is None)
            spoken = await client.post("/api/generate", json={"text": "Hello."})
            assert spoken.status_code == 200, "nobody waits for whoever has left"

            offload = asyncio.create_task(client.post("/api/offload", json={"wait_seconds": 20}))
            await until(draining)
            refused = await client.post("/api/generate", json={"text": "Hello."})
            assert (refused.status_code, error_of(refused)["code"]) == (503, "model_offloading")
            assert 1 <= int(refused.headers["retry-after"]) <= 20
            assert refused.headers["x-should-retry"] == "true"
            ready = await client.get("/ready")
            assert (ready.status_code, error_of(ready)["code"]) == (503, "model_offloading")
        assert (await offload).json()["offloaded"] == ["preview"]
        assert (await client.get("/ready")).status_code == 200


async def test_fifty_requests_while_models_are_offloaded_are_all_answered_with_speech(tmp_path):
    async with native(tmp_path) as (client, _):
        body = {"text": "Hello there.", "response_format": "pcm"}
        requests = [asyncio.create_task(client.post("/api/generate", json=body)) for _ in range(50)]
        offloads = []
        while not all(request.done() for request in requests):
            offloads.append(await client.post("/api/offload", json={}))
        answers = await asyncio.gather(*requests)
        assert {answer.status_code for answer in answers + offloads} == {200}
        assert all(any(answer.content) for answer in answers)
        assert any(offload.json()["offloaded"] for offload in offloads)


async def test_ready_says_which_model_would_speak(tmp_path):
    async with native(tmp_path) as (client, _):
        assert (await client.get("/ready")).json() == {"ready": True, "model": "preview", "state": "unloaded"}
        await client.post("/api/generate", json={"text": "Hello."})
        assert (await client.get("/ready")).json()["state"] == "ready"


async def test_not_ready_where_the_default_model_cannot_run(tmp_path):
    async with native(tmp_path, model="small-1b") as (client, _):
        response = await client.get("/ready")
        assert (response.status_code, error_of(response)["code"]) == (503, "model_unavailable")
        assert (await client.get("/api/status")).json()["ready"] is False


async def test_not_ready_after_a_load_that_failed_until_one_works(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the weights are gone")

    async with native(tmp_path) as (client, _):
        with monkeypatch.context() as broken:
            broken.setattr("orpheus_openai.models.preview.model.PreviewModel", fail)
            assert (await client.post("/api/generate", json={"text": "Hello."})).status_code >= 500
        response = await client.get("/ready")
        assert response.status_code == 503
        assert error_of(response)["message"].endswith(
            "the weights are gone. The next request for it tries again."
        )
        await client.post("/api/generate", json={"text": "Hello."})
        assert (await client.get("/ready")).status_code == 200


# --- events ---


async def test_a_listener_hears_a_speech_from_beginning_to_end(tmp_path):
    async with native(tmp_path) as (client, _), client.stream("GET", "/api/events") as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        happenings = read_events(response)
        number, kind, status = await anext(happenings)
        assert (number, kind) == (0, "status")
        assert status["default_model"] == "preview"

        asked = asyncio.create_task(client.post("/api/generate", json={"text": "One. Two."}))
        heard = []
        async for event in happenings:
            heard.append(event)
            if event[1] == "speech.ended":
                break
        spoken = await asked
    numbers = [number for number, _, _ in heard]
    assert numbers == sorted(set(numbers))
    kinds = list(dict.fromkeys(kind for _, kind, _ in heard))
    assert kinds == [
        "speech.queued",
        "model.state",
        "speech.segment",
        "speech.started",
        "speech.progress",
        "speech.ended",
    ]
    ended = heard[-1][2]
    assert ended["outcome"] == "completed"
    assert ended["audio_seconds"] == pytest.approx((len(spoken.content) - 44) / 48_000, abs=0.001)
    assert {data["id"] for _, kind, data in heard if kind.startswith("speech.")} == {ended["id"]}


async def test_its_words_and_their_times_are_told_to_whoever_asks_for_them(client):
    text = "One. It costs **$5**."
    async with client.stream("GET", "/api/events") as response:
        happenings = read_events(response)
        await anext(happenings)
        wanted = {"text": text, "model": "preview", "response_format": "pcm", "word_times": True}
        spoken = await client.post("/api/generate", json=wanted)
        words = []
        async for _, kind, data in happenings:
            if kind == "speech.words" and data["id"] == spoken.headers["x-request-id"]:
                words += data["words"]
                if data["last"]:
                    break
    assert [text[slice(*word["span"])] for word in words] == ["One", "It", "costs", "$5"]
    assert all(word["start"] < word["end"] for word in words)
    assert words[-1]["end"] <= len(spoken.content) / 48_000 + 0.05


async def test_a_speech_has_the_id_of_its_answer(client):
    async with client.stream("GET", "/api/events") as response:
        happenings = read_events(response)
        await anext(happenings)
        spoken = await client.post(
            "/v1/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "Hello."}
        )
        ids = set()
        async for _, kind, data in happenings:
            if kind.startswith("speech."):
                ids.add(data["id"])
            if kind == "speech.ended" and data["id"] == spoken.headers["x-request-id"]:
                break
    assert ids == {spoken.headers["x-request-id"]}


async def test_a_hundred_listeners_come_and_go(tmp_path):
    async with native(tmp_path) as (client, service), contextlib.AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=200)
        many = await stack.enter_async_context(
            httpx.AsyncClient(base_url=client.base_url, limits=limits, timeout=30)
        )
        async with contextlib.AsyncExitStack() as listeners:
            streams = [
                read_events(await listeners.enter_async_context(many.stream("GET", "/api/events")))
                for _ in range(100)
            ]
            assert {(await anext(stream))[1] for stream in streams} == {"status"}
            assert service.events.listeners == 100
            await client.post("/api/generate", json={"text": "Hello."})
            assert {(await anext(stream))[1] for stream in streams} == {"speech.queued"}
        await until(lambda: service.events.listeners == 0)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "pulse"]


def quick_pulse(monkeypatch, sample):
    """A pulse that beats fast, over GPUs that are not there."""
    calls = []
    monkeypatch.setattr(monitor, "sample_gpus", lambda: calls.append(1) or sample)
    monkeypatch.setattr(events_route, "SAMPLE_SECONDS", 0.01)
    service = SpeechService.create(Settings(model="preview"))
    watch = GPUMonitor()
    return Pulse(service.events, watch), service.events, calls


async def take(happenings, count):
    async with asyncio.timeout(10):
        return [await anext(happenings) for _ in range(count)]


async def test_while_somebody_listens_the_gpus_are_sampled_once_for_all(monkeypatch):
    sample = GPUSample((GPU(index=0, name="Card", memory_used=5),))
    pulse, hub, calls = quick_pulse(monkeypatch, sample)
    with hub.subscribe() as first, hub.subscribe() as second, pulse.beating(), pulse.beating():
        heard = await take(first, 11)
        assert await take(second, 11) == heard
    assert [event.type for event in heard] == ["gpu.sample"] * 10 + ["status"]
    assert heard[0].data["gpus"][0].memory_used == 5
    before = len(calls)
    await asyncio.sleep(0.1)
    assert len(calls) == before


async def test_without_a_gpu_only_the_status_is_heard(monkeypatch):
    pulse, hub, _ = quick_pulse(monkeypatch, GPUSample(error="none"))
    with hub.subscribe() as happenings, pulse.beating():
        assert [event.type for event in await take(happenings, 2)] == ["status", "status"]


async def test_the_pulse_goes_on_for_those_who_stay(monkeypatch):
    pulse, hub, _ = quick_pulse(monkeypatch, GPUSample(error="none"))
    with hub.subscribe() as happenings, pulse.beating():
        with pulse.beating():
            await take(happenings, 1)
        await take(happenings, 1)


# --- the API page ---


async def test_the_api_page_describes_every_route_in_words_and_examples(client):
    described = (await client.get("/apidocs/openapi.json")).json()
    operations = {
        (method, path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    ours = {
        *(
            ("post", "/api/generate"),
            ("get", "/api/files"),
            ("get", "/api/files/{name}"),
            ("delete", "/api/files/{name}"),
        ),
        *(("get", "/api/models"), ("post", "/api/offload"), ("get", "/api/status"), ("get", "/api/events")),
        *(("get", "/ready"), ("get", "/health"), ("post", "/v1/audio/speech")),
    }
    assert ours <= operations.keys()
    for key in ours:
        operation = operations[key]
        assert operation["operationId"], key
        assert operation["summary"], key
        assert operation["description"], key
        assert operation["tags"], key
        if key[0] == "post":
            assert operation["requestBody"]["content"]["application/json"]["examples"], key
    names = {operation["operationId"] for operation in operations.values()}
    assert len(names) == len(operations)
    assert {tag for operation in operations.values() for tag in operation["tags"]} == {
        t["name"] for t in described["tags"]
    }
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert referred <= described["components"]["schemas"].keys()


async def test_an_error_is_described_as_it_is_sent(client):
    described = (await client.get("/apidocs/openapi.json")).json()
    problems = [
        answer["content"]["application/json"]["schema"]
        for path in ("/api/generate", "/api/files/{name}", "/api/offload", "/ready", "/v1/models/{model}")
        for operation in described["paths"][path].values()
        for status, answer in operation["responses"].items()
        if status >= "400" and "content" in answer
    ]
    assert problems
    assert all(schema["title"] == "ErrorBody" for schema in problems)
    assert problems[0]["properties"]["error"]["required"] == ["message", "type", "param", "code"]


async def test_the_api_page_says_which_routes_ask_for_a_key(client):
    described = (await client.get("/apidocs/openapi.json")).json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            public = path in ("/ready", "/health")
            assert ("401" in operation["responses"]) is not public, (method, path)
            assert (operation.get("security") == []) is public, (method, path)


async def test_the_api_page_tells_the_range_of_every_number(client):
    described = (await client.get("/apidocs/openapi.json")).json()
    for path in ("/v1/audio/speech", "/api/generate"):
        body = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        numbers = {
            name: choice
            for name, field in body["properties"].items()
            for choice in field.get("anyOf", [])
            if choice.get("type") in ("number", "integer")
        }
        assert numbers.keys() >= {"speed", "temperature", "top_p", "repetition_penalty", "seed"}
        for name, number in numbers.items():
            assert number.keys() & {"minimum", "exclusiveMinimum"}, name
            assert "maximum" in number, name
