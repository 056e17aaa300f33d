"""How surely what was not spoken well is found: speech of known content, looked at as the server looks at Orpheus'.

English is Debian's `flite`: whole sentences of about 14 words, without a word of five letters or more, with one twice,
without the last three. Thresholds were set by the sentences under "set" in slt and rms; figures are those of the
sentences under "measure" in awb and kal16. Loops, silences and missing ends are made of tokens and sound.

    apt-get install flite
    python -m benchmarks.verify
"""

import argparse
import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.timings import READERS, _loaded
from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.heard import Doubts, doubts
from orpheus_openai.audio.loops import LONGEST_PERIOD
from orpheus_openai.catalog import load_catalog
from orpheus_openai.models.orpheus.frames import CODEBOOK_SIZE, SAMPLES_PER_FRAME, TOKENS_PER_FRAME
from orpheus_openai.models.preview.model import PreviewModel, stand_in
from orpheus_openai.models.preview.reading import Reading, read, starts
from orpheus_openai.speech.trial import Trial
from orpheus_openai.text.words import words_of

SENTENCES = Path(__file__).with_name("verify.json")
VOICES = {"set": ("slt", "rms"), "measure": ("awb", "kal16")}
KINDS = ("whole", "missing", "repeated", "tail")
LONG_WORD, WORDS_EACH, TAIL = 5, 3, 3
SHIFTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""What is added to the thresholds of words, for the curve."""
GOAL_WORD, GOAL_TAIL, GOAL_FALSE, GOAL_COST = 0.80, 0.95, 0.03, 2.0
"""Shares found and falsely found, and per cent of real time."""


class Found(NamedTuple):
    """One sentence that was looked at."""

    kind: str
    doubts: Doubts
    seconds: float
    cost: float


class Figures(msgspec.Struct):
    """The curve, the mechanical faults by name, and what it costs in per cent of real time."""

    curve: list[dict[str, float]]
    faults: dict[str, tuple[int, int]]
    cost_words: float
    cost_frames: float


def edited(text: str, draw: random.Random) -> Iterator[tuple[str, str]]:
    """What is said in place of `text`, and what is wrong with that."""
    words = words_of(text).words
    yield "whole", text
    long = [word for word in words if word.end - word.start >= LONG_WORD]
    for word in draw.sample(long, WORDS_EACH):
        yield "missing", f"{text[: word.start].rstrip()} {text[word.end :].lstrip()}".strip()
    for word in draw.sample(long, WORDS_EACH):
        yield "repeated", f"{text[: word.end]} {text[word.start :]}"
    yield "tail", text[: words[-TAIL].start].rstrip(" ,") + "."


def flite(voice: str, text: str) -> PCM:
    """`text` in a voice of flite's."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(
            ["flite", "-voice", voice, "-t", text, "-o", file.name], capture_output=True, check=True
        )
        return _loaded(file.name)


async def words(part: str) -> list[Found]:
    """Look at each sentence of `part`, whole and edited, in its voices."""
    catalog = load_catalog()
    preview = PreviewModel(catalog.emotion_tags)
    found = []
    try:
        for number, text in enumerate(json.loads(SENTENCES.read_text(encoding="utf-8"))[part]):
            reading = await read(preview, text, stand_in(catalog.voices[READERS["en"]]))
            for voice in VOICES[part]:
                for kind, said in edited(text, random.Random(f"{part}{number}{voice}")):
                    found.append(_looked_at(kind, flite(voice, said), text, reading))
    finally:
        await preview.close()
    return found


def _looked_at(kind: str, pcm: PCM, text: str, reading: Reading) -> Found:
    began = time.process_time()
    found = doubts(pcm, reading.pcm, starts(reading, text, words_of(text).words))
    return Found(kind, found, pcm.size / SAMPLE_RATE, time.process_time() - began)


def point(found: list[Found], shift: float) -> dict[str, float]:
    """The shares that are doubted with thresholds higher by `shift`."""
    shares = {"shift": shift}
    for kind in KINDS:
        of_kind = [f.doubts for f in found if f.kind == kind]
        shares[kind] = sum(
            d._replace(missing=d.missing - shift, repeated=d.repeated - shift).serious for d in of_kind
        )
        shares[kind] /= len(of_kind)
    return shares


