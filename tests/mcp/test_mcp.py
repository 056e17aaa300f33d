"""MCP through its official clients, over HTTP and stdio, against real servers."""

import asyncio
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import wave
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError

from orpheus_mcp.generation import Generation
from orpheus_mcp.tools import MOST_HANDED
from tests.support.environment import environ
from tests.support.ports import free_port
from tests.support.served import serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "mcp/README.md").read_text(encoding="utf-8")
TOOLS = {"generate_speech", "list_voices", "list_models", "get_gpu_status", "offload_gpu"}
LONG_TEXT = "This sentence is spoken again and again. " * 1000
ERAS = ["auto", "legacy"]
"""The protocol with and without sessions: clients of both are about."""


@pytest.fixture
async def client(server_url: str) -> AsyncIterator[Client]:
    async with Client(f"{server_url}/mcp") as connected:
        yield connected


def with_scripts(**settings: str) -> dict[str, str]:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    return environ(PATH=path, **settings)


def stdio(folder: Path, **settings: str) -> StdioTransport:
    return StdioTransport(
        sys.executable,
        ["-m", "orpheus_openai", "mcp"],
        env=with_scripts(**settings),
        cwd=str(folder),
        keep_alive=False,
        log_file=folder / "stderr.log",
    )


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


async def leases(client: Client) -> int:
    status = await client.call_tool("get_gpu_status", {})
    return sum(model["leases"] for model in status.structured_content["models"])


async def until(condition: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.05)


async def test_every_tool_has_typed_arguments_with_descriptions_and_a_structured_result(
    client: Client,
) -> None:
    tools = {tool.name: tool for tool in await client.list_tools()}
    assert set(tools) == TOOLS
    for tool in tools.values():
        assert tool.description
        assert tool.output_schema["type"] == "object"
        for name, argument in tool.input_schema["properties"].items():
            assert argument.get("description"), f"{tool.name} does not describe {name}"
            assert argument.keys() & {"type", "anyOf"}
            assert f"`{name}`" in PAGE, f"mcp/README.md does not name {name} of {tool.name}"
    assert tools["generate_speech"].input_schema["required"] == ["text"]


