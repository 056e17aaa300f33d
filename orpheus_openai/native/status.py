"""GET /api/status: what is loaded, who is speaking, and how the GPUs are."""

import importlib.metadata
import platform
import time
from functools import cache
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from msgspec import Meta

from orpheus_openai import __version__
from orpheus_openai.errors import SpeechError
from orpheus_openai.gpu.device import GPU
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.gpu.slot import ModelStatus
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.openapi import operation
from orpheus_openai.limits.caller import Caller
from orpheus_openai.models.downloads import Download
from orpheus_openai.native.ready import require_ready
from orpheus_openai.speech.service import SpeechService

PACKAGES = ("litestar", "msgspec", "numpy", "av", "espeakng-loader", "torch", "snac", "vllm", "xllamacpp")
"""Those whose versions explain most when something is odd."""


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about the server at one moment."""

    version: Annotated[str, Meta(examples=["0.2.0"])]
    uptime_seconds: Annotated[float, Meta(examples=[86400.5])]
    ready: Annotated[bool, Meta(description="What /ready says.")]
    default_model: Annotated[str, Meta(examples=["medium-3b"])]
    models: Annotated[list[ModelStatus], Meta(description="Every model that was asked for since the start.")]
    downloads: Annotated[
        list[Download], Meta(description="Models that are being downloaded, and how the last of each ended.")
    ]
    active_speeches: Annotated[int, Meta(description="Requests that are speaking now.", examples=[2])]
    queued_speeches: Annotated[int, Meta(description="Requests that wait for their turn.", examples=[0])]
    admin: Annotated[
        bool, Meta(description="Whether you may do what is for admins: release models.", examples=[True])
    ]
    gpus: Annotated[
        tuple[GPU, ...], Meta(description="The GPUs that may be used; null where a card does not tell.")
    ]
    gpu_error: Annotated[
        str | None,
        Meta(description="Why there are none.", examples=["This machine has no NVIDIA driver."]),
    ]
    versions: Annotated[
        dict[str, str],
        Meta(description="Python and the packages that are installed.", examples=[{"python": "3.12.4"}]),
    ]


class StatusBoard:
    """Knows since when the server runs, and whom to ask for the rest."""

    def __init__(self, service: SpeechService, monitor: GPUMonitor) -> None:
        self._service = service
        self._monitor = monitor
        self._started = time.monotonic()

    async def read(self, caller: Caller) -> ServerStatus:
        """Take stock now, of what `caller` may see; the GPUs are asked in a thread."""
        sample = await self._monitor.sample()
        seen = self._service.seen
        models = seen.models(caller)
        return ServerStatus(
            version=__version__,
            uptime_seconds=round(time.monotonic() - self._started, 3),
            ready=self._ready(),
            default_model=self._service.offer.default,
            models=models,
            downloads=self._service.downloads.all(),
            active_speeches=sum(model.leases for model in models),
            queued_speeches=self._service.gate.queue.waiting if caller.admin else seen.waiting(caller),
            admin=caller.admin,
            gpus=seen.gpus(caller, sample.gpus),
            gpu_error=sample.error,
            versions=_versions(),
        )

    def _ready(self) -> bool:
        try:
            require_ready(self._service)
        except SpeechError:
            return False
        return True


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@get(
    "/status",
    tags=["Server"],
    operation_id="status",
    summary="What the server is doing",
    response_description="The server at this moment.",
    operation_class=operation(),
)
async def status(request: Request[Any, Any, Any], board: NamedDependency[StatusBoard]) -> ServerStatus:
    """Models and their states, speeches under way, GPUs with memory, load, temperature and processes.

    Where there are several keys, only an admin's sees speeches of others, and the processes.

    To be told of changes as they happen, listen to `/api/events`.
    """
    return await board.read(caller_of(request.scope))
