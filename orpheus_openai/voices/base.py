"""Which of the catalog's models an adapter was trained on, by the name that its training has noted."""

import json
import re
from pathlib import Path
from typing import NamedTuple

from orpheus_openai.catalog import Catalog

CONFIG = "adapter_config.json"
LARGEST_CONFIG = 1024 * 1024
_QUANTISED = re.compile(r"(?:-unsloth)?(?:-bnb)?-[48]bit$")
"""How copies of a checkpoint are called that have fewer bits; an adapter fits the one and the other."""


class Base(NamedTuple):
    """The checkpoint that an adapter was trained on, and what the catalog calls it."""

    checkpoint: str
    models: tuple[str, ...]


def base_of(adapter: Path, catalog: Catalog) -> Base | None:
    """The base of the adapter in that folder; None where it does not say, or the catalog does not know it.

    Owners do not count: others publish the same checkpoint under its own name. Sizes cannot tell models of one family
    from another.
    """
    try:
        with (adapter / CONFIG).open("rb") as file:
            table = json.loads(file.read(LARGEST_CONFIG))
        named = table["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # what is wrong with it is told when it is loaded
    if not isinstance(named, str) or not named:
        return None
    models = [
        model.id
        for model in catalog.models.values()
        if any(_title(each) == _title(named) for each in model.checkpoints)
    ]
    return Base(named, tuple(models)) if models else None


def _title(checkpoint: str) -> str:
    return _QUANTISED.sub("", checkpoint.rstrip("/").rpartition("/")[2].lower())
