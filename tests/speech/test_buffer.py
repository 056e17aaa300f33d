"""A stream that is made more slowly than it is heard starts late enough to leave no gap, and no later."""

import asyncio
import contextlib
import math
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.errors import EngineError
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.settings import Settings
from orpheus_openai.speech import buffer
from orpheus_openai.speech.buffer import MARGIN, MOST_HELD, estimated_seconds, reserve
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from tests.support.fake_engine import Clock
from tests.support.local_server import running

CHUNK = 2_400
SECONDS = CHUNK / 24_000
TEXT = "The train to the coast leaves from platform nine, a little later than usual today."


class SlowSpeaker:
    """Stands where a model would that is measured: makes a chunk when it is allowed to."""

    alive = True

    def __init__(self, real_time_factor):
        self.real_time_factor = real_time_factor
        self.allowed = asyncio.Semaphore(0)
        self.chunks, self.made, self.running = 1_000, 0, 0
        self.first_alone = self.fails = False

    async def synthesize(self, text, voice, sampling, usage):
        self.running += 1
        try:
            if self.first_alone and self.running > 1:
                await asyncio.Event().wait()
            for _ in range(self.chunks):
                await self.allowed.acquire()
                if self.fails:
                    raise EngineError("it broke")
                self.made += 1
                yield np.full(CHUNK, 1_000, np.int16)
        finally:
            self.running -= 1

    async def close(self):
        pass

    async def make(self, chunks):
        """Let it make so many, and whoever waits for them take them."""
        goal = self.made + chunks
        for _ in range(chunks):
            self.allowed.release()
        async with asyncio.timeout(60):
            while self.made < goal:  # noqa: ASYNC110  a bounded wait
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)


@pytest.fixture
def speaking(monkeypatch):
    """Makes a service with a slow speaker of that factor, and a setting; its clock stands still."""
    monkeypatch.setattr(buffer, "time", SimpleNamespace(monotonic=Clock()))

    def make(factor, setting="auto"):
        service = SpeechService.create(Settings(model="preview", buffer=setting))
        service.speaker = SlowSpeaker(factor)  # type: ignore[attr-defined]

        async def load(model, gpu):
            return service.speaker  # type: ignore[attr-defined]

        monkeypatch.setattr(service.factory, "load", load)
        return service

    return make


@contextlib.asynccontextmanager
async def listening(service, **fields):
    """A stream, and the task that waits for its first sound."""
    stream = service.stream(SpeechRequest(**{"text": TEXT, "model": "preview", **fields}))
    first = asyncio.ensure_future(anext(stream))
    try:
        async with asyncio.timeout(60):
            while not (service.speaker.running or first.done()):  # noqa: ASYNC110  a bounded wait
                await asyncio.sleep(0)
        yield stream, first
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await stream.aclose()
        await service.close()


async def sounds_with(service, chunks, *, not_with=None, **fields):
    """Whether the first sound comes out with so many chunks, and not with one less, or with `not_with`."""
    fewer = chunks - 1 if not_with is None else not_with
    async with listening(service, **fields) as (_, first):
        await service.speaker.make(fewer)
        if first.done():
            return False
        await service.speaker.make(chunks - fewer)
        async with asyncio.timeout(60):
            return len(await first) > 0


async def test_a_slow_model_starts_when_what_is_ahead_will_not_run_dry(speaking):
    needed = estimated_seconds(TEXT) * (1 - 1 / (2.0 * MARGIN))
    assert await sounds_with(speaking(2.0), math.ceil(needed / SECONDS))


@pytest.mark.parametrize("factor", [1.05, 1.5, 3.0])
def test_with_enough_in_hand_a_steady_model_is_never_caught_up_with(factor):
    total = estimated_seconds(TEXT)
    wanted = reserve("auto", text=TEXT, speed=1.0, real_time_factor=factor)
    made = np.arange(SECONDS, total, SECONDS)
    enough = [wanted.enough(float(each), elapsed=each * factor, begun=total) for each in made]
    start = made[enough.index(True)]
    left = made[made >= start]
    assert np.all(left * factor - start * factor <= left + 1e-6)
    assert start <= total * (1 - 1 / (factor * MARGIN)) + SECONDS


@pytest.mark.parametrize(("factor", "setting"), [(2.0, "off"), (0.8, "auto"), (1.0, "auto"), (None, "auto")])
async def test_nothing_is_held_back_where_speech_keeps_up_or_nobody_knows_or_wants_it(
    speaking, factor, setting
):
    assert await sounds_with(speaking(factor, setting), 1)


