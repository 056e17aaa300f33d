"""How much one may ask for, how many speak at once, how long things may take, and what is not spoken."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from orpheus_openai.app import create_app
from orpheus_openai.errors import ConfigurationError, ContentRefusedError, OverloadedError, RateLimitError
from orpheus_openai.http.middleware.disconnects import HangUps
from orpheus_openai.limits import filter as filter_module
from orpheus_openai.limits import rates
from orpheus_openai.limits.caller import ANONYMOUS, PROGRAM, Caller
from orpheus_openai.limits.filter import InputFilter, load_blocked
from orpheus_openai.limits.gate import Gate
from orpheus_openai.limits.queue import Queue
from orpheus_openai.limits.rates import MemoryRates, Rate, parse_rates
from orpheus_openai.settings import Settings
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from tests.support.environment import environ
from tests.support.local_server import running
from tests.support.ports import free_port
from tests.support.served import serving

pytest.importorskip("espeakng_loader")

SPEECH = {"model": "tts-1", "voice": "tara", "input": "Good morning.", "response_format": "pcm"}
LONG = {**SPEECH, "input": "It was a bright cold day in April, and the clocks were striking thirteen. " * 600}
"""Far more audio than the buffers between server and client hold."""


@contextlib.contextmanager
def served(tmp_path, **settings):
    app = create_app(Settings(model="preview", output_dir=tmp_path / "outputs", **settings))
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def speak(client, key=None, **changes):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers |= {name: changes.pop(name) for name in list(changes) if "-" in name}
    return client.post("/v1/audio/speech", json={**SPEECH, **changes}, headers=headers)


# --- rates ------------------------------------------------------------------------------------------------------


def test_requests_are_counted_for_each_key_and_the_answer_says_what_is_left(tmp_path):
    with served(tmp_path, api_keys=("a:ka", "b:kb"), rate_limit="2/hour") as client:
        first, second, third = (speak(client, "ka") for _ in range(3))
        assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert second.headers["x-ratelimit-remaining-requests"] == "0"
        assert third.json()["error"]["code"] == "rate_limit_exceeded"
        assert 1700 < int(third.headers["retry-after"]) <= 1800
        assert third.headers["x-ratelimit-reset-requests"].startswith(("59m", "1h0m"))
        assert speak(client, "kb").status_code == 200


def test_without_keys_requests_are_counted_for_each_address_behind_a_trusted_proxy(tmp_path):
    with served(tmp_path, rate_limit="1/hour") as client:
        statuses = [
            speak(client, **{"x-forwarded-for": address}).status_code
            for address in ("203.0.113.1", "203.0.113.2", "203.0.113.1", "2001:db8::1", "2001:db8::2")
        ]
    assert statuses == [200, 200, 429, 200, 429]  # the last two are one customer's network


def test_characters_are_counted_and_a_text_that_could_never_pass_is_a_bad_request(tmp_path):
    with served(tmp_path, rate_limit="100 chars/hour, 50/hour") as client:
        first = speak(client, input="Hello there, " + "a" * 47)
        assert first.headers["x-ratelimit-remaining-characters"] == "40"
        assert first.headers["x-ratelimit-remaining-requests"] == "49"
        refused = speak(client, input="Hello there, " + "a" * 47)
        assert refused.status_code == 429
        assert refused.headers["x-ratelimit-remaining-requests"] == "49"  # what is refused is not counted
        assert speak(client, input="b" * 101).status_code == 400


def test_every_door_to_speech_is_limited_and_nothing_else(tmp_path):
    with served(tmp_path, rate_limit="1/hour") as client:
        assert speak(client).status_code == 200
        assert client.post("/api/generate", json={"text": "Hello."}).status_code == 429
        saved = client.post("/api/generate", json={"text": "Hello.", "save": True})
        assert (saved.status_code, saved.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert client.get("/v1/models").status_code == 200
        assert client.post("/api/offload", json={}).status_code == 200


async def test_a_bucket_fills_up_steadily_and_never_overflows():
    now = [0.0]
    store, rate = MemoryRates(lambda: now[0]), Rate("requests", 6, 60.0)

    async def take(cost=1):
        return (await store.take("a", [(rate, cost)])).allowed

    assert [await take() for _ in range(7)] == [True] * 6 + [False]
    now[0] += 10
    assert [await take() for _ in range(2)] == [True, False]
    now[0] += 10_000
    assert [await take(6), await take()] == [True, False]


async def test_callers_without_number_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(rates, "ACCOUNTS_KEPT", 100)
    now = [0.0]
    store, rate = MemoryRates(lambda: now[0]), Rate("requests", 2, 60.0)
    await store.take("greedy", [(rate, 2)])
    for number in range(1000):
        now[0] += 0.001
        await store.take(f"passer-by {number}", [(rate, 1)])
        assert len(store._full_at) <= 101
    assert not (await store.take("greedy", [(rate, 1)])).allowed


@pytest.mark.parametrize(
    "text", ["60", "60/fortnight", "many/minute", "0/minute", "60 apples/minute", "-1/hour"]
)
def test_a_rate_that_makes_no_sense_stops_the_start_with_an_example(text):
    with pytest.raises(ConfigurationError, match="60/minute"):
        create_app(Settings(rate_limit=text))


def test_rates_are_read_as_people_write_them():
    assert parse_rates("60/minute, 5 requests / second,20000 chars/day ,1 character/hour,") == (
        Rate("requests", 60, 60.0),
        Rate("requests", 5, 1.0),
        Rate("characters", 20_000, 86_400.0),
        Rate("characters", 1, 3600.0),
    )


@contextlib.contextmanager
def redis(folder, port):
    """A real Redis of our own; yields its URL."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    pytest.importorskip("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with redis(tmp_path_factory.mktemp("redis"), free_port()) as url:
        yield url


