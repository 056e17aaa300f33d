"""Takes: what was spoken can be had once more, in any format, by whoever had it spoken, for a while."""

import io
import threading
import wave

import av
import httpx
import numpy as np
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.errors import NotFoundError
from orpheus_openai.native import takes as routes
from orpheus_openai.settings import Settings
from orpheus_openai.speech.takes import TAKE_SECONDS, TAKES_PER_CALLER, Takes
from tests.support.fake_engine import Clock
from tests.support.local_server import running

SPEECH = {"model": "preview", "voice": "tara", "input": "Hello there. How are you?", "response_format": "pcm"}
KEEP = {"x-orpheus-keep": "true"}


@pytest.fixture
def serve(tmp_path):
    pytest.importorskip("espeakng_loader")
    return lambda **settings: running(create_app(Settings(model="preview", output_dir=tmp_path, **settings)))


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/generate"])
def test_a_speech_that_is_kept_can_be_had_in_every_format(serve, path):
    body = {**SPEECH, "text": SPEECH["input"]}
    with serve() as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        spoken = client.post(path, json=body, headers=KEEP)
        take = spoken.headers["x-orpheus-take"]
        assert take.startswith("/api/takes/")
        answers = {name: client.get(take, params={"format": name}) for name in FORMATS}
        assert client.get(take).headers["content-type"] == "audio/mpeg"
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(FORMATS, 200)
    assert answers["pcm"].content == spoken.content
    samples = len(spoken.content) // 2
    with wave.open(io.BytesIO(answers["wav"].content)) as file:
        assert file.getnframes() == samples
        assert file.readframes(samples) == spoken.content
    with av.open(io.BytesIO(answers["flac"].content), mode="r") as file:
        assert file.duration == round(samples / 24_000 * av.time_base)
    for name in ("mp3", "opus", "aac"):
        with av.open(io.BytesIO(answers[name].content), mode="r") as file:
            heard = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
        assert heard == pytest.approx(samples / 24_000, abs=0.2)


def test_nothing_is_kept_that_was_not_asked_for_or_did_not_come_to_its_end(serve):
    with serve() as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        assert "x-orpheus-take" not in client.post("/v1/audio/speech", json=SPEECH).headers
        long = {**SPEECH, "input": "This is said again and again. " * 500}
        with client.stream("POST", "/v1/audio/speech", json=long, headers=KEEP) as spoken:
            take = spoken.headers["x-orpheus-take"]
            assert client.get(take).status_code == 404
        answer = client.get(take)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "take_not_found")
    with serve(takes_max_bytes=0) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        assert "x-orpheus-take" not in client.post("/v1/audio/speech", json=SPEECH, headers=KEEP).headers


def test_a_take_is_its_keys_alone_and_counts_as_a_request(serve):
    anne, bert = {"authorization": "Bearer key-a"}, {"authorization": "Bearer key-b"}
    with (
        serve(api_keys=("anne:key-a", "bert:key-b"), rate_limit="3/minute") as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        take = client.post("/v1/audio/speech", json=SPEECH, headers={**KEEP, **anne}).headers[
            "x-orpheus-take"
        ]
        assert client.get(take).status_code == 401
        assert client.get(take, headers=bert).status_code == 404
        assert [client.get(take, headers=anne).status_code for _ in range(3)] == [200, 200, 429]


def test_who_hangs_up_while_a_take_is_decoded_leaves_an_end_and_no_fault(serve, monkeypatch, caplog):
    asked, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slow(_flac):
        try:
            yield np.ones(24_000, np.int16)
            asked.set()
            go_on.wait(60)
            yield np.ones(24_000, np.int16)
        finally:
            closed.set()

    monkeypatch.setattr(routes, "decoded", slow)
    with serve() as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        take = client.post("/v1/audio/speech", json=SPEECH, headers=KEEP).headers["x-orpheus-take"]
        with client.stream("GET", take, params={"format": "pcm"}) as answer:
            next(answer.iter_raw())
            assert asked.wait(60)
        assert not closed.wait(0.3)
        go_on.set()
        assert closed.wait(60)
    assert "already executing" not in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("audio_format", ["midi", "", "MP3;"])
def test_a_format_that_does_not_exist_is_refused_in_words(serve, audio_format):
    with serve() as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        take = client.post("/v1/audio/speech", json=SPEECH, headers=KEEP).headers["x-orpheus-take"]
        answer = client.get(take, params={"format": audio_format})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "format")


async def spoken(takes, account="anne", blocks=1):
    noise = np.random.default_rng(0).integers(-2000, 2000, 24_000).astype(np.int16)

    async def speech():
        for _ in range(blocks):
            yield noise

    take = takes.begin(account)
    heard = [len(pcm) async for pcm in take.keep(speech())]
    assert heard == [24_000] * blocks, "whoever listens hears it all"
    return take


def held(takes, *wanted):
    found = []
    for take in wanted:
        try:
            found.append(takes.get(take.id, take.account) is take)
        except NotFoundError:
            found.append(False)
    return found


async def test_a_take_is_kept_for_an_hour():
    clock = Clock()
    takes = Takes(10**7, clock=clock)
    take = await spoken(takes)
    clock.now += TAKE_SECONDS
    assert held(takes, take) == [True]
    clock.now += 1
    assert held(takes, take) == [False]


async def test_a_caller_has_so_many_takes_and_a_quarter_of_the_bytes_the_oldest_go():
    takes = Takes(10**9)
    own = [await spoken(takes) for _ in range(TAKES_PER_CALLER + 1)]
    assert held(takes, *own) == [False, *[True] * TAKES_PER_CALLER]
    size = len(own[0].encoded)
    takes = Takes(round(size * 4 * 2.5))
    other = await spoken(takes, "bert")
    own = [await spoken(takes) for _ in range(3)]
    assert held(takes, other, *own) == [True, False, True, True]


async def test_all_takes_together_have_a_bound():
    size = len((await spoken(Takes(10**9))).encoded)
    takes = Takes(round(size * 4.5))
    everybodys = [await spoken(takes, f"caller-{number}") for number in range(6)]
    assert held(takes, *everybodys) == [False, False, True, True, True, True]


async def test_a_take_that_is_too_long_is_given_up_and_the_speech_goes_on():
    takes = Takes(100_000)
    assert held(takes, await spoken(takes, blocks=20)) == [False]
