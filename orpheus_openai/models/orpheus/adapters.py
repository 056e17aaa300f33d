"""LoRA adapters: whether one can work on a checkpoint, what it takes, and which of them an engine holds."""

import asyncio
import contextlib
import json
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from orpheus_openai.errors import InvalidRequestError, ModelUnavailableError, OverloadedError
from orpheus_openai.models.hub import folder_of
from orpheus_openai.models.orpheus.checkpoint import Checkpoint, Shape, Tensor, header

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_FILES = [CONFIG, WEIGHTS]

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM lays memory out for; an adapter takes that of the next one."""
MODULES = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
_PLAIN_STARTS = {"gaussian", "eva", "orthogonal"}
"""Ways to begin a training that leave the model as it was."""
IDLE_SECONDS = 600.0
"""How long an adapter stays that nobody speaks with."""
ROOM_SECONDS = 60.0
"""How long a request waits for one of the engine's places."""

_TENSOR = re.compile(r"\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight$")


class Adapter(msgspec.Struct, frozen=True):
    """An adapter that can work."""

    directory: Path
    rank: int


class _Config(msgspec.Struct, frozen=True):
    """What `adapter_config.json` says."""

    peft_type: str = ""
    r: int = 0
    bias: str = "none"
    use_dora: bool = False
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    trainable_token_indices: Any = None
    init_lora_weights: bool | str = True
    lora_bias: bool = False
    alora_invocation_tokens: Any = None
    layer_replication: Any = None


def fetch_adapter(named: str, checkpoint: Checkpoint, largest_rank: int) -> Adapter:
    """The adapter in a folder, or in a repository `owner/name`. Blocking, may download.

    Raises ModelUnavailableError for one that cannot work on `checkpoint`, with the reason and what would help, and as
    `hub.folder_of` does.
    """
    directory = folder_of(named, _FILES, lambda folder: all((folder / name).is_file() for name in _FILES))
    return read_adapter(directory, checkpoint, largest_rank)


def read_adapter(directory: Path, checkpoint: Checkpoint, largest_rank: int) -> Adapter:
    """Judge an adapter on disk; raises as `fetch_adapter` does."""
    try:
        config = msgspec.convert(json.loads((directory / CONFIG).read_text(encoding="utf-8")), _Config)
    except (OSError, ValueError) as error:
        raise _refused(directory, f"its {CONFIG} cannot be used ({error})", merge=False) from error
    if not (directory / WEIGHTS).is_file():
        raise _refused(
            directory,
            f"it has no {WEIGHTS}; pickled weights are not loaded, as they can run code",
            merge=True,
        )
    if reason := _unfit(config, largest_rank):
        raise _refused(directory, reason, merge=True)
    tensors = header(directory / WEIGHTS)
    if reason := _beyond(tensors):
        raise _refused(directory, reason, merge=True)
    if reason := _misfit(tensors, config.r, checkpoint):
        raise _refused(directory, reason, merge=False)
    return Adapter(directory, config.r)


def _unfit(config: _Config, largest_rank: int) -> str:
    """Why no engine can serve it beside others; empty where one can."""
    start = config.init_lora_weights
    reasons = (
        (
            config.peft_type != "LORA" or config.r < 1,
            f"it is no LoRA adapter but {config.peft_type or 'nothing that says what it is'}",
        ),
        (config.use_dora, "it is a DoRA, which cannot be served beside others"),
        (
            config.modules_to_save or config.trainable_token_indices,
            "it brings whole layers of its own (modules_to_save), such as another embedding or output layer",
        ),
        (
            config.bias != "none" or config.lora_bias or config.rank_pattern or config.alpha_pattern,
            "it changes biases, or its layers have different ranks or scales",
        ),
        (
            isinstance(start, str) and start.lower() not in _PLAIN_STARTS,
            f"its training began with {start}, which changes the model itself",
        ),
        (
            config.alora_invocation_tokens or config.layer_replication,
            "it works on some tokens only, or on repeated layers",
        ),
        (
            config.r > largest_rank,
            f"its rank is {config.r}, and ORPHEUS_ADAPTER_RANK allows {largest_rank}",
        ),
    )
    return next((reason for unfit, reason in reasons if unfit), "")


def _beyond(tensors: dict[str, Tensor]) -> str:
    """What it changes beside the projections; empty where that is nothing."""
    for name in tensors:
        found = _TENSOR.search(name)
        if found is None or found[2] not in MODULES:
            return f"it changes {name.rpartition('.lora_')[0] or name}, which cannot be changed beside others"
    return ""


def _misfit(tensors: dict[str, Tensor], rank: int, checkpoint: Checkpoint) -> str:
    """Why its weights do not go with the checkpoint; empty where they do."""
    shape = checkpoint.shape
    sizes = _sizes(shape)
    if not tensors:
        return "it holds no weights"
    for name, tensor in tensors.items():
        found = _TENSOR.search(name)
        if found is None or len(tensor.shape) != 2:  # noqa: PLR2004
            return f"{name} is no matrix"
        if int(found[1]) >= shape.layers:
            return f"it is for a model of more layers than the {shape.layers} here"
        if tensor.shape[0 if found[3] == "A" else 1] != rank:
            return f"{name} is not of the rank {rank} that its {CONFIG} says"
        width, here = tensor.shape[found[3] == "A"], sizes[found[2]][found[3] == "B"]
        if here is not None and width != here:
            return f"it is for a model whose layers are {width} wide; here they are {here} ({found[2]})"
    return ""


