"""HTTP as its standard has it: clients of HTTP/1.0, HEAD, what breaks off; and what the log shows of a URL."""

import json
import os
import re
import signal
import socket
import time

import httpx
import psutil
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.http.middleware.keys import KeyRing
from orpheus_openai.http.redaction import LONGEST, Redaction
from orpheus_openai.settings import Settings
from tests.support.environment import environ
from tests.support.served import serving

pytest.importorskip("espeakng_loader")

PATIENCE = 60
LONG = "It was a bright cold day in April, and the clocks were striking thirteen. " * 400


def connect(url):
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=PATIENCE)


def asked(method, path, body=b"", version="1.0"):
    head = f"{method} {path} HTTP/{version}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def speech(audio_format, text="Good morning."):
    return json.dumps(
        {"model": "tts-1", "voice": "tara", "input": text, "response_format": audio_format}
    ).encode()


def read_all(connection):
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


# --- HTTP/1.0 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("audio_format", "begin"), [("wav", b"RIFF"), ("mp3", b"\xff"), ("pcm", b"")])
def test_a_client_of_http_1_0_gets_the_audio_itself_and_the_end_of_the_connection(
    server_url, audio_format, begin
):
    body = speech(audio_format)
    with connect(server_url) as connection:
        connection.sendall(asked("POST", "/v1/audio/speech", body))
        head, _, audio = read_all(connection).partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    whole = httpx.post(f"{server_url}/v1/audio/speech", content=body, timeout=PATIENCE).content
    assert len(audio) == pytest.approx(len(whole), rel=0.1)
    assert not re.match(rb"[0-9a-f]+\r\n", audio)
    assert audio.startswith(begin)


def test_events_come_without_chunks_to_a_client_of_http_1_0(server_url):
    with connect(server_url) as connection:
        connection.sendall(asked("GET", "/api/events"))
        received = b""
        while not re.search(rb"\r\n\r\n(id|event|data|:|retry)[^\r]*\n", received):
            data = connection.recv(65_536)
            assert data, received
            received += data
    assert b"chunked" not in received.lower()


def test_what_has_a_length_keeps_it_for_a_client_of_http_1_0(server_url):
    with connect(server_url) as connection:
        connection.sendall(asked("GET", "/v1/models"))
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head.lower()
    assert json.loads(body)["object"] == "list"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_half_a_speech_never_looks_whole_and_is_no_error_of_the_servers(tmp_path, version):
    with serving(tmp_path, environ(ORPHEUS_REQUEST_TIMEOUT="2", GPU_IDLE_TIMEOUT="0")) as server:
        with connect(server.url) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.sendall(asked("POST", "/v1/audio/speech", speech("pcm", LONG), version))
            received = connection.recv(1000)
            time.sleep(3)  # nobody reads, so that it cannot be done before its time is over
            if version == "1.0":
                with pytest.raises(ConnectionResetError):
                    read_all(connection)
            else:
                received += read_all(connection)
                assert not received.endswith(b"0\r\n\r\n")
            assert received.startswith(b"HTTP/1.1 200")
        log = server.log.read_text()
    assert log.count("the answer breaks off: it took longer than the 2 s that a request may take") == 1
    assert " error " not in log
    assert "ASGI callable" not in log


def test_a_request_that_takes_too_long_is_told_so_in_words(tmp_path):
    with (
        serving(tmp_path, environ(ORPHEUS_REQUEST_TIMEOUT="0.2")) as server,
        connect(server.url) as connection,
    ):
        connection.sendall(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        )
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b" 408 " in head
    assert json.loads(body)["error"]["message"] == (
        "The request was given up: it took longer than the 0.2 s that a request may take."
    )


# --- HEAD -------------------------------------------------------------------------------------------------------------

OF_THE_MOMENT = {
    "date",
    "x-request-id",
    "openai-processing-ms",
    "transfer-encoding",
    "last-modified",
    "mcp-session-id",
}
"""Headers that differ from answer to answer; and the one that a HEAD may leave out (RFC 9110, section 9.3.2)."""


def readable():
    """Every path of the application that answers GET, with something in the place of parameters."""
    app = create_app(Settings(model="preview"))
    paths = {
        "/".join("a.wav" if "{" in part else part for part in route.path_format.split("/"))
        for route in app.routes
        if "GET" in (getattr(route, "methods", None) or {"GET"})
    }
    return sorted(paths | {"/mcp/", "/ui/js/api.js", "/v1/models/tts-1", "/nowhere", "/apidocs/openapi.json"})


def test_every_get_answers_head_with_the_same_status_and_headers(server_url):
    paths = readable()
    assert {
        "/",
        "/v1/models",
        "/api/events",
        "/api/files",
        "/metrics",
        "/health",
        "/ready",
        "/apidocs",
    } <= set(paths)
    with httpx.Client(base_url=server_url, timeout=PATIENCE) as client:
        for path in paths:
            with client.stream("GET", path) as get:
                pass
            head = client.head(path)
            assert head.status_code == get.status_code, path
            assert head.content == b""
            moving = OF_THE_MOMENT | ({"content-length"} if path in ("/metrics", "/api/status") else set())
            ours = {name: value for name, value in head.headers.items() if name not in moving}
            theirs = {name: value for name, value in get.headers.items() if name not in moving}
            assert ours == theirs, path