def test_servers_with_one_redis_count_together(tmp_path, redis_url):
    shared = {"api_keys": ("a:ka", "b:kb"), "rate_limit": "3/hour,100 chars/hour", "redis_url": redis_url}
    with served(tmp_path, **shared) as one, served(tmp_path, **shared) as other:
        answers = [speak(client, "ka") for client in (one, other, one, other, one)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
        assert left == ["2", "1", "0", "0", "0"]
        assert answers[2].headers["x-ratelimit-remaining-characters"] == str(100 - 3 * len(SPEECH["input"]))
        assert 1100 < int(answers[4].headers["retry-after"]) <= 1200
        assert speak(other, "kb").status_code == 200


def test_while_redis_is_away_a_server_counts_alone_and_says_so(tmp_path, caplog):
    with served(tmp_path, rate_limit="2/hour", redis_url="redis://127.0.0.1:1/0") as client:
        assert [speak(client).status_code for _ in range(3)] == [200, 200, 429]
    assert caplog.text.count("Redis does not answer") == 1


async def test_a_redis_that_comes_back_is_counted_with_again(tmp_path, monkeypatch):
    module = pytest.importorskip("orpheus_openai.limits.rates_redis")
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.0)
    port, rate = free_port(), Rate("requests", 2, 3600.0)

    async def take(times):
        return [(await store.take("caller", [(rate, 1)])).allowed for _ in range(times)]

    with redis(tmp_path, port) as url:
        store = module.RedisRates(url)
        assert await take(1) == [True]
    assert await take(3) == [True, True, False]  # by its own count
    with redis(tmp_path, port):
        assert await take(3) == [True, True, False]  # a new Redis, which has forgotten
    await store.close()


def test_what_is_no_redis_stops_the_start():
    pytest.importorskip("redis")
    with pytest.raises(ConfigurationError, match="redis://"):
        create_app(Settings(redis_url="127.0.0.1:6379"))


# --- the queue --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(client):
    """The types and data of events, as they come, from before the block begins."""
    with client.stream("GET", "/api/events") as answer:
        lines = answer.iter_lines()

        def happenings():
            kind = ""
            for line in lines:
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind != "status":
                    yield kind, json.loads(line.removeprefix("data: "))

        assert next(lines) == "id: 0"
        yield happenings()


