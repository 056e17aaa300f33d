"""Load an OpenAI-compatible speech server: time to first audio, speed, and the gaps a listener hears.

    python -m benchmarks.load --serve --streams 1 --requests 50 --format pcm
    python -m benchmarks.load --base-url http://127.0.0.1:8899/v1 --model tts-1 --streams 16 --json run.json

Times are taken as the bytes come in; what they sound like is found out after the run, off the clock. Beside
the result stand the round trip of `GET /health` on the same server, as the least that any answer takes, and
how busy the driver itself was: where its lag is a good part of a time, that time is not the server's alone.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.http_stream import BrokenTransferError, fetch
from benchmarks.playback import PLAYABLE, UnplayableError, listen
from benchmarks.report import Outcome, Run, per_request, summarise, table
from benchmarks.serving import Server, serving

TEXTS = (
    "Good morning.",
    "The train to the coast leaves from platform nine, a quarter of an hour late.",
    (
        "She put the letter back into its envelope, looked out at the rain for a while, and said nothing. "
        "When the kettle began to sing she got up, took two cups from the shelf, and asked whether anybody "
        "had thought of milk."
    ),
    (
        "A lighthouse is a simple machine with a long memory. Somebody carries oil up a stair, somebody "
        "trims a wick, and out at sea a stranger knows where the rocks are. For two hundred years that was "
        "all there was to it. Then came the gas, and the lens that a clockwork turned, and at last the "
        "cable from the mainland. The keepers went home, one after another, and left their logbooks behind: "
        "the weather at four, the weather at eight, a ship with red sails, a bird against the glass. Nobody "
        "reads them now. But the light still goes round, every ten seconds, as it did on the first night, "
        "and the sea, which has seen many lights, does not seem to mind."
    ),
)
"""From two words to about forty seconds, taken in turn."""

IDLE_PROBES = 30
PROBE_SECONDS = 0.25
"""Between one `GET /health` and the next while the load is on."""
LAG_SECONDS = 0.005
"""Between two looks at how late the driver's own event loop is."""


def main() -> None:
    """Run the command line; exit code 1 when any request failed."""
    options = _parser().parse_args()
    with _own_server() if options.serve else contextlib.nullcontext() as server:
        if server is not None:
            options.base_url = f"{server.url}/v1"
        run = _run(options, server)
    for outcome in run.outcomes:
        _hear(outcome, options.format)
    summary = summarise(run)
    failed = sum(summary["errors"].values())
    print(f"{len(run.outcomes)} requests, {options.streams} at once, {options.format}, {failed} failed\n")
    print(table(summary))
    for kind, count in summary["errors"].items():
        detail = next(outcome.detail for outcome in run.outcomes if outcome.error == kind)
        print(f"failed      {count} × {kind}: {detail}")
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name not in ("json", "api_key")}
        requests = [per_request(outcome) for outcome in run.outcomes]
        document = {"settings": settings, "summary": summary, "requests": requests}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    sys.exit(1 if failed else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.load", description="Load a speech server and measure it."
    )
    add = parser.add_argument
    add(
        "--base-url", default="http://127.0.0.1:8899/v1", help="as an OpenAI client is given it (%(default)s)"
    )
    add(
        "--serve",
        action="store_true",
        help="start a server of our own (the preview, unless ORPHEUS_MODEL is set)",
    )
    add("--model", default="tts-1", help="(%(default)s)")
    add("--voice", default="alloy", help="(%(default)s)")
    add("--format", default="pcm", choices=PLAYABLE, help="(%(default)s)")
    add("--streams", type=_positive, default=1, help="requests at the same time (%(default)s)")
    add("--requests", type=_positive, default=40, help="requests in all (%(default)s)")
    add(
        "--warmup",
        type=int,
        default=4,
        help="requests before, one at a time, that do not count (%(default)s)",
    )
    add("--text", help="what to say (a mix, from two words to forty seconds)")
    add("--api-key", default=os.environ.get("OPENAI_API_KEY", "none"), help="(OPENAI_API_KEY)")
    add("--timeout", type=float, default=120.0, help="seconds for one request (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures and every request there")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


