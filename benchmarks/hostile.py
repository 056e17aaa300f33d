"""Speak hostile text on a server while others listen: nobody else's speech may be cut, or differ by a sample.

    python -m benchmarks.hostile --pieces 100000
    python -m benchmarks.hostile --pieces 500 --seed 7 --cleaned --json run.json

The server is one of our own with the preview, the native code that such text may kill. Listeners play long texts
one after the other; what each hears is held against the same text, spoken before anything hostile was. Meanwhile
pieces of mixed scripts, marks, tags and digits are spoken in every voice, with texts that are known to kill eSpeak NG
among them, and come to it as they stand, unless `--cleaned` says otherwise. An answer may be the speech, a refusal in
words, or 502; anything else is a failure.
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.http_stream import BrokenTransferError, fetch
from benchmarks.processes import Holding, holding
from benchmarks.serving import Server, serving
from orpheus_openai.catalog import load_catalog

KILLERS = (
    ("ऋतिका", "\u06a9\u093dx\u093d"),
    ("ऋतिका", "\u06d9\u093d\u01bd\u093d"),
    ("javi", "A.%ё x'y9|x| @d.1:30z3.5x'y ё"),
    ("maria", "A.%ё x'y9|x| @d.1:30z3.5x'y ё"),
    ("tara", "ง." * 80),
    ("leo", "罙." * 67),
)
"""Voices and texts that eSpeak NG 1.52 dies of: reads past its tables, a stack and a buffer that overflow."""

SCRIPTS = (
    (0x20, 0x7F), (0xA0, 0x180), (0x180, 0x250), (0x250, 0x2B0), (0x300, 0x370), (0x370, 0x400), (0x400, 0x530),
    (0x590, 0x600), (0x600, 0x700), (0x900, 0x980), (0x980, 0xA00), (0xE00, 0xE80), (0xF00, 0x1000), (0x1100, 0x1200),
    (0x1E00, 0x2000), (0x2000, 0x2070), (0x2070, 0x2100), (0x2200, 0x2300), (0x3040, 0x3100), (0x4E00, 0xA000),
    (0xAC00, 0xD7A4), (0xE000, 0xE100), (0xFB00, 0xFE00), (0x1F300, 0x1F650), (0x1D400, 0x1D800),
)  # fmt: skip
"""Blocks of Unicode, first and past the last."""

SCRAPS = (
    "<laugh>", "<b>", "</speak>", '<break time="9s"/>', "[[h@l'oU]]", "]]", "&amp;", "&#x41;", "\x01300S", "\n\n",
    "\t", "1:30", "3.5", "1,000,000", "-0", "١٢٣", "५६", "½", "²", "1/2", "%", "@", "|", "'", "’", "...", "…", "?!",
    "。", "।", "\u200d", "\u200c", "\u202e", "\ufe0f", "\u0301", "\u093d", "\u0e47", "U.S.A. ", "e.g. ", "http://",
    "x'y", " ", ",",
)  # fmt: skip

SENTENCE = (
    "Nobody knows how long this will take, but it goes on and on for a while, sentence after sentence. "
)
LOOK_SECONDS = 5
REST_SECONDS = 60
AT_REST = 2
"""Processes: the server, and the one that forks."""
JSON = {"content-type": "application/json"}
AS_IT_STANDS = {"ORPHEUS_TEXT_CLEANING": "false", "ORPHEUS_NUMBERS": "as_is"}
"""Settings with which a text comes to eSpeak NG as it was sent."""
ANSWERS = {200: "spoken", 400: "nothing to speak", 502: "unspeakable"}
"""What may be answered to a hostile text."""
LISTENERS = ("tara", "leo", "pierre", "jana", "유나", "长乐", "javi", "pietro")


@dataclass
class Report:
    """What came of a run."""

    answers: Counter[str] = field(default_factory=Counter)
    """Of the hostile pieces, by what came back."""
    failures: list[str] = field(default_factory=list)
    """Answers that must not be, with the seed's text."""
    heard: int = 0
    """Long texts that were heard whole and the same to the sample."""
    spoilt: list[str] = field(default_factory=list)
    """Long texts that were cut, or differed."""
    seconds: float = 0.0
    holdings: list[Holding] = field(default_factory=list)
    """What the server's processes held, every LOOK_SECONDS."""
    at_rest: list[Holding] = field(default_factory=list)
    """What they held while nobody spoke, before anything hostile was and after it."""


