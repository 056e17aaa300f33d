"""/metrics: what is counted, what is measured, and that Prometheus can read it."""

import asyncio
import json
import logging
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from orpheus_openai.app import create_app
from orpheus_openai.catalog import Model
from orpheus_openai.errors import EngineError
from orpheus_openai.gpu import monitor
from orpheus_openai.gpu.device import GPU, GPUSample
from orpheus_openai.gpu.manager import GPUManager, Residency
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.http.middleware.telemetry import logger as request_logger
from orpheus_openai.logs import JSONFormatter
from orpheus_openai.models.preview.model import PreviewModel
from orpheus_openai.observability.metrics import Metrics
from orpheus_openai.settings import Settings
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.underrun import Underruns
from tests.support.fake_engine import Clock, FakeLoader
from tests.support.local_server import running

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "observability.md"
HELLO = {"model": "tts-1", "voice": "alloy", "input": "Hello there.", "response_format": "pcm"}
TENTH = np.zeros(2400, np.int16)

pytest.importorskip("espeakng_loader")


@contextmanager
def client(**settings):
    with running(create_app(Settings(**{"model": "preview", **settings}))) as url:
        with httpx.Client(base_url=url, timeout=30) as http:
            yield http


def read(http):
    """The samples by name and labels, e.g. `value('orpheus_errors_total', kind='engine_error')`; None: none."""
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(http.get("/metrics").text)
        for sample in family.samples
    }
    return lambda name, **labels: samples.get((name, tuple(sorted(labels.items()))))


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def speaking(monkeypatch, synthesize):
    """Let the preview speak by `synthesize(usage)`, whatever the text."""
    monkeypatch.setattr(
        PreviewModel, "synthesize", lambda _self, _text, _voice, _sampling, usage: synthesize(usage)
    )


def test_a_speech_is_timed_and_counted():
    with client() as http:
        seconds = len(http.post("/v1/audio/speech", json=HELLO).content) / 48_000
        value = read(http)
    assert value("orpheus_time_to_first_audio_seconds_count", model="preview") == 1
    assert 0 < value("orpheus_time_to_first_audio_seconds_sum", model="preview") < 10
    assert value("orpheus_queue_seconds_count", model="preview") == 1
    assert value("orpheus_real_time_factor_count", model="preview") == 1
    assert value("orpheus_audio_seconds_total", model="preview") == pytest.approx(seconds, abs=0.001)
    assert value("orpheus_speeches_total", model="preview", outcome="completed") == 1
    assert value("orpheus_underruns_total", model="preview") == 0
    assert value("orpheus_requests_total", door="openai", status="200") == 1
    assert value("orpheus_model_load_seconds_count", model="preview") == 1
    assert value("orpheus_model_state", model="preview", state="ready") == 1
    assert value("orpheus_model_state", model="preview", state="failed") == 0
    assert value("orpheus_streams_active") == value("orpheus_streams_queued") == 0


def test_tokens_and_dropped_frames_are_those_that_the_model_told(monkeypatch):
    async def synthesize(usage):
        usage.input_tokens, usage.output_tokens, usage.dropped_frames = 20, 140, 3
        yield TENTH

    speaking(monkeypatch, synthesize)
    with client() as http:
        http.post("/v1/audio/speech", json=HELLO)
        value = read(http)
    assert value("orpheus_tokens_total", model="preview", kind="input") == 20
    assert value("orpheus_tokens_total", model="preview", kind="output") == 140
    assert value("orpheus_frames_dropped_total", model="preview") == 3


def test_each_application_counts_for_itself():
    with client() as one, client() as other:
        one.post("/v1/audio/speech", json=HELLO)
        assert read(one)("orpheus_speeches_total", model="preview", outcome="completed") == 1
        assert read(other)("orpheus_speeches_total", model="preview", outcome="completed") is None


def test_requests_are_counted_by_door_and_status():
    asked = {
        "/v1/models": ("openai", "200"),
        "/v1/nothing": ("openai", "404"),
        "/api/models": ("native", "200"),
        "/apidocs": ("page", "200"),
        "/health": ("probe", "200"),
    }
    with client() as http:
        for path in asked:
            http.get(path)
        value = read(http)
    assert [value("orpheus_requests_total", door=door, status=status) for door, status in asked.values()] == [
        1
    ] * 5


# --- errors ---


