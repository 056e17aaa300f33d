"""ASGI around the application: whoever speaks ElevenLabs' API is answered in it, also where keys are asked for."""

import re
from typing import TYPE_CHECKING

from orpheus_eleven.errors import eleven_shape, is_elevens
from orpheus_openai.http.middleware.answer import is_request, path_of

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

MODELS = "/v1/elevenlabs/models"
"""Where what ElevenLabs' clients ask /v1/models for is answered; OpenAI has the same path."""


class ElevenClients:
    """Sees to the form of errors, and to which list of models is meant."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass everything on."""
        if is_request(scope) and is_elevens(scope):
            scope["state"]["error_shape"] = eleven_shape
            if path_of(scope).rstrip("/").endswith("models"):
                scope["path"] = re.sub(r"/+v1/+models/*$", MODELS, scope["path"])
        await self._app(scope, receive, send)
