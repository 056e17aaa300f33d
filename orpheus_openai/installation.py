"""How this installation gets what it lacks: a checkout, an installed wheel and an image want different commands."""

import importlib.metadata
import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

DISTRIBUTION = "orpheus-openai"
PROFILES = frozenset({"preview", "orpheus", "gguf", "gpu"})
"""Extras that `start.sh` knows how to install."""

VENV = ".venv"
"""Where `start.sh` installs, in its checkout."""


@cache
def installing(extra: str) -> str:
    """The command that adds an extra to this very installation; it tells no path of this machine."""
    return _command(extra, _origin(), Path(sys.prefix), has_pip=importlib.util.find_spec("pip") is not None)


def _origin() -> dict[str, Any]:
    """Where the distribution came from (PEP 610); empty when it was a package index."""
    try:
        text = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _command(extra: str, origin: dict[str, Any], prefix: Path, *, has_pip: bool) -> str:
    pip = "pip install" if has_pip else "uv pip install"
    url = str(origin.get("url", ""))
    path = Path(unquote(urlparse(url).path)) if url.startswith("file:") else None
    if path is not None and "dir_info" in origin:
        editable = bool(origin["dir_info"].get("editable"))
        return _command_of_checkout(extra, path, prefix, f"{pip} -e" if editable else pip)
    if path is not None:
        return f'{pip} "./{path.name}[{extra}]"'
    return f'{pip} "{DISTRIBUTION}[{extra}] @ {url}"' if url else f'{pip} "{DISTRIBUTION}[{extra}]"'


def _command_of_checkout(extra: str, checkout: Path, prefix: Path, pip: str) -> str:
    if not checkout.exists():  # the Dockerfile's source, which stays behind
        return f"add --extra {extra} to the Dockerfile and build the image"
    if prefix != checkout / VENV:
        return f'{pip} ".[{extra}]" in the checkout'
    if extra in PROFILES:
        return f"SETUP_PROFILE={extra} ./start.sh"
    return f'{VENV}/bin/{pip} ".[{extra}]" in the checkout'
