"""An application asked without a socket: for what needs no connection of its own."""

from typing import Any, cast

import httpx
from litestar import Litestar


def asking(app: Litestar, *, root_path: str = "", **options: Any) -> httpx.AsyncClient:
    """A client of `app`, which is `http://box` to it; `options` are httpx's."""
    transport = httpx.ASGITransport(cast("Any", app), root_path=root_path)
    return httpx.AsyncClient(transport=transport, **{"base_url": "http://box", **options})