def test_beyond_the_line_the_answer_is_429_at_once_and_all_is_well_after_it(tmp_path):
    with served(tmp_path, max_concurrent=1, max_queue=0) as client:
        with client.stream("POST", "/v1/audio/speech", json=LONG) as speaking:
            assert speaking.status_code == 200
            refused = [speak(client), client.post("/api/generate", json={"text": "Hello."})]
            for answer in refused:
                assert answer.status_code == 429
                assert answer.json()["error"]["code"] == "overloaded"
                assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert client.get("/v1/models").status_code == 200
        deadline = time.monotonic() + 10
        while speak(client).status_code == 429 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [speak(client).status_code for _ in range(3)] == [200] * 3


def test_one_caller_may_be_kept_from_taking_every_place(tmp_path):
    with served(
        tmp_path, max_concurrent=4, max_concurrent_per_caller=1, api_keys=("one:sk-1", "two:sk-2")
    ) as client:
        mine = {"authorization": "Bearer sk-1"}
        with client.stream("POST", "/v1/audio/speech", json=LONG, headers=mine) as speaking:
            assert speaking.status_code == 200
            for answer in (
                speak(client, "sk-1"),
                client.post("/api/generate", json={"text": "Hello."}, headers=mine),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
                assert "your requests" in answer.json()["error"]["message"]
                assert int(answer.headers["retry-after"]) >= 1
            assert speak(client, "sk-2").status_code == 200
        deadline = time.monotonic() + 30
        while speak(client, "sk-1").status_code == 429 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [speak(client, "sk-1").status_code for _ in range(3)] == [200] * 3


def test_who_waits_is_told_the_position_and_is_served_in_order(tmp_path):
    with served(tmp_path, max_concurrent=1, max_queue=2) as client, listening(client) as happenings:

        async def load():
            async with httpx.AsyncClient(base_url=client.base_url, timeout=60) as listeners:
                async with listeners.stream("POST", "/v1/audio/speech", json=LONG) as speaking:
                    assert speaking.status_code == 200
                    waiting = []
                    for position in (1, 2):
                        waiting.append(asyncio.create_task(listeners.post("/v1/audio/speech", json=SPEECH)))
                        kind = ""
                        while kind != "speech.waiting":
                            kind, told = await asyncio.to_thread(next, happenings)
                        assert told["position"] == position
                    assert (await listeners.post("/v1/audio/speech", json=SPEECH)).status_code == 429
                    assert (await listeners.get("/api/status")).json()["queued_speeches"] == 2
                return await asyncio.gather(*waiting)

        answers = asyncio.run(load())
        assert [answer.status_code for answer in answers] == [200, 200]
        first, second = (answer.headers["x-request-id"] for answer in answers)
        seen, ended = [], set()
        while not {first, second} <= ended:
            kind, told = next(happenings)
            seen.append((kind, told.get("id"), told.get("position")))
            ended |= {told["id"]} if kind == "speech.ended" else set()
        started = [told_id for kind, told_id, _ in seen if kind == "speech.started"]
        assert started == [first, second]
        assert ("speech.waiting", second, 1) in seen


def test_a_turn_that_does_not_come_in_time_is_429(tmp_path):
    with served(tmp_path, max_concurrent=1, max_queue=5, queue_wait=0.2) as client:
        with client.stream("POST", "/v1/audio/speech", json=LONG):
            answer = speak(client)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")


async def test_whoever_leaves_the_line_makes_room_and_no_turn_is_ever_lost():
    queue, positions = Queue(at_once=1, length=3, wait=30), {}

    async def speak(name, hold):
        async with queue.turn(lambda position: positions.__setitem__(name, position)):
            await hold.wait()

    async def soon():
        for _ in range(5):
            await asyncio.sleep(0)

    holds = {name: asyncio.Event() for name in "abcd"}
    tasks = {}
    for name, hold in holds.items():
        tasks[name] = asyncio.create_task(speak(name, hold))
        await soon()
    assert positions == {"b": 1, "c": 2, "d": 3}
    with pytest.raises(OverloadedError):
        queue.require_room()
    tasks["b"].cancel()
    await soon()
    assert (positions["c"], positions["d"]) == (1, 2)
    holds["a"].set()
    tasks["a"].add_done_callback(lambda _: tasks["c"].cancel())  # in the moment in which its turn comes
    await soon()
    holds["d"].set()
    await asyncio.wait_for(tasks["d"], 5)
    async with asyncio.timeout(5), queue.turn(lambda _: None):
        pass


async def test_a_line_that_becomes_wider_lets_in_who_waits_and_a_narrower_one_lets_speakers_end():
    queue, ends = Queue(at_once=1, length=9, wait=30), [asyncio.Event() for _ in range(6)]

    async def speak(end):
        async with queue.turn(lambda _: None):
            await end.wait()

    async def soon():
        for _ in range(5):
            await asyncio.sleep(0)
        return queue.running, queue.waiting

    tasks = [asyncio.create_task(speak(end)) for end in ends]
    assert await soon() == (1, 5)
    tasks[1].cancel()
    queue.resize(3)
    assert await soon() == (3, 2)
    queue.resize(1)
    for end, left in zip([ends[0], ends[2], ends[3], ends[4]], [(2, 2), (1, 2), (1, 1), (1, 0)], strict=True):
        end.set()
        assert await soon() == left
    ends[5].set()
    assert await soon() == (0, 0)


@pytest.mark.parametrize(("setting", "at_once"), [("auto", [64, 5, 64]), ("7", [7, 7, 7])])
def test_requests_at_once_follow_the_streams_of_what_is_loaded_unless_a_number_is_set(setting, at_once):
    gate = Gate.create(Settings(max_concurrent=setting))
    seen = [gate.queue.at_once]
    for streams in (5, None):
        gate.follow(streams)
        seen.append(gate.queue.at_once)
    assert seen == at_once


@pytest.mark.parametrize("waiting", [1, 2])
async def test_a_turn_passes_by_whoever_gives_up_in_the_moment_in_which_it_comes(waiting):
    queue, end = Queue(at_once=1, length=3, wait=30), asyncio.Event()

    async def speak():
        async with queue.turn(lambda _: None):
            await end.wait()

    speaking, giving_up, *others = [asyncio.create_task(speak()) for _ in range(1 + waiting)]
    await asyncio.sleep(0)
    end.set()
    giving_up.cancel()
    async with asyncio.timeout(5):
        results = await asyncio.gather(speaking, giving_up, *others, return_exceptions=True)
    assert [type(result) for result in results if result] == [asyncio.CancelledError]
    assert (queue.running, queue.waiting) == (0, 0)


def test_a_listener_who_hangs_up_while_waiting_leaves_the_line(tmp_path):
    with served(tmp_path, max_concurrent=1, max_queue=1) as client:
        with client.stream("POST", "/v1/audio/speech", json=LONG):
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/audio/speech", json=SPEECH, timeout=0.5)
            # The place in the line is free again, as soon as the server has noticed: whoever comes waits.
            with pytest.raises(httpx.ReadTimeout):
                for _ in range(20):
                    assert client.post("/v1/audio/speech", json=SPEECH, timeout=0.5).status_code == 429
                    time.sleep(0.1)


# --- deadlines --------------------------------------------------------------------------------------------------


def test_what_is_sent_to_a_client_that_has_just_gone_is_dropped():
    scope: Any = {"type": "http"}

    async def answer(_scope, _receive, send):
        await send({"type": "http.response.start"})
        answered.append(True)

    async def run():
        here, there = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, here)
        there.close()
        transport.abort()
        await asyncio.sleep(0)

        async def send(_message):
            transport.write(b"HTTP/1.1 200 OK")

        with pytest.raises(RuntimeError):  # so says uvloop
            await send({})
        await HangUps(answer)(scope, None, send)

        async def fail(_message):
            raise RuntimeError("Response content longer than Content-Length")

        with pytest.raises(RuntimeError, match="longer"):
            await HangUps(answer)(scope, None, fail)

    answered = []
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        loop.run_until_complete(run())
    assert answered == [True]


