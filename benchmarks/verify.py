"""How surely what was not spoken well is found: speech of known content, looked at as the server looks at Orpheus'.

Whole sentences, without a word of five letters or more, with one twice, without the last three, in the voices of
Debian's `flite` (English) and `festival` (English, Italian). The thresholds in `audio.heard` are those that `--tune`
finds with the sentences and voices under "tune", by the rule that `tuned` tells; the figures are those of the ones
under "measure", which share neither voice nor sentence with them. Loops, silences and missing ends are made of tokens
and sound.

    apt-get install flite festival festvox-kdlpc16k festvox-itapc16k
    python -m benchmarks.verify
"""

import argparse
import asyncio
import itertools
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
from orpheus_openai.audio.heard import MISSING, REPEATED, TAIL, Doubts, doubts
from orpheus_openai.audio.loops import LONGEST_PERIOD
from orpheus_openai.catalog import load_catalog
from orpheus_openai.models.orpheus.frames import CODEBOOK_SIZE, SAMPLES_PER_FRAME, TOKENS_PER_FRAME
from orpheus_openai.models.preview.model import PreviewModel, stand_in
from orpheus_openai.models.preview.reading import Reading, read, starts
from orpheus_openai.speech.trial import Trial
from orpheus_openai.text.words import words_of

SENTENCES = Path(__file__).with_name("verify.json")
VOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {"tune": ("slt", "rms"), "measure": ("awb", "kal16", "ked_diphone")},
    "it": {"measure": ("pc_diphone",)},
}
"""Of flite, and of festival where they are diphones."""
KINDS = ("whole", "missing", "repeated", "tail")
LONG_WORD, WORDS_EACH, LOST_WORDS = 5, 3, 3
SHIFTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""What is added to the thresholds of words, for the curve."""
GRID, MOST_TUNED = 0.25, 0.02
"""Steps in which thresholds are looked for, and the share of whole sentences that may be doubted then."""
GOAL_WORD, GOAL_TAIL, GOAL_FALSE, GOAL_COST = 0.80, 0.95, 0.03, 2.0
"""Shares found and falsely found, and per cent of real time."""


class Found(NamedTuple):
    """One sentence that was looked at."""

    kind: str
    doubts: Doubts
    seconds: float
    cost: float


class Figures(msgspec.Struct):
    """The curve of each language, the mechanical faults by name, and what it costs in per cent of real time."""

    curves: dict[str, list[dict[str, float]]]
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
    yield "tail", text[: words[-LOST_WORDS].start].rstrip(" ,") + "."


def said_by(voice: str, text: str) -> PCM:
    """`text` in a voice of flite's or festival's."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        if voice.endswith("_diphone"):
            command = ["text2wave", "-eval", f"(voice_{voice})", "-o", file.name]
        else:
            command = ["flite", "-voice", voice, "-t", text, "-o", file.name]
        subprocess.run(command, input=text.encode("latin-1"), capture_output=True, check=True)
        return _loaded(file.name)


async def words(language: str, part: str) -> list[Found]:
    """Look at each sentence of `part`, whole and edited, in its voices."""
    catalog = load_catalog()
    preview = PreviewModel(catalog.emotion_tags)
    reader = stand_in(catalog.voices[READERS[language]])
    sentences = json.loads(SENTENCES.read_text(encoding="utf-8"))[language][part]
    found = []
    try:
        for number, text in enumerate(sentences):
            reading = await read(preview, text, reader)
            for voice in VOICES[language][part]:
                for kind, said in edited(text, random.Random(f"{part}{number}{voice}")):
                    found.append(_looked_at(kind, said_by(voice, said), text, reading))
    finally:
        await preview.close()
    return found


def _looked_at(kind: str, pcm: PCM, text: str, reading: Reading) -> Found:
    began = time.process_time()
    found = doubts(pcm, reading.pcm, starts(reading, text, words_of(text).words))
    return Found(kind, found, pcm.size / SAMPLE_RATE, time.process_time() - began)


