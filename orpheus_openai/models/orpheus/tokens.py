"""Where token ids come from: an engine that continues a prompt, in this process or behind a URL."""

from collections.abc import AsyncGenerator
from typing import Protocol

from orpheus_openai.synthesis import Sampling


class TokenSource(Protocol):
    """An engine that holds Orpheus' weights and continues prompts."""

    @property
    def engine(self) -> str:
        """What continues the prompts, for people: the engine's name and what is particular to it here."""
        ...

    @property
    def dead(self) -> bool:
        """Whether the engine has failed for good, so that only another one can speak."""
        ...

    def generate(
        self, prompt_ids: list[int], sampling: Sampling, adapter: str | None = None
    ) -> AsyncGenerator[list[int]]:
        """Continue the prompt: yields the new token ids as they come, a few at a time, never none.

        `adapter` is the folder, or the repository, of a LoRA adapter that the engine can load.
        Ends after the end-of-speech token, or after `sampling.max_tokens`. Several calls may run at once.
        Closing the generator, or cancelling the task that waits for it, ends the engine's work at once.
        Raises `orpheus_openai.errors.EngineError` when the engine fails, also after tokens have come.
        """
        ...

    async def close(self) -> None:
        """Give everything back: memory, processes, connections. Called once."""
        ...
