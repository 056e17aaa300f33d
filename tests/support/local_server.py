"""A server inside the test's process: for what must be injected, such as time."""

import asyncio
import contextlib
import socket
import threading

import uvicorn

PATIENCE = 60
"""Seconds for what takes a moment on an idle machine."""


class _Server(uvicorn.Server):
    """Stops when it is told to, where uvicorn looks whether it should ten times a second."""

    def __init__(self, config):
        super().__init__(config)
        self.serves = threading.Event()
        self._leaving = asyncio.Event()

    async def main_loop(self):
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        self.serves.set()
        await self._leaving.wait()

    def leave(self):
        self._loop.call_soon_threadsafe(self._leaving.set)


@contextlib.contextmanager
def running(app, **settings):
    """Serve `app` on a free port of 127.0.0.1 in a thread, with `settings` of uvicorn's; yields the address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = _Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5, **settings)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
    thread.start()
    try:
        while not server.serves.wait(0.1):
            assert thread.is_alive(), "the server did not start"
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        if server.serves.is_set():
            server.leave()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server did not stop"