def shares(found: list[Found], missing: float, repeated: float, tail: float = TAIL) -> dict[str, float]:
    """The share of each kind that is doubted with such thresholds."""
    doubted: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for kind, seen, *_ in found:
        doubted[kind].append(seen.missing > missing or seen.repeated > repeated or seen.tail > tail)
    return {kind: sum(each) / len(each) for kind, each in doubted.items()}


def point(found: list[Found], shift: float) -> dict[str, float]:
    """The same with the thresholds in use, those of words higher by `shift`."""
    return {"shift": shift, **shares(found, MISSING + shift, REPEATED + shift)}


def tuned(found: list[Found]) -> tuple[float, float, float]:
    """The thresholds that find most words while at most `MOST_TUNED` of the whole sentences are doubted.

    That of lost tails lies half way between the whole sentence and the lost tail that are hardest to tell apart.
    """
    tails = {kind: [seen.tail for of, seen, *_ in found if of == kind] for kind in ("whole", "tail")}
    tail = float(round((max(tails["whole"]) + min(tails["tail"])) / 2))
    best, chosen = -1.0, (MISSING, REPEATED)
    steps = np.arange(0.0, 10.0, GRID).tolist()
    for missing, repeated in itertools.product(steps, steps):
        share = shares(found, missing, repeated, tail)
        if share["whole"] <= MOST_TUNED and share["missing"] + share["repeated"] > best:
            best, chosen = share["missing"] + share["repeated"], (missing, repeated)
    return *chosen, tail


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
    parser.add_argument("--tune", action="store_true", help="find the thresholds, and measure nothing")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if lacking := [each for each in ("flite", "text2wave") if not shutil.which(each)]:
        sys.exit(f"no {' and no '.join(lacking)} here: {__doc__.splitlines()[-2].strip()}")
    if options.tune:
        best = tuned(asyncio.run(words("en", "tune")))
        print("missing {}, repeated {}, tail {}".format(*best))
        sys.exit(0 if best == (MISSING, REPEATED, TAIL) else "audio.heard has others")
    found = {language: asyncio.run(words(language, "measure")) for language in VOICES}
    figures = figures_of(found)
    for language, curve in figures.curves.items():
        print(f"{language}          " + "".join(f"{kind:>10}" for kind in KINDS))
        for at in curve:
            print(f"{at['shift']:+10.1f}  " + "".join(f"{at[kind]:10.1%}" for kind in KINDS))
    for name, (hits, count) in figures.faults.items():
        print(f"{name}: found in {hits} of {count}")
    print(
        f"words {figures.cost_words:.2f} %, frames and sound {figures.cost_frames:.2f} % of real time on one core"
    )
    if options.json:
        options.json.write_bytes(msgspec.json.encode(figures))
    sys.exit(0 if good(figures) else "beyond the goals")


def figures_of(found: dict[str, list[Found]]) -> Figures:
    """What was found in each language, and of frames and their sound."""
    all_of_it = [each for of_language in found.values() for each in of_language]
    return Figures(
        {language: [point(each, shift) for shift in SHIFTS] for language, each in found.items()},
        mechanical(),
        100 * sum(each.cost for each in all_of_it) / sum(each.seconds for each in all_of_it),
        cost_of_frames(),
    )


def good(figures: Figures) -> bool:
    """Whether all goals are met."""
    as_they_are = [at for curve in figures.curves.values() for at in curve if at["shift"] == 0]
    always = all(hits == count for name, (hits, count) in figures.faults.items() if name != "sound")
    return (
        all(
            min(at["missing"], at["repeated"]) >= GOAL_WORD
            and at["tail"] >= GOAL_TAIL
            and at["whole"] <= GOAL_FALSE
            for at in as_they_are
        )
        and always
        and figures.faults["sound"][0] == 0
        and figures.cost_words + figures.cost_frames <= GOAL_COST
    )


if __name__ == "__main__":
    main()
