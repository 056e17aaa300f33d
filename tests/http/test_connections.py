"""What stands before any request: heads with an end, connections with a number; all through real sockets."""

import asyncio
import base64
import contextlib
import functools
import json
import resource
import socket
import struct
import subprocess
import sys
import threading
import time

import httpx
import pytest

from orpheus_openai.http.connections import SPARE_FILES, Connections, make_room_for
from orpheus_openai.http.protocol import MAX_HEAD_BYTES, BoundedProtocol
from tests.support.environment import environ
from tests.support.local_server import running
from tests.support.served import serving

PATIENCE = 60
"""Seconds for what happens at once, or after the server's ten, on an idle machine."""

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo:
    """ASGI: answers with the number of a request's headers and bytes; on `/slow` when told."""

    def __init__(self):
        self.go_on = threading.Event()
        self.seen = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
        if scope["type"] != "http":
            return
        self.seen.append(scope["path"])
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            size += len(message["body"])
            more = message["more_body"]
        if scope["path"] == "/listen":
            self.seen.append((await receive())["type"])
            return
        if scope["path"] == "/slow":
            while not self.go_on.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        said = json.dumps([scope["path"], len(scope["headers"]), size]).encode()
        headers = [(b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said, "more_body": False})


@contextlib.contextmanager
def serving_echo(*, in_all=1000, per_address=1000, exempt=(), head_seconds=30.0):
    app = Echo()
    book = Connections(in_all=in_all, per_address=per_address, exempt=exempt)
    with running(app, http=functools.partial(BoundedProtocol, book, head_seconds=head_seconds)) as url:
        yield app, int(url.rpartition(":")[2])
        app.go_on.set()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def read_all(connection):
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65_536):
            received += data
    return received


def send_all(connection, data):
    """As far as the other side takes it."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)


def read_answer(connection):
    """One answer with a content-length; returns status and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1)
    head, _, _ = received.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = b""
    while len(body) < size:
        body += connection.recv(size - len(body))
    return int(head.split()[1]), body


def statuses(received):
    return [int(part.split(b" ", 1)[0]) for part in received.split(b"HTTP/1.1 ")[1:]]


def head_of(size):
    """A request of exactly so many bytes without a body."""
    start, end = b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("behind", [b"", GET], ids=["alone", "another behind it"])
def test_whoever_hangs_up_is_noticed_by_the_request_that_is_being_answered(behind):
    with serving_echo() as (app, port):
        with connect(port) as connection:
            connection.sendall(GET.replace(b" / ", b" /listen ") + behind)
            deadline = time.monotonic() + PATIENCE
            while not app.seen and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # with a reset
        while len(app.seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert app.seen == ["/listen", "http.disconnect"]


# --- heads ------------------------------------------------------------------------------------------------------------


def test_a_head_may_have_64_kib_and_not_a_byte_more():
    with serving_echo() as (app, port):
        with connect(port) as connection:
            connection.sendall(head_of(MAX_HEAD_BYTES))
            assert read_answer(connection)[0] == 200
        with connect(port) as connection:
            send_all(connection, head_of(MAX_HEAD_BYTES + 1))
            received = read_all(connection)
    assert statuses(received) == [431]
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "head_too_large"
    assert app.seen == ["/"]


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"GET / HTTP/1.1\r\n", b"X-7: y\r\n"),
        (b"GET /", b"a"),
        (b"", b"\r\n"),
        (b"GET / HTTP/1.1\r\nX: ", b"y"),
        (b"GET / HTTP/1.1\r\n", b"x"),
    ],
    ids=["headers", "target", "nothing", "value", "name"],
)
def test_fifty_megabytes_of_a_head_are_answered_431(start, endless):
    block = endless * (1024 * 1024 // len(endless))
    with serving_echo() as (app, port), connect(port) as connection:
        send_all(connection, start)
        for _ in range(50):
            send_all(connection, block)
        assert statuses(read_all(connection)) == [431]
        assert app.seen == []


def test_the_limit_is_for_each_head_not_for_the_connection():
    with serving_echo() as (app, port), connect(port) as connection:
        for _ in range(200):
            connection.sendall(head_of(2000))
            assert read_answer(connection)[0] == 200
        for _ in range(3):
            connection.sendall(head_of(MAX_HEAD_BYTES - 5000))
            assert read_answer(connection)[0] == 200
    assert len(app.seen) == 203


def test_a_body_is_not_counted_as_head():
    body = b"a" * 3_000_000
    with serving_echo() as (_, port):
        for framing, sent in (
            (b"Content-Length: %d" % len(body), body),
            (b"Transfer-Encoding: chunked", (b"1\r\na\r\n" * 100_000) + b"0\r\n\r\n"),
        ):
            with connect(port) as connection:
                connection.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + sent)
                status, said = read_answer(connection)
                assert status == 200
                assert json.loads(said)[2] == (100_000 if b"chunked" in framing else len(body))


