"""What may be asked for is one view, whichever door one looks through."""

import httpx
from fastmcp import Client

from tests.support.command_line import run

ALIASES = {"tts-1", "orpheus-3b-0.1-ft"}


async def test_every_door_lists_the_same_models_with_the_same_words(server_url, tmp_path):
    async with httpx.AsyncClient(base_url=server_url) as client, Client(f"{server_url}/mcp") as agent:
        native = (await client.get("/api/models")).json()
        listed = (await client.get("/v1/models")).json()["data"]
        usable = (await client.get("/v1/audio/models")).json()["models"]
        told = (await agent.call_tool("list_models")).structured_content
        one = (await client.get("/v1/models/preview")).json()
    printed = run("models", folder=tmp_path).stdout.decode()

    models = {model["id"]: model for model in native["models"]}
    for model in (*native["models"], *told["models"]):  # what others ask of the server meanwhile
        model.pop("state")
    assert told == {"default": native["default"], "models": native["models"]}
    said = {name: (model["status"], model["status_detail"]) for name, model in models.items()}
    openai = {
        each["id"]: (each["status"], each["status_detail"]) for each in listed if "alias_of" not in each
    }
    assert openai == said
    others = {each["id"]: each for each in listed if "alias_of" in each}
    assert others.keys() >= ALIASES
    assert all((each["status"], each["status_detail"]) == said[each["alias_of"]] for each in others.values())
    assert {each["id"] for each in usable} == {each["id"] for each in listed if each["status"] == "available"}
    assert {voice["name"] for voice in one["voices"]} == set(models["preview"]["voices"])
    for name, (_, detail) in said.items():
        assert f"\n{name} " in printed
        assert detail in printed
    (default,) = [line for line in printed.splitlines() if line.endswith("(default)")]
    assert default.startswith(f"{native['default']} ")
