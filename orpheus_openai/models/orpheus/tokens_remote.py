"""Token ids from engines behind URLs: any servers with OpenAI's completions that hold Orpheus."""

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

import httpx

from orpheus_openai.errors import ConfigurationError, EngineError
from orpheus_openai.models.orpheus.remote_link import UnansweredError
from orpheus_openai.models.orpheus.remote_server import RemoteServer, RemoteTimeouts
from orpheus_openai.models.orpheus.tokenizer import CheckpointTokenizer
from orpheus_openai.synthesis import Sampling

KEPT_CONNECTIONS = 32
"""Idle connections kept open for the next prompts."""


class RemoteTokenSource:
    """Continues prompts on servers that somebody else runs; connects to none before the first prompt."""

    def __init__(
        self,
        urls: str | Sequence[str],
        api_key: str | None = None,
        model: str | None = None,
        *,
        tokenizer: CheckpointTokenizer | None = None,
        timeouts: RemoteTimeouts | None = None,
    ) -> None:
        """Take one URL or more, comma-separated or as a sequence, with or without `/v1`.

        All must hold the same model: `model` is its name there, None whatever they list. `tokenizer` is for servers
        that have none of their own, or take a prompt as text only. Raises ConfigurationError for what is not a URL.
        """
        timeouts = timeouts or RemoteTimeouts()
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=httpx.Timeout(None, connect=timeouts.connect),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS),
        )
        self._tokenizer = tokenizer
        self._servers = [
            RemoteServer(url, self._client, model, tokenizer, timeouts)
            for url in (urls.split(",") if isinstance(urls, str) else urls)
            if url.strip()
        ]
        if not self._servers:
            raise ConfigurationError(
                "ORPHEUS_REMOTE_URL names no server; give one like http://localhost:8000/v1"
            )

    engine = "a remote server"

    @property
    def dead(self) -> bool:
        """Never: a server that is away may be back for the next prompt."""
        return False

    async def encode(self, text: str) -> list[int]:
        """Tokenize a text: with the checkpoint's tokenizer where it is at hand, else the servers', else downloaded.

        What spells a special token never becomes one. Raises EngineError where no server answers,
        ModelUnavailableError where none tokenizes and there is no tokenizer here either.
        """
        if self._tokenizer and (here := await self._tokenizer.at_hand()):
            return here.encode(text)
        failures: list[tuple[RemoteServer, UnansweredError]] = []
        for server in self._by_preference():
            try:
                ids = await server.encode(text)
            except UnansweredError as error:
                failures.append((server, error))
                continue
            if ids is not None:
                return ids
        if len(failures) == len(self._servers):
            raise _nobody_answered(failures)
        return (await (self._tokenizer or CheckpointTokenizer()).load()).encode(text)

    async def generate(
        self,
        prompt_ids: list[int],
        sampling: Sampling,
        adapter: str | None = None,  # noqa: ARG002  refused before
    ) -> AsyncGenerator[list[int]]:
        """Continue the prompt on the server with the fewest streams, on another if that one does not begin.

        Ids come as the server sends them, ended by the end token where it sends that. Closing the
        generator closes the connection, which is how a server learns that nobody listens. Raises
        EngineError, naming the servers and what they said, when none begins or the one that has begun
        fails; with `retry_after` when all are busy.
        """
        failures: list[tuple[RemoteServer, UnansweredError]] = []
        for server in self._by_preference():
            try:
                async with contextlib.aclosing(server.generate(prompt_ids, sampling)) as stream:
                    async for ids in stream:
                        yield ids
            except UnansweredError as error:
                failures.append((server, error))
            else:
                return
        raise _nobody_answered(failures)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _by_preference(self) -> list[RemoteServer]:
        """Order servers: fewest streams first, those that failed lately last and by how long ago."""
        now = time.monotonic()
        return sorted(
            self._servers, key=lambda server: (max(0.0, server.avoided_until - now), server.streams)
        )


def _nobody_answered(failures: list[tuple[RemoteServer, UnansweredError]]) -> EngineError:
    reasons = "; ".join(f"{server}: {error}" for server, error in failures)
    if all(error.busy for _, error in failures):
        pauses = [error.retry_after for _, error in failures if error.retry_after is not None]
        return EngineError(
            f"The speech engine is busy; try again soon. {reasons}.",
            code="engine_busy",
            retry_after=min(pauses, default=None),
        )
    return EngineError(
        f"No speech engine answered. {reasons}. See that it runs and that ORPHEUS_REMOTE_URL names it."
    )