async def test_so_many_seconds_are_held_back_as_the_setting_says_at_any_speed(speaking):
    assert await sounds_with(speaking(0.1, "3"), 30)


async def test_a_faster_tempo_needs_more_in_hand(speaking):
    """A model that just keeps up with a listener does not with one who hears it twice as fast."""
    assert await sounds_with(speaking(0.9), 1)
    assert await sounds_with(speaking(0.9), 60, not_with=20, speed=2.0)


async def test_of_a_text_without_an_end_no_more_is_held_than_there_is_memory_for(speaking):
    service = speaking(20.0)
    service.speaker.first_alone = True
    assert await sounds_with(service, round(MOST_HELD / SECONDS), text=f"{TEXT} " * 500)


async def test_a_speech_that_ends_sooner_than_was_estimated_sounds_whole(speaking):
    service = speaking(2.0)
    service.speaker.chunks = 5
    async with listening(service) as (stream, first):
        await service.speaker.make(5)
        samples = len(await first) + sum([len(pcm) async for pcm in stream])
    assert samples >= 5 * CHUNK


async def test_a_model_that_fails_while_audio_is_held_back_is_an_error_and_no_broken_sound(speaking):
    service = speaking(2.0)
    async with listening(service) as (_, first):
        await service.speaker.make(5)
        service.speaker.fails = True
        service.speaker.allowed.release()
        with pytest.raises(EngineError, match="it broke"):
            await first


async def test_who_hangs_up_while_audio_is_held_back_leaves_nothing_running(speaking):
    service = speaking(2.0)
    async with listening(service) as (_, first):
        await service.speaker.make(5)
        assert not first.done()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert service.speaker.running == 0
        assert service.manager.get_status()[0].leases == 0


async def test_segments_tell_where_they_begin_though_nothing_has_sounded_yet(speaking):
    service = speaking(2.0)
    service.speaker.chunks = 10
    service.speaker.allowed = asyncio.Semaphore(1_000)
    with service.events.subscribe() as told:
        async with listening(service, text="\n\n".join([TEXT * 3] * 4)) as (stream, first):
            await first
            async for _ in stream:
                pass
        starts = []
        async for event in told:
            if event.type == "speech.segment":
                starts.append(event.data["audio_seconds"])
            if event.type == "speech.ended":
                break
    assert starts[0] == 0
    assert starts == sorted(set(starts))


def test_the_pace_that_is_seen_counts_where_segments_are_spoken_beside_the_first():
    wanted = reserve("auto", text=TEXT, speed=1.0, real_time_factor=1.01)
    assert wanted.enough(3.0, elapsed=3.0, begun=10.0)
    assert not wanted.enough(3.0, elapsed=10.0, begun=10.0)
    assert wanted.enough(7.1, elapsed=23.0, begun=10.0)


def test_how_long_a_text_sounds_is_estimated_for_letters_and_for_characters():
    assert 4 < estimated_seconds(TEXT) < 9
    assert 2 < estimated_seconds("今天的火车从九号站台开出。") < 5
    assert estimated_seconds("今天" * 50_000) == pytest.approx(100_000 / 4.5)
    assert estimated_seconds("") == 0


async def test_an_answer_tells_what_a_second_of_it_is_expected_to_take(monkeypatch):
    speaker = SlowSpeaker(1.6)
    speaker.chunks = 3
    speaker.allowed = asyncio.Semaphore(1_000)

    async def load(self, model, gpu):
        return speaker

    monkeypatch.setattr(ModelFactory, "load", load)
    settings = Settings(model="preview", cors_origins=("https://app.example.com",))
    with running(create_app(settings)) as address:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            for door, field in (("/v1/audio/speech", "input"), ("/api/generate", "text")):
                answer = await client.post(
                    door,
                    json={field: TEXT, "model": "tts-1", "voice": "tara", "speed": 2.0},
                    headers={"origin": "https://app.example.com"},
                )
                assert answer.status_code == 200, answer.text
                assert answer.headers["x-orpheus-real-time-factor"] == "3.200"
                assert "x-orpheus-real-time-factor" in answer.headers["access-control-expose-headers"]
            speaker.real_time_factor = None
            answer = await client.post(
                "/v1/audio/speech", json={"input": TEXT, "model": "tts-1", "voice": "tara"}
            )
            assert "x-orpheus-real-time-factor" not in answer.headers
