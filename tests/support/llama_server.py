"""A real llama.cpp in a process of its own, on a free port of 127.0.0.1, with a key."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from orpheus_openai.models.orpheus.llama_process import LlamaProcess, Parameters


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
