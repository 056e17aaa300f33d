"""What it takes to start llama.cpp with a model: streams that fit, threads, adapters as files."""

import logging
from collections.abc import Sequence

import msgspec

from orpheus_openai.errors import NotReadyError
from orpheus_openai.gpu.policy import GIB
from orpheus_openai.models.orpheus.adapter_gguf import AdapterFiles
from orpheus_openai.models.orpheus.cores import physical_cores
from orpheus_openai.models.orpheus.gguf_header import GGUFHeader
from orpheus_openai.models.orpheus.host_memory import available_memory
from orpheus_openai.models.orpheus.llama_engine import LlamaEngine, LlamaOptions
from orpheus_openai.models.orpheus.llama_process import LlamaProcess, Parameters
from orpheus_openai.models.threads import in_thread

logger = logging.getLogger(__name__)


class LlamaStart:
    """What it takes to start llama.cpp with a model, each time with other adapters."""

    def __init__(self, header: GGUFHeader, options: LlamaOptions) -> None:
        """Raises NotReadyError where there is no memory for a single stream."""
        context = min(options.max_model_len, header.context or options.max_model_len)
        self.header = header
        self.parameters = Parameters(
            model=str(header.path),
            context=context,
            slots=_slots(header, context, options),
            threads=options.threads or max(1, physical_cores() - 1),
            gpu_layers=options.gpu_layers,
            program=options.program,
        )
        self.options = options
        self.files = AdapterFiles(header.shape, options.adapter_rank)

    @property
    def another_fits(self) -> bool:
        """Whether there is memory for one more process, as if it shared nothing of the file with the one that runs."""
        free = available_memory()
        tokens = self.parameters.context * self.parameters.slots
        need = self.header.memory_bytes(tokens, self.options.adapters, self.options.adapter_rank)
        return free is not None and free >= need

    async def run(self, editions: Sequence[str]) -> LlamaEngine:
        """Start a process with adapters that are prepared; when cancelled, nothing of it is left.

        Raises NotReadyError with llama.cpp's own reason.
        """
        paths = tuple(str(self.files.path(each)) for each in editions)
        process = await LlamaProcess.start(msgspec.structs.replace(self.parameters, adapters=paths))
        return LlamaEngine(process, self.header, self.options)

    async def prepare(self, named: str, wanted: str) -> None:
        """Have an adapter as a file, unless it is there; raises as `AdapterFiles.write` does."""
        await in_thread(lambda: self.files.write(named, wanted))


def _slots(header: GGUFHeader, context: int, options: LlamaOptions) -> int:
    """As many streams as are asked for, or as there is memory for beside the adapters that may be held.

    Raises NotReadyError where one is too many.
    """
    free = available_memory()
    if free is None:
        return options.max_streams
    # The file is mapped, not copied: what is in the page cache already counts as available.
    adapters = (options.adapters, options.adapter_rank)
    room = free - header.memory_bytes(0, *adapters)
    fitting = room // max(1, header.cache_bytes(context))
    if fitting < 1:
        need = header.memory_bytes(context, *adapters)
        fewer = " or ORPHEUS_ADAPTERS" if options.adapters else ""
        raise NotReadyError(
            f"{header.path} needs {need / GIB:.1f} GiB of memory, and {free / GIB:.1f} GiB are free. Close other "
            f"programs, take a smaller quantisation than {header.quantisation}, or lower ORPHEUS_MAX_MODEL_LEN{fewer}.",
            code="insufficient_memory",
            retry_after=30,
        )
    if fitting < options.max_streams:
        logger.warning(
            "%s speaks %d streams at once of %d: %.1f GiB of memory are free",
            header.path,
            fitting,
            options.max_streams,
            free / GIB,
        )
    return min(options.max_streams, fitting)
