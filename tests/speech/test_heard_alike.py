"""What programs were seen to send, and lost sound by, is heard alike at every door."""

import base64
import json

import httpx
import pytest
from fastmcp import Client
from websockets.sync.client import connect

from tests.support.command_line import run
from tests.support.socket_client import PATIENCE, Talk

pytest.importorskip("espeakng_loader")

SILENCE = bytes(2 * 4_800)
"""200 ms."""
SILENT = ["—", "...", "!", "***", "。", "```", "<laugh>"]
SPOKEN = [
    ("tara", "１２３, 𝗕𝗼𝗹𝗱, ① and ᏣᎳᎩ.", "one hundred twenty-three, Bold, one and tsa la gi."),
    ("tara", "ᏣᎳᎩ", "tsa la gi"),
    (
        "长乐",
        "价格是１２３元和$5和₹500和ＡＢＣ公司和𰀀。",
        "价格是一百二十三元和五美元和五百卢比和ABC公司和 ideograph 三 零 零 零 零。",
    ),
    ("유나", "３월", "삼월"),
    ("ऋतिका", "₹500", "पाँच सौ रुपये"),
]


async def openai(url, text, voice):
    return await _post(
        f"{url}/v1/audio/speech", model="tts-1", input=text, voice=voice, response_format="pcm"
    )


async def native(url, text, voice):
    return await _post(f"{url}/api/generate", text=text, voice=voice, response_format="pcm")


async def elevenlabs(url, text, voice):
    return await _post(f"{url}/v1/text-to-speech/{voice}?output_format=pcm_24000", text=text)


async def _post(address, **body):
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.post(address, json=body)
    assert answer.status_code == 200, answer.text
    return answer.content


async def socket(url, text, voice):
    with Talk(url) as talk:
        talk.send("session.config", model="tts-1", voice=voice, response_format="pcm", stream_audio=True)
        talk.say(text)
        return b"".join(talk.until("session.done").audio)


async def elevenlabs_socket(url, text, voice):
    address = f"{url.replace('http', 'ws', 1)}/v1/text-to-speech/{voice}/stream-input?output_format=pcm_24000"
    heard = b""
    with connect(address, proxy=None, open_timeout=PATIENCE) as talk:
        for message in ({"text": " "}, {"text": f"{text} "}, {"text": ""}):
            talk.send(json.dumps(message))
        while not (said := json.loads(talk.recv(timeout=PATIENCE))).get("isFinal"):
            heard += base64.b64decode(said.get("audio") or "")
    return heard


async def mcp(url, text, voice):
    async with Client(f"{url}/mcp") as client:
        asked = {"text": text, "voice": voice, "response_format": "pcm"}
        told = (await client.call_tool("generate_speech", asked)).structured_content
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        return (await client.get(told["url"])).content


@pytest.fixture
def command_line(tmp_path):
    async def speak(url, text, voice):
        done = run("speak", "--voice", voice, "-o", "a.pcm", "--", text, folder=tmp_path, ORPHEUS_URL=url)
        assert done.returncode == 0, done.stderr.decode()
        return (tmp_path / "a.pcm").read_bytes()

    return speak


@pytest.fixture
def doors(command_line):
    return [openai, native, elevenlabs, socket, elevenlabs_socket, mcp, command_line]


@pytest.mark.parametrize("text", SILENT)
async def test_nothing_to_say_is_the_same_silence_at_every_door(server_url, doors, text):
    for door in doors:
        assert await door(server_url, text, "tara") == SILENCE, door


@pytest.mark.parametrize(("voice", "text", "words"), SPOKEN)
async def test_what_counts_as_speech_sounds_as_its_words_do_at_every_door(
    server_url, doors, voice, text, words
):
    expected = await openai(server_url, words, voice)
    assert len(expected) > len(SILENCE)
    for door in doors:
        same = await door(server_url, text, voice) == expected  # no word of how so many bytes differ
        assert same, door