def test_a_reader_who_stands_still_is_let_go_and_his_place_is_free(tmp_path):
    with served(tmp_path, max_concurrent=1, max_queue=1, queue_wait=30, stall_timeout=0.5) as client:
        with client.stream("POST", "/v1/audio/speech", json=LONG) as standing:
            assert speak(client).status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in standing.iter_raw():
                    pass


def test_a_listener_in_real_time_is_not_taken_for_one_who_stands_still(tmp_path):
    # Through a real server, because the kernel's buffers are part of it.
    with serving(tmp_path, environ(ORPHEUS_STALL_TIMEOUT="1")) as server:
        with httpx.stream("POST", f"{server.url}/v1/audio/speech", json=LONG, timeout=60) as slow:
            total = 0
            for chunk in slow.iter_raw(65_536):
                total += len(chunk)
                time.sleep(0.1)
                if total > 50 * 65_536:
                    break
        assert "breaks off" not in server.log.read_text()


def test_a_body_that_does_not_come_is_408(tmp_path):
    with served(tmp_path, stall_timeout=0.3) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port), 10) as connection:
            connection.sendall(b"POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"request_timeout" in answer


def test_a_request_that_takes_too_long_before_its_audio_is_408(tmp_path):
    with served(tmp_path, request_timeout=0.5) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port), 60) as connection:
            connection.sendall(b"POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"request_timeout" in answer


def test_a_request_that_takes_too_long_in_its_audio_breaks_off_and_its_place_is_free(tmp_path):
    with served(tmp_path, max_concurrent=1, request_timeout=2.0) as client:
        with client.stream("POST", "/v1/audio/speech", json=LONG) as speaking:
            assert speaking.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in speaking.iter_raw():
                    pass
        assert speak(client).status_code == 200


def test_listeners_to_events_stay_beyond_every_deadline(tmp_path):
    with served(tmp_path, request_timeout=0.5, stall_timeout=0.5) as client, listening(client) as happenings:
        time.sleep(1.5)
        speak(client)  # whether or not it is in time: its end is told of
        assert any(kind == "speech.ended" for kind, _ in happenings)


# --- filter -----------------------------------------------------------------------------------------------------


def refused(client, text):
    answer = speak(client, input=text)
    return answer.json()["error"]["code"] if answer.status_code == 400 else None


def test_blocked_words_are_found_in_every_spelling_and_never_inside_of_others(tmp_path):
    blocked = "cabbage, red herring ,坏话,나쁜말,गाली,naïve"
    with served(tmp_path, block_list=blocked) as client:
        for text in ("Eat your CABBAGE!", "A red   herring.", "a RED\nherring", "ｃａｂｂａｇｅ", "cab\u200bbage",
                     "他说坏话了", "이것은 나쁜말입니다", "यह गाली है", "nai\u0308ve"):  # fmt: skip
            assert refused(client, text) == "content_policy_violation", text
        for text in ("Cabbages are fine.", "The herring is red.", "他说好话了", "यह गालीचा है", "native"):
            assert refused(client, text) is None, text
        answer = speak(client, input="cabbage")
        assert answer.json()["error"]["param"] == "input"
        assert "cabbage" not in answer.text


def test_a_block_list_may_be_a_file(tmp_path):
    file = tmp_path / "blocked.txt"
    file.write_text("# vegetables\ncabbage\n\nred, green and blue\n")
    assert load_blocked(str(file)) == ["cabbage", "", "red, green and blue"]
    with pytest.raises(ConfigurationError, match="ORPHEUS_BLOCK_LIST"):
        create_app(Settings(block_list=str(tmp_path / "nothing.txt")))


def test_endless_repetition_is_refused_and_emphasis_is_not(tmp_path):
    with served(tmp_path, max_repetition=5) as client:
        for text in (
            "ha " * 6,
            "A" + "h" * 6 + "!",
            "Give it to me now. " * 6,
            "哈" * 6,
            "one two three, " * 6,
        ):
            assert refused(client, text) == "too_repetitive", text
        for text in (
            "ha " * 5,
            "A" + "h" * 5 + "!",
            "Give it to me now. " * 5,
            "No, no, no!",
            "1, 2, 3, 4, 5",
        ):
            assert refused(client, text) is None, text


async def test_a_long_text_against_a_long_list_is_looked_through_in_no_time():
    words = [f"word{number} and{number}" for number in range(20_000)]
    text = " ".join(f"word{number} or{number}" for number in range(4_000)) + " "
    began = time.perf_counter()
    await InputFilter(words, 10).check(text)
    with pytest.raises(ContentRefusedError):
        await InputFilter(words, 10).check(text + words[-1])
    assert time.perf_counter() - began < 5


async def test_a_long_text_is_looked_through_in_small_pieces(monkeypatch):
    sizes = []
    words_of = filter_module._words_of
    monkeypatch.setattr(filter_module, "_words_of", lambda piece: sizes.append(len(piece)) or words_of(piece))
    with pytest.raises(ContentRefusedError):
        await InputFilter(["red herring"]).check("seven " * 10_000 + "red herring")
    assert sum(sizes[1:]) == len("seven ") * 10_000 + len("red herring")
    assert max(sizes) <= filter_module.PIECE_CHARS + len("seven ")


async def moderate(text):
    """For the tests below, named by ORPHEUS_MODERATION."""
    await asyncio.sleep(0)
    if "dawdle" in text:
        await asyncio.sleep(3600)
    if "explode" in text:
        raise RuntimeError("the moderator is ill")
    return "No rumours, please." if "rumour" in text else None


def not_async(text):
    return text


def test_a_moderator_of_ones_own_decides(tmp_path):
    with served(tmp_path, moderation="tests.limits.test_limits:moderate") as client:
        assert speak(client).status_code == 200
        answer = speak(client, input="Have you heard the rumour?")
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "No rumours, please.")
        ill = speak(client, input="explode")
        assert (ill.status_code, ill.json()["error"]["code"]) == (503, "moderation_unavailable")
        assert "ill" not in ill.text


