"""Where a server of ours runs, for its clients: the command line and the MCP command."""

import os
from collections.abc import Mapping

import httpx

from orpheus_openai import NAME
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.settings import Settings, dotenv

URL = "ORPHEUS_URL"
API_KEY = "ORPHEUS_API_KEY"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses to listen on that are none to call, and what to call instead."""

ANSWER_SECONDS = 5.0


def named_server(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """The URL in ORPHEUS_URL without a slash at its end, and the key in ORPHEUS_API_KEY; empty where there is none.

    From the environment, else from `.env`. Raises ConfigurationError for what is not a URL.
    """
    try:
        values = dotenv.effective(environ)
    except dotenv.UnreadableError as error:
        raise ConfigurationError(str(error)) from error
    url = values.get(URL, "").rstrip("/")
    if url and not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{URL}={url}: expected a URL; for example {URL}=http://localhost:8899")
    return url, values.get(API_KEY, "")


def own_host(settings: Settings) -> str:
    """The address at which this machine calls a server that `settings` describe."""
    return EVERYWHERE.get(settings.host, settings.host)


def own_url(settings: Settings) -> str:
    """The URL at which this machine calls a server that `settings` describe; empty where the port is not told."""
    if settings.port == 0:
        return ""
    host = own_host(settings)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def key_headers(api_key: str) -> dict[str, str]:
    """What goes with every request."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


async def answers(http: httpx.AsyncClient, url: str) -> bool:
    """Whether a server of ours answers at `url`."""
    try:
        answer = await http.get(f"{url}/health", timeout=ANSWER_SECONDS)
        found = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
    return answer.status_code == httpx.codes.OK and isinstance(found, dict) and found.get("name") == NAME
