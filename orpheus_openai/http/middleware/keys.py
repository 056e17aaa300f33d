"""Who may use the server: a key with every request, but for the page's files, the manual and signs of life."""

import hashlib
import hmac
import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
from litestar.enums import ScopeType

from orpheus_openai.errors import AuthenticationError, OverloadedError
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.middleware.answer import is_request, method_of, path_of
from orpheus_openai.http.refusal import refuse
from orpheus_openai.limits.caller import Caller
from orpheus_openai.limits.keys import Key, read_keys

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

PUBLIC_PATHS = frozenset({"/", "/health", "/ready", "/apidocs"})
PUBLIC_FOLDERS = ("/ui/", "/apidocs/")
"""What anybody may see. All else, also what does not exist, needs a key."""

OPEN_LISTS = frozenset({"/v1/audio/voices", "/v1/audio/models"})
"""Names to choose from, which some programs (Open WebUI) read without the key that they speak with."""

_LATE = re.compile(r"/v1/text-to-speech/[^/]+/(?:multi-)?stream-input/?")
"""Sockets of ElevenLabs', whose clients may send the key in the first message."""

MOST_UNKNOWN = 64
"""Such sockets at once on which no key has come yet."""
UNKNOWN_SECONDS = 5.0
"""How long the door waits for one."""

INCORRECT = "Incorrect API key provided; whoever runs this server can give you one."

KEY_HEADERS = (b"x-api-key", b"api-key", b"xi-api-key")
"""Where a key may stand beside `Authorization: Bearer`, which counts if it is there; else the first of these."""

KEY_PROTOCOL = "openai-insecure-api-key."
"""What a key stands behind among the subprotocols of a socket, for browsers, which send no headers: OpenAI's way."""

logger = logging.getLogger(__name__)


class KeyRing:
    """The keys that are accepted."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Entries are as in `read_keys`, which raises ConfigurationError."""
        self._keys = read_keys(entries)
        if self._keys and not any(key.admin for key in self._keys):
            logger.warning(
                "none of the keys in ORPHEUS_API_KEYS is an admin's: nobody can free the GPU, see who speaks, or fetch "
                "files that belong to no key. name:key:admin makes one."
            )

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, token: bytes) -> Key | None:
        """The key that `token` is; None if there is no such key.

        Hashes are compared, and all of them, so that the time tells nothing about any key.
        """
        presented = hashlib.sha256(token).digest()
        same = [key for key in self._keys if hmac.compare_digest(presented, key.digest)]
        return same[0] if same else None

    def owner(self, token: bytes) -> str | None:
        """The name of the key that `token` is; None if there is no such key."""
        found = self.find(token)
        return None if found is None else found.name


class KeyGuard:
    """ASGI around the application: answers 401 itself, and notes whose key it was."""

    def __init__(self, app: "ASGIApp", ring: KeyRing, *, open_lists: bool) -> None:
        """With `open_lists` the names in OPEN_LISTS may be read by anybody."""
        self._app = app
        self._ring = ring
        self._open_lists = open_lists
        self._unknown = 0

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass on what has a key or needs none."""
        if not is_request(scope):
            await self._app(scope, receive, send)
            return
        token = _token(scope)
        key = None if token is None else self._ring.find(token)
        _name(scope, key)
        if token is None and is_late(scope):
            await self._pass_unknown(scope, receive, send)
            return
        if key is None and not is_public(scope) and not (self._open_lists and _reads_open_list(scope)):
            error = AuthenticationError(
                "This server needs an API key: send it as 'Authorization: Bearer YOUR_KEY' or 'x-api-key: YOUR_KEY'."
                if token is None
                else INCORRECT
            )
            await refuse(scope, send, error)
            return
        await self._app(scope, receive, send)

    async def _pass_unknown(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Let somebody in who says only in a message who they are; the door asks for that, in time."""
        if self._unknown >= MOST_UNKNOWN:
            error = OverloadedError("Too many open sockets have not sent a key yet.", retry_after=1)
            await refuse(scope, send, error)
            return
        self._unknown += 1
        known = False

        def know() -> None:
            nonlocal known
            if not known:
                known = True
                self._unknown -= 1

        def unlock(token: bytes) -> Caller:
            key = self._ring.find(token)
            if key is None:
                raise AuthenticationError(INCORRECT)
            know()
            return _name(scope, key)

        scope["state"]["unlock"] = unlock
        try:
            await self._app(scope, receive, send)
        finally:
            know()


def is_late(scope: "Scope") -> bool:
    """Whether it asks for a socket on which the key may come in the first message."""
    return scope["type"] == ScopeType.WEBSOCKET and _LATE.fullmatch(path_of(scope)) is not None


def _name(scope: "Scope", key: Key | None) -> Caller:
    caller = msgspec.structs.replace(
        caller_of(scope), key=key.name if key else None, admin=key is not None and key.admin
    )
    scope["state"]["caller"] = caller
    return caller


def is_public(scope: "Scope") -> bool:
    """Whether a request needs no key, however the server is set."""
    path = path_of(scope)
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)


def _reads_open_list(scope: "Scope") -> bool:
    # Clients join paths badly, and the router forgives it.
    path = re.sub("/{2,}", "/", path_of(scope)).rstrip("/")
    return path in OPEN_LISTS and method_of(scope) in ("GET", "HEAD")


def _token(scope: "Scope") -> bytes | None:
    """The key that came with a request, in whichever header, or for a socket among its subprotocols."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value.strip())
    scheme, _, token = found.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and (token := token.strip()):
        return token
    if headed := next((found[name] for name in KEY_HEADERS if found.get(name)), None):
        return headed
    offered: list[str] = list(cast("Any", scope).get("subprotocols", ()))
    return next(
        (name.removeprefix(KEY_PROTOCOL).encode() for name in offered if name.startswith(KEY_PROTOCOL)), None
    )
