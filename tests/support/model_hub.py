"""A hub on this machine that speaks as much of Hugging Face's API as its library asks for to download a model."""

import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest

GATED_FILES = ("config.json", "model.safetensors", "tokenizer.json")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by name: a folder, or why not: `gated`, `silent`, `failing` (all else is not there)."""

    url: str
    repositories: dict[str, Path | str]
    asked: list[str] = field(default_factory=list)
    """Method and path of every request about a repository, in order."""
    let_go: threading.Event = field(default_factory=threading.Event)

    def asked_for(self, repository: str) -> int:
        """How often something was asked of a repository."""
        return sum(repository in line for line in self.asked)


@contextlib.contextmanager
def model_hub(repositories: dict[str, Path | str]) -> Iterator[Hub]:
    """Serve repositories on a free port of 127.0.0.1."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = hub = Hub(f"http://127.0.0.1:{server.server_port}", repositories)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="hub")
    thread.start()
    try:
        yield hub
    finally:
        hub.let_go.set()
        server.shutdown()
        thread.join(30)
        server.server_close()


def point_at(url: str, patch: pytest.MonkeyPatch) -> None:
    """Do what HF_ENDPOINT does when the library is imported."""
    from huggingface_hub import constants  # noqa: PLC0415  an extra

    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )


def use(url: str, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Point the library at a hub, with a cache of its own."""
    from huggingface_hub import constants  # noqa: PLC0415

    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setenv("HF_HUB_CACHE", str(cache))
    patch.setenv("NO_PROXY", "127.0.0.1")
    point_at(url, patch)


class _Server(http.server.ThreadingHTTPServer):
    hub: Hub


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub = self.server.hub
        path = unquote(self.path.partition("?")[0])
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/.*)?|/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        repository, name = (found[1] or found[3], found[4]) if found else ("", None)
        if found:
            hub.asked.append(f"{self.command} {path}")
        content = hub.repositories.get(repository)
        if content == "silent":
            hub.let_go.wait(60)
            self.close_connection = True
        elif content == "failing":
            self._answer(500, b"")
        elif content is None:
            self._answer(401, b"", **{"X-Error-Code": "RepoNotFound"})
        elif content == "gated" and name is not None:
            self._answer(401, b"", **{"X-Error-Code": "GatedRepo"})
        elif name is None:
            self._tell(content, "/tree/" in path)
        elif isinstance(content, Path) and (content / name).is_file():
            body = (content / name).read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()}"'
            self._answer(200, body, **{"ETag": etag, "X-Repo-Commit": COMMIT})
        else:
            self._answer(404, b"", **{"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET  # noqa: N815  the base class calls it so

    def log_message(self, *_arguments: object) -> None:
        pass

    def _tell(self, content: Path | str, tree: bool) -> None:
        files = dict.fromkeys(GATED_FILES, 2) if content == "gated" else _sizes(Path(content))
        listed = [
            {"type": "file", "path": name, "size": size, "oid": "a" * 40} for name, size in files.items()
        ]
        siblings = [{"rfilename": name} for name in files]
        self._answer(
            200, json.dumps(listed if tree else {"id": "x/y", "sha": COMMIT, "siblings": siblings}).encode()
        )

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}
