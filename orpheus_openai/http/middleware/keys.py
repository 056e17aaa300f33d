"""Who may use the server: a key with every request, but for the page's files, the manual and signs of life."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from orpheus_openai.errors import AuthenticationError, ConfigurationError
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.middleware.answer import is_request
from orpheus_openai.http.refusal import refuse

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

PUBLIC_PATHS = frozenset({"/", "/health", "/ready", "/apidocs"})
PUBLIC_FOLDERS = ("/ui/", "/apidocs/")
"""What anybody may see. All else, also what does not exist, needs a key."""

# What says that it is a hash is never taken for a key, however many digits it has.
_ENTRY = re.compile(
    r"(?:(?P<name>[^:]*):)??(?:sha256:(?P<hash>[0-9a-f]{64})|(?!sha256:)(?P<key>[^:]+))", re.IGNORECASE
)
_HASH = "sha256"


class KeyRing:
    """The keys that are accepted, each with a name; only their hashes are kept."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Entries are `key`, `name:key`, `sha256:HEX` or `name:sha256:HEX`.

        Raises ConfigurationError, which names the entry by its place and never quotes it.
        """
        self._hashes: dict[str, bytes] = {}
        for place, entry in enumerate(entries, start=1):
            found = _ENTRY.fullmatch(entry)
            if found is None or found["name"] == "" or _HASH in ((found["name"] or "").lower(), found["key"]):
                raise ConfigurationError(
                    f"ORPHEUS_API_KEYS: entry {place} is none of key, name:key and name:sha256:HEX with 64 digits"
                )
            name = found["name"] or f"key-{place}"
            if name in self._hashes:
                raise ConfigurationError(f"ORPHEUS_API_KEYS: entry {place} has the name of an earlier one")
            self._hashes[name] = (
                bytes.fromhex(found["hash"])
                if found["hash"]
                else hashlib.sha256(found["key"].encode()).digest()
            )

    def __len__(self) -> int:
        return len(self._hashes)

    def owner(self, token: bytes) -> str | None:
        """The name of the key that `token` is; None if it is none.

        Hashes are compared, and all of them, so that the time tells nothing about any key.
        """
        presented = hashlib.sha256(token).digest()
        same = [name for name, known in self._hashes.items() if hmac.compare_digest(presented, known)]
        return same[0] if same else None


class KeyGuard:
    """ASGI around the application: answers 401 itself, and notes whose key it was."""

    def __init__(self, app: "ASGIApp", ring: KeyRing) -> None:
        self._app = app
        self._ring = ring

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass on what has a key or needs none."""
        if not is_request(scope):
            await self._app(scope, receive, send)
            return
        token = _bearer(scope)
        owner = None if token is None else self._ring.owner(token)
        scope["state"]["caller"] = msgspec.structs.replace(caller_of(scope), key=owner)
        if owner is None and not is_public(scope):
            error = AuthenticationError(
                "This server needs an API key: send it as 'Authorization: Bearer YOUR_KEY'."
                if token is None
                else "Incorrect API key provided; whoever runs this server can give you one."
            )
            await refuse(scope, send, error)
            return
        await self._app(scope, receive, send)


def is_public(scope: "Scope") -> bool:
    """Whether a request needs no key."""
    path = scope["path"]
    if root_path := scope.get("root_path", ""):
        path = path.split(root_path, maxsplit=1)[-1]  # as Litestar's router reads it
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)


def _bearer(scope: "Scope") -> bytes | None:
    value = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, token = value.strip().partition(b" ")
    token = token.strip()
    return token if scheme.lower() == b"bearer" and token else None
