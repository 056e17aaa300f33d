"""How exactly words are timed: speech whose true times are known, aligned as the server aligns Orpheus'.

English is Debian's `flite`, whose four voices tell the duration of each phone; the other languages are the preview in
another variant, pitch and rate, held against its own events. All of it again with a pause of 0.6 s in the middle, with
a burst of noise of 0.7 s or as much of something like laughter at a tag there, with noise under it all, 20 dB below
the speech, and cut off anywhere, as somebody cuts in who has not let it be spoken to its end.

    apt-get install flite
    python -m benchmarks.timings
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import msgspec
import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.align import align, align_beginning
from orpheus_openai.catalog import Catalog, EspeakVoice, load_catalog
from orpheus_openai.models.preview.model import PreviewModel, stand_in
from orpheus_openai.models.preview.reading import read, starts
from orpheus_openai.text.words import words_of

FLITE_VOICES = ("slt", "rms", "awb", "kal16")
PAUSE_SECONDS, BURST_SECONDS = 0.6, 0.7
DISTURBANCES = ("nothing", "pause", "burst", "laughter", "noise", "cut off")
CUT_OFF = 0.3, 0.9
"""After how much of it."""
GOAL_MEDIAN, GOAL_P90, GOAL_DISTURBED, GOAL_COST = 25.0, 80.0, 120.0, 1.5
"""Milliseconds, and per cent of real time."""
READERS = {
    "en": "tara",
    "fr": "pierre",
    "de": "jana",
    "ko": "준서",
    "hi": "ऋतिका",
    "zh": "长乐",
    "es": "javi",
    "it": "carlo",
}
"""Who reads what is aligned."""
SENTENCES = Path(__file__).with_name("timings.json")
TAG = "<laugh>"


class Spoken(NamedTuple):
    """A sentence, and when each of its words truly begins and ends, in seconds."""

    text: str
    pcm: PCM
    begins: list[float]
    ends: list[float]


class Figures(msgspec.Struct):
    """Errors at the beginnings of words, in milliseconds."""

    voice: str
    disturbed_by: str
    words: int
    median: float
    p90: float
    p90_ends: float
    bias: float
    cost: float
    """Processor time in per cent of the speech's length, the reading's own process not counted."""


@cache
def _phones(voice: str, word: str) -> int:
    said = subprocess.run(
        ["flite", "-voice", voice, "-ps", "-t", word, "none"], capture_output=True, text=True, check=True
    )
    return len([phone for phone in said.stdout.split() if phone != "pau"])


def flite(voice: str, text: str) -> Spoken | None:
    """The sentence in a voice of flite's; None where its phones are not those of its words said alone."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        pcm = _loaded(file.name)
    counts = [_phones(voice, text[word.start : word.end]) for word in words_of(text).words]
    phones, reached = [], 0.0
    for phone in said:
        name, _, end = phone.partition(":")
        if name != "pau":
            phones.append((reached, float(end)))
        reached = float(end)
    if len(phones) != sum(counts):
        return None
    edges = np.cumsum([0, *counts])
    begins = [phones[first][0] for first in edges[:-1]]
    return Spoken(text, pcm, begins, [phones[last - 1][1] for last in edges[1:]])


def _loaded(name: str) -> PCM:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(name) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([np.empty(0, np.int16), *(frame.to_ndarray()[0] for frame in frames)])


async def espeak(preview: PreviewModel, text: str, voice: EspeakVoice) -> Spoken:
    """The sentence as the preview says it."""
    reading = await read(preview, text, voice)
    told = {mark.start for mark in reading.marks}
    words = words_of(text).words
    begins = [
        at / SAMPLE_RATE if word.start in told else float("nan")
        for at, word in zip(starts(reading, text, words), words, strict=True)
    ]
    return Spoken(text, reading.pcm, begins, [float("nan")] * len(begins))


