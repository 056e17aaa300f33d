"""What completions servers have in common on the wire: the models they list, events, errors."""

from collections.abc import AsyncIterator

import msgspec

LONGEST_LINE = 1 << 20
"""Bytes of one event; a server that sends more without a line's end is not speaking this protocol."""

ERROR_WORDS = 300
"""Characters of a server's own words that are worth passing on."""


class ModelFacts(msgspec.Struct, frozen=True):
    """What llama.cpp tells of a model."""

    n_vocab: int | None = None
    n_ctx: int | None = None
    """Tokens of one stream; only newer ones tell."""


class ServedModel(msgspec.Struct, frozen=True):
    """A model as `/v1/models` lists it; only some servers tell the context."""

    id: str | None = None
    owned_by: str | None = None
    """In most servers their own name."""
    max_model_len: int | None = None
    """Tokens of prompt and speech together, as vLLM tells them."""
    meta: ModelFacts | None = None

    @property
    def context(self) -> int | None:
        """Tokens of prompt and speech together."""
        return self.max_model_len or (self.meta.n_ctx if self.meta else None)


class ServedModels(msgspec.Struct, frozen=True):
    """The answer of `/v1/models`."""

    data: list[ServedModel] = []

    def pick(self, name: str | None) -> ServedModel:
        """Return the model of that name, listed or not; without one an Orpheus, else the first."""
        first = self.data[0] if self.data else ServedModel()
        if name is not None:
            unlisted = ServedModel(id=name, owned_by=first.owned_by)
            return next((model for model in self.data if model.id == name), unlisted)
        return next((model for model in self.data if "orpheus" in (model.id or "").lower()), first)


class BrokenStreamError(Exception):
    """The server's stream went wrong; the message says how."""


async def event_data(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the data of server-sent events from a body that comes in pieces, and pass the rest over."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
        if len(rest) > LONGEST_LINE:
            raise BrokenStreamError("it sent a line without an end")


def error_words(body: bytes) -> str:
    """Find what an error's body says, in any usual form: `{"error": {"message"}}`, `{"detail"}`, text."""
    try:
        content = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        content = body.decode("utf-8", "replace")
    while isinstance(content, dict):
        content = content.get("error") or content.get("message") or content.get("detail") or "no reason given"
    words = " ".join(str(content).split())
    return words if len(words) <= ERROR_WORDS else words[:ERROR_WORDS] + "…"