@pytest.mark.parametrize("era", ERAS)
async def test_speech_is_a_file_a_download_and_a_resource(server_url: str, era: str) -> None:
    async with Client(f"{server_url}/mcp", mode=era) as client:
        answer = await client.call_tool("generate_speech", {"text": "Hello there.", "voice": "alloy"})
        spoken = answer.structured_content
        resource = await client.read_resource(spoken["uri"])
        assert spoken["uri"] in {str(listed.uri) for listed in await client.list_resources()}
    audio = await asyncio.to_thread(Path(spoken["path"]).read_bytes)
    assert len(audio) == spoken["bytes"]
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(spoken["url"])).content == audio
    assert base64.b64decode(resource[0].blob) == audio
    assert resource[0].mime_type == "audio/wav"
    with wave.open(BytesIO(audio)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(spoken["audio_seconds"], abs=0.001)
    assert (spoken["voice"], spoken["model"]) == ("tara", "preview")
    assert 0 <= spoken["load_seconds"] <= spoken["first_audio_seconds"] <= spoken["total_seconds"]
    assert spoken["path"] in answer.content[0].text
    assert answer.content[1].type == "resource_link"


async def test_captions_are_saved_beside_the_speech(client):
    asked = {"text": "Hello there, <laugh> friend.", "captions": ["VTT", " json"]}
    found = (await client.call_tool("generate_speech", asked)).structured_content
    stem = found["url"].removesuffix(".wav")
    assert found["captions"] == {"vtt": f"{stem}.vtt", "json": f"{stem}.json"}
    async with httpx.AsyncClient(trust_env=False) as http:
        assert "[laugh] friend." in (await http.get(found["captions"]["vtt"])).text


async def test_several_speakers_sound_as_they_do_at_the_other_doors(server_url: str, client: Client) -> None:
    text, cast = "Anna: Hello there.\nBen: Good morning.", {"Anna": "zoe", "Ben": "leo"}
    asked = {"text": text, "cast": cast, "response_format": "pcm"}
    spoken = (await client.call_tool("generate_speech", asked)).structured_content
    async with httpx.AsyncClient(trust_env=False) as http:
        told = (await http.get(spoken["url"])).content
        native = await http.post(f"{server_url}/api/generate", json=asked)
        openai = await http.post(
            f"{server_url}/v1/audio/speech",
            json={"model": "tts-1", "voice": "tara", "input": text, "cast": cast, "response_format": "pcm"},
        )
        alone = await http.post(f"{server_url}/api/generate", json={**asked, "cast": None})
    assert told == native.content == openai.content
    assert alone.content != told


@pytest.mark.parametrize("era", ERAS)
async def test_the_audio_itself_is_handed_over_on_request(server_url: str, era: str) -> None:
    async with Client(f"{server_url}/mcp", mode=era) as client:
        asked = {"text": "Hello there.", "response_format": "mp3"}
        answer = await client.call_tool("generate_speech", {**asked, "include_audio": True})
        plain = await client.call_tool("generate_speech", asked)
    *_, handed = answer.content
    assert (handed.type, handed.mime_type) == ("audio", "audio/mpeg")
    audio = await asyncio.to_thread(Path(answer.structured_content["path"]).read_bytes)
    assert base64.b64decode(handed.data) == audio
    assert [content.type for content in plain.content] == ["text", "resource_link"]


async def test_audio_that_is_too_long_to_be_handed_over_is_said_to_be(client: Client) -> None:
    answer = await client.call_tool("generate_speech", {"text": LONG_TEXT[:2_000], "include_audio": True})
    assert answer.structured_content["bytes"] > MOST_HANDED
    assert [content.type for content in answer.content] == ["text", "resource_link", "text"]
    assert "too much to be handed over" in answer.content[2].text


async def test_two_calls_of_one_session_have_ids_of_their_own(server_url: str) -> None:
    async with Client(f"{server_url}/mcp", mode="legacy") as client:
        ids = {
            (await client.call_tool("generate_speech", {"text": "Hi."})).structured_content["id"]
            for _ in range(2)
        }
    assert len(ids) == 2


@pytest.mark.parametrize("era", ERAS)
async def test_progress_grows_and_says_how_much_speech_there_is(server_url: str, era: str) -> None:
    notices: list[tuple[float, str]] = []

    async def hear(progress: float, _total: float | None, message: str | None) -> None:
        notices.append((progress, message or ""))

    async with Client(f"{server_url}/mcp", mode=era, progress_handler=hear) as client:
        answer = await client.call_tool("generate_speech", {"text": LONG_TEXT[:6_000]})
    values = [progress for progress, _ in notices]
    assert values
    assert values == sorted(set(values))
    assert notices[-1][1] == f"{answer.structured_content['audio_seconds']:.1f} s of speech"


async def test_progress_grows_also_while_no_speech_comes() -> None:
    notices: list[float] = []

    async def hear(progress: float, *, message: str) -> None:
        notices.append(progress)

    begun = SimpleNamespace(first_bytes_seconds=0.5)
    speech: Any = SimpleNamespace(samples=1, report=lambda: begun)
    manager: Any = SimpleNamespace()
    context: Any = SimpleNamespace(report_progress=hear)
    generation = Generation(speech, manager=manager, audio_format="wav")
    for audio_seconds in (1.0, 1.0, 1.0, 2.0, 2.0):
        speech.audio_seconds = audio_seconds
        await generation._report(context)
    assert notices == [1.5, 1.501, 1.502, 2.5, 2.501]


@pytest.mark.parametrize("era", ERAS)
async def test_cancelling_a_call_stops_the_speech_and_leaves_no_file(server_url: str, era: str) -> None:
    async with Client(f"{server_url}/mcp", mode=era) as client, Client(f"{server_url}/mcp") as watcher:
        before = len(await watcher.list_resources())

        async def busy() -> bool:
            return await leases(watcher) > 0

        async def idle() -> bool:
            return not await busy()

        call = asyncio.create_task(
            client.call_tool("generate_speech", {"text": LONG_TEXT, "response_format": "FLAC"})
        )
        await until(busy)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(idle)
        assert len(await watcher.list_resources()) == before


async def test_a_text_with_nothing_to_say_is_a_short_silence(client: Client) -> None:
    answer = await client.call_tool("generate_speech", {"text": "***", "response_format": "wav"})
    assert answer.structured_content is not None
    assert answer.structured_content["audio_seconds"] == 0.2


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"text": "Hi.", "voice": "nobody"}, "Voices: tara, leah"),
        ({"text": "Hi.", "model": "gpt-9"}, "Models: "),
        ({"text": "Hi.", "voice": "pierre", "model": "small-1b"}, "Models that speak it: "),
        ({"text": "Hi.", "model": "medium-3b"}, "preview"),
        ({"text": " \n"}, "nothing to speak"),
        ({"text": "x" * 60_000}, "Send it in parts"),
        ({"text": "Hi.", "speed": 9}, "Invalid value for 'speed': Expected a number of at most 4.0."),
        ({"text": "Hi.", "response_format": "ogg"}, "'mp3', 'opus', 'aac'"),
        ({}, "text: "),
    ],
)
async def test_an_error_says_what_would_do_instead(
    client: Client, arguments: dict[str, Any], advice: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await client.call_tool("generate_speech", arguments)
    assert advice in str(raised.value)
    assert "pydantic" not in str(raised.value)


async def test_voices_are_filtered_by_language(client: Client) -> None:
    found = (await client.call_tool("list_voices", {"language": "FR"})).structured_content["voices"]
    assert {voice["id"] for voice in found} == {"pierre", "amelie", "marie"}
    with pytest.raises(ToolError, match="Languages: en"):
        await client.call_tool("list_voices", {"language": "klingon"})


async def test_models_tell_what_can_speak_here(client: Client) -> None:
    answer = (await client.call_tool("list_models", {})).structured_content
    models = {model["id"]: model for model in answer["models"]}
    assert answer["default"] == "preview"
    assert models["preview"]["status"] == "available"
    assert models["nano-150m"]["status"] == "coming_soon"
    assert "ORPHEUS_MODEL_NANO_150M" in models["nano-150m"]["status_detail"]


async def test_what_another_door_loads_is_seen_and_offloaded_here(server_url: str, client: Client) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": "Hello."}
    async with httpx.AsyncClient(trust_env=False) as openai:
        (await openai.post(f"{server_url}/v1/audio/speech", json=body)).raise_for_status()
    status = (await client.call_tool("get_gpu_status", {})).structured_content
    assert {model["id"]: model["state"] for model in status["models"]}["preview"] == "ready"
    assert (await client.call_tool("offload_gpu", {"model": "tts-1"})).structured_content["offloaded"] == [
        "preview"
    ]
    status = (await client.call_tool("get_gpu_status", {})).structured_content
    assert {model["id"]: model["state"] for model in status["models"]}["preview"] == "unloaded"
    with pytest.raises(ToolError, match="does not exist"):
        await client.call_tool("offload_gpu", {"model": "gpt-9"})


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("how", ["cancels", "hangs up"])
async def test_an_offload_that_waits_ends_with_the_client_that_asked_for_it(
    server_url: str, client: Client, era: str, how: str
) -> None:
    async def draining() -> bool:
        status = (await client.call_tool("get_gpu_status", {})).structured_content
        return any(model["draining_seconds"] for model in status["models"])

    async def over() -> bool:
        return not await draining()

    body = {"model": "preview", "input": LONG_TEXT, "voice": "tara", "response_format": "pcm"}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as openai:
        async with openai.stream("POST", f"{server_url}/v1/audio/speech", json=body) as slow:
            slow.raise_for_status()
            async with asyncio.timeout(30):
                if how == "cancels":
                    async with Client(f"{server_url}/mcp", mode=era) as asker:
                        call = asyncio.create_task(asker.call_tool("offload_gpu", {"wait_seconds": 3000}))
                        await until(draining)
                        call.cancel()
                        await until(over)
                else:
                    program = (
                        "import asyncio, sys; from fastmcp import Client\n"
                        "async def ask():\n"
                        f"  async with Client('{server_url}/mcp', mode={era!r}) as asker:\n"
                        "    await asker.call_tool('offload_gpu', {'wait_seconds': 3000})\n"
                        "asyncio.run(ask())"
                    )
                    asker = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
                    await until(draining, 20)
                    asker.kill()
                    await asker.wait()
                    await until(over)


@pytest.mark.parametrize("name", ["nothing.wav", "..%2F..%2Fetc%2Fpasswd", ".hidden.wav"])
async def test_only_saved_files_can_be_read(client: Client, name: str) -> None:
    with pytest.raises(Exception, match=r"no file|not found"):
        await client.read_resource(f"orpheus://outputs/{name}")


@pytest.mark.parametrize(
    ("headers", "status"), [({"origin": "http://evil.example"}, 403), ({"host": "evil.example"}, 421)]
)
async def test_a_page_of_another_site_is_refused(
    server_url: str, headers: dict[str, str], status: int
) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{server_url}/mcp", json=call, headers=headers)
    assert answer.status_code == status
    cure = "ORPHEUS_CORS_ORIGINS" if "origin" in headers else "ORPHEUS_ALLOWED_HOSTS"
    assert cure in answer.json()["error"]["message"]


def test_the_server_imports_fastmcp_only_when_it_is_asked_for_mcp() -> None:
    program = "import sys, orpheus_openai.app; sys.exit('fastmcp' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_the_folder_mcp_does_not_hide_the_sdk() -> None:
    program = "import mcp; mcp.ClientSession"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


async def test_the_config_file_works_as_it_stands(server_url: str) -> None:
    sections = json.loads((ROOT / "mcp" / "mcp_config.json").read_text())
    servers = sections["servers"]
    assert servers["orpheus"] == {"type": "stdio", **sections["mcpServers"]["orpheus"]}, (
        "the same for other agents"
    )
    servers["orpheus"]["env"] = environ(ORPHEUS_URL=server_url)
    if shutil.which(servers["orpheus"]["command"], path=servers["orpheus"]["env"]["PATH"]) is None:
        pytest.skip("orpheus-openai is not installed as a command here")
    async with Client({"mcpServers": servers}) as client:
        assert {tool.name for tool in await client.list_tools()} == TOOLS
        spoken = (await client.call_tool("generate_speech", {"text": "Hello."})).structured_content
        assert spoken["url"].startswith(server_url)


async def test_the_server_that_stdio_started_does_not_outlive_its_violent_end(tmp_path: Path) -> None:
    port = free_port()
    with (tmp_path / "stderr.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "orpheus_openai", "mcp"),
            env=with_scripts(PORT=str(port)),
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )

    async def up() -> bool:
        return await asyncio.to_thread(answers, port)

    async def down() -> bool:
        return not await up()

    await until(up, 60.0)
    process.kill()
    await process.wait()
    await until(down)


async def test_without_a_server_stdio_starts_one_says_so_and_takes_it_along_and_a_guest_starts_another(
    tmp_path: Path,
) -> None:
    port = free_port()
    nowhere = "http://127.0.0.1:9"  # a proxy for the world outside has no say on this machine
    environ = {"PORT": str(port), "HTTP_PROXY": nowhere, "http_proxy": nowhere}
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with Client(stdio(first, HOME=str(first), **environ)) as starter:
        spoken = (await starter.call_tool("generate_speech", {"text": "Hello."})).structured_content
        assert answers(port)
        guest = Client(stdio(second, HOME=str(second), **environ))
        await guest.__aenter__()
    try:
        assert Path(spoken["path"]).parent == first / "orpheus-openai" / "outputs"
        assert "starting one" in (first / "stderr.log").read_text()
        assert "starting one" not in (second / "stderr.log").read_text()
        assert not answers(port)
        assert len(await guest.list_tools()) == len(TOOLS)
    finally:
        await guest.close()
    assert "starting one" in (second / "stderr.log").read_text()


async def refusal(folder: Path, url: str) -> str:
    """Start `orpheus-openai mcp` for a server that will not have it; what it says on its way out."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "orpheus_openai", "mcp"),
        env=with_scripts(ORPHEUS_URL=url),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        code = await process.wait()
    assert process.stdout is not None
    assert process.stderr is not None
    assert code == 2
    assert await process.stdout.read() == b""
    return (await process.stderr.read()).decode()


async def test_a_url_where_nothing_answers_is_explained(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert f"ORPHEUS_URL={url}: no orpheus-openai answers there" in await refusal(tmp_path, url)


async def test_a_server_that_wants_another_key_is_explained(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        head = b"200 OK" if request.startswith(b"GET /health ") else b"401 Unauthorized"
        body = b'{"name":"orpheus-openai"}'
        writer.write(
            b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (head, len(body), body)
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as guarded:
        url = f"http://127.0.0.1:{guarded.sockets[0].getsockname()[1]}"
        assert "set ORPHEUS_API_KEY" in await refusal(tmp_path, url)


def test_the_inspector_lists_and_calls_every_tool(server_url: str) -> None:
    inspector = shutil.which("mcp-inspector-cli")
    if inspector is None:
        pytest.skip("no mcp-inspector-cli here: ./test.sh installs it where there is npm")

    def inspect(*arguments: str) -> Any:
        command = [inspector, f"{server_url}/mcp", "--transport", "http", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    assert {tool["name"] for tool in inspect("--method", "tools/list")["tools"]} == TOOLS
    for tool in sorted(TOOLS):
        arguments = ["--tool-arg", "text=Hello."] if tool == "generate_speech" else []
        answer = inspect("--method", "tools/call", "--tool-name", tool, *arguments)
        assert answer["structuredContent"]
        assert not answer.get("isError")


def test_a_client_that_leaves_while_it_is_sending_leaves_no_error_in_the_log(tmp_path: Path) -> None:
    with serving(tmp_path, environ()) as server:
        for number, version in enumerate(
            ("", "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n"), start=1
        ):
            head = (
                "POST /mcp/ HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json, text/event-stream\r\n"
                f"content-type: application/json\r\n{version}content-length: 500\r\n\r\n"
            )
            with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port)) as connection:
                connection.sendall(head.encode() + b'{"jsonrpc":')
            deadline = time.monotonic() + 60
            while (log := server.log.read_text()).count(" /mcp") < number:
                assert time.monotonic() < deadline, log
                time.sleep(0.05)
            assert log.count("499") >= number
        assert "Traceback" not in log