def test_head_ends_where_get_would_go_on(server_url):
    with connect(server_url) as connection:
        for _ in range(3):
            connection.sendall(asked("HEAD", "/api/events", version="1.1"))
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(1000)
            assert received.startswith(b"HTTP/1.1 200")
            assert received.endswith(b"\r\n\r\n")


def test_head_leaves_no_listener_behind(tmp_path):
    with serving(tmp_path, environ()) as server:
        process = psutil.Process(server.pid)
        httpx.head(f"{server.url}/api/events", timeout=PATIENCE)
        before = process.num_fds()
        with httpx.Client(timeout=PATIENCE) as client:
            for _ in range(50):
                client.head(f"{server.url}/api/events")
        deadline = time.monotonic() + PATIENCE
        while process.num_fds() > before:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_head_of_a_saved_file_tells_its_size(server_url):
    body = {"text": "Hello.", "save": True, "response_format": "wav"}
    made = httpx.post(f"{server_url}/api/generate", json=body, timeout=PATIENCE).json()
    url = f"{server_url}{made['url']}" if made["url"].startswith("/") else made["url"]
    head, get = httpx.head(url), httpx.get(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(get.content)))


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hangups_are_heard():
    """Whoever runs the tests under nohup has the signal ignored, and so would every server that they start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_are_heard")
def test_sighup_lets_a_speech_end_as_sigterm_does(tmp_path):
    with serving(tmp_path, environ()) as server:
        with httpx.stream(
            "POST", f"{server.url}/v1/audio/speech", content=speech("wav", LONG[:6000]), timeout=PATIENCE
        ) as answer:
            pieces = answer.iter_raw()
            size = len(next(pieces))
            os.kill(server.pid, signal.SIGHUP)
            size += sum(len(piece) for piece in pieces)  # which raises if it is cut
        assert size > 1_000_000
        deadline = time.monotonic() + PATIENCE
        while psutil.pid_exists(server.pid) and psutil.Process(server.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "Finished server process" in server.log.read_text()


def test_a_server_under_nohup_does_not_hear_sighup(tmp_path):
    # nohup starts what it starts with the signal ignored.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with serving(tmp_path, environ()) as server:
            os.kill(server.pid, signal.SIGHUP)
            time.sleep(0.5)
            assert httpx.get(f"{server.url}/health", timeout=PATIENCE).status_code == 200
    finally:
        signal.signal(signal.SIGHUP, before)


# --- keys in URLs -----------------------------------------------------------------------------------------------------

OWN, SLASHED, FOREIGN = "an-unlikely-one-4711", "ab/c+d/e9==", "sk-proj-Zk9fXXyy1234"


@pytest.mark.parametrize(
    ("path", "secret", "kept"),
    [
        (f"/v1/{OWN}/audio/speech", OWN, "/audio/speech"),
        (f"/v1/x/{SLASHED}/models", "c+d", "/models"),
        (f"/{FOREIGN}/v1/models", "Zk9f", "/v1/models"),
        ("/v1/models&api_key=0123456", "0123456", "/v1/models"),
        ("/v1/models;access_token=0123456;x=1", "0123456", ";x=1"),
        ("/v1/key:0123456/models", "0123456", "/models"),
        ("/Bearer 0123456/models", "0123456", "/models"),
        ("//me:0123456@localhost/v1/models", "0123456", "/v1/models"),
        (f"/v1/{OWN}?x=1", OWN, "/v1"),
    ],
)
def test_a_key_in_a_path_is_not_shown_and_the_rest_is(path, secret, kept):
    shown = Redaction(KeyRing((f"me:{OWN}", SLASHED))).path(path)
    assert secret not in shown
    assert kept in shown


def test_a_path_without_a_key_is_shown_as_it_is_and_a_long_one_in_part():
    redaction = Redaction(KeyRing((OWN,)))
    for path in (
        "/v1/audio/speech",
        "/api/files/2026-01-01-tara.wav",
        "/ui/js/api.js",
        "/mcp/",
        "/v1/models/small-1b",
    ):
        assert redaction.path(path) == path
    assert len(redaction.path("/" + "a:" * 30_000 + "@")) == LONGEST + 1


def test_no_key_in_a_url_is_found_in_log_or_audit_log(tmp_path):
    audit = tmp_path / "audit.jsonl"
    settings = environ(
        ORPHEUS_API_KEYS=f"me:{OWN}",
        ORPHEUS_AUDIT_LOG=str(audit),
        ORPHEUS_LOG_LEVEL="debug",
        ORPHEUS_LOG_FORMAT="json",
    )
    paths = [f"/v1/{key}/models" for key in (OWN, FOREIGN)]
    paths += [f"/v1/models?{name}={OWN}" for name in ("api_key", "key", "token", "xi-api-key")]
    paths += [f"/mcp/?api_key={OWN}", f"/api/events?token={OWN}", f"/v1/models;key={OWN}"]
    with serving(tmp_path, settings) as server:
        for path in paths:
            for method in ("GET", "HEAD", "POST"):
                httpx.request(method, f"{server.url}{path}", timeout=PATIENCE)
        with connect(server.url) as connection:
            connection.sendall(f"GET http://{OWN}:{OWN}@localhost/v1/models HTTP/1.0\r\n\r\n".encode())
            assert b" 401 " in read_all(connection)
    written = server.log.read_text() + audit.read_text()
    assert written.count("[hidden]") > 6
    assert OWN not in written
    assert FOREIGN not in written
