"""LoRA adapters: whether one can work on a model, and which edition of it lies on the disk."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orpheus_openai.catalog import Catalog, OwnVoice
from orpheus_openai.catalog.base import CONFIG, adapter_config, merging, misfit
from orpheus_openai.errors import InvalidRequestError, ModelUnavailableError
from orpheus_openai.models.hub import cached_folder, repository_folder
from orpheus_openai.models.orpheus.adapter_file import (
    TENSOR,
    WEIGHTS,
    WeightsError,
    read_tensors,
    require_finite,
    told,
)
from orpheus_openai.models.orpheus.checkpoint import Shape, Tensor
from orpheus_openai.models.threads import in_thread

_FILES = [CONFIG, WEIGHTS]

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM lays memory out for; an adapter takes that of the next one."""
MODULES = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
LARGEST_ALPHA = 1e6
_PLAIN_STARTS = {"gaussian", "eva", "orthogonal"}
"""Ways to begin a training that leave the model as it was."""

T = TypeVar("T")


class Adapter(msgspec.Struct, frozen=True):
    """An adapter that can work."""

    directory: Path
    rank: int
    alpha: float
    """What its product is scaled by, times its rank."""


class _AdapterConfig(msgspec.Struct, frozen=True):
    """What `adapter_config.json` says."""

    peft_type: str = ""
    r: int = 0
    lora_alpha: float = 8
    use_rslora: bool = False
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


async def edition(named: str, held: str | None = None) -> str:
    """What names an adapter and changes when its files do: others may come in their place, under the same name.

    `held` is the edition that an engine has loaded. It lasts where the files are gone, as the speech of a voice that is
    removed goes on; without it, raises InvalidRequestError.
    """
    if not Path(named).is_absolute():  # on the hub: what has been downloaded stays as it is
        return named

    found = await in_thread(lambda: _edition(Path(named))) or held
    if found is None:
        raise InvalidRequestError("The adapter of this voice is gone.", param="voice")
    return found


def _edition(folder: Path) -> str | None:
    try:
        states = [(folder / file).stat() for file in _FILES]
    except FileNotFoundError:
        return str(folder) if folder.is_dir() else None
    return "@".join([str(folder), *(f"{each.st_ino}-{each.st_mtime_ns}-{each.st_size}" for each in states)])


def fetch_adapter(named: str, shape: Shape, largest_rank: int) -> Adapter:
    """The adapter in a folder, or in a repository `owner/name`. Blocking, may download.

    Raises ModelUnavailableError for one that cannot work on a model of that shape, with the reason and what would help,
    and as `hub.folder_of` does.
    """
    return read_adapter(adapter_folder(named), shape, largest_rank)


def adapter_folder(named: str) -> Path:
    """Where the files of an adapter are: `named` itself, or the repository's, downloaded if need be. Blocking.

    Raises as `hub.folder_of` does.
    """
    if Path(named).is_absolute():
        return Path(named)
    return repository_folder(named, _FILES, _is_whole)


def adapter_at_hand(repository: str) -> Path | None:
    """Where the files of a repository's adapter are, without a download; None where they are not here."""
    return cached_folder(repository, _is_whole)


def _is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _FILES)


def read_adapter(directory: Path, shape: Shape, largest_rank: int) -> Adapter:
    """Judge an adapter on disk; raises as `fetch_adapter` does."""
    config, tensors = _servable(directory, largest_rank)
    if reason := _misfit(tensors, shape):
        raise _refused(directory, reason, merge=True)
    # The root of the rank in place of the rank: https://arxiv.org/abs/2312.03732
    alpha = config.lora_alpha * math.sqrt(config.r) if config.use_rslora else config.lora_alpha
    return Adapter(directory, config.r, alpha)


def require_base(voice: OwnVoice, catalog: Catalog) -> None:
    """Raise ModelUnavailableError for a voice whose adapter was trained on another model of the catalog than its own.

    Not where its model was named. Blocking, may download; raises as `hub.folder_of` does.
    """
    directory = adapter_folder(voice.adapter)
    if not voice.any_base and (reason := misfit(directory, voice.models[0], catalog)):
        raise _refused(directory, reason, merge=True)


