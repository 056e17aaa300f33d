"""Opens a visit for every request, tells the answer what is left of the caller's share, and has it audited."""

import time
from typing import TYPE_CHECKING

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType

from orpheus_openai.http.middleware.audit import AuditLog, describe
from orpheus_openai.http.middleware.keys import is_public
from orpheus_openai.limits.visit import Visit, Visits

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send


class VisitorsBook:
    """ASGI around the application, inside of what gives requests their ids."""

    def __init__(self, app: "ASGIApp", visits: Visits, audit: AuditLog | None, *, audit_text: bool) -> None:
        self._app = app
        self._visits = visits
        self._audit = audit
        self._audit_text = audit_text

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on; what needs no key is not audited."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        client = scope.get("client")
        visit = Visit(scope["state"]["request_id"], client[0] if client else "")
        scope["state"]["visit"] = visit
        path, audited = scope["path"], self._audit is not None and not is_public(scope)
        status = 0

        async def send_counted(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if visit.headers:
                    MutableScopeHeaders.from_message(message).update(visit.headers)
            await send(message)

        try:
            with self._visits.open(visit):
                await self._app(scope, receive, send_counted)
        finally:
            if self._audit is not None and audited:
                self._audit.write(
                    describe(
                        visit,
                        method=scope["method"],
                        path=path,
                        status=status,
                        seconds=time.monotonic() - began,
                        with_text=self._audit_text,
                    )
                )
