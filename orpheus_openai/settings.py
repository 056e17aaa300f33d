"""What the user decides: read once from the environment and `.env`, checked, and never changed afterwards."""

import difflib
import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from dotenv import dotenv_values
from msgspec import Meta

from orpheus_openai.errors import ConfigurationError

PREFIX = "ORPHEUS_"
CHECKPOINT_PREFIX = "ORPHEUS_MODEL_"
BARE_NAMES = {
    "port": "PORT",
    "gpu_idle_timeout": "GPU_IDLE_TIMEOUT",
    "nvidia_visible_devices": "NVIDIA_VISIBLE_DEVICES",
    "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
}
"""Settings whose names are older than this project, or not its own."""

CLIENT_NAMES = frozenset({"ORPHEUS_URL", "ORPHEUS_API_KEY"})
"""What `orpheus-openai mcp` reads, to find a server that runs already."""

LISTS = frozenset({"remote_url", "pinned", "api_keys", "cors_origins", "trusted_proxies"})
URLS = {
    "remote_url": "http://127.0.0.1:8000/v1",
    "cors_origins": "https://app.example.com",
}
"""Lists of URLs, each with an example of one."""

SECRETS = frozenset({"remote_api_key", "api_keys", "redis_url"})

logger = logging.getLogger(__name__)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, with its default and the sentence that the README's table shows."""

    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")] = (
        8899
    )
    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "0.0.0.0"  # noqa: S104
    model: Annotated[
        str,
        Meta(
            min_length=1,
            description="The default model, for which OpenAI's names (`tts-1`, …) stand. "
            "`auto`: medium-3b where it can run, else preview.",
        ),
    ] = "auto"
    checkpoints: Annotated[
        dict[str, str],
        Meta(
            description="`ORPHEUS_MODEL_SMALL_1B`, `ORPHEUS_MODEL_TINY_400M`, `ORPHEUS_MODEL_NANO_150M`, "
            "`ORPHEUS_MODEL_MEDIUM_3B`, `ORPHEUS_MODEL_MEDIUM_3B_FR`, …: the checkpoint of a model, a folder or a "
            "Hugging Face repo id."
        ),
    ] = {}
    catalog: Annotated[
        Path | None, Meta(description="A TOML file of your own with more models, voices and aliases.")
    ] = None
    gpu_idle_timeout: Annotated[
        float,
        Meta(ge=0, description="Seconds without a request after which a model leaves the GPU; 0: never."),
    ] = 60.0
    unload_timeout: Annotated[
        float,
        Meta(
            ge=0, description="Seconds after which a model that went to sleep is unloaded for good; 0: never."
        ),
    ] = 600.0
    mode: Annotated[
        Literal["single", "multi", "hybrid"],
        Meta(
            description="Which models stay loaded: `single`, the one that is spoken with; `multi`, all, loaded at the "
            "start; `hybrid`, those in ORPHEUS_PINNED, others on demand."
        ),
    ] = "single"
    pinned: Annotated[
        tuple[str, ...],
        Meta(description="Models, separated by commas, that are loaded at the start and never unloaded."),
    ] = ()
    nvidia_visible_devices: Annotated[
        str, Meta(description="The GPUs to use, as indexes or UUIDs; empty: `start.sh` takes the idlest.")
    ] = ""
    device: Annotated[
        Literal["auto", "cuda", "cpu"],
        Meta(description="Where Orpheus runs. `cpu` is for trying things out: far below real time."),
    ] = "auto"
    snac: Annotated[
        str, Meta(min_length=1, description="The codec's checkpoint, a folder or a Hugging Face repo id.")
    ] = "hubertsiuzdak/snac_24khz"
    snac_noise: Annotated[
        str,
        Meta(
            pattern=r"^(on|off|\d{1,18})$",
            description="The codec's noise: `on`, `off`, or a number that seeds it so that the same tokens give the "
            "same sound.",
        ),
    ] = "on"
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        Meta(description="Number format of Orpheus' weights."),
    ] = "auto"
    quantization: Annotated[
        str, Meta(description="vLLM's name of a quantisation, e.g. `fp8`; empty: as the checkpoint is.")
    ] = ""
    tensor_parallel: Annotated[int, Meta(ge=1, le=64, description="GPUs one model is spread over.")] = 1
    max_model_len: Annotated[
        int, Meta(ge=256, le=131_072, description="Longest prompt and speech of one segment, in tokens.")
    ] = 4096
    max_streams: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="Segments one model speaks at the same time; more wait their turn. Each takes memory: "
            "about 0.2 GiB with medium-3b.",
        ),
    ] = 8
    remote_url: Annotated[
        tuple[str, ...],
        Meta(
            description="OpenAI-compatible completions servers that hold the model, separated by commas; "
            "see docs/remote.md."
        ),
    ] = ()
    remote_api_key: Annotated[str, Meta(description="The key those servers ask for.")] = ""
    remote_model: Annotated[
        str, Meta(description="The model's name on those servers; empty: the first one they list.")
    ] = ""
    max_input_chars: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Longest text of one request, in characters.")
    ] = 50_000
    load_wait: Annotated[
        float, Meta(ge=1, le=3600, description="Seconds a request waits for its model to load.")
    ] = 600.0
    api_keys: Annotated[
        tuple[str, ...],
        Meta(
            description="Keys, separated by commas, one of which every request must bring as `Authorization: Bearer`: "
            "`name:key`, `name:sha256:HEX` with the key's SHA-256 in place of the key, or just a key. Empty: "
            "everybody may use the server."
        ),
    ] = ()
    rate_limit: Annotated[
        str,
        Meta(
            description="What one key, or without keys one address, may ask for, e.g. "
            "`60/minute,20000 chars/minute` (second, minute, hour or day); empty: no limit."
        ),
    ] = ""
    redis_url: Annotated[
        str,
        Meta(
            description="Redis in which several servers count rates together, e.g. `redis://127.0.0.1:6379/0`; "
            "empty: each counts its own."
        ),
    ] = ""
    max_concurrent: Annotated[
        int, Meta(ge=1, le=100_000, description="Requests for speech that are served at the same time.")
    ] = 64
    max_queue: Annotated[
        int,
        Meta(
            ge=0, le=100_000, description="Requests that may wait for their turn; one more is answered 429."
        ),
    ] = 64
    queue_wait: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="Seconds a request waits for its turn before it is answered 429."),
    ] = 60.0
    request_timeout: Annotated[
        float,
        Meta(ge=0, description="Seconds a request may take from its arrival to its last byte; 0: no limit."),
    ] = 7200.0
    stall_timeout: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds after which a connection is closed on which nothing moves any more, neither a "
            "request's body nor, because nobody reads it, its answer; 0: never.",
        ),
    ] = 120.0
    block_list: Annotated[
        str,
        Meta(
            description="Words and phrases that are not spoken, separated by commas, or a `.txt` file with one a line."
        ),
    ] = ""
    max_repetition: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="How often a letter, word or phrase may be repeated in a row; 0: no limit.",
        ),
    ] = 0
    moderation: Annotated[
        str,
        Meta(
            description="Your own judge of texts: `package.module:function`, or an entry point of the group "
            "`orpheus_openai.moderation`; an asynchronous function that is given the text and returns None, or "
            "why it is refused."
        ),
    ] = ""
    audit_log: Annotated[
        str,
        Meta(description="A file that gets one JSON line a request; `-` is standard output; empty: none."),
    ] = ""
    audit_text: Annotated[bool, Meta(description="Whether those lines hold the texts.")] = False
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Sites whose pages may use the server from a browser, e.g. `https://app.example.com`, "
            "separated by commas; `*`: all; empty: none but its own."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of reverse proxies, whose `X-Forwarded-For` and `X-Forwarded-Proto` "
            "are believed."
        ),
    ] = ("127.0.0.1", "::1")
    output_dir: Annotated[Path, Meta(description="The folder for speech that is saved on the server.")] = (
        Path("outputs")
    )
    output_max_age_hours: Annotated[
        float, Meta(ge=0, description="Hours after which saved speech is removed; 0: never.")
    ] = 0.0
    output_max_bytes: Annotated[
        int, Meta(ge=0, description="Bytes that saved speech may take; the oldest goes first; 0: no limit.")
    ] = 0
    otlp_endpoint: Annotated[
        str,
        Meta(
            description="OpenTelemetry collector that is sent a trace of each request, e.g. `http://127.0.0.1:4318`; "
            "empty: no traces. See docs/observability.md."
        ),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="How much the log says.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Meta(description="One line a record, for people or machines.")
    ] = "text"


