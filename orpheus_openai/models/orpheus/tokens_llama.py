"""Token ids from llama.cpp, in a process of its own that this server starts, watches and ends."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import httpx
import msgspec

from orpheus_openai.errors import EngineError, NotReadyError
from orpheus_openai.gpu.policy import GIB
from orpheus_openai.models.orpheus.frames import TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf
from orpheus_openai.models.orpheus.gguf_header import GGUFHeader
from orpheus_openai.models.orpheus.host_memory import available_memory
from orpheus_openai.models.orpheus.llama_process import LlamaProcess, Parameters
from orpheus_openai.models.orpheus.pace import Pace, keep
from orpheus_openai.models.orpheus.prompt import build_prompt
from orpheus_openai.models.orpheus.remote_link import UnansweredError
from orpheus_openai.models.orpheus.remote_server import RemoteServer, RemoteTimeouts
from orpheus_openai.models.threads import in_thread
from orpheus_openai.synthesis import Sampling

MEASURED_TOKENS = 7 * TOKENS_PER_FRAME
MEASURED_SECONDS = 4.0
"""How long it is measured at load at most, on machines that do not get so far."""

logger = logging.getLogger(__name__)


class LlamaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How llama.cpp holds a model."""

    max_streams: int = 8
    """Segments spoken at once, or as many as there is memory for; more wait their turn."""
    max_model_len: int = 4_096
    """Tokens of prompt and speech of one segment, or what the model was trained on where that is less."""
    gpu_layers: int | None = None
    program: str = ""
    adapters: tuple[str, ...] = ()
    """Paths of GGUF adapters that requests may ask for."""
    threads: int | None = None
    """None: the physical cores, less one for the codec."""
    quiet_seconds: float = 5.0
    """When no stream has got a token for so long, the process is asked whether it lives."""
    answer_seconds: float = 5.0
    """It is killed when it has not answered that for so long."""
    stall_seconds: float = 120.0
    """It is killed when no stream has got a token for so long, whatever it answers: a long prompt takes its time."""


class LlamaTokenSource:
    """A running llama.cpp; made by `load_llama`, and used in the event loop in which it was loaded."""

    def __init__(self, process: LlamaProcess, header: GGUFHeader, options: LlamaOptions) -> None:
        self.header = header
        self.pace: Pace | None = None
        """Of one stream, as measured when it was loaded; None where that gave too few tokens."""
        self._process = process
        self._options = options
        self._slots = asyncio.Semaphore(process.parameters.slots)
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {process.parameters.api_key}"},
            timeout=httpx.Timeout(None, connect=options.answer_seconds),
            trust_env=False,  # no proxy stands before what is in this machine
        )
        stall = options.stall_seconds
        timeouts = RemoteTimeouts(answer=stall, first_token=stall, between_tokens=stall)
        self._server = RemoteServer(process.address, self._client, None, None, timeouts)
        self._progress = time.monotonic()
        self._watching: asyncio.Task[None] | None = None
        self._waiting = 0

    @property
    def dead(self) -> bool:
        """Whether the process has ended, so that only another one can speak."""
        return self._process.dead

    @property
    def streams(self) -> int:
        """Prompts that it continues at once; more wait their turn."""
        return self._process.parameters.slots

    @property
    def engine(self) -> str:
        """What it is, for people: engine, quantisation, device, speed."""
        words = ["llama.cpp", self.header.quantisation, self._device]
        if self.pace is not None:
            words.append(f"{1 / self.pace.real_time_factor:.1f} × real time")
        return ", ".join(words)

    @property
    def _device(self) -> str:
        devices = self._process.devices
        if self._options.gpu_layers == 0 or devices == []:
            return "CPU"
        return " + ".join(devices) if devices else "a llama-server of your own"

    @property
    def pid(self) -> int:
        """Of llama.cpp's process."""
        return self._process.pid

    async def encode(self, text: str) -> list[int]:
        """Tokenize a text, never into special tokens that it spells; raises EngineError when the engine fails."""
        with self._watched():
            try:
                ids = await self._server.encode(text)
            except UnansweredError as error:
                raise await self._failed(error) from error
        if ids is None:
            raise EngineError("This llama.cpp cannot tokenize text; take a newer one.")
        return ids

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, adapter: str | None = None
    ) -> AsyncGenerator[list[int]]:
        """Continue a prompt, id by id, once a slot is free; with one of `LlamaOptions.adapters`, by its path.

        The same seed gives the same ids on the same machine and versions. Raises InvalidRequestError for a prompt that
        leaves no room to speak, EngineError when the engine fails.
        """
        if adapter is not None and adapter not in self._options.adapters:
            raise EngineError(f"This engine was started without the adapter {adapter}.")
        number = None if adapter is None else self._options.adapters.index(adapter)
        async with self._slots:
            with self._watched():
                try:
                    generated = self._server.generate(prompt_ids, sampling, number)
                    async with contextlib.aclosing(generated) as stream:
                        async for ids in stream:
                            self._progress = time.monotonic()
                            yield ids
                except (UnansweredError, EngineError) as error:
                    raise await self._failed(error) from error

    async def measure(self) -> None:
        """Find out how fast it speaks, and say so where speech will not keep up."""
        prompt = build_prompt(await self.encode("tara: The train to the coast leaves from platform nine."))
        times: list[float] = []
        rate = None
        try:
            async with (
                asyncio.timeout(MEASURED_SECONDS),
                contextlib.aclosing(self.generate(prompt, Sampling(max_tokens=MEASURED_TOKENS))) as stream,
            ):
                async for _ in stream:
                    times.append(time.monotonic())  # noqa: PERF401  those before the time is over count
        except TimeoutError:
            rate = len(times) / MEASURED_SECONDS
        if len(times) > TOKENS_PER_FRAME:
            rate = (len(times) - 1) / (times[-1] - times[0])
        if not rate:
            return
        self.pace = Pace(
            tokens_per_second=round(rate, 2),
            quantisation=self.header.quantisation,
            device=self._device,
            threads=self._process.parameters.threads,
        )
        await asyncio.to_thread(keep, self.header, self.pace)
        if self.pace.advice:
            logger.warning("%s", self.pace.advice)

    async def close(self) -> None:
        """End the process: it is gone, and its memory is free, when this returns."""
        if self._watching is not None:
            self._watching.cancel()
        await self._client.aclose()
        await self._process.end()

    async def _failed(self, error: Exception) -> EngineError:
        """Say why a stream broke: most often because the process did, which is known a moment later."""
        for _ in range(20):
            if self._process.dead:
                return EngineError(
                    f"The speech engine has died; the next request starts it again. llama.cpp: "
                    f"{self._process.reason()}"
                )
            await asyncio.sleep(0.05)
        return error if isinstance(error, EngineError) else EngineError(f"The speech engine failed: {error}.")

    @contextlib.contextmanager
    def _watched(self) -> Generator[None]:
        """Have the process watched as long as somebody waits for it."""
        if self._waiting == 0:
            self._progress = time.monotonic()
            self._watching = asyncio.create_task(self._watch(), name="llama.cpp watchdog")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if self._waiting == 0 and self._watching is not None:
                self._watching.cancel()

    async def _watch(self) -> None:
        """Kill the process when it hangs: whoever waits for it then sees that it has died."""
        options = self._options
        while True:
            await asyncio.sleep(options.quiet_seconds / 2)
            quiet = time.monotonic() - self._progress
            if quiet < options.quiet_seconds:
                continue
            if quiet > options.stall_seconds or not await self._lives():
                self._process.kill()
                return

    async def _lives(self) -> bool:
        with contextlib.suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(self._options.answer_seconds):
                # On a connection of its own: a kept one says nothing of a process that is held up.
                return (
                    await self._client.get(f"{self._process.address}/health", headers={"Connection": "close"})
                ).is_success
        return False


