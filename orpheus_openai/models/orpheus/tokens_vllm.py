"""Token ids from vLLM in this process; the weights live in processes of the engine's own."""

import asyncio
import contextlib
import importlib.util
import secrets
import uuid
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any

from orpheus_openai.errors import EngineError, InvalidRequestError, ModelUnavailableError
from orpheus_openai.installation import installing
from orpheus_openai.models.orpheus.adapters import Adapter, fetch_adapter
from orpheus_openai.models.orpheus.adapters_held import HeldAdapters
from orpheus_openai.models.orpheus.checkpoint import Shape, fetch_checkpoint
from orpheus_openai.models.orpheus.draw import NO_ID, Draw
from orpheus_openai.models.orpheus.frames import END_OF_SPEECH, TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.spoken_ids import TURN, turned, turned_back
from orpheus_openai.models.orpheus.vllm_engine import EngineStart, RunningEngine
from orpheus_openai.models.orpheus.vllm_options import EngineOptions
from orpheus_openai.models.threads import in_thread
from orpheus_openai.synthesis import Sampling

DEAD = "The speech engine has died; the next request starts it again."


AHEAD = 1
"""vLLM's priority of what nobody waits for yet; the lower goes first."""


class VLLMTokenSource:
    """A running engine; made by `load_vllm`, and used in the event loop in which it was loaded."""

    def __init__(self, engine: RunningEngine, options: EngineOptions) -> None:
        self._engine = engine
        self._stall_seconds = options.stall_seconds
        self._adapters = (
            HeldAdapters(
                _LoraEngine(engine),
                options.adapters,
                partial(_fetched, engine.checkpoint.shape, options.adapter_rank),
            )
            if options.adapters
            else None
        )
        self.streams = options.max_streams
        """Prompts that it continues at once; more wait inside the engine."""
        self._context: int = engine.llm.vllm_config.model_config.max_model_len
        self._vocabulary: int = engine.llm.vllm_config.model_config.get_vocab_size()

    engine = "vLLM"

    @property
    def dead(self) -> bool:
        """Whether the engine has failed for good: close this source and load another."""
        return self._engine.llm is None or bool(self._engine.llm.errored)

    @property
    def can_sleep(self) -> bool:
        """Whether `sleep` frees memory here."""
        return self._engine.can_sleep

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, adapter: str | None = None
    ) -> AsyncGenerator[list[int]]:
        """Continue a prompt, with an adapter by its folder or repository; see `_generate`."""
        if adapter is None:
            async with contextlib.aclosing(self._generate(prompt_ids, sampling)) as stream:
                async for ids in stream:
                    yield ids
            return
        if self._adapters is None:
            raise EngineError("This engine was started without adapters.")
        async with self._adapters.use(adapter) as number:
            lora = _lora(number, adapter)
            async with contextlib.aclosing(self._generate(prompt_ids, sampling, lora)) as stream:
                async for ids in stream:
                    yield ids

    async def _generate(
        self, prompt_ids: list[int], sampling: Sampling, lora: Any = None
    ) -> AsyncGenerator[list[int]]:
        """Continue a prompt: one id at once, then 7 at a time.

        Audio tokens come in the order of their places in the frame and the end token between two frames; only the
        limit on tokens can break a frame off. A prompt that does not end with the start-of-speech token may be
        continued with it. The same seed gives the same draws; the ids
        are the same where the logits are, which on a GPU depend on who else speaks (docs/scaling.md).
        Raises InvalidRequestError for a prompt that leaves no room to speak, EngineError when the engine fails.
        """
        room = self._context - len(prompt_ids)
        if room < TOKENS_PER_FRAME:
            raise InvalidRequestError(
                f"The text is too long to be spoken in one piece: it has {len(prompt_ids)} tokens, the "
                f"model has room for {self._context} with its speech. Break it into shorter sentences.",
                param="input",
            )
        if self.dead:
            raise EngineError(DEAD)
        parameters = _parameters(sampling, room, end=END_OF_SPEECH - (TURN if self._engine.audio_head else 0))
        if self._engine.audio_head:
            prompt_ids = turned(prompt_ids, self._vocabulary)
        prompt = {"type": "token", "prompt_token_ids": prompt_ids}
        priority = AHEAD if sampling.ahead else 0
        outputs = self._engine.llm.generate(
            prompt, parameters, uuid.uuid4().hex, priority=priority, lora_request=lora
        )
        # vLLM aborts a request when its generator is closed: here, not whenever the garbage is collected.
        async with contextlib.aclosing(outputs):
            while (ids := await self._next(outputs)) is not None:
                if ids:
                    yield ids

    async def _next(self, outputs: AsyncGenerator[Any]) -> list[int] | None:
        """Wait for the next ids, None at the end; whatever fails in the engine becomes an EngineError."""
        try:
            async with asyncio.timeout(self._stall_seconds):
                output = await anext(outputs)
        except StopAsyncIteration:
            return None
        except TimeoutError as error:
            raise self._stalled() from error
        except Exception as error:
            if self.dead:
                raise EngineError(DEAD) from error
            raise EngineError(f"The speech engine failed: {error or type(error).__name__}") from error
        completion = output.outputs[0]
        if completion.finish_reason not in (None, "stop", "length"):
            raise EngineError("The speech engine broke off in the middle; send the request again.")
        ids = turned_back(completion.token_ids) if self._engine.audio_head else list(completion.token_ids)
        if NO_ID in ids:
            raise EngineError(
                "The model no longer gives numbers, and nothing can be drawn from what it gives."
            )
        return ids

    def _stalled(self) -> EngineError:
        return EngineError(f"The speech engine has not answered for {self._stall_seconds:g} seconds.")

    async def sleep(self) -> None:
        """Move the weights to host memory and free the GPU's; only where `can_sleep`, without streams."""
        await self._answer(self._engine.llm.sleep(level=1))

    async def wake(self) -> None:
        """Bring the weights back; the engine can speak when this returns."""
        await self._answer(self._engine.llm.wake_up())

    async def _answer(self, asked: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                await asked
        except TimeoutError as error:
            raise self._stalled() from error

    async def close(self) -> None:
        """End the engine: its processes are gone, and their memory is free, when this returns.

        Closing what is closed already does nothing.
        """
        if self._adapters is not None:
            self._adapters.close()
        if self._engine.llm is None:
            return
        # It would take an orderly end for the engine's death, and write that to the log.
        if (handler := self._engine.llm.output_handler) is not None:
            handler.cancel()
        await in_thread(self._engine.end)


class _LoraEngine:
    """vLLM's own words for what `adapters_held.HeldAdapters` wants of an engine."""

    def __init__(self, engine: RunningEngine) -> None:
        self._engine = engine

    async def add(self, number: int, adapter: Adapter) -> None:
        """See AdapterEngine."""
        try:
            await self._engine.llm.add_lora(_lora(number, str(adapter.directory)))
        except Exception as error:
            raise EngineError(f"vLLM cannot load the adapter {adapter.directory}: {error}") from error

    async def remove(self, number: int) -> None:
        """See AdapterEngine."""
        await self._engine.llm.remove_lora(number)


def _lora(number: int, path: str) -> Any:
    from vllm.lora.request import LoRARequest  # noqa: PLC0415  # vLLM is imported where an engine runs

    return LoRARequest(lora_name=str(number), lora_int_id=number, lora_path=path)


async def _fetched(shape: Shape, largest_rank: int, named: str) -> Adapter:
    return await in_thread(lambda: fetch_adapter(named, shape, largest_rank))


async def load_vllm(checkpoint: str, options: EngineOptions) -> VLLMTokenSource:
    """Start an engine for a checkpoint: a directory, or a Hugging Face repo id that is downloaded if need be.

    Takes half a minute or more, with the event loop free. When it is cancelled, the engine's processes
    are gone before it returns. Raises ModelUnavailableError, with the way out, when the model cannot run
    here.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ModelUnavailableError(
            f"vLLM is needed to run Orpheus here, and it is not installed: {installing('gpu')}, "
            "or name a server that holds the model in ORPHEUS_REMOTE_URL."
        )
    start = EngineStart(await in_thread(lambda: fetch_checkpoint(checkpoint)), options)
    running = asyncio.ensure_future(in_thread(start.run))
    try:
        engine = await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_abandon(start, running)))
        raise
    return VLLMTokenSource(engine, options)


async def _abandon(start: EngineStart, running: asyncio.Future[RunningEngine]) -> None:
    """Break a start off, whatever it is at, and wait until nothing of it is left."""
    while not running.done():
        start.cancel()
        await asyncio.wait([running], timeout=0.2)
    if running.exception() is None:
        await in_thread(running.result().end)


def _parameters(sampling: Sampling, room: int, end: int) -> Any:
    """Put sampling in vLLM's terms, with ids coming as deltas and never as text.

    Our logits processor draws, and vLLM takes what is left as if it were greedy: everything that it would do else it
    does over the whole vocabulary.
    """
    from vllm import SamplingParams  # noqa: PLC0415  # vLLM is imported where an engine runs, nowhere else
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    draw = Draw(
        sampling.temperature,
        sampling.top_p,
        sampling.repetition_penalty,
        secrets.randbits(63) if sampling.seed is None else sampling.seed,
    )
    return SamplingParams(
        temperature=0.0,
        max_tokens=min(sampling.max_tokens or room, room),
        stop_token_ids=[end],
        ignore_eos=True,  # the text's end, whose id may mean something else here
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        extra_args=draw.argument(),
    )
