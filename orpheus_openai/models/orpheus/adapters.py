"""LoRA adapters: whether one can work on a model, and which edition of it lies on the disk."""

import json
import math
import re
from pathlib import Path
from typing import Any

import msgspec

from orpheus_openai.errors import InvalidRequestError, ModelUnavailableError
from orpheus_openai.models.hub import folder_of
from orpheus_openai.models.orpheus.checkpoint import Shape, Tensor, header
from orpheus_openai.models.threads import in_thread

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_FILES = [CONFIG, WEIGHTS]

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM lays memory out for; an adapter takes that of the next one."""
MODULES = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
_PLAIN_STARTS = {"gaussian", "eva", "orthogonal"}
"""Ways to begin a training that leave the model as it was."""

TENSOR = re.compile(r"\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight$")
"""The name of what an adapter may change: layer, projection, and which half of the product it is."""


class Adapter(msgspec.Struct, frozen=True):
    """An adapter that can work."""

    directory: Path
    rank: int
    alpha: float
    """What its product is scaled by, times its rank."""


class _Config(msgspec.Struct, frozen=True):
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
    directory = folder_of(named, _FILES, lambda folder: all((folder / name).is_file() for name in _FILES))
    return read_adapter(directory, shape, largest_rank)


def read_adapter(directory: Path, shape: Shape, largest_rank: int) -> Adapter:
    """Judge an adapter on disk; raises as `fetch_adapter` does."""
    config, tensors = _servable(directory, largest_rank)
    if reason := _misfit(tensors, config.r, shape):
        raise _refused(directory, reason, merge=False)
    halves = {half.join(re.split("lora_[AB]", name)) for name in tensors for half in ("lora_A", "lora_B")}
    if missing := halves - tensors.keys():
        raise _refused(directory, f"it has no {min(missing)}", merge=False)
    # The root of the rank in place of the rank: https://arxiv.org/abs/2312.03732
    alpha = config.lora_alpha * math.sqrt(config.r) if config.use_rslora else config.lora_alpha
    return Adapter(directory, config.r, alpha)


def require_servable(directory: Path, largest_rank: int = RANKS[-1]) -> None:
    """Raise ModelUnavailableError for an adapter that can be served on no model, with what would help."""
    _servable(directory, largest_rank)


def _servable(directory: Path, largest_rank: int) -> tuple[_Config, dict[str, Tensor]]:
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
    return config, tensors


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
        found = TENSOR.search(name)
        if found is None or found[2] not in MODULES:
            return f"it changes {name.rpartition('.lora_')[0] or name}, which cannot be changed beside others"
    return ""


def _misfit(tensors: dict[str, Tensor], rank: int, shape: Shape) -> str:
    """Why its weights do not go with the model; empty where they do."""
    sizes = _sizes(shape)
    if not tensors:
        return "it holds no weights"
    for name, tensor in tensors.items():
        found = TENSOR.search(name)
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