def require_servable(directory: Path, largest_rank: int = RANKS[-1]) -> None:
    """Raise ModelUnavailableError for an adapter that can be served on no model, with what would help. Blocking."""
    _servable(directory, largest_rank)


def _servable(directory: Path, largest_rank: int) -> tuple[_AdapterConfig, dict[str, Tensor]]:
    try:
        config = msgspec.convert(adapter_config(directory), _AdapterConfig)
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
    if not 0 < config.lora_alpha <= LARGEST_ALPHA:
        raise _refused(directory, f"its lora_alpha is {config.lora_alpha:g}", merge=False)
    tensors = _require(directory, lambda: read_tensors(directory / WEIGHTS))
    if reason := _beyond(tensors):
        raise _refused(directory, reason, merge=True)
    if reason := _incomplete(tensors, config.r):
        raise _refused(directory, reason, merge=False)
    _require(directory, lambda: require_finite(directory / WEIGHTS, tensors))
    return config, tensors


def _require(directory: Path, look: Callable[[], T]) -> T:
    """What `look` finds; raises ModelUnavailableError with what it finds wrong with the weights."""
    try:
        return look()
    except WeightsError as error:
        raise _refused(directory, f"{WEIGHTS}: {error}", merge=False) from error


def _unfit(config: _AdapterConfig, largest_rank: int) -> str:
    """Why no engine can serve it beside others; empty where one can."""
    start = config.init_lora_weights
    reasons = (
        (
            config.peft_type != "LORA",
            f"it is no LoRA adapter but {config.peft_type or 'nothing that says what it is'}",
        ),
        (config.r < 1, f"its rank is {config.r}"),
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
            f"its rank is {config.r}, and ORPHEUS_ADAPTER_RANK allows {largest_rank} (of {RANKS[-1]} at most)",
        ),
    )
    return next((reason for unfit, reason in reasons if unfit), "")


def _beyond(tensors: dict[str, Tensor]) -> str:
    """What it changes beside the projections; empty where that is nothing."""
    for name in tensors:
        found = TENSOR.fullmatch(name)
        if found is None or found[2] not in MODULES:
            return f"it changes {told(name.rpartition('.lora_')[0] or name)}, which cannot be changed beside others"
    return ""


def _incomplete(tensors: dict[str, Tensor], rank: int) -> str:
    """What is not as it says of itself; empty where that is nothing."""
    if not tensors:
        return "it holds no weights"
    for name, tensor in tensors.items():
        if len(tensor.shape) != 2:  # noqa: PLR2004
            return f"{name} is no matrix"
        if tensor.shape[1 if ".lora_B." in name else 0] != rank:
            return f"{name} is not of the rank {rank} that its {CONFIG} says"
    halves = {half.join(re.split("lora_[AB]", name)) for name in tensors for half in ("lora_A", "lora_B")}
    return f"it has no {min(halves - tensors.keys())}" if halves - tensors.keys() else ""


def _misfit(tensors: dict[str, Tensor], shape: Shape) -> str:
    """Why its weights do not go with the model; empty where they do."""
    for name, tensor in tensors.items():
        found = TENSOR.fullmatch(name)
        assert found is not None  # noqa: S101  it has been looked at
        if int(found[1]) >= shape.layers:
            return f"it is for a model of more layers than the {shape.layers} here"
        width = tensor.shape[found[3] == "A"]
        here = shape.projections[found[2]][found[3] == "B"]
        if here is not None and width != here:
            return f"it is for a model whose layers are {width} wide; here they are {here} ({found[2]})"
    return ""


def _refused(directory: Path, reason: str, *, merge: bool) -> ModelUnavailableError:
    way = f" {merging(directory)}" if merge else ""
    return ModelUnavailableError(f"The adapter in {directory} cannot be used: {reason}.{way}", param="voice")
