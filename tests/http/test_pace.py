"""How slowly a speech may be read: players in all their ways keep their place, one who dawdles loses it."""

import json
import socket
import time

import pytest

from orpheus_openai.http.delivery import ListenerTooSlowError, SlowestPace
from tests.support.environment import environ
from tests.support.served import serving

DEFAULT = SlowestPace(least=0.5, grace=120.0)
LONG = "It was a bright cold day in April, and the clocks were striking thirteen. " * 400


def read(pace, steps):
    """Let a listener read: pairs of seconds that were waited and seconds of speech that were then read."""
    waited = audio = 0.0
    for seconds, more in steps:
        waited, audio = waited + seconds, audio + more
        pace.require(waited, audio)


@pytest.mark.parametrize(
    "steps",
    [
        [(1.0, 1.0)] * 3600,
        [(60.0, 60.0)] * 60,
        [(0.0, 300.0), *[(100.0, 100.0)] * 20],
        [(10.0, 10.0), (110.0, 0.0), *[(10.0, 10.0)] * 60, (119.0, 0.0), (119.0, 1.0)],
        [(1.6, 1.0)] * 3600,
    ],
    ids=["in real time", "in bursts", "buffer first", "with pauses", "at five eighths"],
)
def test_players_keep_their_place(steps):
    read(DEFAULT, steps)


@pytest.mark.parametrize(
    ("steps", "within"),
    [([(96.0, 1.0)] * 75, 2), ([(2.5, 1.0)] * 3600, 240)],
    ids=["a kilobyte every other second", "at two fifths"],
)
def test_who_dawdles_loses_its_place_soon(steps, within):
    read(DEFAULT, steps[: within - 1])
    with pytest.raises(ListenerTooSlowError):
        read(DEFAULT, steps[: within + 1])


def test_without_a_least_speed_or_where_any_pause_will_do_nobody_is_too_slow():
    for pace in (SlowestPace(0.0, 120.0), SlowestPace(0.5, 0.0), SlowestPace()):
        read(pace, [(1000.0, 0.001)] * 100)


def test_a_slow_reader_is_cut_off_and_its_place_is_free(tmp_path):
    pytest.importorskip("espeakng_loader")
    settings = {"ORPHEUS_STALL_TIMEOUT": "4", "ORPHEUS_MIN_READ_SPEED": "1000",
                "ORPHEUS_MAX_CONCURRENT": "1", "ORPHEUS_MAX_QUEUE": "1"}  # fmt: skip
    body = {"model": "tts-1", "voice": "tara", "input": LONG, "response_format": "pcm"}
    short = {**body, "input": "Good morning."}

    def ask(url, wanted):
        connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        sent = json.dumps(wanted).encode()
        head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
        connection.sendall(head.encode() + sent)
        return connection

    with serving(tmp_path, environ(**settings)) as server:
        with ask(server.url, body) as slow:
            deadline = time.monotonic() + 60
            received = b"."
            while received and time.monotonic() < deadline:
                received = slow.recv(8192)
                time.sleep(0.03)
            assert not received, "it was never cut off"
        with ask(server.url, short) as next_one:
            assert next_one.recv(100).startswith(b"HTTP/1.1 200")
        log = server.log.read_text()
    assert log.count("it is read too slowly") == 1
    assert " error " not in log
