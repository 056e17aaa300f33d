"""Traces as a collector receives them."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import httpx
import numpy as np
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.errors import ConfigurationError, EngineError
from orpheus_openai.models.preview.model import PreviewModel
from orpheus_openai.observability.tracing import Tracing
from orpheus_openai.settings import Settings
from tests.support.local_server import running
from tests.support.socket_client import PCM, Talk

pytest.importorskip("espeakng_loader")
service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

HELLO = {"model": "tts-1", "voice": "alloy", "input": "Hello there.", "response_format": "pcm"}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAGES = ["queue", "load", "first token", "first audio", "encode", "stream"]
SERVER, ERROR = 2, 2
"""SpanKind and StatusCode in OTLP's protocol buffers."""


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, as a real collector does."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans, self.resource = [], {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self):
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["content-length"]))
        for resource in service.ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.resource = attributes(resource.resource)
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def attributes(holder):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in holder.attributes}


@pytest.fixture
def collector():
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def client(endpoint):
    """Leaving it stops the server, which sends what is left."""
    with running(create_app(Settings(model="preview", otlp_endpoint=endpoint))) as url:
        with httpx.Client(base_url=url, timeout=30) as http:
            yield http


def speaking(monkeypatch, synthesize):
    monkeypatch.setattr(
        PreviewModel, "synthesize", lambda _self, _text, _voice, _sampling, usage: synthesize(usage)
    )


def request_span(collector):
    (span,) = [span for span in collector.spans if span.kind == SERVER]
    return span


def stages(collector):
    inside = [span for span in collector.spans if span.parent_span_id == request_span(collector).span_id]
    return sorted(inside, key=lambda span: (span.start_time_unix_nano, STAGES.index(span.name)))


def test_a_request_is_a_span_with_one_for_each_stage_end_to_end(collector, monkeypatch):
    async def synthesize(usage):
        usage.first_token_at = time.monotonic()
        for _ in range(3):
            yield np.zeros(2400, np.int16)

    speaking(monkeypatch, synthesize)
    began = time.time_ns()
    with client(collector.url) as http:
        answer = http.post("/v1/audio/speech", json=HELLO)
    span, inside = request_span(collector), stages(collector)
    assert span.name == "POST /v1/audio/speech"
    assert [stage.name for stage in inside] == STAGES
    assert all(one.end_time_unix_nano == next_.start_time_unix_nano for one, next_ in pairwise(inside))
    assert began <= span.start_time_unix_nano <= inside[0].start_time_unix_nano
    assert inside[-1].end_time_unix_nano == span.end_time_unix_nano <= time.time_ns()
    told = attributes(span)
    assert told["orpheus.request_id"] == answer.headers["x-request-id"]
    assert told["http.response.status_code"] == 200
    assert (told["orpheus.model"], told["orpheus.outcome"]) == ("preview", "completed")
    assert told["orpheus.audio_seconds"] == pytest.approx(len(answer.content) / 48_000, abs=0.001)
    assert span.status.code != ERROR
    assert collector.resource["service.name"] == "orpheus-openai"


@pytest.mark.parametrize("audio_format", ["pcm", "mp3"])
@pytest.mark.parametrize("save", [False, True])
def test_a_voice_without_tokens_has_all_other_stages(collector, tmp_path, monkeypatch, audio_format, save):
    monkeypatch.chdir(tmp_path)
    with client(collector.url) as http:
        http.post(
            "/api/generate", json={"text": "Hello there.", "response_format": audio_format, "save": save}
        )
    assert [s.name for s in stages(collector)] == [name for name in STAGES if name != "first token"]


def test_the_callers_trace_goes_on(collector):
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with client(collector.url) as http:
        http.post("/v1/audio/speech", json=HELLO, headers={"traceparent": f"00-{trace}-{parent}-01"})
    assert {span.trace_id.hex() for span in collector.spans} == {trace}
    assert request_span(collector).parent_span_id.hex() == parent


def test_an_engine_that_fails_ends_the_stage_it_was_in_and_marks_the_trace(collector, monkeypatch):
    async def synthesize(_usage):
        raise EngineError("It broke.")
        yield

    speaking(monkeypatch, synthesize)
    with client(collector.url) as http:
        assert http.post("/v1/audio/speech", json=HELLO).status_code == 502
    span = request_span(collector)
    assert (span.status.code, span.status.message) == (ERROR, "engine_error")
    assert attributes(span)["error.type"] == "engine_error"
    assert [stage.name for stage in stages(collector)] == ["queue", "load", "first token"]


def test_each_utterance_on_a_socket_is_a_trace_whose_queue_begins_with_its_text(collector):
    with client(collector.url) as http:
        url = str(http.base_url).rstrip("/")
        with Talk(url, additional_headers={"traceparent": TRACEPARENT}) as talk:
            talk.send("session.config", **PCM)
            talk.say("Hello", done=False)
            time.sleep(0.3)
            talk.say(" there.")
            talk.until("session.done")
    span = request_span(collector)
    assert span.name == "UTTERANCE /v1/audio/speech/stream"
    assert span.trace_id.hex() in TRACEPARENT
    assert [stage.name for stage in stages(collector)] == [name for name in STAGES if name != "first token"]
    assert stages(collector)[0].start_time_unix_nano - span.start_time_unix_nano >= 0.25e9
    told = attributes(span)
    assert told["orpheus.request_id"].endswith(".0")
    assert (told["http.response.status_code"], told["orpheus.outcome"]) == (200, "completed")


def test_a_callers_mistake_is_named_and_is_no_error_of_the_server(collector):
    with client(collector.url) as http:
        http.post("/v1/audio/speech", json={**HELLO, "model": "no-such-model"})
    span = request_span(collector)
    assert attributes(span)["error.type"] == "model_not_found"
    assert span.status.code != ERROR


def test_only_requests_that_ask_for_work_are_traced(collector):
    with client(collector.url) as http:
        for path in ("/health", "/metrics", "/", "/v1/models"):
            http.get(path)
    assert collector.spans == []


def test_the_environment_names_the_service(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "voice-of-the-house")
    with client(collector.url) as http:
        http.post("/v1/audio/speech", json=HELLO)
    assert collector.resource["service.name"] == "voice-of-the-house"


def test_a_collector_that_is_not_there_keeps_nobody_waiting():
    began = time.monotonic()
    with client("http://127.0.0.1:9") as http:
        assert http.post("/v1/audio/speech", json=HELLO).status_code == 200
    assert time.monotonic() - began < 20


def test_an_endpoint_that_is_no_url_is_a_wrong_setting():
    with pytest.raises(ConfigurationError, match="http://127.0.0.1:4318"):
        Tracing.create("localhost:4318")


def test_without_an_endpoint_the_packages_are_not_even_imported():
    code = (
        "import sys; from orpheus_openai.app import create_app; from orpheus_openai.settings import Settings; "
        "create_app(Settings(model='preview')); sys.exit('opentelemetry.sdk' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
