"""The server behind `orpheus-openai mcp`: one that runs already, or one that starts and ends with it."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import httpx

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.running import (
    ANSWER_SECONDS,
    API_KEY,
    URL,
    answers,
    key_headers,
    named_server,
    own_host,
    own_url,
)
from orpheus_openai.settings import Settings, load_settings

OUTPUT_DIR = Path("~/orpheus-openai/outputs")
"""Where a server of our own saves audio, unless told: clients start programs in whatever folder they like."""

START_SECONDS = 60.0
STOP_SECONDS = 15.0
"""Longer than the server's own grace for streams that go on."""
POLL_SECONDS = 0.1


class Backend:
    """A server and whether it answers; `environ` is what to start one with, None never to start one."""

    def __init__(self, url: str, environ: Mapping[str, str] | None, api_key: str = "") -> None:
        self.url = url
        self.headers = key_headers(api_key)
        """What goes with every request."""
        self.local = environ is not None
        """Whether it is on this machine, where no HTTP proxy has a say."""
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = asyncio.Lock()
        self._http = httpx.AsyncClient(headers=self.headers, timeout=ANSWER_SECONDS, trust_env=not self.local)

    @classmethod
    def choose(cls, environ: Mapping[str, str]) -> "Backend":
        """Take the server that ORPHEUS_URL names, else the one that the settings describe, on this machine.

        Raises ConfigurationError when the settings make no sense.
        """
        url, api_key = named_server(environ)
        if url:
            return cls(url, None, api_key)
        own = {name: value for name, value in environ.items() if name not in (URL, API_KEY)}
        settings = load_settings(own)
        if settings.port == 0:
            raise ConfigurationError(f"PORT=0: there is no telling where the server is; set PORT or {URL}")
        own |= {"ORPHEUS_HOST": own_host(settings), "PORT": str(settings.port)}
        if settings.output_dir == Settings().output_dir:
            own["ORPHEUS_OUTPUT_DIR"] = str(OUTPUT_DIR.expanduser())
        return cls(own_url(settings), own, api_key)

    @contextlib.asynccontextmanager
    async def closing(self) -> AsyncGenerator[None]:
        """End what was started here when the block ends."""
        try:
            yield
        finally:
            await self._http.aclose()
            if self._process is not None:
                await asyncio.to_thread(_stop, self._process)

    async def ensure(self) -> None:
        """Return when the server answers; start one if none does.

        Raises ConfigurationError, in words for the person whose client starts this, when there is none.
        """
        async with self._lock:
            if await answers(self._http, self.url):
                return
            if self._environ is None:
                raise ConfigurationError(
                    f"{URL}={self.url}: no orpheus-openai answers there; "
                    f"start it, or unset {URL} to have one started here"
                )
            if self._process is None or self._process.poll() is not None:
                sys.stderr.write(f"orpheus-openai: no server at {self.url}; starting one\n")
                self._process = _start(self._environ)
            await self._wait_until_up(self._process)

    async def check_key(self) -> None:
        """Raise ConfigurationError when the server, which answers, wants another key or any at all."""
        try:
            answer = await self._http.get(f"{self.url}/v1/models")
        except httpx.HTTPError as error:
            raise ConfigurationError(f"the server at {self.url} went away: {error}") from error
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise ConfigurationError(
                f"the server at {self.url} wants an API key; set {API_KEY} to one that it knows"
            )

    async def _wait_until_up(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended = process.poll() is not None
            # Asked last: another client may have started a server at the same moment and taken the port.
            if await answers(self._http, self.url):
                return
            if ended:
                raise ConfigurationError(
                    f"the server that was started at {self.url} ended at once; the lines above say why"
                )
            await asyncio.sleep(POLL_SECONDS)
        raise ConfigurationError(f"the server that was started at {self.url} does not answer")


def _start(environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a server that ends when this process does, in whatever way: its standard input ends then."""
    return subprocess.Popen(
        [sys.executable, "-m", "orpheus_openai", "serve", "--until-stdin-ends"],
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
    )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None  # noqa: S101  _start made it a pipe
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
