"""Segments that fail: spoken again while nobody hears them, told where they were heard, ended where they run away."""

import asyncio
import base64
import json
import socket

import httpx
import numpy as np
import pytest
from fastmcp import Client

for package in ("snac", "tokenizers"):
    pytest.importorskip(package, reason="what decodes needs the extra 'orpheus'")

from benchmarks.replay_server import ReplayServer, in_ids, random_speech  # noqa: E402
from orpheus_openai.app import create_app  # noqa: E402
from orpheus_openai.settings import Settings  # noqa: E402
from orpheus_openai.speech import segments  # noqa: E402
from orpheus_openai.speech.request import SpeechRequest  # noqa: E402
from orpheus_openai.speech.service import SpeechService  # noqa: E402
from orpheus_openai.speech.verification import MOST_TRIES  # noqa: E402
from tests.support.local_server import running  # noqa: E402
from tests.support.tiny_tokenizer import write_tokenizer  # noqa: E402

FIRST = "The keeper of the lighthouse wrote the weather into a book at four and at eight and before midnight."
SECOND = "On the first page there is a ship with red sails, and a bird that flew against the glass one stormy night."
TEXT = f"{FIRST} {SECOND}"
SPAN = {"start": len(FIRST) + 1, "end": len(TEXT)}
FRAMES = 30
"""Two and a half seconds: short for either sentence, and not too short."""
GOOD = random_speech(FRAMES)
ENDLESS = 60.0


