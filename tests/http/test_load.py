"""The load driver: what it says of a stream is what a listener would have met."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.http_stream import Arrival, BrokenTransferError, fetch
from benchmarks.playback import PLAYABLE, UnplayableError, listen
from benchmarks.report import percentiles
from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.audio.encode import make_encoder

SECOND = 2 * SAMPLE_RATE
"""Bytes of PCM."""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def test_a_gap_in_the_stream_is_silence_for_the_listener() -> None:
    arrivals = [Arrival(1.0, SECOND), Arrival(2.5, 2 * SECOND), Arrival(2.6, 3 * SECOND)]
    heard = listen("pcm", arrivals, b"")
    assert (heard.first_audio, heard.audio) == (1.0, 3.0)
    assert heard.underruns == 1
    assert heard.silence == pytest.approx(0.5)


def test_a_stream_ahead_of_the_listener_has_no_silence() -> None:
    heard = listen("pcm", [Arrival(0.2, SECOND), Arrival(1.1, 2 * SECOND), Arrival(3.0, 2 * SECOND)], b"")
    assert (heard.underruns, heard.silence) == (0, 0.0)


@pytest.mark.parametrize("audio_format", PLAYABLE)
def test_audio_counts_from_the_bytes_that_complete_it(audio_format: str) -> None:
    encoder = make_encoder(audio_format)
    tone = (8000 * np.sin(np.arange(SAMPLE_RATE) / 20)).astype(np.int16)
    first, rest = encoder.encode(tone), encoder.encode(tone) + encoder.flush()
    arrivals = [Arrival(0.1, 1), Arrival(0.2, len(first)), Arrival(9.0, len(first + rest))]
    heard = listen(audio_format, arrivals, first + rest)
    assert heard.first_audio == 0.2
    assert heard.audio == pytest.approx(2.0, abs=0.08)
    assert heard.silence == pytest.approx(9.0 - 0.2 - 1.0, abs=0.12)


@pytest.mark.parametrize("audio_format", ["mp3", "wav", "pcm"])
def test_what_holds_no_audio_is_not_playable(audio_format: str) -> None:
    body = b"" if audio_format == "pcm" else b'{"error": null}'
    with pytest.raises(UnplayableError):
        listen(audio_format, [Arrival(0.1, len(body))], body)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (CHUNKED + b"3\r\nabc\r\n2;note=1\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", b"abc"),
    ],
    ids=["chunked", "length", "until it closes"],
)
async def test_a_whole_answer_is_read(answer: bytes, body: bytes) -> None:
    async with answering(answer) as url:
        found = await fetch("GET", url, {})
    assert (found.status, bytes(found.body), found.arrivals[-1].size) == (200, body, len(body))


@pytest.mark.parametrize(
    "answer",
    [CHUNKED + b"3\r\nabc\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"SSH-2.0\r\n\r\n", b""],
    ids=["no last chunk", "too short", "no HTTP", "nothing"],
)
async def test_an_answer_cut_short_is_a_broken_transfer(answer: bytes) -> None:
    async with answering(answer) as url:
        with pytest.raises(BrokenTransferError):
            await fetch("GET", url, {})


def test_percentiles_name_what_so_many_of_a_hundred_keep() -> None:
    assert percentiles(range(1, 101)) == {"p50": 50, "p90": 90, "p99": 99, "worst": 100}
    assert percentiles(range(1, 101), best_is_high=True) == {"p50": 51, "p90": 11, "p99": 2, "worst": 1}
    assert percentiles([]) == {}


async def drive(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", *arguments),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_run_against_a_real_server_is_measured(server_url: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    code, output = await drive(
        *("--base-url", f"{server_url}/v1", "--format", "opus", "--text", "Good morning."),
        *("--streams", "2", "--requests", "5", "--warmup", "1", "--json", str(file)),
    )
    assert code == 0, output
    found: dict[str, Any] = json.loads(file.read_text())
    assert len(found["requests"]) == 5
    assert all(0 < each["first_byte"] <= each["first_audio"] <= each["total"] for each in found["requests"])
    assert all(0.3 < each["audio"] < 3 for each in found["requests"])
    assert "first byte" in output


async def test_failed_requests_are_counted_by_kind(server_url: str) -> None:
    code, output = await drive(
        "--base-url", f"{server_url}/v1", "--model", "no-such-model", "--requests", "3"
    )
    assert code == 1
    assert "3 × status 404" in output
    assert "no-such-model" in output
