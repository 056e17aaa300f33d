"""Keys are people: what is one key's is there for that key and for admins, through every door."""

import asyncio
import contextlib
import hashlib
import json
import logging
from collections import defaultdict

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError
from websockets.sync.client import connect

from orpheus_openai.app import create_app
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.http.middleware.keys import KeyRing
from orpheus_openai.settings import Settings
from tests.support.command_line import run
from tests.support.local_server import running
from tests.support.mcp_greeting import ACCEPT, INITIALIZE
from tests.support.socket_client import PCM, Talk

pytest.importorskip("espeakng_loader")

ANN, BOB, EVE = "sk-ann-31", "sk-bob-42", "sk-eve-53"
HASH = hashlib.sha256(EVE.encode()).hexdigest()
KEYS = (f"ann:{ANN}", f"bob:{BOB}", f"eve:sha256:{HASH}:admin")
WORDS = "The combination is seven, nine, four."
LONG = f"{WORDS} " * 400
STRAY = "2020-01-01-tara-from-before-a1b2c3.wav"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / STRAY).write_bytes(b"RIFF")
    return folder


@contextlib.contextmanager
def served(folder, keys=KEYS, **settings):
    with running(create_app(Settings(model="preview", api_keys=keys, output_dir=folder, **settings))) as url:
        yield url


def person(url, key):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=60)


def agent(url, key):
    return Client(StreamableHttpTransport(f"{url}/mcp", headers={"authorization": f"Bearer {key}"}))


async def names(client):
    return {file["name"] for file in (await client.get("/api/files")).json()["files"]}


async def save(client, text=WORDS):
    answer = await client.post("/api/generate", json={"text": text, "save": True})
    assert answer.status_code == 200, answer.text
    return answer.json()["file"]


async def test_files_are_their_keys_and_admins_through_every_door_and_after_a_restart(folder):
    with served(folder) as url:
        async with person(url, ANN) as ann, agent(url, ANN) as anns_agent:
            native = await save(ann)
            spoken = (await anns_agent.call_tool("generate_speech", {"text": WORDS})).structured_content
            assert await names(ann) == {native, spoken["url"].rpartition("/")[2]}
    files = {native, spoken["url"].rpartition("/")[2]}
    with served(folder) as url:
        async with person(url, BOB) as bob, agent(url, BOB) as bobs_agent:
            assert await names(bob) == set()
            assert await bobs_agent.list_resources() == []
            for name in (*files, STRAY):
                for method in ("GET", "DELETE"):
                    answer = await bob.request(method, f"/api/files/{name}")
                    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")
                with pytest.raises(Exception, match="There is no file"):
                    await bobs_agent.read_resource(f"orpheus://outputs/{name}")
        async with person(url, ANN) as ann, agent(url, ANN) as anns_agent:
            assert await names(ann) == files
            assert {str(r.uri).rpartition("/")[2] for r in await anns_agent.list_resources()} == files
            assert (await ann.get(f"/api/files/{native}")).content.startswith(b"RIFF")
            assert (await ann.get(f"/api/files/{STRAY}")).status_code == 404
        async with person(url, EVE) as eve, agent(url, EVE) as eves_agent:
            assert await names(eve) == {*files, STRAY}
            assert len(await eves_agent.list_resources()) == 3
            for name in (*files, STRAY):
                assert (await eve.get(f"/api/files/{name}")).status_code == 200
            assert (await eve.delete(f"/api/files/{native}")).status_code == 204
        async with person(url, ANN) as ann:
            assert await names(ann) == files - {native}
    assert len(list(folder.glob(".*"))) == 1  # whose the one is that is left


async def heard(client, ended):
    """The events that a listener hears until `ended` is set and there is one more status of the model."""
    seen = []

    async def listen():
        async with client.stream("GET", "/api/events") as stream:
            kind = ""
            async for line in stream.aiter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    seen.append((kind, line))
                    ended[0].set()

    task = asyncio.create_task(listen())
    await ended[0].wait()
    await ended[1].wait()
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.wait([task])
    return seen


