"""Says of every request who asks, tells the answer what is left of the caller's share, and has it audited."""

import time
from typing import TYPE_CHECKING

from orpheus_openai.http.caller import caller_of, speech_of
from orpheus_openai.http.middleware.answer import Answer, is_request, method_of
from orpheus_openai.http.middleware.audit import AuditLog, describe
from orpheus_openai.http.middleware.keys import is_public
from orpheus_openai.limits.caller import Caller

if TYPE_CHECKING:
    from litestar.datastructures import MutableScopeHeaders
    from litestar.types import ASGIApp, Receive, Scope, Send


class Callers:
    """ASGI around the application, inside of what gives requests their ids."""

    def __init__(self, app: "ASGIApp", audit: AuditLog | None, *, audit_text: bool, with_keys: bool) -> None:
        self._app = app
        self._audit = audit
        self._audit_text = audit_text
        self._with_keys = with_keys

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on; what needs no key is not audited."""
        if not is_request(scope):
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        client = scope.get("client")
        scope["state"]["caller"] = Caller(client[0] if client else "", admin=not self._with_keys)
        audited = self._audit is not None and not is_public(scope)

        def tell_share(_status: int, headers: "MutableScopeHeaders") -> None:
            if speech := speech_of(scope):
                headers.update(speech.share)

        answer = Answer(send, tell_share)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            if self._audit is not None and audited:
                self._audit.write(
                    describe(
                        scope["state"]["request_id"],
                        caller_of(scope),
                        speech_of(scope),
                        method=method_of(scope),
                        path=scope["state"]["shown_path"],
                        status=answer.status,
                        seconds=time.monotonic() - began,
                        with_text=self._audit_text,
                        voice=scope["state"].get("voice"),
                    )
                )
