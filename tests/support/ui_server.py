"""A server in a thread of the test's own, so that its models can be slow and its cards made up."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from orpheus_openai.app import create_app
from orpheus_openai.settings import load_settings

START_SECONDS = 30


@contextlib.contextmanager
def page_server(
    folder: Path,
    *,
    port: int = 0,
    keys: str = "",
    wrap: Callable[[Any], Any] = lambda app: app,
    **settings: str,
) -> Iterator[str]:
    """The address of a server with the preview, up until the end of the block.

    `wrap` goes around its ASGI app, `settings` are more of them.
    """
    environ = {
        "ORPHEUS_MODEL": "preview",
        "ORPHEUS_OUTPUT_DIR": str(folder / "outputs"),
        "ORPHEUS_VOICES": str(folder / "voices"),
        "ORPHEUS_API_KEYS": keys,
        **settings,
    }
    app = wrap(create_app(load_settings(environ, dotenv=None)))
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)


def slowed(seconds: float) -> Callable[[Any], Any]:
    """An app that lets that long pass before each piece of speech."""

    def wrap(app: Any) -> Any:
        async def slow(scope: Any, receive: Any, send: Any) -> None:
            async def send_late(message: Any) -> None:
                if message["type"] == "http.response.body" and message.get("body"):
                    await asyncio.sleep(seconds)
                await send(message)

            await app(scope, receive, send_late if scope.get("path") == "/api/generate" else send)

        return slow

    return wrap


unhurried = slowed(0.1)
"""An app that gives some times as much speech as is heard meanwhile, where the preview alone would make all at once."""
