"""The page's files, read, compressed and fingerprinted once, and served from memory."""

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""What is served; a file with another suffix, such as a licence, is for people who read the source."""

COMPRESSED = frozenset({".woff2"})


class Asset(NamedTuple):
    """One file as it goes over the wire."""

    body: bytes
    gzipped: bytes | None
    """None where compression would gain nothing."""
    media_type: str
    etag: str
    """Weak: compressed and plain are the same file."""


def load_assets(folder: Path) -> Mapping[str, Asset]:
    """Every file below `folder` that a browser may ask for, by its path with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): _load(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in MEDIA_TYPES
    }


def _load(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(
        body=body,
        gzipped=None if path.suffix in COMPRESSED else gzip.compress(body, mtime=0),
        media_type=MEDIA_TYPES[path.suffix],
        etag=f'W/"{hashlib.sha256(body).hexdigest()[:16]}"',
    )
