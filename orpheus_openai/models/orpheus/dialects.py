"""How each kind of server is asked to continue a prompt and to tokenize, and how its answers are read: one table."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from orpheus_openai.models.orpheus.completions import BrokenStreamError, ServedModel, error_words
from orpheus_openai.models.orpheus.frames import END_OF_SPEECH, TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.token_text import TokenReader, spell_token
from orpheus_openai.synthesis import Sampling

DONE = b"[DONE]"

REACH = -math.log(1e-5)
"""How far below the likeliest logit a token can stand and still be drawn, as the published sampling goes: at
temperature 0.6 and top_p 0.9 what is left out has no share that could be measured."""
TRAINED_LOGIT = 30.0
"""The largest of a trained model; it limits by how much a repetition penalty can lower the likeliest tokens."""

PENALTY_WINDOW = 8_192
"""Tokens that the repetition penalty looks back on at least, more than most prompts with their speech: the authors'
has no window."""


class Ask(msgspec.Struct, frozen=True):
    """A prompt to continue."""

    model: str | None
    prompt: list[int] | str
    sampling: Sampling
    max_tokens: int
    adapters: int = 0
    """How many llama.cpp was started with."""
    adapter: int | None = None
    """One of them, by its place; None: the model as it is."""


class EventReader(Protocol):
    """Takes the token ids out of a stream's events."""

    finished: bool
    """Whether the server has said that this was all."""

    def read(self, event: bytes) -> list[int]:
        """Return the ids in an event's data, up to the end token; raises BrokenStreamError for an error."""
        ...


class Dialect(msgspec.Struct, frozen=True):
    """What is particular to a kind of server. Paths begin at its root, where `/v1` is."""

    name: str
    path: str
    """Where prompts are continued."""
    body: Callable[[Ask], dict[str, Any]]
    reader: Callable[[], EventReader]
    tokenize: Callable[[str | None, str], dict[str, Any]] | None = None
    """The body for `/tokenize`, of a model and a text; None where there is no such path."""
    ends_by_itself: bool = True
    """Whether it stops at the end token; one that does not has to be hung up on, or it goes on."""


class Choice(msgspec.Struct, frozen=True):
    """A piece of the one continuation that is asked for."""

    text: str | None = None
    token_ids: list[int] | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """An event of OpenAI's completions."""

    choices: list[Choice] = []
    error: Any = None


class CompletionEvent(msgspec.Struct, frozen=True):
    """An event of llama.cpp's own completion."""

    tokens: list[int] = []
    stop: bool = False
    error: Any = None


class ChunkReader:
    """Reads OpenAI's completions, whichever way the server gives the ids."""

    def __init__(self) -> None:
        self._text = TokenReader()
        self.finished = False

    def read(self, event: bytes) -> list[int]:
        """Return the ids in an event's data, up to the end token; raises BrokenStreamError for an error."""
        if event == DONE:
            self.finished = True
            return []
        chunk = _decoded(event, Chunk)
        ids: list[int] = []
        for choice in chunk.choices:
            ids += self._text.read(choice.text or "") if choice.token_ids is None else choice.token_ids
            if choice.finish_reason in ("abort", "error"):
                raise BrokenStreamError("it broke the request off")
            self.finished = self.finished or choice.finish_reason is not None
        return _up_to_the_end(ids, self)


class CompletionReader:
    """Reads llama.cpp's own completion, which tells every token's id, also where a token has no text."""

    def __init__(self) -> None:
        self.finished = False

    def read(self, event: bytes) -> list[int]:
        """Return the ids in an event's data, up to the end token; raises BrokenStreamError for an error."""
        if event == DONE:
            self.finished = True
            return []
        completion = _decoded(event, CompletionEvent)
        self.finished = completion.stop
        return _up_to_the_end(list(completion.tokens), self)


