"""A step in a thread is over before whoever asked for it goes on."""

import asyncio
import threading

import anyio
import pytest

from orpheus_openai.threads import finished


@pytest.mark.parametrize("by_anyio", [False, True])
async def test_whoever_is_cancelled_however_often_leaves_when_the_step_is_done(by_anyio):
    begun, go_on, done = threading.Event(), threading.Event(), []

    def step():
        begun.set()
        go_on.wait(30)
        done.append(1)

    async def within_a_scope():
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(0.05, scope.cancel)
            await finished(step)
            await anyio.sleep(30)
        return list(done)

    async def alone():
        with pytest.raises(asyncio.CancelledError):
            await finished(step)
        return list(done)

    task = asyncio.create_task(within_a_scope() if by_anyio else alone())
    await asyncio.to_thread(begun.wait, 30)
    for _ in range(3):
        if not by_anyio:
            task.cancel()
        await asyncio.sleep(0.05)
    assert not task.done()
    go_on.set()
    assert await task == [1]


async def test_what_a_step_returns_or_raises_is_its_callers():
    assert await finished(max, 3, 5) == 5
    with pytest.raises(ZeroDivisionError):
        await finished(divmod, 1, 0)