async def test_speech_is_told_of_to_its_key_and_to_admins_alone(folder):
    with served(folder) as url:
        over, listeners = asyncio.Event(), {}
        async with contextlib.AsyncExitStack() as stack:
            for key in (ANN, BOB, EVE):
                client = await stack.enter_async_context(person(url, key))
                ready = asyncio.Event()
                listeners[key] = asyncio.create_task(heard(client, (ready, over)))
                await ready.wait()
            ann = await stack.enter_async_context(person(url, ANN))
            body = {"model": "tts-1", "voice": "tara", "input": WORDS}
            assert (await ann.post("/v1/audio/speech", json=body)).status_code == 200
            await save(ann)
            anns_agent = await stack.enter_async_context(agent(url, ANN))
            await anns_agent.call_tool("generate_speech", {"text": WORDS})
            over.set()
            seen = {key: await task for key, task in listeners.items()}
    for key in (ANN, EVE):
        told = [kind for kind, _ in seen[key]]
        assert told.count("speech.ended") == 3
        assert any("combination" in line for _, line in seen[key])
    assert not any(kind.startswith("speech.") for kind, _ in seen[BOB])
    assert "combination" not in str(seen[BOB])
    assert any(kind == "model.state" for kind, _ in seen[BOB])


async def test_who_speaks_is_seen_by_their_key_and_by_admins_alone(folder):
    with served(folder, max_concurrent=1) as url:
        async with person(url, ANN) as ann, person(url, BOB) as bob, person(url, EVE) as eve:
            body = {"model": "tts-1", "voice": "tara", "input": LONG, "response_format": "pcm"}
            async with ann.stream("POST", "/v1/audio/speech", json=body) as speaking:
                chunks = speaking.aiter_raw()
                await anext(chunks)
                seen = {}
                for name, client in (("ann", ann), ("bob", bob), ("eve", eve)):
                    status = (await client.get("/api/status")).json()
                    seen[name] = (status["active_speeches"], sum(m["leases"] for m in status["models"]))
                async with agent(url, BOB) as bobs, agent(url, EVE) as eves:
                    for name, client in (("bob", bobs), ("eve", eves)):
                        status = (await client.call_tool("get_gpu_status")).structured_content
                        assert sum(m["leases"] for m in status["models"]) == seen[name][1]
    assert seen == {"ann": (1, 1), "bob": (0, 0), "eve": (1, 1)}


KNOWN = "medium-3b cannot speak here"
"""What is said to whoever asks for a voice that is there for them, where there is no GPU."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server for all that leave it as it was, with a voice, and a way to say a word, that are Ann's."""
    tmp_path = tmp_path_factory.mktemp("shared")
    place = tmp_path / "voices" / "voice_1"
    place.mkdir(parents=True)
    (place / "voice.toml").write_text('name = "Anns own"\nkind = "named"\nowner = "key:ann"\n')
    lexicon = tmp_path / "lexicon.toml"
    lexicon.write_text('[keys.ann.all]\nnginx = "engine x"\n')
    with served(tmp_path / "outputs", voices=tmp_path / "voices", lexicon=lexicon) as url:
        yield url


async def test_a_voice_of_ones_own_is_in_every_list_and_at_every_door_for_its_key_and_admins(shared):
    own = {"voice": "voice_1"}
    doors = {
        "/v1/audio/speech": {"model": "tts-1", "input": "Hello.", **own},
        "/api/generate": {"text": "Hello.", **own},
        "/v1/text-to-speech/voice_1": {"text": "Hello."},
        "/v1/text-to-speech/voice_1/stream/with-timestamps": {"text": "Hello."},
    }
    lists = ["/v1/audio/voices", "/v1/voices", "/v2/voices", "/api/models", "/v1/models/medium-3b"]
    seen = defaultdict(dict)
    for name, key in (("ann", ANN), ("bob", BOB), ("eve", EVE)):
        async with person(shared, key) as client, agent(shared, key) as tools:
            for path in lists:
                seen[name][path] = "voice_1" in (await client.get(path)).text
            seen[name]["/v1/voices/{id}"] = (await client.get("/v1/voices/voice_1")).status_code == 200
            seen[name]["MCP list"] = "voice_1" in str(await tools.call_tool("list_voices", {}))
            for path, body in doors.items():
                answer = await client.post(path, json=body)
                unknown = 404 if "text-to-speech" in path else 400
                assert answer.status_code == (unknown if name == "bob" else 404), path
                seen[name][path] = KNOWN in answer.text
            with pytest.raises(ToolError) as refused:
                await tools.call_tool("generate_speech", {"text": "Hello.", **own})
            seen[name]["MCP"] = KNOWN in str(refused.value)
            plan = await client.post("/api/text", json={"text": "Hello.", "model": "medium-3b", **own})
            seen[name]["dry run"] = "segments" in plan.json()
            await asyncio.to_thread(_listen, shared, key, seen[name])
    assert all(seen["ann"].values()), seen["ann"]
    assert not any(seen["bob"].values()), seen["bob"]
    assert all(seen["eve"].values()), seen["eve"]