def laughter(random: np.random.Generator) -> NDArray[np.float64]:
    """Like "ha ha ha ha": voiced, 5 times a second, with breath and a falling pitch; BURST_SECONDS of it."""
    at = np.arange(round(BURST_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(260 - 80 * at) / SAMPLE_RATE
    voice = sum(np.sin(k * phase) / k * (1.8 if k in (3, 4, 6) else 1.0) for k in range(1, 20))
    beat = np.clip(np.sin(2 * np.pi * 5 * at), 0, None) ** 0.5
    noise: NDArray[np.float64] = random.normal(0, 1, at.size)
    return 4_000 * beat * voice + 500 * noise


def disturbed(spoken: Spoken, how: str, random: np.random.Generator) -> Spoken:
    """With something put in before the word in the middle, at a tag where it is a noise."""
    if how == "nothing":
        return spoken
    if how == "noise":
        level = float(np.sqrt(np.mean(spoken.pcm.astype(np.float64) ** 2))) / 10
        noisy = spoken.pcm + random.normal(0, level, spoken.pcm.size)
        return spoken._replace(pcm=np.clip(noisy, -32768, 32767).astype(np.int16))
    if how == "cut off":
        at = round(random.uniform(*CUT_OFF) * spoken.pcm.size)
        heard = [begin * SAMPLE_RATE < at for begin in spoken.begins]
        begins = [b if is_heard else float("nan") for b, is_heard in zip(spoken.begins, heard, strict=True)]
        return Spoken(spoken.text, spoken.pcm[:at], begins, [float("nan")] * len(begins))
    middle = len(spoken.begins) // 2
    while np.isnan(spoken.begins[middle]):
        middle += 1
    seconds = PAUSE_SECONDS if how == "pause" else BURST_SECONDS
    if how == "laughter":
        put_in = laughter(random)
    else:
        put_in = random.normal(0, 3_000 if how == "burst" else 0, round(seconds * SAMPLE_RATE))
    at = round(spoken.begins[middle] * SAMPLE_RATE)
    pcm = np.concatenate([spoken.pcm[:at], put_in.astype(np.int16), spoken.pcm[at:]])
    text = spoken.text
    if how != "pause":
        place = words_of(text).words[middle].start
        text = f"{text[:place]}{TAG} {text[place:]}"
    late = [begin + seconds * (index >= middle) for index, begin in enumerate(spoken.begins)]
    ends = [end + seconds * (index >= middle) for index, end in enumerate(spoken.ends)]
    return Spoken(text, pcm, late, ends)


async def measured(
    preview: PreviewModel, speeches: list[Spoken], reader: EspeakVoice, name: str, how: str
) -> Figures:
    """Align them all."""
    begins, ends, cost, length = [], [], 0.0, 0
    for spoken in speeches:
        words = words_of(spoken.text, ["laugh"])
        reading = await read(preview, spoken.text, reader)
        began = time.process_time()
        aligned = align_beginning if how == "cut off" else align
        found = aligned(spoken.pcm, reading.pcm, starts(reading, spoken.text, words.words), words.tags)
        cost += time.process_time() - began
        length += spoken.pcm.size
        begins += [1000 * (w.start / SAMPLE_RATE - t) for w, t in zip(found, spoken.begins, strict=True)]
        ends += [1000 * (w.end / SAMPLE_RATE - t) for w, t in zip(found, spoken.ends, strict=True)]
    errors = np.array(begins)
    errors = errors[~np.isnan(errors)]
    late = np.abs(np.array(ends))
    late = late[~np.isnan(late)]
    return Figures(
        voice=name,
        disturbed_by=how,
        words=errors.size,
        median=float(np.median(np.abs(errors))),
        p90=float(np.percentile(np.abs(errors), 90)),
        p90_ends=float(np.percentile(late, 90)) if late.size else float("nan"),
        bias=float(np.median(errors)),
        cost=100 * cost * SAMPLE_RATE / length,
    )


def another_voice(voice: EspeakVoice) -> EspeakVoice:
    """Another variant, pitch and rate."""
    variant = "m3" if voice.variant.startswith("f") else "f2"
    return msgspec.structs.replace(
        voice, variant=variant, pitch=40 if voice.pitch > 50 else 66, rate=round(voice.rate * 0.86)
    )


async def run(options: argparse.Namespace) -> list[Figures]:
    catalog: Catalog = load_catalog()
    preview = PreviewModel(catalog.emotion_tags)
    sentences: dict[str, list[str]] = json.loads(SENTENCES.read_text(encoding="utf-8"))
    figures = []
    try:
        groups: list[tuple[str, list[Spoken], EspeakVoice]] = []
        if not shutil.which("flite"):
            print("no flite here (apt-get install flite): English against the preview alone")
        for voice in FLITE_VOICES if shutil.which("flite") else ():
            said = [flite(voice, text) for text in sentences["en"]]
            groups.append(
                (
                    f"flite {voice}",
                    [s for s in said if s is not None],
                    stand_in(catalog.voices[READERS["en"]]),
                )
            )
        for language, name in READERS.items():
            reader = stand_in(catalog.voices[name])
            other = [await espeak(preview, text, another_voice(reader)) for text in sentences[language]]
            groups.append((f"preview {language}", other, reader))
        for name, speeches, reader in groups:
            if options.only and options.only not in name:
                continue
            for how in DISTURBANCES:
                random = np.random.default_rng(1)
                changed = [disturbed(spoken, how, random) for spoken in speeches]
                row = await measured(preview, changed, reader, name, how)
                figures.append(row)
                print(
                    f"{row.voice:12} {row.disturbed_by:8} {row.words:4} words  "
                    f"median {row.median:5.1f} ms  90 % {row.p90:6.1f} ms"
                    f"  ends 90 % {row.p90_ends:6.1f} ms  bias {row.bias:+5.1f} ms  {row.cost:.2f} % of real time"
                )
    finally:
        await preview.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="voices whose name holds this, such as 'flite' or 'preview zh'")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    figures = asyncio.run(run(options))
    if options.json:
        options.json.write_bytes(msgspec.json.encode(figures))
    failed = [f for f in figures if not good(f)]
    sys.exit(f"beyond the goals: {', '.join(f'{f.voice} {f.disturbed_by}' for f in failed)}" if failed else 0)


def good(row: Figures) -> bool:
    if row.cost > GOAL_COST:
        return False
    if row.disturbed_by != "nothing":
        return row.p90 <= GOAL_DISTURBED
    return row.p90 <= GOAL_P90 and row.median <= GOAL_MEDIAN


if __name__ == "__main__":
    main()