CHUNKED = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


def test_trailers_and_chunk_extensions_count_with_the_head():
    with serving_echo() as (_, port):
        for endless in (b"0\r\n" + b"X: y\r\n" * 400_000, b"1;" + b"e" * 2_000_000):
            with connect(port) as connection:
                send_all(connection, CHUNKED + endless)
                assert statuses(read_all(connection)) == [431]


def test_trailers_are_never_headers():
    with serving_echo() as (_, port), connect(port) as connection:
        connection.sendall(CHUNKED + b"0\r\nAuthorization: Bearer x\r\nX: y\r\n\r\n" + GET)
        assert json.loads(read_answer(connection)[1]) == ["/x", 2, 1]
        assert json.loads(read_answer(connection)[1]) == ["/", 1, 0]


def test_requests_sent_ahead_are_all_answered_in_their_order_and_not_read_ahead():
    paths = [f"/{number}" for number in range(20_000)]
    sent = b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths)
    with serving_echo() as (app, port), connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        sender = threading.Thread(target=send_all, args=(connection, sent))
        sender.start()
        time.sleep(0.3)
        assert app.seen == ["/slow"]
        app.go_on.set()
        assert json.loads(read_answer(connection)[1])[0] == "/slow"
        reader = connection.makefile("rb")
        for path in paths:
            size = 0
            while (line := reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length"):
                    size = int(line.split()[1])
            assert json.loads(reader.read(size))[0] == path
        sender.join()


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"GET /", b"\r\n", b"GET / HTTP/1.1\r\nX: ", GET + b"GET /"])
def test_half_a_head_is_answered_408_when_its_time_is_over_however_it_drips(start):
    with serving_echo(head_seconds=1.0) as (_, port), connect(port) as connection:
        connection.sendall(start)
        stop = threading.Event()

        def drip():
            while not stop.wait(0.1):
                send_all(connection, b"\r\n" if start == b"\r\n" else b"a")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            received = read_all(connection)
        finally:
            stop.set()
            dripping.join()
    assert statuses(received) == ([200, 408] if start.startswith(GET) else [408])


def test_a_connection_on_which_nothing_is_said_is_closed_without_a_word():
    with serving_echo(head_seconds=0.5) as (_, port), connect(port) as connection:
        assert read_all(connection) == b""


def test_half_a_head_does_not_cut_the_answer_before_it():
    with serving_echo(head_seconds=0.3) as (app, port), connect(port) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /half")
        time.sleep(1.0)
        app.go_on.set()
        received = read_all(connection)
    assert statuses(received) == [200]
    assert b"/slow" in received


def test_a_request_takes_its_time_once_its_head_is_complete():
    with serving_echo(head_seconds=0.3) as (app, port), connect(port) as connection:
        connection.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        time.sleep(0.6)
        connection.sendall(b"ab")
        time.sleep(0.6)
        app.go_on.set()
        assert read_answer(connection)[0] == 200


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"in_all": 5}, {"per_address": 5}], ids=["in all", "from one address"])
def test_one_connection_too_many_is_answered_503_and_closed_and_the_next_may_come_when_one_has_gone(limits):
    with serving_echo(**limits) as (_, port), contextlib.ExitStack() as held:
        first = [held.enter_context(connect(port)) for _ in range(5)]
        for connection in first:
            connection.sendall(GET)
            assert read_answer(connection)[0] == 200
        for _ in range(20):
            with connect(port) as connection:
                received = read_all(connection)
                assert statuses(received) == [503]
                assert b"retry-after: " in received
                assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"
        first[0].close()
        deadline, status = time.monotonic() + PATIENCE, 503
        while status != 200 and time.monotonic() < deadline:
            with connect(port) as connection:
                send_all(connection, GET)
                status, _ = read_answer(connection)
        assert status == 200


@pytest.mark.parametrize(
    ("query", "more"),
    [("x=" + "a" * 9_000, b""), ("", b"X: " + b"a" * 9_000 + b"\r\n"), ("", b"X: a\r\n" * 130)],
    ids=["a long address", "a long header", "many headers"],
)
def test_a_websockets_head_beyond_its_own_bounds_is_refused_and_the_connection_closed(query, more):
    key = base64.b64encode(bytes(16))
    asked = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key
    )
    with serving_echo() as (app, port), connect(port) as connection:
        connection.sendall(f"GET /?{query} HTTP/1.1\r\nHost: x\r\n".encode() + more + asked + b"\r\n\r\n")
        received = read_all(connection)
        assert statuses(received) == [431]
        assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "head_too_large"
        assert not app.seen