def variable_name(field: str) -> str:
    """The environment variable of a field, e.g. `snac_noise` → `ORPHEUS_SNAC_NOISE`."""
    if field == "checkpoints":
        return f"{CHECKPOINT_PREFIX}<MODEL>"
    return BARE_NAMES.get(field, PREFIX + field.upper())


def checkpoint_variable(model_id: str) -> str:
    """The environment variable that names a model's checkpoint, e.g. `ORPHEUS_MODEL_SMALL_1B`."""
    return CHECKPOINT_PREFIX + re.sub(r"\W", "_", model_id).upper()


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
    """Settings from `.env` and the environment, which wins.

    Raises ConfigurationError with one line that says which variable is wrong, what it holds and what would do.
    Unknown `ORPHEUS_*` names are warned about, with the nearest known one.
    """
    file_values = {k: v for k, v in dotenv_values(dotenv).items() if v is not None} if dotenv else {}
    values = {**file_values, **(os.environ if environ is None else environ)}
    variables = {
        variable_name(field.name): field
        for field in msgspec.structs.fields(Settings)
        if field.name != "checkpoints"
    }
    chosen: dict[str, Any] = {"checkpoints": _checkpoints(values, variables)}
    for variable, field in variables.items():
        text = values.get(variable, "").strip()
        if text:
            chosen[field.name] = _parse(variable, text, field)
    for name in values:
        known = name in variables or name in CLIENT_NAMES
        if name.startswith(PREFIX) and not name.startswith(CHECKPOINT_PREFIX) and not known:
            near = difflib.get_close_matches(name, variables, n=1)
            logger.warning(
                "%s is no setting of this server%s", name, f"; did you mean {near[0]}?" if near else ""
            )
    return Settings(**chosen)