def vllm_body(ask: Ask) -> dict[str, Any]:
    """Write a request for vLLM's `/v1/completions`."""
    sampling = ask.sampling
    return _without_none(
        model=ask.model,
        prompt=ask.prompt,
        stream=True,
        max_tokens=ask.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=-1,
        min_p=0.0,
        repetition_penalty=sampling.repetition_penalty,
        seed=sampling.seed,
        stop_token_ids=[END_OF_SPEECH],
        skip_special_tokens=False,
        return_token_ids=True,
        stream_interval=TOKENS_PER_FRAME,
    )


def llama_cpp_body(ask: Ask) -> dict[str, Any]:
    """Write a request for llama.cpp's `/completion`.

    Its samplers work in the order that is given: penalties, temperature and then top_p is what the authors' engine
    does; by default temperature comes last, and top_p chooses among tokens that are not drawn. A first cut at what
    is far too unlikely spares the others a look at the whole vocabulary, which costs more than the model.
    """
    sampling = ask.sampling
    return _without_none(
        model=ask.model,  # for a server with several
        prompt=ask.prompt,
        stream=True,
        return_tokens=True,
        n_predict=ask.max_tokens,
        samplers=["min_p", "penalties", "temperature", "top_p"],
        min_p=_far_too_unlikely(sampling),
        top_k=0,
        top_p=sampling.top_p,
        temperature=sampling.temperature,
        repeat_penalty=sampling.repetition_penalty,
        repeat_last_n=max(PENALTY_WINDOW, len(ask.prompt) + ask.max_tokens),
        lora=[{"id": each, "scale": float(each == ask.adapter)} for each in range(ask.adapters)] or None,
        # It would go on from what another adapter has made of the same prompt: ggml-org/llama.cpp#26207.
        cache_prompt=False if ask.adapters else None,
        seed=None
        if sampling.seed is None
        else sampling.seed % 0xFFFFFFFF,  # 32 bits; the last stands for none
    )


def any_body(ask: Ask) -> dict[str, Any]:
    """Write a request in the words of all engines at once: each takes those it knows, and no others."""
    return vllm_body(ask) | {
        "repeat_penalty": ask.sampling.repetition_penalty,  # LM Studio, llama.cpp behind something
        "repeat_last_n": PENALTY_WINDOW,
        "stop": [spell_token(END_OF_SPEECH)],  # for those that know text only
    }


VLLM = Dialect(
    "vLLM",
    "/v1/completions",
    vllm_body,
    ChunkReader,
    lambda model, text: _without_none(model=model, prompt=text, add_special_tokens=False),
)
LLAMA_CPP = Dialect(
    "llama.cpp",
    "/completion",
    llama_cpp_body,
    CompletionReader,
    lambda model, text: _without_none(model=model, content=text, add_special=False, parse_special=False),
    ends_by_itself=False,
)
OTHER = Dialect("an OpenAI-compatible server", "/v1/completions", any_body, ChunkReader)

_BY_OWNER = {"vllm": VLLM, "llamacpp": LLAMA_CPP}


def dialect_of(served: ServedModel) -> Dialect:
    """Recognise a server by what it calls itself as the owner of its models."""
    return _BY_OWNER.get(served.owned_by or "", OTHER)


def _far_too_unlikely(sampling: Sampling) -> float:
    """Share of the likeliest token's probability, at temperature 1 and before penalties, that cannot matter."""
    reach = REACH * max(1.0, sampling.temperature / Sampling().temperature)
    usual = 1 / Sampling().repetition_penalty
    reach += TRAINED_LOGIT * max(0.0, usual - 1 / sampling.repetition_penalty)
    return math.exp(-reach)


def _decoded(event: bytes, kind: type[Any]) -> Any:
    try:
        content = msgspec.json.decode(event, type=kind)
    except msgspec.MsgspecError as error:
        raise BrokenStreamError(f"it sent something that is not a completion ({error})") from error
    if content.error is not None:
        raise BrokenStreamError(f"it said: {error_words(event)}")
    return content


def _up_to_the_end(ids: list[int], reader: EventReader) -> list[int]:
    if END_OF_SPEECH in ids:
        reader.finished = True
        del ids[ids.index(END_OF_SPEECH) + 1 :]
    return ids


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
