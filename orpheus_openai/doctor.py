"""What this machine has, and what to do about each gap."""

import contextlib
import importlib.metadata
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from orpheus_openai import __version__
from orpheus_openai.catalog import Catalog, load_catalog
from orpheus_openai.errors import ConfigurationError, ModelUnavailableError
from orpheus_openai.gpu.device import driver_version, list_gpus
from orpheus_openai.gpu.policy import GIB
from orpheus_openai.http.middleware.keys import KeyRing
from orpheus_openai.installation import installing
from orpheus_openai.limits.gate import Gate
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.models.hub import hub_cache
from orpheus_openai.models.orpheus.adapters import adapter_at_hand
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf, is_missing, means_gguf
from orpheus_openai.models.orpheus.host_memory import available_memory
from orpheus_openai.models.orpheus.machine import machine_gaps
from orpheus_openai.settings import Settings, checkpoint_variable, load_settings
from orpheus_openai.voices import VoiceFolder

EXTRAS = {
    "espeakng-loader": "preview",
    "torch": "orpheus",
    "snac": "orpheus",
    "vllm": "gpu",
    "xllamacpp": "gguf",
    "redis": "redis",
    "opentelemetry-sdk": "otel",
    "opentelemetry-exporter-otlp-proto-http": "otel",
}
"""The packages that settings can need, and the extra that brings each."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    ok: bool = True
    needed: bool = False
    """Without it the server cannot do what the settings ask for."""
    advice: str = ""


def examine() -> list[Finding]:
    """Look at settings, GPUs, packages, models, checkpoints and the port; changes nothing."""
    found = [
        Finding(f"orpheus-openai {__version__}, Python {platform.python_version()}, {platform.platform()}")
    ]
    try:
        settings = load_settings()
        catalog = load_catalog(settings.catalog)
        factory = ModelFactory(settings, catalog)
        KeyRing(settings.api_keys)
        Gate.create(msgspec.structs.replace(settings, redis_url=""))  # a missing extra is told below
    except ConfigurationError as error:
        return [
            *found,
            Finding(str(error), ok=False, needed=True, advice="Correct it in the environment or in .env."),
        ]
    return [
        *found,
        *_gpus(settings),
        *_packages(settings),
        *_models(factory, catalog),
        *_checkpoints(settings, factory, catalog),
        *_voices(settings, catalog),
        _port(settings),
    ]


def _gpus(settings: Settings) -> Iterator[Finding]:
    gpus = list_gpus()
    if driver := driver_version():
        yield Finding(f"NVIDIA driver {driver}")
    for gpu in gpus:
        memory = "memory unknown"
        if gpu.memory_total is not None and gpu.memory_used is not None:
            free = (gpu.memory_total - gpu.memory_used) / GIB
            memory = f"{free:.1f} of {gpu.memory_total / GIB:.1f} GiB free"
        yield Finding(f"GPU {gpu.index}: {gpu.name}, {memory}")
    if gpus and settings.device != "cpu" and not settings.remote_url:
        for gap in machine_gaps():
            yield Finding(gap.what, ok=False, needed=True, advice=gap.cure)
    if not gpus:
        advice = (
            ""
            if settings.remote_url
            else "Orpheus speaks without one by a GGUF file (orpheus-openai pull; see docs/hardware.md), or by "
            "ORPHEUS_REMOTE_URL."
        )
        yield Finding("no NVIDIA GPU", ok=False, advice=advice)


def _packages(settings: Settings) -> Iterator[Finding]:
    """Each package of an extra: there, needed by the settings and missing, or one that could be had."""
    needed_by = _needed_extras(settings)
    for package, extra in EXTRAS.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield Finding(f"{package} {importlib.metadata.version(package)}")
            continue
        reason = needed_by.get(extra, "")
        what = f"{package} is not installed" + (f", and {reason} needs it" if reason else "")
        yield Finding(what, ok=False, needed=extra in needed_by, advice=installing(extra))


def _needed_extras(settings: Settings) -> dict[str, str]:
    """The extras that the settings need on this machine, and what asks for each; empty: it is the machine's way."""
    needed = {"redis": "ORPHEUS_REDIS_URL"} if settings.redis_url else {}
    if settings.otlp_endpoint:
        needed["otel"] = "OTEL_EXPORTER_OTLP_ENDPOINT"
    gguf = next((name for name, path in settings.checkpoints.items() if means_gguf(path)), None)
    if settings.remote_url:
        return needed | {"orpheus": "ORPHEUS_REMOTE_URL"}
    if gguf is not None:
        return needed | {"orpheus": gguf} | ({} if settings.llama_server else {"gguf": gguf})
    return needed | ({"gpu": "", "orpheus": ""} if list_gpus() else {"preview": ""})


def _models(factory: ModelFactory, catalog: Catalog) -> Iterator[Finding]:
    default = factory.availability(catalog.models[factory.default_model])
    yield Finding(
        f"the default model is {factory.default_model}: {default.status}",
        ok=default.status == "available",
        needed=True,
        advice=default.reason,
    )
    if pace := factory.pace(catalog.models[factory.default_model]):
        speed, _, advice = pace.partition(". ")
        words = f"{factory.default_model} spoke at {speed.removesuffix('.')} when it was loaded last"
        yield Finding(words, ok=not advice, advice=advice)


def _checkpoints(settings: Settings, factory: ModelFactory, catalog: Catalog) -> Iterator[Finding]:
    named = {f"{checkpoint_variable(m.id)}": factory.checkpoint(m) for m in catalog.models.values()}
    chosen = {name: path for name, path in named.items() if name in settings.checkpoints}
    for name, path in {**chosen, "ORPHEUS_SNAC": settings.snac}.items():
        if path is None:
            continue
        if Path(path).expanduser().exists():
            yield _gguf(name, path, settings) if means_gguf(path) else Finding(f"{name}: {path}")
        elif is_missing(path):
            yield Finding(f"{name}: {path} does not exist", ok=False, needed=True, advice="Correct the path.")
        else:
            cached = hub_cache() / f"models--{path.partition(':')[0].replace('/', '--')}"
            where = "downloaded" if cached.exists() else "will be downloaded when it is first used"
            yield Finding(f"{name}: {path}, {where}")


def _voices(settings: Settings, catalog: Catalog) -> Iterator[Finding]:
    folder = VoiceFolder(settings.voices, adapter_at_hand)
    found = folder.read(catalog)
    if found.voices:
        yield Finding(f"{folder.root}: {len(found.voices)} voices of your own")
    for name, problem in found.problems.items():
        yield Finding(f"the voice in {folder.root / name} cannot be used: {problem}", ok=False)


def _gguf(name: str, path: str, settings: Settings) -> Finding:
    try:
        header = fetch_gguf(path)
    except ModelUnavailableError as error:
        return Finding(f"{name}: {path}", ok=False, needed=True, advice=error.message)
    need, free = header.memory_bytes(min(header.context, settings.max_model_len)) / GIB, available_memory()
    room = "" if free is None else f" of {free / GIB:.1f} free"
    words = f"{name}: {path}, {header.quantisation}, by llama.cpp; takes {need:.1f} GiB of memory{room}"
    return Finding(words, ok=free is None or need * GIB <= free)


def _port(settings: Settings) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            advice = "A server may be running there already; else set PORT."
            return Finding(f"port {settings.port}: {error.strerror}", ok=False, advice=advice)
    return Finding(f"port {settings.port} is free")