def _checkpoints(values: Mapping[str, str], variables: Mapping[str, object]) -> dict[str, str]:
    """`ORPHEUS_MODEL_SMALL_1B=x` → `{"ORPHEUS_MODEL_SMALL_1B": "x"}`; the catalog knows which model that is."""
    return {
        name: text.strip()
        for name, text in values.items()
        if name.startswith(CHECKPOINT_PREFIX) and name not in variables and text.strip()
    }


def _parse(variable: str, text: str, field: msgspec.structs.FieldInfo) -> Any:
    value: Any = text
    if field.name in LISTS:
        value = [part.strip() for part in text.split(",") if part.strip()]
    if (example_url := URLS.get(field.name)) and value != ["*"]:
        value = [part.rstrip("/") for part in value]
        for url in value:
            if not re.match(r"^https?://[^/\s]+", url):
                raise ConfigurationError(
                    f"{variable}={text}: '{url}' is no URL; write for example {example_url}"
                )
    if field.name in ("log_level", "log_format", "device", "dtype", "snac_noise", "mode"):
        value = text.lower()
    try:
        return _convert(value, field.type)
    except msgspec.ValidationError as error:
        shown = "…" if field.name in SECRETS else text
        example = field.default if field.default not in ("", None, ()) else None
        hint = f"; for example {variable}={_plain(example)}" if example is not None else ""
        raise ConfigurationError(f"{variable}={shown}: {_in_words(field, error)}{hint}") from error


def _convert(value: Any, kind: Any) -> Any:
    converted = msgspec.convert(value, kind, strict=False, dec_hook=lambda other, raw: other(raw))
    if isinstance(converted, float) and not math.isfinite(converted):
        raise msgspec.ValidationError("not a number that can be counted with")
    return converted


def _in_words(field: msgspec.structs.FieldInfo, error: msgspec.ValidationError) -> str:
    """What would do, from the field's own limits."""
    kind, meta = get_args(field.type)[:2]
    if kind is bool:
        return "expected true or false"
    if kind in (int, float):
        noun = "a whole number" if kind is int else "a number"
        limits = f" from {meta.ge} to {meta.le}" if meta.le is not None else f" of at least {meta.ge}"
        return f"expected {noun}{limits}"
    if get_origin(kind) is Literal:
        return "expected one of " + ", ".join(get_args(kind))
    if meta.pattern is not None:
        return "expected on, off or a whole number"
    return str(error)


def settings_table() -> str:
    """The README's table of settings, as Markdown."""
    lines = ["| Variable | Default | What it does |", "| --- | --- | --- |"]
    for field in msgspec.structs.fields(Settings):
        kind, meta = get_args(field.type)[:2]
        choices = (
            " One of " + ", ".join(f"`{v}`" for v in get_args(kind)) + "."
            if get_origin(kind) is Literal
            else ""
        )
        default = "" if field.default in ("", None, (), msgspec.NODEFAULT) else f"`{_plain(field.default)}`"
        lines.append(f"| `{variable_name(field.name)}` | {default} | {meta.description}{choices} |")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return int(value) if isinstance(value, float) and value.is_integer() else value
