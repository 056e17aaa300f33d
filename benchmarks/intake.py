"""What a text costs everybody else while it is taken in, and its own listener before the first sound.

    python -m benchmarks.intake

Each pattern makes a text of 50 000 characters, and is asked for with each of the voices, of a real server (the
preview) whose filter looks at every text; all the while `GET /health` is asked for. It may be late by 50 ms:
from that, what the server and this process waited for a core is taken off, as far as it is counted. Then, without a
filter, a text of many paragraphs is held against its first paragraph alone: its first sound may come 10 ms later.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from benchmarks.http_stream import BrokenTransferError, fetch
from benchmarks.serving import Server, Waits, serving

CHARACTERS = 50_000
LATE_GOAL = 0.050
FIRST_SOUND_GOAL = 0.010

VOICES = ("tara", "pietro", "长乐")
"""One of those languages whose sentences are found quickly, the one whose are not, and one without spaces."""

PARAGRAPH = (
    "The keepers went home, one after another, and left their logbooks behind. Nobody reads them now.\n\n"
)
PATTERNS = {
    "prose": PARAGRAPH,
    "one sentence": "and so on ",
    "one letter": "a",
    "one-letter lines": "a\n",
    "dots": ".",
    "dots in lines": "...\n",
    "abbreviations": "U.S.A. ",
    "titles": "Dr. ",
    "list numbers": "1. ",
    "open quotes": "“A. ",
    "open brackets": "( ",
    "tags": "<laugh> ",
    "open tags": "<",
    "special tokens": "<|eot_id|>",
    "bits of special tokens": "<|",
    "invisible": "\u200b",
    "emoji": "😀",
    "families": "👩\u200d",
    "flags": "🇩🇪",
    "addresses": "https://a.example/b?c=d ",
    "dashes": "a-",
    "numbers": "3,141.59 ",
    "digits": "7",
    "money": "$5.3 billion ",
    "Markdown emphasis": "**a** _b_ ",
    "Markdown open emphasis": "*a **b ",
    "Markdown open links": "[a](",
    "Markdown brackets": "[" * 50 + "a",
    "Markdown quotes": "> ",
    "Markdown list": "* item\n",
    "Markdown table": "| a | b |\n|---|---|\n",
    "code fences": "```\n",
    "backticks": "a`` ",
    "HTML": "<b>a</b> &amp; ",
    "open comments": "<!-- ",
    "thoughts": "<think>",
    "Chinese": "他说“你。",
    "Devanagari": "क्षि",
    "decomposed Korean": unicodedata.normalize("NFD", "한국어 "),
    "decomposed Latin": unicodedata.normalize("NFD", "é"),
    "one word twice": "badger ",
}
PILES = {
    "piled up marks": "a" + "\u0301\u0316" * CHARACTERS,
    "marks, one of each": "a\u0301\u0316" * CHARACTERS,
}

WINDOW = 1.5
"""Seconds for which each text is listened to; then its listener hangs up."""
PROBE_SECONDS = 0.005
RUNS = 15


def main() -> None:
    """Run the command line; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.intake", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--only", metavar="WORDS", default="", help="only patterns whose name holds these words"
    )
    options = parser.parse_args()
    texts = {name: _repeated(unit) for name, unit in (PATTERNS | PILES).items()}
    texts = {name: text for name, text in texts.items() if options.only in name}
    print(f"{os.cpu_count()} cores, load average before the run {os.getloadavg()[0]:.1f}\n")
    with _server(
        {"ORPHEUS_BLOCK_LIST": "xyzzy, not to be said", "ORPHEUS_MAX_REPETITION": "10000"}
    ) as server:
        late = asyncio.run(_take_in(server, texts))
    with _server({}) as server:
        alone, whole = asyncio.run(_first_sounds(server))
    worst = max(late.values(), default=0.0)
    first, of_all = statistics.median(alone), statistics.median(whole)
    print(f"\n/health late, at most {1e3 * worst:.1f} ms, goal {1e3 * LATE_GOAL:.0f} ms")
    print(
        f"first sound, median of {RUNS}: of a paragraph {1e3 * first:.1f} ms, of a long text {1e3 * of_all:.1f} ms"
    )
    print(f"later by {1e3 * (of_all - first):.1f} ms, goal {1e3 * FIRST_SOUND_GOAL:.0f} ms")
    if options.json:
        figures = {"late": late, "first_sound": {"paragraph": alone, "whole": whole}}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(1 if worst > LATE_GOAL or of_all - first > FIRST_SOUND_GOAL else 0)


def _repeated(unit: str) -> str:
    return (unit * (CHARACTERS // len(unit) + 1))[:CHARACTERS]


@contextlib.contextmanager
def _server(environ: dict[str, str]) -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), {**os.environ, "ORPHEUS_MODEL": "preview", **environ}) as server,
    ):
        yield server


async def _take_in(server: Server, texts: dict[str, str]) -> dict[str, float]:
    """How late `/health` was at most for each text, in seconds, over its median on the idle server."""
    idle = statistics.median([(await fetch("GET", f"{server.url}/health", {})).seconds for _ in range(100)])
    found: dict[str, float] = {}
    for name, text in texts.items():
        late = [await _late(server, text, voice, idle) for voice in VOICES]
        found[name] = max(late)
        print(
            f"{name:24}"
            + "".join(f"{voice:>8} {1e3 * each:5.1f} ms" for voice, each in zip(VOICES, late, strict=True))
        )
    return found


async def _late(server: Server, text: str, voice: str, idle: float) -> float:
    waits = Waits(server.pid)
    listener = asyncio.create_task(_listen(server, text, voice))
    worst = 0.0
    while not listener.done():
        before = waits.seconds()
        seconds = (await fetch("GET", f"{server.url}/health", {})).seconds
        worst = max(worst, seconds - (waits.seconds() - before) - idle)
        await asyncio.sleep(PROBE_SECONDS)
    await listener
    return worst


async def _listen(server: Server, text: str, voice: str) -> None:
    body = json.dumps({"model": "tts-1", "voice": voice, "input": text, "response_format": "pcm"}).encode()
    headers = {"content-type": "application/json"}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WINDOW):
            answer = await fetch("POST", f"{server.url}/v1/audio/speech", headers, body, keep_body=False)
            if answer.status != 200 and b"too_repetitive" not in answer.body:
                raise RuntimeError(f"status {answer.status}: {answer.body.decode(errors='replace')[:500]}")


async def _first_sounds(server: Server) -> tuple[list[float], list[float]]:
    """Seconds until the first byte, of a paragraph alone and of a long text that begins with it, in turn."""
    whole = _repeated(PARAGRAPH)
    times: tuple[list[float], list[float]] = [], []
    for turn, text in itertools.islice(itertools.cycle(enumerate((PARAGRAPH, whole))), 2 * RUNS + 2):
        times[turn].append(await _first_byte(server, text))
    return times[0][1:], times[1][1:]


async def _first_byte(server: Server, text: str) -> float:
    body = json.dumps({"model": "tts-1", "voice": "tara", "input": text, "response_format": "pcm"}).encode()
    headers = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    head = (
        "POST /v1/audio/speech HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    try:
        began = asyncio.get_running_loop().time()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise BrokenTransferError(answer.decode("latin-1"))
        await reader.readexactly(16)
        return asyncio.get_running_loop().time() - began
    finally:
        writer.close()


if __name__ == "__main__":
    main()
