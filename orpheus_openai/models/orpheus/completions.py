"""What is said to an OpenAI-compatible completions server, and what it answers: bodies, events, errors."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from orpheus_openai.models.orpheus.frames import END_OF_SPEECH, TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.prompt import START_OF_SPEECH
from orpheus_openai.models.orpheus.token_text import TokenReader, spell_token
from orpheus_openai.models.orpheus.tokens import IN_SPEECH
from orpheus_openai.synthesis import Sampling

LONGEST_LINE = 1 << 20
"""Bytes of one event; a server that sends more without a line's end is not speaking this protocol."""

ERROR_WORDS = 300
"""Characters of a server's own words that are worth passing on."""


class ServedModel(msgspec.Struct, frozen=True):
    """A model as `/v1/models` lists it; only some servers tell the context."""

    id: str | None = None
    max_model_len: int | None = None


class ServedModels(msgspec.Struct, frozen=True):
    """The answer of `/v1/models`."""

    data: list[ServedModel] = []

    def pick(self, name: str | None) -> ServedModel:
        """Return the model of that name, listed or not; without one an Orpheus, else the first."""
        if name is not None:
            return next((model for model in self.data if model.id == name), ServedModel(id=name))
        speaking = (model for model in self.data if "orpheus" in (model.id or "").lower())
        return next(speaking, self.data[0] if self.data else ServedModel())


class Choice(msgspec.Struct, frozen=True):
    """A piece of the one continuation that is asked for."""

    text: str | None = None
    token_ids: list[int] | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """An event of the stream."""

    choices: list[Choice] = []
    error: Any = None


class BrokenStreamError(Exception):
    """The server's stream went wrong; the message says how."""


def request_body(
    model: str | None, prompt: list[int] | str, sampling: Sampling, max_tokens: int
) -> dict[str, Any]:
    """Write a request in the words of all engines at once: each takes those it knows, and no others."""
    body: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        # The authors publish no other restriction, and llama.cpp has some of its own accord.
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": sampling.repetition_penalty,  # vLLM, SGLang
        "repeat_penalty": sampling.repetition_penalty,  # llama.cpp, LM Studio
        "repeat_last_n": -1,
        "stop_token_ids": [END_OF_SPEECH],  # vLLM, SGLang
        "stop": [spell_token(END_OF_SPEECH)],  # engines that know text only
        "skip_special_tokens": False,
        "return_token_ids": True,  # vLLM
        "stream_interval": TOKENS_PER_FRAME,  # vLLM
        "vllm_xargs": {IN_SPEECH: int(prompt[-1:] == [START_OF_SPEECH])},  # vLLM with our logits processor
    }
    if model is not None:
        body["model"] = model
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    return body


class ChunkReader:
    """Takes the token ids out of a stream's events, whichever way the server gives them."""

    def __init__(self) -> None:
        self._text = TokenReader()
        self.finished = False
        """Whether the server has said that this was all."""

    def read(self, event: bytes) -> list[int]:
        """Return the ids in an event's data, up to the end token; raises BrokenStreamError for an error."""
        if event == b"[DONE]":
            self.finished = True
            return []
        try:
            chunk = msgspec.json.decode(event, type=Chunk)
        except msgspec.MsgspecError as error:
            raise BrokenStreamError(f"it sent something that is no completion ({error})") from error
        if chunk.error is not None:
            raise BrokenStreamError(f"it said: {error_words(event)}")
        ids: list[int] = []
        for choice in chunk.choices:
            ids += self._text.read(choice.text or "") if choice.token_ids is None else choice.token_ids
            if choice.finish_reason in ("abort", "error"):
                raise BrokenStreamError("it broke the request off")
            self.finished = self.finished or choice.finish_reason is not None
        if END_OF_SPEECH in ids:
            self.finished = True
            del ids[ids.index(END_OF_SPEECH) + 1 :]
        return ids


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
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