def main() -> None:
    """Run the command line; exit code 1 when anything failed or was spoilt."""
    options = _parser().parse_args()
    settings = {} if options.cleaned else AS_IT_STANDS
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), {**os.environ, "ORPHEUS_MODEL": "preview", **settings}) as server,
    ):
        attack = Attack(server, options.speed)
        asyncio.run(attack.run(options.pieces, options.seed, options.at_once, options.seconds))
        report = attack.report
    print(table(report))
    if options.json:
        document = {**asdict(report), "answers": dict(report.answers)}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    sys.exit(1 if report.failures or report.spoilt else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.hostile", description="Speak hostile text.")
    add = parser.add_argument
    add("--pieces", type=int, default=1_000, help="hostile texts (%(default)s)")
    add("--seed", type=int, default=1, help="of the texts (%(default)s)")
    add("--at-once", type=int, default=8, help="hostile texts at the same time (%(default)s)")
    add("--seconds", type=float, default=float("inf"), help="take no more pieces after so long (no limit)")
    add(
        "--cleaned",
        action="store_true",
        help="clean the texts first, and say numbers in words, as is the default",
    )
    add("--speed", type=float, default=2, help="how much faster than speech a listener plays (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def hostile_pieces(seed: int) -> Iterator[tuple[str, str]]:
    """Voices and texts without end, the same for the same seed; up to 280 characters each."""
    chance = random.Random(seed)
    voices = itertools.cycle(load_catalog().voices)
    while True:
        voice = next(voices)
        if chance.random() < 0.02:
            voice, text = chance.choice(KILLERS)
            if chance.random() < 0.5:  # and what is near it
                cut = chance.randrange(len(text))
                text = text[:cut] + _scrap(chance) + text[cut:]
            yield voice, text
            continue
        length = min(280, 1 + int(chance.expovariate(1 / (100 if chance.random() < 0.05 else 6))))
        if chance.random() < 0.2:
            unit = "".join(_scrap(chance) for _ in range(chance.randint(1, 4)))
            yield voice, (unit * length)[:length]
        else:
            yield voice, "".join(_scrap(chance) for _ in range(length))[:280]


def _scrap(chance: random.Random) -> str:
    if chance.random() < 0.3:
        return chance.choice(SCRAPS)
    return chr(chance.randrange(*chance.choice(SCRIPTS)))


class Attack:
    """Strangers and listeners on one server."""

    def __init__(self, server: Server, speed: float) -> None:
        self.report = Report()
        self._server = server
        self._speed = speed
        self._over = asyncio.Event()

    async def run(self, pieces: int, seed: int, at_once: int, seconds: float) -> None:
        """Speak so many hostile pieces, some at once, while listeners play."""
        began = time.monotonic()
        expected = {voice: await self._long(voice, None) for voice in LISTENERS}
        await self._rest()
        listeners = [asyncio.create_task(self._listen(*each)) for each in expected.items()]
        looks = asyncio.create_task(self._look())
        numbered = itertools.islice(hostile_pieces(seed), pieces)

        async def strangers() -> None:
            for voice, text in numbered:
                if time.monotonic() - began > seconds:
                    return
                await self._speak(voice, text)

        await asyncio.gather(*(strangers() for _ in range(at_once)))
        self._over.set()
        await asyncio.gather(*listeners, looks)
        await self._rest()
        self.report.seconds = time.monotonic() - began

    async def _rest(self) -> None:
        """Look once the last process that spoke has ended."""
        async with asyncio.timeout(REST_SECONDS):
            while (held := await asyncio.to_thread(holding, self._server.pid)).processes > AT_REST:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        self.report.at_rest.append(held)

    async def _look(self) -> None:
        while not self._over.is_set():
            self.report.holdings.append(await asyncio.to_thread(holding, self._server.pid))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), LOOK_SECONDS)

    async def _listen(self, voice: str, expected: bytes) -> None:
        """Play the long text again and again until all is over, the last one to its end."""
        while not self._over.is_set():
            try:
                heard = await self._long(voice, 48_000 * self._speed)
            except (OSError, BrokenTransferError) as error:
                self.report.spoilt.append(f"{voice}: cut: {error}")
                continue
            if heard == expected:
                self.report.heard += 1
            else:
                self.report.spoilt.append(f"{voice}: differs")

    async def _long(self, voice: str, bytes_per_second: float | None) -> bytes:
        """The digest of all samples."""
        answer = await fetch(
            "POST", self._url, JSON, _body(voice, SENTENCE * 10), bytes_per_second=bytes_per_second
        )
        if answer.status != 200:
            raise BrokenTransferError(f"{answer.status} {answer.body.decode(errors='replace')}")
        return hashlib.sha256(answer.body).digest()

    async def _speak(self, voice: str, text: str) -> None:
        report = self.report
        try:
            answer = await fetch("POST", self._url, JSON, _body(voice, text), keep_body=False)
        except BrokenTransferError:
            report.answers["broken off"] += 1
            return
        except OSError as error:
            report.failures.append(f"{error}: {voice} {text!r}")
            return
        report.answers[ANSWERS.get(answer.status, str(answer.status))] += 1
        final = answer.headers.get("x-should-retry") == "false"
        if answer.status not in ANSWERS or (answer.status == 502 and not final):
            body = answer.body.decode(errors="replace")
            report.failures.append(f"{answer.status} {body}: {voice} {text!r}")

    @property
    def _url(self) -> str:
        return f"{self._server.url}/v1/audio/speech"


def _body(voice: str, text: str) -> bytes:
    fields = {"model": "preview", "voice": voice, "input": text, "response_format": "pcm"}
    return json.dumps(fields).encode()


def table(report: Report) -> str:
    """Lay the figures out for a terminal."""
    pieces = report.answers.total()
    lines = [
        f"{pieces} hostile pieces in {report.seconds:.0f} s: "
        + ", ".join(f"{count} {what}" for what, count in report.answers.most_common()),
        f"{report.heard} long texts heard beside them, the same to the sample; {len(report.spoilt)} spoilt",
        "",
        "".join(
            [" " * 10, *(f"{name:>14}" for name in ("processes", "memory, MiB", "threads", "descriptors"))]
        ),
    ]
    held = report.holdings
    moments = (
        ("at rest", report.at_rest[:1]),
        ("begin", held[:5]),
        ("middle", held[len(held) // 2 :][:5]),
        ("end", held[-5:]),
        ("at rest", report.at_rest[1:]),
    )
    for moment, part in moments:
        rows = [(each.processes, each.memory_mib, each.threads, each.descriptors) for each in part]
        lines.append(
            f"{moment:<10}"
            + "".join(f"{statistics.mean(column):>14.1f}" for column in zip(*rows, strict=True))
        )
    lines += [f"spoilt    {each}" for each in report.spoilt[:10]]
    lines += [f"failed    {each}" for each in report.failures[:10]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
