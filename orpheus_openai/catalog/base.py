"""Which of the catalog's models an adapter was trained on, by the name that its training has noted."""

import json
import re
from pathlib import Path
from typing import NamedTuple

from orpheus_openai.catalog.definition import Catalog

CONFIG = "adapter_config.json"
LARGEST_CONFIG = 1024 * 1024
_QUANTISED = re.compile(r"(?:-unsloth)?(?:-bnb)?-[48]bit$")
"""How copies of a checkpoint are called that have fewer bits; an adapter fits the one and the other."""


class Base(NamedTuple):
    """The checkpoint that an adapter was trained on, and what the catalog calls it."""

    checkpoint: str
    models: tuple[str, ...]


def adapter_config(adapter: Path) -> object:
    """What stands in an adapter's `adapter_config.json`; raises OSError, and ValueError for what cannot be read."""
    with (adapter / CONFIG).open("rb") as file:
        content = file.read(LARGEST_CONFIG + 1)
    if len(content) > LARGEST_CONFIG:
        raise ValueError("it is larger than 1 MiB")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def base_of(adapter: Path, catalog: Catalog) -> Base | None:
    """The base of the adapter in that folder; None where it does not say, or the catalog does not know it.

    Owners do not count: others publish the same checkpoint under its own name. Sizes cannot tell models of one family
    from another.
    """
    try:
        config = adapter_config(adapter)
    except (OSError, ValueError):
        return None  # what is wrong with it is told when it is loaded
    named = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(named, str) or not named:
        return None
    models = [
        model.id
        for model in catalog.models.values()
        if any(_title(each) == _title(named) for each in model.checkpoints)
    ]
    return Base(named, tuple(models)) if models else None


def misfit(adapter: Path, model: str, catalog: Catalog) -> str:
    """Why `model` would speak garbage with the adapter in that folder, and the way out; empty where it is its base."""
    base = base_of(adapter, catalog)
    if base is None or model in base.models:
        return ""
    return (
        f"it was trained on {base.checkpoint}, which is {base.models[0]} here, and its voice would be one of {model}; "
        f'name the model (model = "{base.models[0]}", on the command line --model {base.models[0]}), '
        f"or {model} if it fits that one all the same"
    )


def merging(adapter: Path) -> str:
    """How the adapter in that folder becomes a part of its model, and that one is served."""
    return (
        'Merge it into its model and serve that: python -c "from peft import AutoPeftModelForCausalLM as M; from '
        f"transformers import AutoTokenizer as T; m = M.from_pretrained('{adapter}'); "
        "T.from_pretrained(m.peft_config['default'].base_model_name_or_path).save_pretrained('merged'); "
        "m.merge_and_unload().save_pretrained('merged')\", then ORPHEUS_MODEL_MEDIUM_3B=./merged and a voice of the "
        "kind named."
    )


def _title(checkpoint: str) -> str:
    return _QUANTISED.sub("", checkpoint.rstrip("/").rpartition("/")[2].lower())
