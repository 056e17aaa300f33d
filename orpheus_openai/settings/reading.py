"""Settings are read once, from the environment and `.env`, and checked; what is wrong is said in one line."""

import difflib
import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.expected import expected
from orpheus_openai.settings import dotenv as env_file
from orpheus_openai.settings.definition import Settings

PREFIX = "ORPHEUS_"
CHECKPOINT_PREFIX = "ORPHEUS_MODEL_"
CHECKPOINTS = "checkpoints"
"""The field that many variables fill, one for each model."""

CLIENT_NAMES = frozenset({"ORPHEUS_URL", "ORPHEUS_API_KEY"})
"""What `orpheus-openai mcp` reads, to find a server that runs already."""

logger = logging.getLogger(__name__)


def variable_name(field: str) -> str:
    """The environment variable of a field, e.g. `snac_noise` → `ORPHEUS_SNAC_NOISE`."""
    if field == CHECKPOINTS:
        return f"{CHECKPOINT_PREFIX}<MODEL>"
    return str(extra_of(_FIELDS[field]).get("variable", PREFIX + field.upper()))


def checkpoint_variable(model_id: str) -> str:
    """The environment variable that names a model's checkpoint, e.g. `ORPHEUS_MODEL_SMALL_1B`."""
    return CHECKPOINT_PREFIX + re.sub(r"\W", "_", model_id).upper()


def type_of(field: FieldInfo) -> Any:
    """The field's type without what is annotated."""
    return get_args(field.type)[0]


def meta_of(field: FieldInfo) -> Meta:
    """Limits and description of a field."""
    found = get_args(field.type)[1]
    assert isinstance(found, Meta)  # noqa: S101  every field of Settings has one
    return found


def extra_of(field: FieldInfo) -> dict[str, Any]:
    """What the definition says of a field beyond its type; see there."""
    return meta_of(field).extra or {}


_FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}


def load_settings(
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = env_file.FILE,
    *,
    warn: Callable[[str], None] = logger.warning,
) -> Settings:
    """Settings from the environment, else from `.env`.

    Raises ConfigurationError with one line that says which variable is wrong, what it holds and what would do, or
    which line of `.env` cannot be read. `warn` is told of unknown `ORPHEUS_*` names, with the nearest known one.
    """
    try:
        values = env_file.effective(os.environ if environ is None else environ, dotenv)
    except env_file.UnreadableError as error:
        raise ConfigurationError(str(error)) from error
    variables = {variable_name(name): field for name, field in _FIELDS.items() if name != CHECKPOINTS}
    chosen: dict[str, Any] = {CHECKPOINTS: _checkpoints(values, variables)}
    for variable, field in variables.items():
        if variable in values:
            chosen[field.name] = _parse(variable, values[variable], field)
    for name in values:
        known = name in variables or name in CLIENT_NAMES
        if name.startswith(PREFIX) and not name.startswith(CHECKPOINT_PREFIX) and not known:
            near = difflib.get_close_matches(name, variables, n=1)
            warn(f"{name}: there is no such setting{f'; did you mean {near[0]}?' if near else ''}")
    return Settings(**chosen)


def _checkpoints(values: Mapping[str, str], variables: Mapping[str, object]) -> dict[str, str]:
    """`ORPHEUS_MODEL_SMALL_1B=x` → `{"ORPHEUS_MODEL_SMALL_1B": "x"}`; the catalog knows which model that is."""
    return {
        name: text
        for name, text in values.items()
        if name.startswith(CHECKPOINT_PREFIX) and name not in variables
    }


def _parse(variable: str, text: str, field: FieldInfo) -> Any:
    kind = type_of(field)
    words_of_ours = get_origin(kind) is Literal or meta_of(field).pattern is not None
    try:
        if get_origin(kind) is tuple:
            return _convert(_entries(text, field), field)
        return _convert(_checked(text.lower() if words_of_ours else text, field), field)
    except ValueError as error:
        shown = "…" if extra_of(field).get("secret") else text
        raise ConfigurationError(f"{variable}={shown}: {error}{_hint(variable, field)}") from error


def _entries(text: str, field: FieldInfo) -> list[str]:
    parts = [part for each in text.split(",") if (part := each.strip())]
    if not parts:
        raise ValueError("it is set, but holds nothing; name at least one, or leave it empty")
    return [_checked(part, field, place) for place, part in enumerate(parts, start=1)]


def _checked(text: str, field: FieldInfo, place: int | None = None) -> str:
    """`text` as its check gives it back; raises ValueError, which quotes no secret."""
    extra = extra_of(field)
    check = extra.get("check")
    if check is None:
        return text
    try:
        return str(check(text))
    except ValueError as error:
        name = "it" if place is None else f"entry {place}" if extra.get("secret") else f"'{text}'"
        raise ValueError(f"{name} {error}") from None


def _convert(value: Any, field: FieldInfo) -> Any:
    """`value` as the field's type; raises ValueError with what would do."""
    try:
        found = msgspec.convert(value, field.type, strict=False, dec_hook=lambda kind, raw: kind(raw))
    except msgspec.ValidationError:
        raise ValueError(f"expected {expected(field.type)}") from None
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"expected {expected(field.type)}")
    return found


def _hint(variable: str, field: FieldInfo) -> str:
    example = extra_of(field).get("example", field.default)
    return "" if example in ("", None, ()) else f"; for example {variable}={as_written(example)}"


def as_written(value: Any) -> Any:
    """A value as one writes it in the environment."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return int(value) if isinstance(value, float) and value.is_integer() else value