def test_a_refused_request_is_an_error_of_its_kind():
    with client() as http:
        http.post("/v1/audio/speech", json={**HELLO, "model": "no-such-model"})
        http.post("/v1/audio/speech", json={**HELLO, "speed": "fast"})
        value = read(http)
    assert value("orpheus_errors_total", kind="model_not_found") == 1
    assert value("orpheus_errors_total", kind="invalid_type") == 1
    assert value("orpheus_requests_total", door="openai", status="404") == 1


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/generate"])
@pytest.mark.parametrize("pieces", [0, 3])
def test_an_engine_that_fails_is_one_error_before_and_after_the_first_sound(
    monkeypatch, tmp_path, path, pieces
):
    async def synthesize(_usage):
        for _ in range(pieces):
            yield TENTH
        raise EngineError("It broke.")

    speaking(monkeypatch, synthesize)
    with client(output_dir=tmp_path) as http:
        try:
            answer = http.post(path, json={**HELLO, "text": "Hello there."})
            assert answer.status_code == 502
        except httpx.RemoteProtocolError:
            assert pieces
        value = read(http)
    assert value("orpheus_errors_total", kind="engine_error") == 1
    assert value("orpheus_speeches_total", model="preview", outcome="failed") == 1
    assert value("orpheus_real_time_factor_count", model="preview") is None


def test_a_fault_of_ours_is_an_internal_error(monkeypatch):
    async def synthesize(_usage):
        raise ZeroDivisionError
        yield

    speaking(monkeypatch, synthesize)
    with client() as http:
        assert http.post("/v1/audio/speech", json=HELLO).status_code == 500
        assert read(http)("orpheus_errors_total", kind="internal_error") == 1


def test_metrics_are_behind_the_key_like_everything_else():
    with client(api_keys=("me:sesame",)) as http:
        assert http.get("/metrics").status_code == 401
        http.headers["authorization"] = "Bearer sesame"
        assert read(http)("orpheus_errors_total", kind="invalid_api_key") == 1


# --- listeners ---


def test_a_listener_falls_silent_when_the_next_piece_comes_after_the_last_was_played():
    underruns = Underruns()
    assert underruns.sent(1.0, asked=0.0, now=10.0) == 0
    assert underruns.sent(2.0, asked=10.0, now=10.9) == 0
    assert underruns.sent(2.5, asked=10.9, now=12.25) == pytest.approx(0.25)
    # It goes on from there: half a second more.
    assert underruns.sent(3.0, asked=12.25, now=12.7) == 0
    assert underruns.sent(3.5, asked=12.7, now=13.35) == pytest.approx(0.1)
    assert underruns.sent(3.5, asked=13.35, now=20.0) == 0


def test_a_reader_who_comes_too_late_is_not_the_servers_fault():
    underruns = Underruns()
    underruns.sent(1.0, asked=0.0, now=10.0)
    assert underruns.sent(2.0, asked=15.0, now=15.1) == 0
    assert underruns.sent(3.0, asked=15.1, now=16.3) == pytest.approx(0.2)


@pytest.mark.parametrize(("samples", "pause", "underruns"), [(24_000, 0.0, 0), (4_800, 0.4, 2)])
@pytest.mark.parametrize("audio_format", ["pcm", "mp3"])
def test_silence_in_mid_speech_is_an_underrun(monkeypatch, samples, pause, underruns, audio_format):
    async def synthesize(_usage):
        for _ in range(3):
            yield np.full(samples, 1000, np.int16)
            await asyncio.sleep(pause)

    speaking(monkeypatch, synthesize)
    with client() as http:
        http.post("/v1/audio/speech", json={**HELLO, "response_format": audio_format})
        assert read(http)("orpheus_underruns_total", model="preview") == underruns


def test_who_speaks_is_active_and_who_waits_is_queued(monkeypatch):
    async def synthesize(_usage):
        yield TENTH
        await asyncio.Event().wait()

    speaking(monkeypatch, synthesize)
    with client(max_concurrent=1) as http, httpx.Client(base_url=http.base_url, timeout=30) as first:
        with first.stream("POST", "/v1/audio/speech", json=HELLO) as answer:
            assert answer.status_code == 200
            assert read(http)("orpheus_streams_active") == 1
            with ThreadPoolExecutor(1) as threads:
                impatient = threads.submit(
                    httpx.post, f"{http.base_url}/v1/audio/speech", json=HELLO, timeout=2
                )
                until(lambda: read(http)("orpheus_streams_queued") == 1)
                assert isinstance(impatient.exception(), httpx.ReadTimeout)
            until(lambda: read(http)("orpheus_streams_queued") == 0)
            assert read(http)("orpheus_requests_total", door="openai", status="499") == 1
        until(lambda: read(http)("orpheus_streams_active") == 0)
        assert read(http)("orpheus_speeches_total", model="preview", outcome="cancelled") == 2


