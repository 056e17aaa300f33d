"""Says of every request who asks, tells the answer what is left of the caller's share, and has it audited."""

import time
from typing import TYPE_CHECKING, Any

from orpheus_openai.http.caller import caller_of, speech_of
from orpheus_openai.http.middleware.answer import Answer, is_request, method_of
from orpheus_openai.http.middleware.audit import AuditLog, describe
from orpheus_openai.http.middleware.keys import is_public
from orpheus_openai.limits.caller import Caller
from orpheus_openai.speech.speech import Speech

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

        def audit_utterance(speech: Speech, status: int, seconds: float) -> None:
            self._write(scope, speech.id, speech, status, seconds)

        if audited:
            scope["state"].setdefault("accounts", []).append(audit_utterance)
        answer = Answer(send, tell_share)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            if audited:
                seconds = time.monotonic() - began
                self._write(scope, scope["state"]["request_id"], speech_of(scope), answer.status, seconds)

    def _write(
        self, scope: "Scope", line_id: str, speech: Speech | None, status: int, seconds: float
    ) -> None:
        assert self._audit is not None  # noqa: S101  it is audited
        state: dict[str, Any] = scope["state"]
        self._audit.write(
            describe(
                line_id,
                caller_of(scope),
                speech,
                method=method_of(scope),
                path=state["shown_path"],
                status=status,
                seconds=seconds,
                with_text=self._audit_text,
                voice=state.get("voice"),
            )
        )
