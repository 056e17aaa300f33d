"""What browsers are told, and what the pages of other sites may do here (CORS)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from litestar.datastructures import MutableScopeHeaders

from orpheus_openai.errors import CrossSiteError, SpeechError, UnknownHostError
from orpheus_openai.http.middleware.answer import Answer, is_request, method_of
from orpheus_openai.http.middleware.hosts import HostRule
from orpheus_openai.http.refusal import refuse

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

PREFLIGHT_SECONDS = 600
EXPOSED = ", ".join(
    (
        *("content-disposition", "retry-after", "x-should-retry", "openai-processing-ms", "x-request-id"),
        *(
            "x-orpheus-model",
            "x-orpheus-voice",
            "x-orpheus-load-seconds",
            "x-orpheus-real-time-factor",
            "x-orpheus-take",
        ),
        *(
            f"x-ratelimit-{what}-{unit}"
            for unit in ("requests", "characters")
            for what in ("limit", "remaining", "reset")
        ),
    )
)
"""Headers of ours that pages of listed sites may read."""

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


class BrowserRules:
    """ASGI around the application.

    A server without keys would obey any page that its owner's browser visits. Where it has `hosts`, it answers only
    to those names, and requests of other sites that do more than read are refused, unless the site is in `origins`
    (`*`: all sites).
    """

    def __init__(self, app: "ASGIApp", origins: Sequence[str], hosts: HostRule | None) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer preflights, refuse what is foreign, and pass the rest on."""
        if not is_request(scope):
            await self._app(scope, receive, send)
            return
        headers, method = dict(scope["headers"]), method_of(scope)
        origin = headers.get(b"origin", b"").lower()
        listed = bool(origin) and bool(self._origins & {origin, b"*"})

        def tell(_status: int, headers: MutableScopeHeaders) -> None:
            self._tell(headers, origin if listed else b"")

        send_told = Answer(send, tell).send
        if listed and method == "OPTIONS" and b"access-control-request-method" in headers:
            await _answer_preflight(send_told, headers)
        elif refusal := await self._refusal(scope, headers, listed=listed, reads=method in READING):
            await refuse(scope, send_told, refusal)
        else:
            await self._app(scope, receive, send_told)

    async def _refusal(
        self, scope: "Scope", headers: dict[bytes, bytes], *, listed: bool, reads: bool
    ) -> SpeechError | None:
        if self._hosts is None:
            return None
        for name, value in scope["headers"]:
            host = value.decode("latin-1")
            if name == b"host" and not await self._hosts.passes(host):
                return UnknownHostError(
                    f"Without API keys this server does not answer to the name {host[:100]!r}: any site could point "
                    "a name of its own here. If it is yours, add it to ORPHEUS_ALLOWED_HOSTS, or set ORPHEUS_API_KEYS."
                )
        if reads or listed or not _is_foreign(headers):
            return None
        return CrossSiteError(
            "A page of another site sent this request. If you trust it, name its site in ORPHEUS_CORS_ORIGINS."
        )

    def _tell(self, headers: MutableScopeHeaders, origin: bytes) -> None:
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)
        if not self._origins:
            headers.setdefault("cross-origin-resource-policy", "same-origin")
            return
        headers.setdefault("cross-origin-resource-policy", "cross-origin")
        headers["vary"] = ", ".join(filter(None, (headers.get("vary"), "origin")))
        if origin:
            headers["access-control-allow-origin"] = (
                "*" if b"*" in self._origins else origin.decode("latin-1")
            )
            headers["access-control-expose-headers"] = EXPOSED


async def _answer_preflight(send: "Send", headers: dict[bytes, bytes]) -> None:
    answer = [
        (b"access-control-allow-methods", b"GET, POST, DELETE"),
        (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        (b"vary", b"access-control-request-headers"),
    ]
    if asked := headers.get(b"access-control-request-headers"):
        answer.append((b"access-control-allow-headers", asked))
    if headers.get(b"access-control-request-private-network") == b"true":
        answer.append((b"access-control-allow-private-network", b"true"))
    await send({"type": "http.response.start", "status": 204, "headers": answer})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_foreign(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser says that the request comes from a page that is not this server's own."""
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return site not in (b"same-origin", b"none")
    # Browsers leave it out where the address is neither https nor this machine.
    origin = headers.get(b"origin")
    if origin is None:
        return False
    # A browser's is always scheme://host; taken apart by hand, for what urlsplit takes for no URL it raises.
    host = origin.lower().partition(b"://")[2]
    return not host or host != headers.get(b"host", b"").lower()