def looping(seed):
    """An engine that is caught in a loop after a second, and waits to be stopped."""
    group = random_speech(16, seed)[:-1]
    return [*in_ids(group + group[-28:] * 40)[:-2], ENDLESS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verification")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def url(port, folder, tiny_snac):
    with running(create_app(settings(port, folder, tiny_snac))) as address:
        yield address


def settings(port, folder, snac, **fields):
    return Settings(
        device="cpu",
        snac=str(snac),
        snac_noise="off",
        verify_words="off",  # noise has none
        remote_url=(f"http://127.0.0.1:{port}/v1",),
        checkpoints={"ORPHEUS_MODEL_MEDIUM_3B": str(folder)},
        output_dir=folder / "outputs",
        audit_log=str(folder / "audit.jsonl"),
        **fields,
    )


@pytest.fixture(autouse=True)
def patient_listener(monkeypatch):
    """However slow this machine is, the second segment is not yet heard when it fails."""
    monkeypatch.setattr(segments, "RESERVE", -120.0)


class Scripted(ReplayServer):
    """Answers the prompts in the order in which they are first seen, each with its own answers in turn."""

    def __init__(self, *scripts, port):
        super().__init__(*scripts[0], port=port)
        self.scripts = [list(script) for script in scripts]
        self.prompts = []
        self.seeds = []

    def answer_to(self, body):
        if (prompt := str(body["prompt"])) not in self.prompts:
            self.prompts.append(prompt)
        self.seeds.append(body.get("seed"))
        script = self.scripts[self.prompts.index(prompt)]
        return script.pop(0) if len(script) > 1 else script[0]


def bad_at_first(port):
    """An engine whose first try at either sentence has no end."""
    return Scripted(*[[in_ids(GOOD[:-1]), in_ids(GOOD)]] * 2, port=port)


async def speak(url, engine, text=TEXT, headers=None, **fields):
    """What is heard, and the event that ends it."""
    body = {"model": "medium-3b", "voice": "tara", "input": text, "response_format": "pcm", **fields}
    async with engine, httpx.AsyncClient(base_url=url, timeout=120) as client:
        answer = await client.post("/v1/audio/speech", json={**body, "stream_format": "sse"}, headers=headers)
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    audio = b"".join(base64.b64decode(e["audio"]) for e in events if e["type"] == "speech.audio.delta")
    return np.frombuffer(audio, "<i2"), events[-1]


def verdicts(done):
    return [found["verdict"] for found in done["verification"]]


def same(a, b):
    """To a rounding: batches of other sizes are multiplied in another order."""
    return len(a) == len(b) and np.abs(a.astype(int) - b).max() <= 2


async def test_bad_first_and_good_then_is_heard_as_if_it_had_been_good_at_once(url, port):
    good = Scripted([in_ids(GOOD)], [in_ids(random_speech(FRAMES, 7))], port=port)
    expected, done = await speak(url, good)
    assert verdicts(done) == ["ok", "ok"]
    bad = Scripted([in_ids(GOOD)], [looping(1), in_ids(random_speech(FRAMES, 7))], port=port)
    heard, done = await speak(url, bad)
    assert same(heard, expected)
    assert done["verification"][1] == {"verdict": "retried", "tries": 2, **SPAN}
    assert len(set(bad.seeds[1:])) == 2


async def test_bad_three_times_is_told_and_the_best_is_heard(url, port):
    no_end, short = in_ids(random_speech(FRAMES, 3)[:-1]), in_ids(random_speech(4, 4))
    expected, _ = await speak(url, Scripted([in_ids(GOOD)], [in_ids(random_speech(FRAMES, 3))], port=port))
    engine = Scripted([in_ids(GOOD)], [short, no_end, short], port=port)
    heard, done = await speak(url, engine)
    assert done["verification"][1] == {"verdict": "suspect:no_end", "tries": MOST_TRIES, **SPAN}
    assert len(engine.bodies) == 1 + MOST_TRIES
    assert same(heard, expected)


async def test_what_says_nothing_is_spoken_again_also_where_it_is_the_first(url, port):
    nothing = in_ids(GOOD[-1:])
    heard, done = await speak(url, Scripted([nothing, in_ids(GOOD)], port=port), text=FIRST)
    assert verdicts(done) == ["retried"]
    assert len(heard) == FRAMES * 2_048


async def test_a_runaway_is_ended_before_it_has_sounded_much_and_its_engine_is_stopped(url, port):
    engine = Scripted([looping(1)], port=port)
    heard, done = await speak(url, engine, text=FIRST)
    assert verdicts(done) == ["cut"]
    assert engine.left.is_set()
    assert 14 * 2_048 < len(heard) < 60 * 2_048
    assert abs(int(heard[-1])) < 50


async def test_speech_longer_than_any_reading_of_its_text_is_ended(url, port):
    engine = Scripted([[*in_ids(random_speech(400)[:-1])[:-2], ENDLESS]], port=port)
    heard, done = await speak(url, engine, text="Hello there.")
    assert verdicts(done) == ["cut"]
    assert len(heard) / 24_000 < 7


async def test_frames_that_were_lost_are_told_of(url, port):
    spoilt = [*GOOD[:70], *GOOD[71:]]
    _, done = await speak(url, Scripted([in_ids(spoilt)], port=port), text=FIRST)
    assert verdicts(done) == ["suspect:lost_frames"]


@pytest.mark.parametrize("fields", [{"seed": 7}, {"temperature": 0}])
async def test_what_would_be_drawn_alike_or_has_a_seed_of_its_own_is_not_spoken_twice(url, port, fields):
    engine = Scripted([in_ids(GOOD)], [in_ids(GOOD[:-1])], port=port)
    _, done = await speak(url, engine, **fields)
    assert verdicts(done) == ["ok", "suspect:no_end"]
    assert len(engine.bodies) == 2


async def test_event_metric_saved_answer_and_audit_tell_the_same(url, port, folder):
    kinds = {}

    async def listen(client, ready):
        async with client.stream("GET", "/api/events") as answer:
            kind = ""
            async for line in answer.aiter_lines():
                ready.set()
                kind = line.removeprefix("event: ") if line.startswith("event: ") else kind
                if line.startswith("data: "):
                    kinds.setdefault(kind, []).append(json.loads(line.removeprefix("data: ")))
                if kind == "speech.ended" and line.startswith("data: "):
                    return

    async with bad_at_first(port), httpx.AsyncClient(base_url=url, timeout=120) as client:
        ready = asyncio.Event()
        listening = asyncio.create_task(listen(client, ready))
        await ready.wait()
        saved = (
            await client.post("/api/generate", json={"text": TEXT, "model": "medium-3b", "save": True})
        ).json()
        await asyncio.wait_for(listening, 30)
        metrics = (await client.get("/metrics")).text
    assert verdicts(saved) == ["retried", "retried"], "also the first, as nobody hears it"
    assert kinds["speech.ended"][0]["verification"] == saved["verification"]
    assert sorted(event["verdict"] for event in kinds["speech.verified"]) == ["retried", "retried"]
    assert kinds["speech.verified"][0]["id"] == saved["id"]
    assert 'orpheus_segments_total{model="medium-3b",verdict="retried"}' in metrics

    def audited():
        lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
        return [line["verification"] for line in lines]

    async with asyncio.timeout(30):  # the line is written behind the answer
        while saved["verification"] not in audited():  # noqa: ASYNC110  a bounded wait
            await asyncio.sleep(0.05)


async def test_what_mcp_saves_is_held_whole_and_its_result_has_the_verdicts(url, port):
    async with bad_at_first(port), Client(f"{url}/mcp") as client:
        told = await client.call_tool("generate_speech", {"text": TEXT, "model": "medium-3b"})
    assert verdicts(told.structured_content) == ["retried", "retried"]
    assert told.structured_content["verification"][1] == {"verdict": "retried", "tries": 2, **SPAN}


async def test_who_says_that_they_listen_later_hears_nothing_that_failed(url, port):
    _, done = await speak(url, bad_at_first(port), headers={"x-orpheus-whole": "true"})
    assert verdicts(done) == ["retried", "retried"]


@pytest.mark.parametrize(("fields", "looked_at"), [({"verify": "off"}, False), ({}, True)])
def test_nothing_is_looked_at_where_it_is_off(fields, looked_at):
    service = SpeechService.create(Settings(model="preview", **fields))
    assert (service.prepare(SpeechRequest(text=FIRST)).verification is not None) is looked_at


@pytest.mark.parametrize(
    ("fields", "again"),
    [
        ({}, (True, False)),
        ({"verify_words": "retry"}, (True, True)),
        ({"verify": "report", "verify_words": "retry"}, (False, False)),
    ],
)
def test_settings_say_what_is_spoken_again(fields, again):
    verification = (
        SpeechService.create(Settings(model="preview", **fields))
        .prepare(SpeechRequest(text=FIRST))
        .verification
    )
    assert (verification._retry, verification._retry_words) == again


async def test_the_preview_which_cannot_fail_so_has_no_verdicts(url):
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        saved = await client.post("/api/generate", json={"text": FIRST, "model": "preview", "save": True})
    assert saved.json()["verification"] is None
