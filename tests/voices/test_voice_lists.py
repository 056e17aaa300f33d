"""Voices that were added in every list, each seen by whoever may speak with it."""

import httpx
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.settings import Settings
from tests.support.in_process import asking

SHARED = 'name = "Shared"\nkind = "named"\nmodel = "medium-3b"\nlanguages = ["fr", "en"]\n'
ANNS = 'name = "Anns"\nkind = "named"\nowner = "key:ann"\n'
LENT = 'name = "Lent"\nkind = "named"\nowner = "key:ann"\nshared = true\n'


def make_app(tmp_path):
    for name, text in (("shared", SHARED), ("voice_1", ANNS), ("lent", LENT)):
        (tmp_path / "voices" / name).mkdir(parents=True)
        (tmp_path / "voices" / name / "voice.toml").write_text(text)
    return create_app(
        Settings(
            api_keys=("ann:one", "bob:two", "root:three:admin"),
            voices=tmp_path / "voices",
            output_dir=tmp_path / "outputs",
            model="preview",
        )
    )


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return make_app(tmp_path_factory.mktemp("lists"))


def key(word):
    return {"authorization": f"Bearer {word}"} if word else {}


@pytest.mark.parametrize(
    ("word", "seen"),
    [("one", {"shared", "lent", "voice_1"}), ("two", {"shared", "lent"}), ("", {"shared", "lent"})],
)
async def test_openais_list_has_what_is_built_in_shared_or_the_callers(app, word, seen):
    async with asking(app, headers=key(word)) as client:
        voices = (await client.get("/v1/audio/voices")).json()["voices"]
    own = {voice["id"]: voice for voice in voices if voice["kind"] != "built_in"}
    assert set(own) == seen
    assert own["shared"] == {
        "id": "shared",
        "name": "Shared",
        "language": "fr",
        "languages": ["fr", "en"],
        "gender": "neutral",
        "kind": "named",
        "model": "medium-3b",
        "memory_mib": 0,
        "shared": True,
    }
    assert {"tara", "alloy"} <= {voice["id"] for voice in voices}


async def test_the_servers_own_list_elevenlabs_and_a_models_have_the_callers(app):
    for word, seen in (("one", True), ("two", False)):
        async with asking(app, headers={"xi-api-key": word}) as client:
            of_elevens = (await client.get("/v1/voices")).json()["voices"]
        assert ("voice_1" in [voice["voice_id"] for voice in of_elevens]) is seen
        (shared,) = [voice for voice in of_elevens if voice["voice_id"] == "shared"]
        assert shared["labels"] == {
            "language": "fr",
            "languages": "fr, en",
            "gender": "neutral",
            "kind": "named",
            "memory_mib": "0",
        }
        async with asking(app, headers=key(word)) as client:
            catalog = (await client.get("/api/models")).json()
            model = (await client.get("/v1/models/medium-3b")).json()
        assert ("voice_1" in [voice["id"] for voice in catalog["voices"]]) is seen
        (medium,) = [each for each in catalog["models"] if each["id"] == "medium-3b"]
        assert ("voice_1" in medium["voices"]) is seen
        assert ("voice_1" in [voice["name"] for voice in model["voices"]]) is seen


@pytest.mark.parametrize(
    ("word", "may"), [("one", {"lent", "voice_1"}), ("two", set()), ("three", {"lent", "voice_1", "shared"})]
)
async def test_the_list_says_which_voices_are_the_callers_to_remove_and_no_other_can_be(tmp_path, word, may):
    async with asking(make_app(tmp_path), headers=key(word)) as client:
        voices = (await client.get("/api/models")).json()["voices"]
        assert {voice["id"] for voice in voices if voice["removable"]} == may
        for voice in ("lent", "shared"):
            answer = await client.delete(f"/v1/audio/voices/{voice}")
            assert answer.status_code == (200 if voice in may else 404)


async def test_anothers_voice_is_no_voice_and_ones_own_says_why_it_cannot_speak_here(app):
    body = {"model": "tts-1", "input": "Hello."}
    async with asking(app, headers=key("two")) as client:
        answer = await client.post("/v1/audio/speech", json={**body, "voice": {"id": "voice_1"}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "voice_not_found")
    assert "Anns" not in answer.text
    for voice in ("Anns", {"id": "voice_1"}):
        async with asking(app, headers=key("one")) as client:
            answer = await client.post("/v1/audio/speech", json={**body, "voice": voice})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_unavailable")
        assert "medium-3b cannot speak here" in answer.json()["error"]["message"]


async def test_a_dry_run_reads_a_text_in_the_voices_first_language(app):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://box", headers=key("two")
    ) as client:
        answer = await client.post("/api/text", json={"text": "Il y en a 3.", "voice": "shared"})
    (segment,) = answer.json()["segments"]
    assert (segment["voice"], segment["language"], segment["text"]) == ("shared", "fr", "Il y en a trois.")