def _listen(url, key, seen):
    """Ask at the sockets of both doors for Ann's voice."""
    with Talk(url, additional_headers={"authorization": f"Bearer {key}"}) as talk:
        talk.send("session.config", **{**PCM, "model": "tts-1", "voice": "voice_1"})
        seen["socket"] = KNOWN in talk.until("error").messages[-1]["message"]
    with connect(
        url.replace("http", "ws", 1) + "/v1/text-to-speech/voice_1/stream-input",
        additional_headers={"xi-api-key": key},
        proxy=None,
    ) as opened:
        seen["socket of ElevenLabs'"] = KNOWN in opened.recv(60)


async def test_how_a_key_has_words_said_is_not_how_another_has(shared):
    said = {}
    for name, key in (("ann", ANN), ("bob", BOB), ("eve", EVE)):
        async with person(shared, key) as client:
            said[name] = (await client.post("/api/text", json={"text": "Ask nginx."})).text
    assert {name: "engine x" in words for name, words in said.items()} == {
        "ann": True,
        "bob": False,
        "eve": False,
    }


async def test_speech_is_cut_into_by_its_key_and_admins_alone(shared):
    body = {"model": "tts-1", "voice": "tara", "input": LONG, "response_format": "pcm"}
    async with person(shared, ANN) as ann, person(shared, BOB) as bob, person(shared, EVE) as eve:

        async def cut(client, speech):
            answer = await client.post(f"/api/speech/{speech}/interrupt", json={"played_ms": 0})
            return answer.status_code

        for who in (ann, eve):
            async with ann.stream("POST", "/v1/audio/speech", json=body) as answer:
                await anext(chunks := answer.aiter_raw())
                assert [await cut(c, answer.headers["x-request-id"]) for c in (bob, who)] == [404, 200]
                with pytest.raises(httpx.RemoteProtocolError):
                    await _to_the_end(chunks)
            assert await cut(bob, answer.headers["x-request-id"]) == 404  # it may still sound
        with Talk(shared, additional_headers={"authorization": f"Bearer {ANN}"}) as talk:
            talk.send("session.config", **PCM)
            talk.say(LONG)
            speech = talk.until(bytes).messages[0]["speech_id"]
            assert [await cut(client, speech) for client in (bob, eve)] == [404, 200]
            talk.until("interrupted")


async def _to_the_end(chunks):
    async for _ in chunks:
        pass


async def test_what_is_kept_beside_speech_is_its_keys_and_admins(shared):
    body = {"model": "tts-1", "voice": "tara", "input": WORDS}
    async with person(shared, ANN) as ann, person(shared, BOB) as bob, person(shared, EVE) as eve:
        spoken = await ann.post("/v1/audio/speech", json=body, headers={"x-orpheus-keep": "true"})
        saved = await ann.post("/api/generate", json={"text": WORDS, "save": True, "captions": "srt"})
        kept = [spoken.headers["x-orpheus-take"], saved.json()["captions"]["srt"]]
        for path in kept:
            assert [(await client.get(path)).status_code for client in (ann, bob, eve)] == [200, 404, 200]
        assert [(await c.delete(kept[1])).status_code for c in (bob, eve)] == [404, 204]


async def test_nothing_that_another_key_can_read_tells_what_one_has_said(folder, tmp_path):
    """All that the API's description has to be read, while one speaks, and the command line, which saves as its key."""
    with served(folder) as url:
        async with person(url, ANN) as ann, person(url, BOB) as bob, person(url, EVE) as eve:
            file = await save(ann)
            body = {"model": "tts-1", "voice": "tara", "input": WORDS}
            kept = await ann.post("/v1/audio/speech", json=body, headers={"x-orpheus-keep": "true"})
            take = kept.headers["x-orpheus-take"].rpartition("/")[2]
            places = defaultdict(lambda: "tara", name=file, take=take, model="preview")
            described = (await bob.get("/apidocs/openapi.json")).json()["paths"]
            readable = [path for path, operations in described.items() if "get" in operations]
            assert len(readable) > 12
            async with ann.stream(
                "POST", "/api/generate", json={"text": LONG, "response_format": "pcm"}
            ) as live:
                heard = live.aiter_raw()  # kept: without it, the connection would go
                await anext(heard)
                read = {}
                for path in set(readable) - {"/api/events"}:  # which has no end, and a test of its own
                    answers = [await client.get(path.format_map(places)) for client in (bob, eve)]
                    read[path] = [answer.text for answer in answers]
                command = await asyncio.to_thread(
                    lambda: run(
                        *("speak", "Mine.", "-o", "mine.wav", "--json"),
                        folder=tmp_path,
                        ORPHEUS_URL=url,
                        ORPHEUS_API_KEY=BOB,
                    )
                )
            assert command.returncode == 0, command.stderr
            files_bob_named, files_eve_named = read.pop("/api/files/{name}")
            assert "There is no file" in files_bob_named
            assert files_eve_named.startswith("RIFF")
            told = " ".join(
                [*(bobs for bobs, _ in read.values()), command.stdout.decode(), command.stderr.decode()]
            )
            assert not any(secret in told for secret in (file, "combination", '"active_speeches":1'))
            assert read["/api/takes/{take}"][0] != read["/api/takes/{take}"][1]
            assert file in read["/api/files"][1]
            assert '"active_speeches":1' in read["/api/status"][1]


