"""One completions server: what is known of it, and one prompt continued by it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import msgspec

from orpheus_openai.errors import EngineError, InvalidRequestError
from orpheus_openai.models.orpheus.checkpoint import VOCABULARY
from orpheus_openai.models.orpheus.completions import (
    BrokenStreamError,
    ServedModel,
    ServedModels,
    event_data,
)
from orpheus_openai.models.orpheus.dialects import LLAMA_CPP, OTHER, Ask, EventReader, dialect_of
from orpheus_openai.models.orpheus.frames import TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.remote_link import (
    HAS_NO_SUCH_PATH,
    REFUSES_KEY,
    REFUSES_REQUEST,
    RemoteLink,
    UnansweredError,
    why,
)
from orpheus_openai.models.orpheus.token_text import broken_up, spell_prompt
from orpheus_openai.models.orpheus.tokenizer import CheckpointTokenizer
from orpheus_openai.synthesis import Sampling

USUAL_MAX_TOKENS = 6_144
"""Audio tokens of one segment where the request sets no limit: 75 s."""

LONGEST_AVOIDED = 60.0
"""Seconds for which a server's Retry-After is believed."""

TAKES_TEXT = " It may be one that takes text only, which needs the model's tokenizer."
"""Told where a server of no known kind refuses ids."""


class RemoteTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for a server, in seconds."""

    connect: float = 5.0
    answer: float = 10.0
    """For what needs no model: what it lists, a text's tokens."""
    first_token: float = 60.0
    """From the request to its first token; a busy server lets requests wait."""
    between_tokens: float = 20.0
    drain: float = 0.5
    """For the end of an answer after its last token, so that its connection can serve again."""
    avoided: float = 15.0
    """For so long a server that failed is asked only after all others."""


class _Tokens(msgspec.Struct, frozen=True):
    """The answer of `/tokenize`."""

    tokens: list[int]


class _Properties(msgspec.Struct, frozen=True):
    """What llama.cpp's `/props` tells; `n_ctx` is one stream's."""

    class GenerationSettings(msgspec.Struct, frozen=True):
        n_ctx: int | None = None

    default_generation_settings: GenerationSettings = GenerationSettings()