def test_a_moderator_that_dawdles_lets_nothing_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(filter_module, "MODERATION_SECONDS", 0.1)
    with served(tmp_path, moderation="tests.limits.test_limits:moderate") as client:
        late = speak(client, input="dawdle")
        assert (late.status_code, late.json()["error"]["code"]) == (503, "moderation_unavailable")


@pytest.mark.parametrize(
    "name",
    [
        "nothing_here:f",
        "tests.limits.test_limits:nothing",
        "tests.limits.test_limits:not_async",
        "no-entry-point",
    ],
)
def test_a_moderator_that_cannot_be_had_stops_the_start(name):
    with pytest.raises(ConfigurationError, match="ORPHEUS_MODERATION"):
        create_app(Settings(moderation=name))


def test_a_moderator_may_stand_in_the_folder_in_which_the_server_is_started(tmp_path):
    (tmp_path / "my_rules.py").write_text("async def judge(text):\n    return None\n")
    program = Path(sys.executable).parent / "orpheus-openai"  # whose own folder comes first, not this one

    def doctor(name):
        settings = environ(ORPHEUS_MODERATION=name)
        return subprocess.run(
            [program, "doctor"], cwd=tmp_path, env=settings, capture_output=True, timeout=60, check=False
        )

    assert doctor("my_rules:judge").returncode == 0
    assert b"my_rules:nobody: cannot be imported" in doctor("my_rules:nobody").stdout


def test_an_account_is_the_keys_or_the_networks():
    assert Caller("::ffff:203.0.113.9").account == "address:203.0.113.9"
    assert Caller("203.0.113.9", "phone").account == "key:phone"
    assert Caller().account == ANONYMOUS


async def test_whoever_does_not_say_who_they_are_has_one_share_together_and_a_program_of_its_own_has_none():
    service = SpeechService.create(Settings(model="preview", rate_limit="1/hour"))
    wanted = SpeechRequest(text="Hello.", model="preview")

    async def speak(**who):
        return [len(pcm) async for pcm in service.stream(wanted, **who)]

    assert await speak()
    with pytest.raises(RateLimitError):
        await speak()
    assert await speak(account="key:phone")
    for _ in range(2):
        assert await speak(account=PROGRAM)
    await service.manager.close()
