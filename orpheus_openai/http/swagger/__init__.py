"""Swagger UI's own files, so that the API page works without the internet; version and licence beside them."""

from pathlib import Path

from litestar.static_files import create_static_files_router

swagger_assets = create_static_files_router(
    path="/apidocs/assets",
    directories=[Path(__file__).parent],
    include_in_schema=False,
    name="swagger-assets",
)
