"""A stand-in for the Hugging Face hub on 127.0.0.1: repositories, their files, sizes and checksums."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

COMMIT = "0" * 40
LARGE = 1 << 20
"""Bytes from which a file may be held back."""


class Hub:
    """Serves `repos`, from names to their files by name; a context manager."""

    def __init__(self, repos: dict[str, dict[str, bytes]]) -> None:
        self.repos = repos
        self.lies: set[str] = set()
        """Files of which it gives other bytes than it tells of."""
        self.breaks_at: int | None = None
        """Bytes of a file after which the connection breaks, once."""
        self.held: threading.Event | None = None
        """Until it is set, only the first half of a file is sent."""
        self.ranges: list[str | None] = []
        """What was asked of files."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        for repo, files in self.hub.repos.items():
            if path == f"api/models/{repo}" or path.startswith(f"api/models/{repo}/revision"):
                return self.send(200, json.dumps(described(repo, files)).encode(), body=body)
            for name, content in files.items():
                if path == f"{repo}/resolve/main/{name}":
                    return self.send_file(name, content, body=body)
        return self.send(404, b"{}", body=body, **{"X-Error-Code": "RepoNotFound"})

    def send_file(self, name: str, content: bytes, *, body: bool) -> None:
        etag = hashlib.sha256(content).hexdigest()
        if name in self.hub.lies:
            content = bytes(len(content))
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        start = 0
        if body:
            self.hub.ranges.append(self.headers.get("Range"))
            if (wanted := self.headers.get("Range", "")).startswith("bytes="):
                start = int(wanted[6:].partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if body and self.hub.breaks_at:
            self.head(200, len(content), headers)
            self.wfile.write(content[: self.hub.breaks_at])
            self.hub.breaks_at = None
            self.close_connection = True
            return
        self.send(206 if start else 200, content[start:], body=body, **headers)

    def send(self, status: int, content: bytes, *, body: bool, **headers: str) -> None:
        self.head(status, len(content), headers)
        if body and self.hub.held is not None and len(content) > LARGE:
            self.wfile.write(content[: len(content) // 2])
            self.hub.held.wait(60)
            content = content[len(content) // 2 :]
        if body:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)

    def head(self, status: int, size: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(size), **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def described(repo: str, files: dict[str, bytes]) -> dict[str, object]:
    siblings = [
        {
            "rfilename": name,
            "size": len(content),
            "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134},
        }
        for name, content in files.items()
    ]
    return {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
