"""A real llama.cpp in a process of its own, on a free port of 127.0.0.1, with a key."""

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from orpheus_openai.models.orpheus.llama_process import LlamaProcess, Parameters

PROGRAM = """#!{python}
# What a `llama-server` is told, told to the llama.cpp of xllamacpp.
import argparse, os, time, xllamacpp
parser = argparse.ArgumentParser()
for name in ("model", "host", "lora-scaled"):
    parser.add_argument(f"--{{name}}")
for name in ("port", "ctx-size", "parallel", "threads", "cache-ram", "n-gpu-layers"):
    parser.add_argument(f"--{{name}}", type=int)
for name in ("no-slots", "no-webui"):
    parser.add_argument(f"--{{name}}", action="store_true")
told = parser.parse_args()
options = xllamacpp.CommonParams()
options.model.path, options.port = told.model, told.port
options.n_ctx, options.n_parallel = told.ctx_size, told.parallel
options.cpuparams.n_threads = told.threads
options.api_keys = [os.environ["LLAMA_API_KEY"]]
options.cache_ram_mib = told.cache_ram
options.verbosity = 2
adapters = [each.split(":") for each in (told.lora_scaled or "").split(",") if each]
options.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, float(scale)) for path, scale in adapters]
server = xllamacpp.Server(options)
time.sleep(600)
"""


def program_of_ones_own(folder: Path) -> Path:
    """Write a stand-in for a `llama-server` that somebody has built."""
    program = folder / "llama-server"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    return program


@contextlib.asynccontextmanager
async def llama_server(
    model: Path, *, context: int = 4_096, slots: int = 4, adapters: tuple[str, ...] = ()
) -> AsyncIterator[LlamaProcess]:
    """Hold `model`; what it says of itself is in the process."""
    process = await LlamaProcess.start(
        Parameters(model=str(model), context=context, slots=slots, threads=1, adapters=adapters)
    )
    try:
        yield process
    finally:
        await process.end()
