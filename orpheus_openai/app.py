"""The composition root: settings in, one Litestar application with all its doors out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, Contact, License, Reference, SecurityScheme, Tag
from litestar.plugins.core import MsgspecDIPlugin

from orpheus_compat.routes import compat_router
from orpheus_eleven.middleware import ElevenClients
from orpheus_eleven.routes import eleven_router
from orpheus_mcp.door import MCPDoor
from orpheus_openai import __version__
from orpheus_openai.audio.encode import warm_up
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.http.delivery import SlowestPace
from orpheus_openai.http.errors import EXCEPTION_HANDLERS
from orpheus_openai.http.middleware.audit import AuditLog
from orpheus_openai.http.middleware.browsers import BrowserRules
from orpheus_openai.http.middleware.caller import Callers
from orpheus_openai.http.middleware.deadlines import Deadlines
from orpheus_openai.http.middleware.disconnects import HangUps
from orpheus_openai.http.middleware.heads import Heads
from orpheus_openai.http.middleware.hosts import HostRule
from orpheus_openai.http.middleware.keys import KeyGuard, KeyRing
from orpheus_openai.http.middleware.telemetry import Telemetry
from orpheus_openai.http.redaction import Redaction
from orpheus_openai.http.swagger import swagger_assets
from orpheus_openai.native.health import health
from orpheus_openai.native.metrics import metrics_route
from orpheus_openai.native.routes import TAGS, native_router
from orpheus_openai.observability.metrics import Metrics
from orpheus_openai.observability.tracing import Tracing
from orpheus_openai.outputs import OutputFolder
from orpheus_openai.settings import Settings
from orpheus_openai.speech.service import SpeechService
from orpheus_ui.routes import ui_router

if TYPE_CHECKING:
    from litestar.plugins import PluginProtocol
    from litestar.types import ASGIApp

INTRODUCTION = """
Speech in the expressive voices of Orpheus, behind OpenAI's API. Point any OpenAI client at this server's
`/v1`.

Try **POST /v1/audio/speech** below: *Try it out*, choose an example, *Execute*, and play the answer.
"""

_KEY_SCHEMES: dict[str, SecurityScheme | Reference] = {
    "key": SecurityScheme(type="http", scheme="bearer"),
    "x-api-key": SecurityScheme(type="apiKey", security_scheme_in="header", name="x-api-key"),
}


def create_app(settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Litestar:
    """Build the server as an ASGI application; nothing is loaded until it is asked for.

    `clock` gives the seconds by which models are idle.
    """
    service = SpeechService.create(settings, clock=clock)
    outputs = OutputFolder(
        settings.output_dir, max_age_hours=settings.output_max_age_hours, max_bytes=settings.output_max_bytes
    )

    monitor = GPUMonitor()
    mcp = MCPDoor(service, outputs, settings.output_dir, monitor)
    keys = KeyRing(settings.api_keys)
    audit = AuditLog(settings.audit_log) if settings.audit_log else None
    metrics = Metrics(service, monitor)
    tracing = Tracing.create(settings.otlp_endpoint)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncGenerator[None]:
        running = asyncio.create_task(service.manager.run(service.factory.preloads()))
        watching = asyncio.create_task(service.voices.watch())
        warming = asyncio.create_task(asyncio.to_thread(warm_up))
        await asyncio.to_thread(outputs.prune)
        try:
            yield
        finally:
            running.cancel()
            watching.cancel()
            await warming
            await mcp.close()
            await service.close()
            await service.gate.close()
            if audit is not None:
                await asyncio.to_thread(audit.close)
            if tracing is not None:
                await tracing.close()

    def provide_service() -> SpeechService:
        return service

    def provide_settings() -> Settings:
        return settings

    handlers: list[Any] = [
        compat_router(),
        eleven_router(),
        native_router(service, outputs, settings, monitor),
        mcp.handler(),
        health,
        metrics_route(metrics),
        ui_router(),
        swagger_assets,
    ]
    app = _Application(
        route_handlers=handlers,
        dependencies={
            "service": Provide(provide_service, sync_to_thread=False),
            "settings": Provide(provide_settings, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        logging_config=None,  # configure_logging has done it
        openapi_config=_openapi(with_keys=bool(keys)),
        request_max_body_size=None,  # read_body keeps its own limit, and says so in OpenAI's words
    )
    app.state.events = service.events
    app.state.pace = SlowestPace(settings.min_read_speed, settings.stall_timeout)
    app.state.request_timeout = settings.request_timeout
    app.state.draining = asyncio.Event()
    default = service.catalog.models[service.factory.default_model]
    app.state.default_model = default.id
    app.state.default_speaks = service.factory.availability(default).status == "available"
    app.state.unmet = service.factory.unmet()
    app.state.pace_here = service.factory.pace(default)
    app.asgi_handler = with_middleware(
        app.asgi_handler, settings, keys=keys, audit=audit, metrics=metrics, tracing=tracing
    )
    return app


class _Application(Litestar):
    """Without Litestar's plugin for Pydantic, in which nothing here is written, and which takes 6 MiB."""

    @staticmethod
    def _get_default_plugins(plugins: "list[PluginProtocol]") -> "list[PluginProtocol]":
        return [*plugins, MsgspecDIPlugin()]


def with_middleware(
    application: "ASGIApp",
    settings: Settings,
    *,
    keys: KeyRing,
    audit: AuditLog | None,
    metrics: Metrics,
    tracing: Tracing | None,
) -> "ASGIApp":
    """The middleware around the application, which every request passes, and whoever asks for a WebSocket.

    From the outside in: its name and what is measured of it, who asks, whether their browser may, in whose API they are
    to be answered, and their key.
    """
    handler: ASGIApp = Deadlines(
        Heads(application), request=settings.request_timeout, stall=settings.stall_timeout
    )
    if keys:
        handler = KeyGuard(handler, keys, open_lists=settings.open_lists)
    handler = ElevenClients(handler)
    handler = BrowserRules(handler, settings.cors_origins, None if keys else HostRule(settings.allowed_hosts))
    handler = Callers(handler, audit, audit_text=settings.audit_text, with_keys=bool(keys))
    return HangUps(Telemetry(handler, metrics, tracing, Redaction(keys)))


def _openapi(*, with_keys: bool) -> OpenAPIConfig:
    assets = "/apidocs/assets"
    return OpenAPIConfig(
        title="orpheus-openai",
        version=__version__,
        description=INTRODUCTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        contact=Contact(name="orpheus-openai"),
        path="/apidocs",
        use_handler_docstrings=True,
        security=[{"key": []}, {"x-api-key": []}] if with_keys else None,
        components=Components(security_schemes=_KEY_SCHEMES if with_keys else {}),
        tags=[
            Tag(name="OpenAI", description="The API that OpenAI's clients use."),
            Tag(name="ElevenLabs", description="The API that ElevenLabs' clients use."),
            *TAGS,
            Tag(name="Server", description="The server's health, readiness and state."),
        ],
        render_plugins=[
            SwaggerRenderPlugin(
                js_url=f"{assets}/swagger-ui-bundle.js",
                css_url=f"{assets}/swagger-ui.css",
                standalone_preset_js_url=f"{assets}/swagger-ui-standalone-preset.js",
                path="/",
                favicon=f'<link rel="icon" href="{assets}/favicon-32x32.png">',
            )
        ],
    )