async def test_what_concerns_everybody_is_for_admins(shared):
    async with person(shared, BOB) as bob, agent(shared, BOB) as bobs_agent:
        for body in ({}, {"force": True}, {"model": "preview"}):
            answer = await bob.post("/api/offload", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_only")
        with pytest.raises(ToolError, match="needs the key of an admin"):
            await bobs_agent.call_tool("offload_gpu", {})
    async with person(shared, EVE) as eve, agent(shared, EVE) as eves_agent:
        assert (await eve.post("/api/offload", json={})).status_code == 200
        await eves_agent.call_tool("offload_gpu", {})


async def test_a_session_of_mcp_is_its_keys_alone(shared):
    async with person(shared, ANN) as ann, person(shared, BOB) as bob:
        session = (await ann.post("/mcp/", json=INITIALIZE, headers=ACCEPT)).headers["mcp-session-id"]
        theirs = {**ACCEPT, "mcp-session-id": session}
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        assert (await bob.post("/mcp/", json=asked, headers=theirs)).status_code == 404
        assert (await bob.delete("/mcp/", headers=theirs)).status_code == 404
        assert (await ann.post("/mcp/", json=asked, headers=theirs)).status_code == 200


@pytest.mark.parametrize("keys", [(), (f"ann:{ANN}",), (ANN,)])
async def test_without_keys_and_with_a_single_one_everything_is_there(folder, keys):
    with served(folder, keys=keys) as url:
        async with person(url, ANN if keys else None) as client:
            saved = await save(client)
            assert await names(client) == {saved, STRAY}
            assert (await client.post("/api/offload", json={})).status_code == 200
            assert (await client.delete(f"/api/files/{STRAY}")).status_code == 204
    assert len(list(folder.glob(".*"))) == len(keys)  # whose it is, where there is somebody


async def test_files_of_a_server_that_had_no_keys_belong_to_admins(folder):
    with served(folder, keys=()) as url:
        async with person(url, None) as client:
            saved = await save(client)
    with served(folder) as url:
        async with person(url, ANN) as ann, person(url, EVE) as eve:
            assert await names(ann) == set()
            assert await names(eve) == {saved, STRAY}


def test_the_audit_log_is_not_what_another_key_hears(folder, tmp_path):
    audit = tmp_path / "audit.jsonl"
    with served(folder, audit_log=str(audit)) as url:
        for key in (ANN, EVE):
            httpx.get(f"{url}/api/status", headers={"authorization": f"Bearer {key}"})
    assert [json.loads(line)["key"] for line in audit.read_text().splitlines()] == ["ann", "eve"]


@pytest.mark.parametrize(
    ("entries", "admins"),
    [
        ((f"ann:{ANN}:admin", f"bob:{BOB}"), {"ann"}),
        ((f"ann:{ANN}:ADMIN", f"eve:sha256:{HASH}:admin", BOB), {"ann", "eve"}),
        ((ANN,), {"key-1"}),
        ((f"sha256:{HASH}",), {"key-1"}),
        ((f"ann:{ANN}", BOB), set()),
    ],
)
def test_an_admin_is_who_is_called_one_and_who_is_alone(entries, admins, caplog):
    with caplog.at_level(logging.WARNING):
        ring = KeyRing(entries)
    keys = [ring.find(key.encode()) for key in (ANN, BOB, EVE)]
    assert {key.name for key in keys if key and key.admin} == admins
    assert ("none of the keys" in caplog.text) is not bool(admins)


@pytest.mark.parametrize("entry", [f"{ANN}:admin", "ann:admin", f"sha256:{HASH}:admin", f"ann:{ANN}:boss"])
def test_a_key_that_could_be_taken_for_something_else_stops_the_start(entry):
    with pytest.raises(ConfigurationError, match="entry 2") as caught:
        KeyRing((f"bob:{BOB}", entry))
    assert ANN not in str(caught.value)