def test_a_handshake_behind_a_request_that_is_being_answered_is_a_request_like_any():
    with serving_echo() as (app, port), connect(port) as connection:
        asked = (
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        )
        handshake = b"GET /socket HTTP/1.1\r\nHost: x\r\n" + asked + base64.b64encode(bytes(16)) + b"\r\n\r\n"
        connection.sendall(GET.replace(b" / ", b" /slow ") + handshake)
        time.sleep(0.2)
        app.go_on.set()
        answers = [json.loads(read_answer(connection)[1])[0] for _ in range(2)]
        assert answers == ["/slow", "/socket"]


def test_a_websocket_counts_for_as_long_as_it_is_open():
    connect_socket = pytest.importorskip("websockets.sync.client").connect
    with serving_echo(in_all=2) as (_, port), contextlib.ExitStack() as held:
        sockets = [held.enter_context(connect_socket(f"ws://127.0.0.1:{port}/")) for _ in range(2)]
        with connect(port) as connection:
            assert statuses(read_all(connection)) == [503]
        sockets[0].close()
        deadline, status = time.monotonic() + PATIENCE, 503
        while status != 200 and time.monotonic() < deadline:
            with connect(port) as connection:
                send_all(connection, GET)
                status, _ = read_answer(connection)
        assert status == 200


def test_who_is_exempt_has_all_connections_and_one_ipv6_network_is_one_address():
    book = Connections(in_all=1000, per_address=2, exempt=("127.0.0.0/8", "10.1.0.0/16", "::1"))
    for host in ("127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "::1"):
        assert [book.enter(host) for _ in range(5)] == [None] * 5
    assert [book.enter(host) is None for host in ("1.2.3.4", "::ffff:1.2.3.4", "1.2.3.4")] == [
        True,
        True,
        False,
    ]
    assert [book.enter(f"2001:db8::{number}") is None for number in range(3)] == [True, True, False]
    assert book.enter("2001:db8:0:1::1") is None
    book.leave("1.2.3.4")
    assert book.enter("1.2.3.4") is None


def test_the_log_tells_of_connections_turned_away_once_a_minute(caplog):
    now = [0.0]
    book = Connections(in_all=1, per_address=1, exempt=(), clock=lambda: now[0])
    for _ in range(100):
        book.tell("the head was too large", "1.2.3.4")
    assert len(caplog.records) == 1
    now[0] = 61.0
    book.tell("the head was too large", "5.6.7.8")
    assert len(caplog.records) == 2
    assert "5.6.7.8" in caplog.text
    assert "100 times" in caplog.text


def test_connections_never_outnumber_the_files_that_may_be_opened():
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "from orpheus_openai.http.connections import make_room_for;"
        "print(make_room_for(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    for soft, hard, expected in (
        (1024, 4096, f"1000 {1000 + SPARE_FILES}"),
        (512, 1500, "750 1500"),
        (256, 256, "128 256"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script.format(soft=soft, hard=hard)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert make_room_for(1) == 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= soft


def test_a_connection_that_nobody_uses_is_closed(server_url):
    with connect(int(server_url.rpartition(":")[2])) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert statuses(read_all(connection)) == [200]


# --- the server as it is started --------------------------------------------------------------------------------------


def test_three_hundred_half_heads_close_the_server_to_nobody_and_are_gone_after_ten_seconds(tmp_path):
    with serving(tmp_path, environ()) as server, contextlib.ExitStack() as held:
        port = int(server.url.rpartition(":")[2])
        half = [held.enter_context(connect(port)) for _ in range(300)]
        for connection in half:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: ")
        assert httpx.get(f"{server.url}/health", timeout=PATIENCE).status_code == 200
        began = time.monotonic()
        for connection in half:
            assert statuses(read_all(connection)) == [408]
        assert time.monotonic() - began > 5
        log = server.log.read_text()
    assert log.count("the head was not complete within 10 s") == 1


def test_a_server_full_of_connections_says_so_and_logs_it_once(tmp_path):
    with serving(tmp_path, environ(ORPHEUS_MAX_CONNECTIONS="20")) as server, contextlib.ExitStack() as held:
        port = int(server.url.rpartition(":")[2])
        for _ in range(20):
            connection = held.enter_context(connect(port))
            connection.sendall(b"GET /v1/models HTTP/1.1\r\n")
        for _ in range(15):  # long before the ten seconds of the first heads are over
            answer = httpx.get(f"{server.url}/health", timeout=PATIENCE)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert server.log.read_text().count("too many connections") == 1
        held.close()
        deadline = time.monotonic() + PATIENCE
        while httpx.get(f"{server.url}/health", timeout=PATIENCE).status_code != 200:
            assert time.monotonic() < deadline