@contextlib.contextmanager
def _own_server() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), {"ORPHEUS_MODEL": "preview", **os.environ}) as server,
    ):
        yield server


def _run(options: argparse.Namespace, server: Server | None) -> Run:
    at_start = server.resident_mib()[0] if server else 0.0
    with _loop() as loop:
        run, server_cpu = loop.run(_load(options, server))
    if server:
        run.server = {
            "start": server.start_seconds,
            "resident_mib_at_start": at_start,
            "resident_mib_peak": server.resident_mib()[1],
            "cpu_share": server_cpu / run.wall,
        }
    return run


def _loop() -> asyncio.Runner:
    try:
        import uvloop  # noqa: PLC0415  absent on Windows
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _load(options: argparse.Namespace, server: Server | None) -> tuple[Run, float]:
    """Warm up, then the load; the run and the server's processor time while the load was on."""
    run = Run()
    texts = (options.text,) if options.text else TEXTS
    for text in itertools.islice(itertools.cycle(texts), options.warmup):
        await _speak(options, text)
    health = "{0.scheme}://{0.netloc}/health".format(urlsplit(options.base_url))
    try:
        run.health_idle = [await _health(health) for _ in range(IDLE_PROBES)]
    except (OSError, BrokenTransferError) as error:
        sys.exit(f"no server answers at {health}: {error}")
    waiting = itertools.islice(itertools.cycle(texts), options.requests)
    watchers = [
        asyncio.create_task(_watch_lag(run.lag)),
        asyncio.create_task(_probe(health, run.health_loaded)),
    ]
    server_cpu = server.cpu_seconds() if server else 0.0
    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as streams:
        for _ in range(options.streams):
            streams.create_task(_stream(options, waiting, run.outcomes))
    run.wall, run.driver_cpu = time.perf_counter() - began, time.process_time() - cpu
    server_cpu = server.cpu_seconds() - server_cpu if server else 0.0
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    return run, server_cpu


async def _stream(options: argparse.Namespace, texts: Iterator[str], outcomes: list[Outcome]) -> None:
    """One listener after another, until all requests are taken."""
    for text in texts:
        outcomes.append(await _speak(options, text))  # noqa: PERF401  other streams add to the same list


async def _speak(options: argparse.Namespace, text: str) -> Outcome:
    outcome = Outcome(text)
    fields = {
        "model": options.model,
        "voice": options.voice,
        "input": text,
        "response_format": options.format,
    }
    headers = {"authorization": f"Bearer {options.api_key}", "content-type": "application/json"}
    url = options.base_url.rstrip("/") + "/audio/speech"
    body = json.dumps(fields).encode()
    try:
        async with asyncio.timeout(options.timeout):
            answer = await fetch("POST", url, headers, body, keep_body=options.format != "pcm")
    except TimeoutError:
        outcome.error, outcome.detail = "timeout", f"not finished after {options.timeout:g} s"
    except BrokenTransferError as error:
        outcome.error, outcome.detail = "broken transfer", str(error)
    except OSError as error:
        outcome.error, outcome.detail = "no connection", str(error)
    else:
        outcome.answer = answer
        if answer.status != 200:
            outcome.error, outcome.detail = (
                f"status {answer.status}",
                answer.body.decode(errors="replace")[:300],
            )
    return outcome


def _hear(outcome: Outcome, audio_format: str) -> None:
    if outcome.answer is None or outcome.error:
        return
    try:
        outcome.heard = listen(audio_format, outcome.answer.arrivals, bytes(outcome.answer.body))
    except UnplayableError as error:
        outcome.error, outcome.detail = "not playable", str(error)


async def _health(url: str) -> float:
    """Seconds of one round trip; any answer will do, also that of a server without this path."""
    return (await fetch("GET", url, {})).seconds


async def _probe(url: str, round_trips: list[float]) -> None:
    while True:
        with contextlib.suppress(OSError, BrokenTransferError):
            round_trips.append(await _health(url))
        await asyncio.sleep(PROBE_SECONDS)


async def _watch_lag(late: list[float]) -> None:
    while True:
        due = time.perf_counter() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        late.append(max(0.0, time.perf_counter() - due))


if __name__ == "__main__":
    main()
