"""Steps in threads that are over before whoever asked for them goes on."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def finished(step: Callable[..., T], *arguments: object) -> T:
    """The result of one step in a thread; whoever is cancelled meanwhile leaves when it is done, and not before."""
    work = asyncio.ensure_future(asyncio.to_thread(step, *arguments))
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(
        shield=True
    ):  # one that is cancelled would cancel every wait in it, and not only the first
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        work.exception()  # or else it is said that nobody has looked at it
        raise cancelled
    return work.result()
