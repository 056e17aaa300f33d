"""What a request over HTTP, or a socket, brings along for the core: who asks, and under which id."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from orpheus_openai.http.errors import TEXT_FIELD
from orpheus_openai.limits.caller import Caller
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech

KEEP = b"x-orpheus-keep"
"""A request for speech that bears it, as `true`, wants the speech kept; the answer's `x-orpheus-take` says where."""
WHOLE = b"x-orpheus-whole"
"""One that bears this, as `true`, comes from somebody who will listen when all is there, as to a file."""


def caller_of(scope: Mapping[str, object]) -> Caller:
    """Who sent the request; somebody unknown where it came through no middleware of ours."""
    caller: Caller = _state(scope).get("caller", Caller())
    return caller


def speech_of(scope: Mapping[str, object]) -> Speech | None:
    """The speech that was prepared for the request, if one was."""
    speech: Speech | None = _state(scope).get("speech")
    return speech


def prepare_speech(
    scope: Mapping[str, object],
    service: SpeechService,
    wanted: SpeechRequest,
    *,
    text_field: str = TEXT_FIELD,
    feed: TextFeed | None = None,
) -> Speech:
    """Ask `service` for a speech in the name of whoever sent the request.

    With the header `x-orpheus-keep` it is kept for a while; `x-orpheus-whole` says that nobody listens before it is all
    there. It is noted in the request's state: the answer tells what is left of the caller's share; log, audit log and
    trace what came of it. `text_field` is what the door calls the text, in errors about it; `feed` brings one that is
    still being written. Raises what `SpeechService.prepare` does.
    """
    state = _state(scope)
    name_text_field(scope, text_field)
    account = caller_of(scope).account
    if _says(scope, WHOLE):
        wanted = msgspec.structs.replace(wanted, whole=True)
    speech = service.prepare(wanted, account=account, request_id=state.get("request_id"), feed=feed)
    if _says(scope, KEEP):
        speech.take = service.takes.begin(account)
    state["speech"] = speech
    return speech


def name_voice(scope: Mapping[str, object], voice: str) -> None:
    """The audit log tells that the request was about this voice."""
    _state(scope)["voice"] = voice


def name_text_field(scope: Mapping[str, object], text_field: str) -> None:
    """Errors about the text name this field of the request's."""
    _state(scope)["text_field"] = text_field


def _says(scope: Mapping[str, object], header: bytes) -> bool:
    headers = cast("list[tuple[bytes, bytes]]", scope.get("headers", []))
    return any(name == header and value.strip().lower() in (b"1", b"true") for name, value in headers)


def _state(scope: Mapping[str, object]) -> dict[str, Any]:
    """ASGI's place for what is known of a request; every server with our middleware has one."""
    return cast("dict[str, Any]", scope.get("state", {}))
