"""What is said on ElevenLabs' sockets: a client's messages, and errors."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from orpheus_eleven.schemas import VoiceSettings
from orpheus_openai.errors import InvalidRequestError, SpeechError
from orpheus_openai.fields import from_values, require_small

INVALID = "invalid_input_message"
POLICY = 1008
"""The code that ElevenLabs' errors bear, and with which it closes the socket (RFC 6455, section 7.4.1)."""


class ClientMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a client's, of either socket; what is not listed is ignored."""

    text: str | None = None
    """More of the text. A space opens a context; an empty one ends the text of `stream-input`, and keeps a context."""
    flush: bool | None = None
    context_id: Annotated[str, Meta(max_length=200)] | None = None
    close_context: bool | None = None
    played_ms: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    """An addition of ours, with `close_context`: stop at once, as the listener has cut in after so much."""
    close_socket: bool | None = None
    voice_settings: VoiceSettings | None = None
    xi_api_key: str | None = None
    authorization: str | None = None

    @property
    def key(self) -> str | None:
        """The key that came with it."""
        bearer = (self.authorization or "").strip()
        return (
            self.xi_api_key
            or (bearer[7:].strip() if bearer.lower().startswith("bearer ") else bearer)
            or None
        )


def client_message(received: str | bytes) -> ClientMessage:
    """Read a message; raises InvalidRequestError in ElevenLabs' words for what is none."""
    require_small(received, "text")
    try:
        values = msgspec.json.decode(received) if isinstance(received, str) else None
    except (msgspec.DecodeError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InvalidRequestError("Messages are JSON objects, sent as text.", code=INVALID)
    for written, name in (("contextId", "context_id"), ("xi-api-key", "xi_api_key")):
        if written in values:
            values.setdefault(name, values[written])
    try:
        return from_values(values, ClientMessage)
    except InvalidRequestError as error:
        raise InvalidRequestError(error.message, param=error.param, code=INVALID) from error


def error_message(error: SpeechError, context_id: str | None) -> dict[str, Any]:
    """An error as a message of the server's."""
    told: dict[str, Any] = {"message": error.message, "error": error.kind, "code": POLICY}
    return told if context_id is None else {**told, "contextId": context_id, "context_id": context_id}
