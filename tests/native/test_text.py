"""POST /api/text: how a text is read, without speaking it."""

import asyncio

import httpx
import pytest

from orpheus_openai.errors import OverloadedError
from orpheus_openai.speech.plan import PLANS_OF_ONE, PLANS_WAITING, Planner
from orpheus_openai.speech.script import Script
from orpheus_openai.text.changes import Ledger
from tests.native.test_native_api import native

TEXT = "## Prices\n\nAnna: It is **$5** today. [pause 1s] Fine.\nBen: Oh!"


@pytest.fixture
async def client(server_url):
    async with httpx.AsyncClient(base_url=server_url, timeout=60) as client:
        yield client


async def plan(client, **fields):
    return await client.post("/api/text", json=fields)


async def test_segments_tell_what_is_said_by_whom_and_what_is_changed(client):
    answer = await plan(client, text=TEXT, cast={"anna": "zoe", "Ben": "leo"})
    told = answer.json()
    assert answer.status_code == 200
    assert (told["model"], told["warnings"]) == ("preview", [])
    assert [(s["voice"], s["text"], s["pause_ms"]) for s in told["segments"]] == [
        ("tara", "Prices", 700),
        ("zoe", "It is five dollars today.", 1000),
        ("zoe", "Fine.", 700),
        ("leo", "Oh!", 0),
    ]
    assert [TEXT[s["start"] : s["end"]] for s in told["segments"]][1:] == [
        "It is **$5** today.",
        "Fine.",
        "Oh!",
    ]
    assert told["segments"][1]["language"] == "en"
    assert told["segments"][1]["changes"] == [
        {"from": "Anna:", "to": "", "why": "name of a speaker"},
        {"from": "**$5**", "to": "five dollars", "why": "markup, figures and signs"},
    ]


async def test_no_model_that_could_speak_is_needed(tmp_path):
    async with native(tmp_path) as (client, service):
        spoken = {"text": "Hello.", "model": "medium-3b"}
        told = await plan(client, **spoken)
        assert told.status_code == 200
        assert told.json()["segments"][0]["text"] == "Hello."
        assert (await client.post("/api/generate", json=spoken)).status_code == 404
        assert service.manager.get_status() == []


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "text", "Missing"),
        ({"text": " "}, "text", "nothing to speak"),
        ({"prompt": " "}, "prompt", "nothing to speak"),
        ({"text": "Anna: Hi.", "cast": {"Anna": "nobody"}}, "cast", "Anna: There is no voice 'nobody'"),
        ({"text": "Hi.", "cast": {"Anna": 5}}, "cast[...]", "Expected a string"),
        ({"text": "Hi.", "cast": {str(n): "leo" for n in range(51)}}, "cast", "length"),
        ({"text": "Hi.", "cast": {"": "leo"}}, "cast", "length"),
        ({"text": "Hi.", "pronunciations": {"": "x"}}, "pronunciations", "length"),
        ({"text": "a [pause 10s] " * 181}, "text", "1810 s of silence; at most 1800 s"),
        ({"prompt": "a <break time='10s'/> " * 181}, "prompt", "1810 s of silence"),
        ({"text": "<speak>" + "a <break time='10s'/>" * 181 + "</speak>"}, "text", "1810 s of silence"),
        ({"text": "Anna: a [pause 10s]\n" * 181, "cast": {"Anna": "leo"}}, "text", "1810 s of silence"),
    ],
)
async def test_what_is_wrong_with_a_request_is_told_as_where_it_is_spoken(client, fields, param, words):
    for path in ("/api/text", "/api/generate"):
        answer = await client.post(path, json=fields)
        assert answer.status_code == 400, path
        assert answer.json()["error"]["param"] == param
        assert words in answer.json()["error"]["message"]


async def test_all_voices_of_one_request_are_one_models(client):
    fields = {"model": "medium-3b", "text": "Anna: Bonjour.", "cast": {"Anna": "pierre"}}
    answer = await plan(client, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "voices_of_several_models"
    assert "medium-3b-fr" in answer.json()["error"]["message"]
    assert (await plan(client, **{**fields, "model": "preview"})).json()["segments"][0]["language"] == "fr"


async def test_a_broken_document_is_refused_with_its_place_by_every_door(client):
    fields = {"text": "<speak>A & B</speak>"}
    for path in ("/api/text", "/api/generate"):
        answer = await client.post(path, json=fields)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "text"
        assert "line 1, column 11" in answer.json()["error"]["message"]
    for text in (fields["text"], "a [pause 10s] " * 181):
        answer = await client.post(
            "/v1/audio/speech", json={"model": "tts-1", "voice": "tara", "input": text}
        )
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")


async def test_a_documents_voices_are_the_models_and_known_before_anything_is_heard(client):
    text = "<speak>One. <voice name='leo'><prosody rate='fast'>Two.</prosody></voice><mark name='x'/></speak>"
    told = (await plan(client, text=text)).json()
    assert [s["voice"] for s in told["segments"]] == ["tara", "leo"]
    assert told["warnings"] == ["<mark> has no effect; the text inside it is read."]
    spoken = await client.post("/api/generate", json={"text": text})
    assert spoken.status_code == 200
    unknown = await client.post("/api/generate", json={"text": text.replace("leo", "nobody")})
    assert unknown.status_code == 400
    assert "There is no voice 'nobody'" in unknown.json()["error"]["message"]


async def test_one_dry_run_too_many_is_turned_away_at_once_and_those_in_line_are_served():
    going = asyncio.Event()

    class Slow(Script):
        async def rest(self):
            await going.wait()
            return await super().rest()

    planner = Planner()

    def asked(account="key:last"):
        return planner.plan(
            "Hi.", "preview", Slow("", iter(()), in_thread=False), None, Ledger(), account=account
        )

    waiting = [asyncio.create_task(asked("key:many")) for _ in range(PLANS_OF_ONE)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="of your"):
        await asked("key:many")
    rest = 1 + PLANS_WAITING - PLANS_OF_ONE
    waiting += [asyncio.create_task(asked(f"key:{number}")) for number in range(rest)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as refusal:
        await asked()
    assert refusal.value.retry_after == 2
    going.set()
    assert [plan.segments for plan in await asyncio.gather(*waiting)] == [[]] * (1 + PLANS_WAITING)
    assert (await asked()).model == "preview"