async def load_llama(checkpoint: str, options: LlamaOptions) -> LlamaTokenSource:
    """Start llama.cpp for a checkpoint: a GGUF file, a folder that holds one, or a hub name.

    Nothing of it is left when this is cancelled or fails. Raises ModelUnavailableError, with the way out, when the
    model cannot run here, NotReadyError when there is no memory for it now.
    """
    header = await in_thread(lambda: fetch_gguf(checkpoint))
    context = min(options.max_model_len, header.context or options.max_model_len)
    parameters = Parameters(
        model=str(header.path),
        context=context,
        slots=_slots(header, context, options),
        threads=options.threads or max(1, physical_cores() - 1),
        gpu_layers=options.gpu_layers,
        adapters=options.adapters,
        program=options.program,
    )
    source = LlamaTokenSource(await LlamaProcess.start(parameters), header, options)
    try:
        await source.measure()
    except BaseException:
        await asyncio.shield(source.close())
        raise
    return source


def _slots(header: GGUFHeader, context: int, options: LlamaOptions) -> int:
    """As many streams as are asked for, or as there is memory for.

    Raises NotReadyError where one is too many.
    """
    free = available_memory()
    if free is None:
        return options.max_streams
    # The file is mapped, not copied: what is in the page cache already counts as available.
    room = free - header.memory_bytes(0)
    fitting = room // max(1, header.cache_bytes(context))
    if fitting < 1:
        need = header.memory_bytes(context)
        raise NotReadyError(
            f"{header.path} needs {need / GIB:.1f} GiB of memory, and {free / GIB:.1f} GiB are free. Close other "
            f"programs, take a smaller quantisation than {header.quantisation}, or lower ORPHEUS_MAX_MODEL_LEN.",
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


def physical_cores() -> int:
    """Cores that this process may use, those that two threads share counted once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for number in allowed:
        shared = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            siblings.add(shared.read_text(encoding="ascii").strip())
        except OSError:
            siblings.add(str(number))
    return max(1, min(len(siblings), _quota()))


def _quota() -> int:
    """How many cores a container may keep busy (cgroup v2), rounded down."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return int(quota) // int(period)
    except (OSError, ValueError):  # no such thing, or "max"
        return os.cpu_count() or 1