class RemoteServer:
    """A server that holds the model, and how it has behaved lately."""

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        model: str | None,
        tokenizer: CheckpointTokenizer | None,
        timeouts: RemoteTimeouts,
        *,
        adapters: int = 0,
    ) -> None:
        """`adapters`: how many a llama.cpp there was started with."""
        self.streams = 0
        """Prompts it is continuing now."""
        self.avoided_until = 0.0
        """By `time.monotonic`."""
        self._link = RemoteLink(url, client)
        self._model = model
        self._tokenizer = tokenizer
        self._timeouts = timeouts
        self._adapters = adapters
        self._served: ServedModel | None = None
        self._dialect = OTHER
        self._context: int | None = None
        self._wants_text = False

    def __str__(self) -> str:
        return str(self._link)

    async def encode(self, text: str) -> list[int] | None:
        """Tokenize a text, never into special tokens that it spells; None where this kind of server cannot.

        Raises UnansweredError where it does not answer.
        """
        try:
            async with asyncio.timeout(self._timeouts.answer):
                return await self._tokenize(text)
        except UnansweredError as error:
            self._avoid(error.retry_after)
            raise
        except (BrokenStreamError, TimeoutError, httpx.HTTPError) as error:
            self._avoid()
            raise UnansweredError(why(error)) from error

    async def generate(
        self, prompt_ids: list[int], sampling: Sampling, adapter: int | None = None
    ) -> AsyncGenerator[list[int]]:
        """Continue the prompt, where it is llama.cpp with one of its adapters.

        Raises UnansweredError before the first ids, EngineError after them.

        EngineError and InvalidRequestError come before them, too, where another server would not do better.
        """
        self.streams += 1
        answered = False
        try:
            async with contextlib.aclosing(self._answer(prompt_ids, sampling, adapter)) as answer:
                async for ids in answer:
                    answered = True
                    yield ids
        except UnansweredError as error:
            self._avoid(error.retry_after)
            raise
        except (BrokenStreamError, TimeoutError, httpx.HTTPError) as error:
            self._avoid()
            reason = why(error)
            if not answered:
                raise UnansweredError(reason) from error
            raise EngineError(
                f"The speech engine at {self} failed in the middle of its answer: {reason}."
            ) from error
        finally:
            self.streams -= 1

    def _avoid(self, seconds: float | None = None) -> None:
        self.avoided_until = time.monotonic() + min(seconds or self._timeouts.avoided, LONGEST_AVOIDED)
        self._served = None  # it may come back with another model, or as another kind

    async def _answer(
        self, prompt_ids: list[int], sampling: Sampling, adapter: int | None
    ) -> AsyncGenerator[list[int]]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeouts.first_token
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout_at(deadline):
                response = await self._open(prompt_ids, sampling, adapter)
                stack.push_async_callback(response.aclose)
            reader = self._dialect.reader()
            stream = event_data(response.aiter_bytes())
            answered = False
            while not reader.finished:
                async with asyncio.timeout_at(deadline):
                    ids = await _next_ids(stream, reader)
                deadline = clock() + self._timeouts.between_tokens
                if ids:
                    answered = True
                    yield ids
            if not answered:
                raise UnansweredError(
                    "it gave no audio tokens. It must hold Orpheus, and its answers must show special tokens"
                )
            if not self._dialect.ends_by_itself:
                return
            with contextlib.suppress(BrokenStreamError, TimeoutError, httpx.HTTPError):
                async with asyncio.timeout(self._timeouts.drain):
                    async for _ in stream:
                        pass

    async def _open(self, prompt_ids: list[int], sampling: Sampling, adapter: int | None) -> httpx.Response:
        """Send the prompt, as ids unless this server is known to want text; the answer's status is 200."""
        served = await self._ask_for_model()
        max_tokens = _max_tokens(prompt_ids, sampling, self._context)
        if self._tokenizer is None or not self._wants_text:
            response = await self._ask(
                Ask(served.id, prompt_ids, sampling, max_tokens, self._adapters, adapter)
            )
            if self._tokenizer is None or not self._may_want_text(response):
                needs_ids = self._tokenizer is None and self._dialect is OTHER
                return await self._link.checked(response, advice=TAKES_TEXT if needs_ids else "")
            await response.aclose()
        text = spell_prompt(prompt_ids, (await self._tokenizer.load()).decode)
        response = await self._link.checked(await self._ask(Ask(served.id, text, sampling, max_tokens)))
        self._wants_text = True
        return response

    def _may_want_text(self, response: httpx.Response) -> bool:
        return self._dialect is OTHER and response.status_code in REFUSES_REQUEST

    async def _ask_for_model(self) -> ServedModel:
        """Ask what the server lists, which tells its kind, too, and keep it until a failure."""
        if self._served is None:
            response = await self._link.get("/v1/models")
            if (
                response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
                or response.status_code in REFUSES_KEY
            ):
                await self._link.checked(response)
            try:
                listed = msgspec.json.decode(response.content, type=ServedModels)
            except msgspec.MsgspecError:  # some servers have no such page
                listed = ServedModels()
            served = listed.pick(self._model)
            self._dialect = dialect_of(served)
            if served.meta and served.meta.n_vocab is not None and served.meta.n_vocab < VOCABULARY:
                raise UnansweredError(
                    f"it does not hold Orpheus: its model's vocabulary has {served.meta.n_vocab} tokens, "
                    f"and text with audio takes {VOCABULARY}"
                )
            self._context = served.context or await self._ask_for_context()
            self._served = served
        return self._served

    async def _ask_for_context(self) -> int | None:
        """Ask an older llama.cpp, which does not list it: what does not fit would end too early without a word."""
        if self._dialect is not LLAMA_CPP:
            return None
        response = await self._link.get("/props")
        try:
            properties = msgspec.json.decode(response.content, type=_Properties)
        except (
            msgspec.MsgspecError
        ):  # a server of several models, or something in front that passes little on
            return None
        return properties.default_generation_settings.n_ctx

    async def _tokenize(self, text: str) -> list[int] | None:
        served = await self._ask_for_model()
        if self._dialect.tokenize is None:
            return None
        # llama.cpp obeys what its file marks as the user's own tokens, whatever it is told, and vLLM all of them.
        body = self._dialect.tokenize(served.id, broken_up(text))
        response = await self._link.send(self._link.request("/tokenize", body))
        if response.status_code in HAS_NO_SUCH_PATH:
            return None
        await self._link.checked(response)
        try:
            return msgspec.json.decode(response.content, type=_Tokens).tokens
        except msgspec.MsgspecError as error:
            raise BrokenStreamError(f"it sent something that is not tokens ({error})") from error

    async def _ask(self, ask: Ask) -> httpx.Response:
        """Ask in the server's own words, or in OpenAI's where its own way is not to be had."""
        while True:
            dialect = self._dialect
            request = self._link.request(dialect.path, dialect.body(ask))
            request.headers["Accept"] = "text/event-stream"
            if not dialect.ends_by_itself:
                request.headers["Connection"] = (
                    "close"  # or it is closed later, perhaps under the next prompt
                )
            response = await self._link.send(request, stream=True)
            if dialect.path == OTHER.path or response.status_code not in HAS_NO_SUCH_PATH:
                return response
            await response.aclose()
            self._dialect = OTHER


async def _next_ids(stream: AsyncIterator[bytes], reader: EventReader) -> list[int]:
    """Wait for the next ids, none at the end; raises BrokenStreamError when the server stops before that."""
    async for event in stream:
        ids = reader.read(event)
        if ids or reader.finished:
            return ids
    raise BrokenStreamError("the connection ended before the answer did")


def _max_tokens(prompt_ids: list[int], sampling: Sampling, context: int | None) -> int:
    wanted = sampling.max_tokens or USUAL_MAX_TOKENS
    if context is None:
        return wanted
    room = context - len(prompt_ids)
    if room < TOKENS_PER_FRAME:
        raise InvalidRequestError(
            f"The text is too long to be spoken in one piece: it has {len(prompt_ids)} tokens, and the model "
            f"has room for {context} together with its speech. Break it into shorter sentences.",
            param="input",
        )
    return min(wanted, room)
