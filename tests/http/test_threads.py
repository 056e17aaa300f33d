"""A server has as many threads as its pool, whatever it has done before."""

import asyncio
import gc
import os
import sys
from pathlib import Path

import httpx
import pytest

from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.server import TURN_SECONDS, settle
from tests.support.environment import environ
from tests.support.served import serving

POOL = min(32, (os.cpu_count() or 1) + 4)
"""Threads that asyncio's own executor has at most (its documentation, run_in_executor)."""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system tells no threads")
async def test_an_idle_server_has_no_thread_left_of_the_speech_it_has_spoken(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    body = {"model": "preview", "voice": "tara", "input": "It is said once, and then again. " * 5}
    with serving(tmp_path, environ()) as server:

        def threads() -> int:
            return len(list(Path(f"/proc/{server.pid}/task").iterdir()))

        before = threads()
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:

            async def speak(audio_format: str, speed: float, *, leave: bool) -> None:
                wanted = {**body, "response_format": audio_format, "speed": speed}
                async with client.stream("POST", "/v1/audio/speech", json=wanted) as answer:
                    assert answer.status_code == 200
                    async for _ in answer.aiter_bytes():
                        if leave:
                            return

            await asyncio.gather(
                *(
                    speak(audio_format, speed, leave=leave)
                    for audio_format in FORMATS
                    for speed, leave in ((1, False), (1.5, False), (1.5, True))
                )
            )
        assert threads() <= before + POOL


def test_a_server_that_has_started_is_not_looked_through_for_garbage_and_threads_take_short_turns() -> None:
    turn = sys.getswitchinterval()
    try:
        settle()
        assert len(gc.get_objects()) < 1_000, "so many would be looked at"
        assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS)
    finally:
        sys.setswitchinterval(turn)
