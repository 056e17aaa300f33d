"""Swagger UI's own files, so that the API page works without the internet; version and licence beside them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litestar.static_files import create_static_files_router

from orpheus_openai.errors import NotFoundError

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers.base import BaseRouteHandler

FOLDER = Path(__file__).parent
NAMES = frozenset(path.name for path in FOLDER.iterdir() if path.is_file() and path.suffix != ".py")


def only_ours(connection: "ASGIConnection[Any, Any, Any, Any]", _handler: "BaseRouteHandler") -> None:
    """Raise NotFoundError unless it is a file of ours: the file system stumbles over names it cannot have."""
    name = str(connection.path_params["file_path"]).lstrip("/")
    if name not in NAMES:
        raise NotFoundError(f"There is no file {name[:200]!r} here.", code="unknown_url")


swagger_assets = create_static_files_router(
    path="/apidocs/assets",
    directories=[FOLDER],
    include_in_schema=False,
    name="swagger-assets",
    guards=[only_ours],
)
