"""From a fresh clone, with a GGUF file in hand, to the first sound: one command, timed.

    python -m benchmarks.clone                       # a tiny GGUF file and a codec that the command makes
    python -m benchmarks.clone --model orpheus-3b-0.1-ft-q4_k_m.gguf --snac hubertsiuzdak/snac_24khz

Clones this repository's last commit into a temporary folder and runs `./start.sh` there, twice. Packages come from
where uv gets them: the first time includes that, and depends on what is in its cache.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.http_stream import fetch
from tests.support.environment import environ

ROOT = Path(__file__).parents[1]
LONGEST = 1_800
"""Seconds for the packages of the profile to come."""
_HEALTH = re.compile(r"Health\s+(http://\S+)/health")
TEXT = "The train to the coast leaves from platform nine."


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.clone", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF file of Orpheus; default: a tiny one is made")
    parser.add_argument("--snac", default="", help="the codec; default: one of the true shape is made")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        model, snac = _in_hand(Path(folder), options.model, options.snac)
        clone = Path(folder) / "clone"
        began = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
        print(f"load average before {load:.1f}; cloned in {time.perf_counter() - began:.1f} s\n")
        print("./start.sh      answers after   first sound after, s")
        for what in ("first time", "second time"):
            ready, sound = _spoken(clone, model, snac)
            print(f"{what:15} {ready:13.1f} {sound:19.1f}", flush=True)


def _in_hand(folder: Path, model: Path | None, snac: str) -> tuple[Path, str]:
    from tests.support.tiny_gguf import write_gguf  # noqa: PLC0415  needs the package gguf
    from tests.support.tiny_snac import write_snac  # noqa: PLC0415  needs torch

    if not snac:
        (folder / "snac").mkdir()
        snac = str(write_snac(folder / "snac"))
    return model or write_gguf(folder / "orpheus-f16.gguf"), snac


def _spoken(clone: Path, model: Path, snac: str) -> tuple[float, float]:
    """Seconds from the command to the first answer, and to the first byte of speech."""
    began = time.perf_counter()
    with _started(clone, model, snac) as url:
        ready = time.perf_counter() - began
        body = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "pcm"}
        headers = {"content-type": "application/json"}
        asked = time.perf_counter() - began
        answer = asyncio.run(fetch("POST", f"{url}/v1/audio/speech", headers, json.dumps(body).encode()))
        if answer.status != 200 or answer.headers.get("x-orpheus-model") != "medium-3b":
            raise RuntimeError(f"{answer.status}: {answer.body[:500]!r}")
        return ready, asked + answer.arrivals[0].seconds


@contextlib.contextmanager
def _started(clone: Path, model: Path, snac: str) -> Iterator[str]:
    settings = environ(ORPHEUS_MODEL_MEDIUM_3B=str(model), ORPHEUS_SNAC=snac, ORPHEUS_HOST="127.0.0.1")
    del settings["ORPHEUS_MODEL"]
    log = clone / "start.log"
    with log.open("wb") as output:
        process = subprocess.Popen(["./start.sh", "--port", "0"], cwd=clone, env=settings, stderr=output)
    try:
        deadline = time.monotonic() + LONGEST
        while not (found := _HEALTH.search(log.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it did not come up:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.02)
        yield found[1]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
