"""The first token of a recording's voice, with and without keeping what its prompts begin with.

python -m benchmarks.recorded_voice

Two engines, one after the other, on a small checkpoint that the command makes, whose layers take long enough to count:
a voice of so many tokens stands before each text. The first request pays for the recording in both.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.engine_vllm import PROMPT
from orpheus_openai.models.orpheus.frames import CODEBOOK_SIZE, FIRST_AUDIO_TOKEN, TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.prompt import recorded_prompt
from orpheus_openai.models.orpheus.tokens_vllm import VLLMTokenSource, load_vllm
from orpheus_openai.models.orpheus.vllm_options import EngineOptions
from orpheus_openai.synthesis import Sampling

WIDTH, LAYERS = 512, 8
"""Of the checkpoint: a hundredth of medium-3b's layers."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.recorded_voice", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--tokens", type=int, default=798, help="audio tokens of the recording (%(default)s)")
    parser.add_argument("--runs", type=int, default=9, help="requests after the first (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    from tests.support.tiny_checkpoint import make_checkpoint  # noqa: PLC0415  needs torch

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(make_checkpoint(Path(folder), hidden=WIDTH, layers=LAYERS))
        found = {
            kept: asyncio.run(_first_tokens(checkpoint, options.tokens, options.runs, kept=kept == "kept"))
            for kept in ("anew", "kept")
        }
    print(f"load average before {load:.1f}; a recording of {options.tokens} tokens; first token, ms\n")
    print("                     first request   later ones, median")
    for kept, times in found.items():
        print(f"read {kept:15} {1_000 * times[0]:13.0f} {1_000 * statistics.median(times[1:]):20.0f}")
    ratio = statistics.median(found["anew"][1:]) / statistics.median(found["kept"][1:])
    print(f"\nlater ones: {ratio:.1f} times as soon")
    if options.json:
        options.json.write_text(json.dumps({"load_average": load, "seconds": found}, indent=1) + "\n")


async def _first_tokens(checkpoint: str, tokens: int, runs: int, *, kept: bool) -> list[float]:
    options = EngineOptions(max_streams=2, stream_tokens=2_048, dtype="float32", prefix_caching=kept)
    source = await load_vllm(checkpoint, options)
    chance = random.Random(7)
    recording = [
        FIRST_AUDIO_TOKEN + CODEBOOK_SIZE * (place % TOKENS_PER_FRAME) + chance.randrange(CODEBOOK_SIZE)
        for place in range(tokens)
    ]
    try:
        return [await _first_token(source, recording, run) for run in range(runs + 1)]
    finally:
        await source.close()


async def _first_token(source: VLLMTokenSource, recording: list[int], run: int) -> float:
    text = [*PROMPT[2:-4], *str(run).encode()]  # another text each time
    prompt = recorded_prompt(text, PROMPT[2:-4], recording)
    began = time.perf_counter()
    async with contextlib.aclosing(source.generate(prompt, Sampling(max_tokens=7))) as stream:
        await anext(stream)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