# --- models and cards ---


async def test_loading_and_waking_are_told_apart():
    clock, model = Clock(), Model(id="a", title="A", memory_gib=8)
    service = SpeechService.create(Settings(model="preview"))
    service.manager = GPUManager(FakeLoader(24), service.events, Residency(idle_timeout=60), clock=clock)
    metrics = Metrics(service, GPUMonitor())
    for _ in range(2):
        async with service.manager.get_model(model):
            pass
        clock.now += 60
        service.manager.tick()
        while service.manager.get_status()[0].state != "asleep":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    text = (await metrics.exposition(""))[0].decode()
    assert 'orpheus_model_load_seconds_count{model="a"} 1.0' in text
    assert 'orpheus_model_wake_seconds_count{model="a"} 1.0' in text
    assert 'orpheus_model_state{model="a",state="asleep"} 1.0' in text
    await service.manager.close()


def test_the_cards_memory_is_shown_where_it_is_known(monkeypatch):
    cards = (GPU(index=0, memory_used=3 * 2**30, memory_total=24 * 2**30), GPU(index=1))
    monkeypatch.setattr(monitor, "sample_gpus", lambda: GPUSample(gpus=cards))
    with client() as http:
        value = read(http)
    assert value("orpheus_gpu_memory_used_bytes", gpu="0") == 3 * 2**30
    assert value("orpheus_gpu_memory_total_bytes", gpu="0") == 24 * 2**30
    assert value("orpheus_gpu_memory_total_bytes", gpu="1") is None


# --- formats ---


def test_the_format_is_the_one_that_is_asked_for():
    with client() as http:
        http.post("/v1/audio/speech", json=HELLO)
        plain = http.get("/metrics")
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "_created" not in plain.text
        modern = http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert modern.text.endswith("# EOF\n")
    assert {f.name for f in parse_openmetrics(modern.text)} >= {"orpheus_speeches", "orpheus_streams_active"}


def promtool(*arguments, text=None):
    if (program := shutil.which("promtool")) is None:
        pytest.skip("no promtool here; apt-get install prometheus")
    done = subprocess.run(
        [program, *arguments], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_own_linter_finds_nothing():
    with client() as http:
        http.post("/v1/audio/speech", json=HELLO)
        assert promtool("check", "metrics", text=http.get("/metrics").text) == ""


# --- documentation ---


def test_the_documentation_lists_every_metric():
    with client() as http:
        http.post("/v1/audio/speech", json=HELLO)
        served = set(re.findall(r"^# TYPE (orpheus_\w+)", http.get("/metrics").text, flags=re.MULTILINE))
    listed = re.findall(r"^\| `(orpheus_\w+)` \|", DOCUMENTATION.read_text(), flags=re.MULTILINE)
    assert set(listed) == served


def test_the_documentations_alerts_are_rules_that_prometheus_takes(tmp_path):
    blocks = re.findall(
        r"^```yaml\n(groups:.*?)^```$", DOCUMENTATION.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    (tmp_path / "rules.yml").write_text(blocks[0])
    assert "4 rules found" in promtool("check", "rules", str(tmp_path / "rules.yml"))


# --- log ---


def test_the_line_that_ends_a_request_has_what_was_measured_as_fields(caplog):
    caplog.handler.setFormatter(JSONFormatter())
    with caplog.at_level(logging.INFO, request_logger.name), client() as http:
        answer = http.post("/v1/audio/speech", json=HELLO)
        until(lambda: "in 0." in caplog.text)
    line = next(entry for entry in map(json.loads, caplog.text.splitlines()) if "method" in entry)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/audio/speech", 200)
    assert (line["model"], line["voice"], line["outcome"]) == ("preview", "tara", "completed")
    assert 0 < line["first_audio_seconds"] <= line["seconds"]
    assert line["audio_seconds"] == pytest.approx(len(answer.content) / 48_000, abs=0.001)


def test_the_answer_says_where_the_time_went():
    with client() as http:
        header = http.post("/v1/audio/speech", json=HELLO).headers["server-timing"]
    assert re.fullmatch(
        r"queue;dur=[\d.]+, load;dur=[\d.]+, first-audio;dur=[\d.]+, encode;dur=[\d.]+", header
    )
