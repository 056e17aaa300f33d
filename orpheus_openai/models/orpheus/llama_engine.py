"""A llama.cpp that runs: prompts continued, its process watched while somebody waits, its speed measured."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Generator

import httpx
import msgspec

from orpheus_openai.errors import EngineError
from orpheus_openai.models.orpheus.frames import TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.gguf_header import GGUFHeader
from orpheus_openai.models.orpheus.llama_process import LlamaProcess
from orpheus_openai.models.orpheus.pace import Pace, keep
from orpheus_openai.models.orpheus.prompt import build_prompt
from orpheus_openai.models.orpheus.remote_link import UnansweredError
from orpheus_openai.models.orpheus.remote_server import RemoteServer, RemoteTimeouts
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
    adapters: int = 0
    """LoRA adapters that are held at once."""
    adapter_rank: int = 64
    """The largest rank of an adapter."""
    threads: int | None = None
    """None: the physical cores, less one for the codec."""
    quiet_seconds: float = 5.0
    """When no stream has got a token for so long, the process is asked whether it lives."""
    answer_seconds: float = 5.0
    """It is killed when it has not answered that for so long."""
    stall_seconds: float = 120.0
    """It is killed when no stream has got a token for so long, whatever it answers: a long prompt takes its time."""


class LlamaEngine:
    """A running llama.cpp, used in the event loop in which it was started."""

    def __init__(self, process: LlamaProcess, header: GGUFHeader, options: LlamaOptions) -> None:
        self.pace: Pace | None = None
        """Of one stream, as measured; None where it was not, or that gave too few tokens."""
        self._header = header
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
        adapters = len(process.parameters.adapters)
        self._server = RemoteServer(process.address, self._client, None, None, timeouts, adapters=adapters)
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
    def words(self) -> str:
        """What it is, for people: engine, quantisation, device, speed."""
        words = ["llama.cpp", self._header.quantisation, self._device]
        if self.pace is not None:
            words.append(f"{1 / self.pace.real_time_factor:.1f} × real time")
        return ", ".join(words)

    @property
    def in_host_memory(self) -> bool:
        """Whether the model is in the host's memory, and nothing of it on a card."""
        return self._options.gpu_layers == 0 or self._process.devices == []

    @property
    def _device(self) -> str:
        devices = self._process.devices
        if self.in_host_memory:
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
        self, prompt_ids: list[int], sampling: Sampling, adapter: int | None = None
    ) -> AsyncGenerator[list[int]]:
        """Continue a prompt, id by id, once a slot is free; with one of the adapters it was started with, by its place.

        The same seed gives the same ids on the same machine and versions. Raises InvalidRequestError for a prompt that
        leaves no room to speak, EngineError when the engine fails.
        """
        async with self._slots:
            with self._watched():
                try:
                    generated = self._server.generate(prompt_ids, sampling, adapter)
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
            quantisation=self._header.quantisation,
            device=self._device,
            threads=self._process.parameters.threads,
        )
        await asyncio.to_thread(keep, self._header, self.pace)
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
