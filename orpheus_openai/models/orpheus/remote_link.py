"""The way to one completions server: what is sent there, and what its refusals mean."""

from typing import Any

import httpx
import msgspec

from orpheus_openai.errors import ConfigurationError, EngineError
from orpheus_openai.models.orpheus.completions import BrokenStreamError, error_words

_BUSY = (429, 503)
REFUSES_KEY = (401, 403)
REFUSES_REQUEST = (400, 413, 422)
HAS_NO_SUCH_PATH = (404, 405, 501)

_CONNECTION_BROKE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class UnansweredError(Exception):
    """A server has not begun to answer: another may be asked instead."""

    def __init__(self, reason: str, *, busy: bool = False, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.busy = busy
        self.retry_after = retry_after


class RemoteLink:
    """Knows where the server is, and nothing of what it holds."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        """`client` brings the key along. Raises ConfigurationError where `url` is not a URL."""
        self._url = base_url(url)
        self._client = client

    def __str__(self) -> str:
        return f"{httpx.URL(self._url).copy_with(userinfo=b'')}/v1"

    async def get(self, path: str) -> httpx.Response:
        """What is there, whatever its status."""
        return await self.send(self._client.build_request("GET", self._url + path))

    def request(self, path: str, body: dict[str, Any]) -> httpx.Request:
        """A POST of `body` as JSON."""
        return self._client.build_request(
            "POST",
            self._url + path,
            content=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
        )

    async def send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Send a request, again where nothing came back: a kept connection may be closed in that very moment."""
        try:
            return await self._client.send(request, stream=stream)
        except _CONNECTION_BROKE:
            return await self._client.send(request, stream=stream)

    async def checked(self, response: httpx.Response, *, advice: str = "") -> httpx.Response:
        """Return the response if it is a good one; close it otherwise, and raise what it says.

        UnansweredError where another server may do better, else EngineError, with `advice` where it is the request that
        was refused.
        """
        status = response.status_code
        if status == httpx.codes.OK:
            return response
        try:
            words = error_words(await response.aread())
        finally:
            await response.aclose()
        if status in REFUSES_REQUEST:
            raise EngineError(f"The speech engine at {self} refused the request ({status}): {words}.{advice}")
        if status in REFUSES_KEY:
            raise UnansweredError(
                f"it refused the key ({status}); set ORPHEUS_REMOTE_API_KEY to one that it takes"
            )
        raise UnansweredError(
            f"it answered {status}: {words}", busy=status in _BUSY, retry_after=_retry_after(response)
        )


def base_url(url: str) -> str:
    """Return the URL up to where `/v1` is, from any a user may give; ConfigurationError where it is not a URL."""
    name = url.strip().rstrip("/").removesuffix("/completions").removesuffix("/v1")
    try:
        parts = httpx.URL(name)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        shown = name.rpartition("@")[2]
        raise ConfigurationError(
            f"ORPHEUS_REMOTE_URL: {shown!r} is not a URL; give one like http://localhost:8000/v1"
        )
    return name


def why(error: Exception) -> str:
    """What became of a request that ended in this error, in words."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "it cannot be reached"
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "it gave no token in time"
    if isinstance(error, BrokenStreamError):
        return str(error)
    return f"the connection broke ({type(error).__name__})"


def _retry_after(response: httpx.Response) -> float | None:
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:  # absent, or a date, which no engine sends
        return None
    return seconds if 0 <= seconds < float("inf") else None
