"""The native door: everything below /api, and /ready."""

from litestar import Router
from litestar.di import Provide
from litestar.openapi.spec import Tag

from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.native.download import DownloadController
from orpheus_openai.native.events import Pulse, events
from orpheus_openai.native.files import FileController
from orpheus_openai.native.generate import generate
from orpheus_openai.native.interrupt import interrupt
from orpheus_openai.native.models import catalog
from orpheus_openai.native.offload import offload
from orpheus_openai.native.ready import ready
from orpheus_openai.native.status import StatusBoard, status
from orpheus_openai.native.takes import download_take
from orpheus_openai.native.text import plan_text
from orpheus_openai.outputs import OutputFolder
from orpheus_openai.settings import Settings
from orpheus_openai.speech.service import SpeechService

TAGS = (
    Tag(name="Speech", description="Speech, with every option this server has."),
    Tag(name="Files", description="Speech that was saved."),
    Tag(name="Models", description="What can speak, and freeing the GPU."),
)


def native_router(
    service: SpeechService, outputs: OutputFolder, settings: Settings, monitor: GPUMonitor
) -> Router:
    """Build the routes; the application provides `service` itself, for all doors."""
    board = StatusBoard(service, monitor)
    pulse = Pulse(service.events, monitor)
    provided = {
        "outputs": outputs,
        "settings": settings,
        "board": board,
        "pulse": pulse,
    }
    api = Router(
        "/api",
        route_handlers=[
            generate,
            plan_text,
            interrupt,
            FileController,
            download_take,
            catalog,
            DownloadController,
            offload,
            status,
            events,
        ],
    )
    return Router(
        "/",
        route_handlers=[api, ready],
        dependencies={name: _provide(value) for name, value in provided.items()},
    )


def _provide(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)