def _sizes(shape: Shape) -> dict[str, tuple[int | None, int | None]]:
    """Inputs and outputs of each projection; None where `config.json` does not say."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    queries = shape.num_attention_heads * shape.head_width
    keys = (shape.num_key_value_heads or shape.num_attention_heads) * shape.head_width
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def _refused(directory: Path, reason: str, *, merge: bool) -> ModelUnavailableError:
    way = (
        ' Merge it into its model and serve that: python -c "from peft import AutoPeftModelForCausalLM as M; from '
        f"transformers import AutoTokenizer as T; m = M.from_pretrained('{directory}'); "
        "T.from_pretrained(m.peft_config['default'].base_model_name_or_path).save_pretrained('merged'); "
        "m.merge_and_unload().save_pretrained('merged')\", then ORPHEUS_MODEL_MEDIUM_3B=./merged and a voice of the "
        "kind named."
        if merge
        else ""
    )
    return ModelUnavailableError(f"The adapter in {directory} cannot be used: {reason}.{way}", param="voice")


class AdapterEngine(Protocol):
    """What an engine that holds adapters can do."""

    async def add(self, number: int, adapter: Adapter) -> None:
        """Load it under that number, before any request names it."""

    async def remove(self, number: int) -> None:
        """Let it go; no request names it any more."""


class Resident:
    """The adapters that an engine holds: loaded at first use, the one not used for longest makes room.

    For one event loop.
    """

    def __init__(
        self, engine: AdapterEngine, places: int, fetch: Callable[[str], Awaitable[Adapter]]
    ) -> None:
        self._engine = engine
        self._places = places
        self._fetch = fetch
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._users: dict[str, int] = {}
        self._last = 0
        self._changed = asyncio.Condition()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._removing: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> list[str]:
        """Those that are loaded, the one not used for longest first."""
        return list(self._numbers)

    @contextlib.asynccontextmanager
    async def use(self, named: str) -> AsyncGenerator[int]:
        """The number of an adapter, which stays loaded while this lasts.

        Raises as `fetch_adapter` does, InvalidRequestError for one that has gone, OverloadedError where all places are
        in use by others for long.
        """
        fetched = (
            None if named in self._numbers else await self._fetched(named)
        )  # outside the lock: it may download
        async with self._changed:
            number = await self._loaded(named, fetched)
            if timer := self._timers.pop(named, None):
                timer.cancel()
            self._users[named] = self._users.get(named, 0) + 1
        try:
            yield number
        finally:
            self._users[named] -= 1
            if not self._users[named]:
                del self._users[named]
                loop = asyncio.get_running_loop()
                self._timers[named] = loop.call_later(IDLE_SECONDS, self._expire, named)
            async with self._changed:
                self._changed.notify_all()

    async def _fetched(self, named: str) -> Adapter:
        try:
            return await self._fetch(named)
        except FileNotFoundError as error:
            raise InvalidRequestError("The adapter of this voice is gone.", param="voice") from error

    async def _loaded(self, named: str, adapter: Adapter | None) -> int:
        if named not in self._numbers:
            adapter = adapter or await self._fetched(named)
            await self._make_room(named)
        if (
            named not in self._numbers and adapter is not None
        ):  # another request may have loaded it while this one waited
            self._last += 1
            await self._engine.add(self._last, adapter)
            self._numbers[named] = self._last
        self._numbers.move_to_end(named)
        return self._numbers[named]

    async def _make_room(self, named: str) -> None:
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                while named not in self._numbers and len(self._numbers) >= self._places:
                    idle = next((each for each in self._numbers if not self._users.get(each)), None)
                    if idle is None:
                        await self._changed.wait()
                        continue
                    await self._remove(idle)
        except TimeoutError as error:
            raise OverloadedError(
                f"All {self._places} adapters that may be loaded at once are being spoken with; ORPHEUS_ADAPTERS says "
                "how many.",
                retry_after=5,
            ) from error

    def _expire(self, named: str) -> None:
        self._timers.pop(named, None)
        task = asyncio.get_running_loop().create_task(self._remove_if_idle(named))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def _remove_if_idle(self, named: str) -> None:
        async with self._changed:
            # One that is spoken with again meanwhile has users, or a timer of its own.
            if named in self._numbers and not self._users.get(named) and named not in self._timers:
                await self._remove(named)
                self._changed.notify_all()

    async def _remove(self, named: str) -> None:
        if timer := self._timers.pop(named, None):
            timer.cancel()
        await self._engine.remove(self._numbers.pop(named))

    def close(self) -> None:
        """Forget all of them: their engine ends."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._removing:
            task.cancel()
        self._numbers.clear()