def tried(frames: np.ndarray, pcm: PCM | None = None, *, ended: bool = True) -> Trial:
    """What the server makes of frames that come one by one, each as loud as speech unless there is `pcm`."""
    trial = Trial(lambda: 30.0)
    noise = np.random.default_rng(0).normal(0, 3_000, SAMPLES_PER_FRAME).astype(np.int16)
    for number, frame in enumerate(frames):
        if not trial.look(frame[None], 0):
            break
        piece = noise if pcm is None else pcm[number * SAMPLES_PER_FRAME : (number + 1) * SAMPLES_PER_FRAME]
        if not trial.add(piece):
            break
    trial.over(ended=ended)
    trial.finish()
    return trial


def mechanical() -> dict[str, tuple[int, int]]:
    """How many of each fault were found, and of how many; of sound frames how many were found to be at fault."""
    draw = np.random.default_rng(1)

    def frames(count: int) -> np.ndarray:
        return draw.integers(0, CODEBOOK_SIZE, (count, TOKENS_PER_FRAME)).astype(np.int16)

    results: dict[str, list[bool]] = {"loop": [], "noisy loop": [], "silence": [], "no end": [], "sound": []}
    for period in range(1, LONGEST_PERIOD + 1):
        looping = np.concatenate([frames(40), np.tile(frames(period), (300 // period, 1))])
        noisy = np.where(draw.random(looping.shape) < 0.2, frames(len(looping)), looping).astype(np.int16)
        results["loop"].append(tried(looping).fault == "loop")
        results["noisy loop"].append(tried(noisy).fault == "loop")
        said = frames(120)
        pcm = draw.normal(0, 3_000, len(said) * SAMPLES_PER_FRAME).astype(np.int16)
        pause = round((1.0 + period / LONGEST_PERIOD) * SAMPLE_RATE)
        silent = pcm.copy()
        silent[80_000 : 80_000 + pause] = 0
        results["sound"].append(tried(said, silent).fault is not None)
        silent[80_000 : 80_000 + pause + 2 * SAMPLE_RATE] = 0
        results["silence"].append(tried(said, silent).fault == "silence")
        results["no end"].append(tried(said, pcm, ended=False).fault == "no_end")
    return {name: (sum(each), len(each)) for name, each in results.items()}


def cost_of_frames() -> float:
    """Per cent of real time for what looks at frames and their sound."""
    said = np.random.default_rng(2).integers(0, CODEBOOK_SIZE, (340, TOKENS_PER_FRAME)).astype(np.int16)
    began = time.process_time()
    for _ in range(5):
        tried(said)
    return 100 * (time.process_time() - began) * SAMPLE_RATE / (5 * len(said) * SAMPLES_PER_FRAME)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=tuple(VOICES), default="measure", help="whose sentences and voices")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not shutil.which("flite"):
        sys.exit("no flite here: apt-get install flite")
    found = asyncio.run(words(options.part))
    cost = 100 * sum(f.cost for f in found) / sum(f.seconds for f in found)
    figures = Figures([point(found, shift) for shift in SHIFTS], mechanical(), cost, cost_of_frames())
    print("thresholds  " + "".join(f"{kind:>10}" for kind in KINDS))
    for at in figures.curve:
        print(f"{at['shift']:+10.1f}  " + "".join(f"{at[kind]:10.1%}" for kind in KINDS))
    for name, (hits, count) in figures.faults.items():
        print(f"{name}: found in {hits} of {count}")
    print(
        f"words {figures.cost_words:.2f} %, frames and sound {figures.cost_frames:.2f} % of real time on one core"
    )
    if options.json:
        options.json.write_bytes(msgspec.json.encode(figures))
    sys.exit(0 if good(figures) else "beyond the goals")


def good(figures: Figures) -> bool:
    """Whether all goals are met."""
    at = next(each for each in figures.curve if each["shift"] == 0)
    always = all(hits == count for name, (hits, count) in figures.faults.items() if name != "sound")
    return (
        min(at["missing"], at["repeated"]) >= GOAL_WORD
        and at["tail"] >= GOAL_TAIL
        and at["whole"] <= GOAL_FALSE
        and always
        and figures.faults["sound"][0] == 0
        and figures.cost_words + figures.cost_frames <= GOAL_COST
    )


if __name__ == "__main__":
    main()
