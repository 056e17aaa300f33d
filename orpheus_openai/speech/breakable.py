"""A stream that another task may end, whoever waits for it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from orpheus_openai.errors import SpeechInterruptedError

T = TypeVar("T")


class Breakable(Generic[T]):
    """A stream that another task may end, whoever waits for its next item: it raises SpeechInterruptedError there."""

    def __init__(self, stream: AsyncGenerator[T]) -> None:
        self._stream = stream
        self._task: asyncio.Task[object] | None = None
        self._broken = False
        self._closing = False
        self._free = asyncio.Event()

    def __aiter__(self) -> "Breakable[T]":
        return self

    async def __anext__(self) -> T:
        if self._broken:
            raise SpeechInterruptedError
        self._task = task = asyncio.current_task()
        assert task is not None  # noqa: S101  this is a coroutine
        cancelling = task.cancelling()
        try:
            return await anext(self._stream)
        except asyncio.CancelledError:
            # As in asyncio.timeout: whoever else cancels the task at the same time is obeyed.
            if self._broken and task.uncancel() <= cancelling:
                raise SpeechInterruptedError from None
            raise
        finally:
            self._task = None
            if self._broken:
                self._free.set()

    async def break_off(self) -> None:
        """End the stream; what it holds is given back when this returns."""
        if not self._broken:
            self._broken = True
            if self._task is not None:
                self._task.cancel()
            else:
                await self._close()
        await self._free.wait()

    async def aclose(self) -> None:
        """End the stream, for whoever reads it."""
        await self._close()
        await self._free.wait()

    async def _close(self) -> None:
        if self._closing:  # by somebody else, and a generator is closed once at a time
            return
        self._closing = True
        try:
            await self._stream.aclose()
        finally:
            self._free.set()
