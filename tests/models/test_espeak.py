"""eSpeak NG's processes: what dies there ends one speech, and nothing is left behind."""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks.hostile import AS_IT_STANDS, KILLERS, Attack
from benchmarks.processes import family
from benchmarks.serving import Server
from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.catalog import EspeakVoice, load_catalog
from orpheus_openai.errors import EngineError, UnspeakableError
from orpheus_openai.models.preview import children, process, turns
from orpheus_openai.models.preview.espeak import Espeak, Part, Pause, WordBegin
from orpheus_openai.models.preview.model import PreviewModel, WordTime
from orpheus_openai.models.preview.turns import When
from orpheus_openai.synthesis import Sampling, Usage
from tests.support.environment import environ
from tests.support.served import serving

pytest.importorskip("espeakng_loader")

CATALOG = load_catalog()
TARA = CATALOG.voice("tara")
SENTENCE = "The quick brown fox jumps over the lazy dog."
LONG = "Nobody knows how long this will take, but it goes on and on for a while. " * 40
THREADS = min(32, (os.cpu_count() or 1) + 4)
"""To which asyncio's pool may grow."""
PATIENCE = 60
"""Seconds for what happens at once on an idle machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("espeak"), environ(**AS_IT_STANDS)) as running:
        yield running


def listening(server: Server) -> httpx.AsyncClient:
    """A client whose sockets hold a second or two: what the kernel holds by itself grows with the machine's load, up to
    minutes of speech, and whether a child waits for its listener would be a matter of where its sentences ended.
    """
    few = httpx.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)])
    return httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, transport=few)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with listening(server) as http:
        yield http


@pytest.fixture(scope="module")
def alone(server: Server) -> bytes:
    """LONG as it is heard where nobody else speaks."""
    return httpx.post(f"{server.url}/v1/audio/speech", json=body(LONG), timeout=PATIENCE).content


@pytest.fixture
async def espeak() -> AsyncIterator[Espeak]:
    speaker = Espeak()
    yield speaker
    await speaker.close()


@pytest.fixture
async def model() -> AsyncIterator[PreviewModel]:
    preview = PreviewModel(CATALOG.emotion_tags)
    yield preview
    await preview.close()


def body(text: str, voice: str = "tara") -> dict[str, str]:
    return {"model": "preview", "voice": voice, "input": text, "response_format": "pcm"}


async def heard(client: httpx.AsyncClient, text: str, voice: str = "tara") -> bytes:
    answer = await client.post("/v1/audio/speech", json=body(text, voice))
    assert answer.status_code == 200, answer.text
    return answer.content


async def until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happens():  # noqa: ASYNC110  a bounded wait for other processes
            await asyncio.sleep(0.02)


def parent_of(pid: int) -> int:
    """The process that forks, a child of the server `pid`."""
    (found,) = [each for each in family(pid)[1:] if "process.py" in cmdline(each) and parent(each) == pid]
    return found


def cmdline(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def speakers(pid: int) -> set[int]:
    """The children that speak for the server `pid` now."""
    return set(family(parent_of(pid))[1:])


# --- a killer text ----------------------------------------


@pytest.mark.parametrize(
    ("voice", "text"), KILLERS, ids=[f"{voice}-{ord(text[0]):x}" for voice, text in KILLERS]
)
async def test_a_killer_text_ends_its_own_speech_with_502_and_nobody_elses(
    server: Server, client: httpx.AsyncClient, alone: bytes, voice: str, text: str
) -> None:
    lines = server.log.read_text().count("eSpeak NG died")
    other = asyncio.create_task(heard(client, LONG))
    answer = await client.post("/v1/audio/speech", json=body(text, voice))
    assert answer.status_code == 502
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "unspeakable_text"
    assert await other == alone
    assert len(await heard(client, SENTENCE, voice))
    log = server.log.read_text()
    assert log.count("eSpeak NG died") == lines + 1
    assert text not in log


async def test_a_killer_text_gets_a_right_answer_with_the_default_settings_too(tmp_path: Path) -> None:
    """Cleaned, and with its numbers in words, such a text kills eSpeak NG or does not: nobody can tell beforehand."""
    settings = {name: value for name, value in environ(**AS_IT_STANDS).items() if name not in AS_IT_STANDS}
    with serving(tmp_path, settings) as server:
        async with listening(server) as client:
            for voice, text in KILLERS:
                answer = await client.post("/v1/audio/speech", json=body(text, voice))
                if answer.status_code == 200:
                    assert len(answer.content) > SAMPLE_RATE
                else:
                    assert answer.status_code == 502
                    assert answer.headers["x-should-retry"] == "false"
                    assert answer.json()["error"]["code"] == "unspeakable_text"
                assert len(await heard(client, SENTENCE, voice))


async def test_a_killer_in_a_later_sentence_breaks_the_speech_off(client: httpx.AsyncClient) -> None:
    voice, killer = KILLERS[0]
    before = f"{SENTENCE} " * 6
    size = 0
    with pytest.raises(httpx.RemoteProtocolError):
        async with client.stream(
            "POST", "/v1/audio/speech", json=body(f"{before}\n\n{killer}", voice)
        ) as answer:
            assert answer.status_code == 200
            async for piece in answer.aiter_raw():
                size += len(piece)
    assert size > 2 * SAMPLE_RATE


async def test_the_same_text_gives_the_same_samples_beside_and_after_any_other(
    client: httpx.AsyncClient,
) -> None:
    first = await heard(client, SENTENCE)
    for voice, text in (("长乐", "你好。"), ("ऋतिका", "नमस्ते"), ("leo", LONG[:400]), ("zoe", "५ 5 <laugh> !")):
        other = asyncio.create_task(heard(client, text, voice))
        assert await heard(client, SENTENCE) == first
        await other
        assert await heard(client, SENTENCE) == first


async def test_a_fuzz_of_hostile_text_touches_no_other_listener(server: Server) -> None:
    attack = Attack(server, speed=30)
    await attack.run(pieces=60, seed=2, at_once=6, seconds=PATIENCE)
    report = attack.report
    assert (report.failures, report.spoilt) == ([], [])
    assert report.heard >= 4
    assert report.answers["unspeakable"] > 0
    assert report.answers["spoken"] > 0.8 * report.answers.total()
    before, after = report.at_rest
    assert after.descriptors <= before.descriptors + 3, "what each of the pieces leaves would be many"
    assert after.threads <= before.threads + THREADS


# --- death by hand ----------------------------------------


class Listener:
    """One who hears the beginning of a long speech, pauses, and goes on when told."""

    TEXT = ("77 " * 80 + "77. ") * 6
    """More than fits into the sockets on the way, in sentences of which each alone is longer than what the server takes
    ahead: so its child waits for it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.digest = hashlib.sha256()
        self.task = asyncio.create_task(self._listen(client))

    async def _listen(self, client: httpx.AsyncClient) -> bytes | None:
        """What was heard, as a digest; None when it was broken off."""
        try:
            async with client.stream("POST", "/v1/audio/speech", json=body(self.TEXT)) as answer:
                assert answer.status_code == 200
                async for piece in answer.aiter_raw():
                    self.digest.update(piece)
                    self.begun.set()
                    await self.go_on.wait()
        except httpx.TransportError:
            return None
        return self.digest.digest()


@contextlib.asynccontextmanager
async def paused(client: httpx.AsyncClient, server: Server, count: int) -> AsyncIterator[list[Listener]]:
    """So many listeners, whose children wait for them by now."""
    listeners = [Listener(client) for _ in range(count)]
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(listener.begun.wait() for listener in listeners))
            before: set[int] = set()
            while len(before) < count or before != speakers(server.pid):
                before = speakers(server.pid)
                await asyncio.sleep(0.3)
        yield listeners
    finally:
        for listener in listeners:
            listener.task.cancel()
        await asyncio.gather(*(listener.task for listener in listeners), return_exceptions=True)


async def test_the_same_text_gives_the_same_samples_from_one_start_to_the_next() -> None:
    spoken = []
    for _ in range(2):
        espeak = Espeak()
        for voice in ("tara", "长乐"):  # whose variants breathe and flutter at random
            part = Part(CATALOG.languages[CATALOG.voice(voice).language].example)
            items = [item async for item in espeak.speak([part], CATALOG.voice(voice).espeak)]
            spoken.append((voice, items))
        await espeak.close()
        await asyncio.sleep(1)  # a seed that is the time would be another
    assert spoken[:2] == spoken[2:]


async def test_a_child_that_is_killed_in_mid_stream_breaks_off_its_own_speech_alone(
    server: Server, client: httpx.AsyncClient
) -> None:
    async with paused(client, server, 3) as listeners:
        os.kill(min(speakers(server.pid)), signal.SIGKILL)
        for listener in listeners:
            listener.go_on.set()
        digests = await asyncio.gather(*(listener.task for listener in listeners))
    assert digests.count(None) == 1
    assert len(set(digests)) == 2
    assert "died of" in server.log.read_text()


async def test_a_parent_that_is_killed_in_mid_stream_is_replaced_and_nobody_hears_it(
    server: Server, client: httpx.AsyncClient
) -> None:
    undisturbed = Listener(client)
    undisturbed.go_on.set()
    expected = await undisturbed.task
    async with paused(client, server, 2) as listeners:
        old, orphans = parent_of(server.pid), speakers(server.pid)
        os.kill(old, signal.SIGKILL)
        await until(lambda: not any(map(alive, orphans)))
        short = await heard(client, SENTENCE)
        for listener in listeners:
            listener.go_on.set()
        assert [await listener.task for listener in listeners] == [expected, expected]
    assert parent_of(server.pid) != old
    assert await heard(client, SENTENCE) == short
    assert "another one has taken over" in server.log.read_text()


async def test_a_listener_who_pauses_keeps_no_process_where_a_segment_is_no_longer_than_half_a_minute(
    server: Server, client: httpx.AsyncClient
) -> None:
    async with client.stream("POST", "/v1/audio/speech", json=body(LONG * 3)) as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        async with asyncio.timeout(PATIENCE):
            still = 0
            while still < 5:
                still = 0 if speakers(server.pid) else still + 1
                await asyncio.sleep(0.1)
        size = sum([len(piece) async for piece in pieces])
    assert size > 300 * 2 * SAMPLE_RATE


async def test_a_listener_who_leaves_ends_the_child(server: Server, client: httpx.AsyncClient) -> None:
    async with paused(client, server, 1):
        assert len(speakers(server.pid)) == 1
    await until(lambda: not speakers(server.pid))


async def test_a_server_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    with serving(tmp_path, environ(**AS_IT_STANDS)) as server:
        async with listening(server) as client:
            async with paused(client, server, 2):
                left = family(server.pid)
                assert len(left) == 4
                os.kill(server.pid, signal.SIGKILL)
                await until(lambda: not any(map(alive, left)))


async def test_a_server_that_is_told_to_stop_as_a_group_finishes_what_it_speaks(tmp_path: Path) -> None:
    with serving(tmp_path, environ(**AS_IT_STANDS)) as server:
        async with listening(server) as client:
            alone = await heard(client, LONG)
            speech = asyncio.create_task(heard(client, LONG))
            await until(lambda: bool(speakers(server.pid)))
            for pid in family(server.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            assert await speech == alone


# --- limits ----------------------------------------


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(errors="replace")


async def test_the_processes_have_limits_and_know_no_secrets(model: PreviewModel) -> None:
    async with aclosing(model.synthesize(LONG, TARA, Sampling(), Usage())) as chunks:
        await anext(chunks)
        (speaker,) = speakers(os.getpid())
        soft = {line[:26].strip(): line[26:].split()[0] for line in proc(speaker, "limits").splitlines()}
    assert 10 < int(soft["Max cpu time"]) <= 11 + len(LONG) // 50
    assert (soft["Max core file size"], soft["Max file size"]) == ("0", "0")
    assert int(soft["Max open files"]) <= 16
    assert int(soft["Max address space"]) <= 256 << 20
    forks = parent_of(os.getpid())
    assert proc(forks, "environ") == ""
    assert "espeak" in proc(forks, "maps")
    assert not any(name in proc(forks, "maps") for name in ("numpy", "torch", "libssl"))


async def test_a_child_is_little_ahead_of_its_listener(model: PreviewModel) -> None:
    chunks = model.synthesize(LONG, TARA, Sampling(), Usage())
    await anext(chunks)
    await asyncio.sleep(0.5)
    os.kill(speakers(os.getpid()).pop(), signal.SIGKILL)
    ahead = 0
    with pytest.raises(EngineError, match="SIGKILL") as caught:
        while True:
            ahead += len(await anext(chunks))
    assert ahead < 6 * SAMPLE_RATE
    assert caught.value.retryable  # it was not the text's doing


async def test_a_child_that_takes_too_much_processor_time_is_the_texts_fault(model: PreviewModel) -> None:
    chunks = model.synthesize(LONG, TARA, Sampling(), Usage())
    await anext(chunks)
    os.kill(speakers(os.getpid()).pop(), signal.SIGXCPU)
    with pytest.raises(UnspeakableError, match="processor time"):
        async for _ in chunks:
            pass


async def test_a_child_that_hangs_is_given_up_and_killed(
    model: PreviewModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = model.synthesize(LONG, TARA, Sampling(), Usage())
    await anext(chunks)
    (speaker,) = speakers(os.getpid())
    os.kill(speaker, signal.SIGSTOP)
    monkeypatch.setattr(children, "STALL_SECONDS", 0.5)
    with pytest.raises(UnspeakableError, match="gave nothing"):
        async for _ in chunks:
            pass
    await until(lambda: not alive(speaker))


async def test_time_in_which_nobody_reads_is_not_held_against_a_child(
    model: PreviewModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = model.synthesize(LONG, TARA, Sampling(), Usage())
    await anext(chunks)
    monkeypatch.setattr(children, "STALL_SECONDS", 2)
    await asyncio.sleep(2.5)
    assert sum([len(chunk) async for chunk in chunks]) > 100 * SAMPLE_RATE


async def test_a_parent_that_hangs_is_replaced(model: PreviewModel, monkeypatch: pytest.MonkeyPatch) -> None:
    old = parent_of(os.getpid())
    os.kill(old, signal.SIGSTOP)
    monkeypatch.setattr(children, "STALL_SECONDS", 1)
    chunks = model.synthesize(SENTENCE, TARA, Sampling(), Usage())
    assert len(await anext(chunks))
    await chunks.aclose()
    assert parent_of(os.getpid()) != old


async def test_more_speeches_than_there_may_be_children_wait_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "MAX_CHILDREN", 1)  # of two, one may be overtaken by any number of others
    espeak = Espeak()
    order: list[int] = []
    most = 0

    async def speak(number: int) -> int:
        nonlocal most
        spoken = 0
        async with aclosing(espeak.speak([Part(SENTENCE)], TARA.espeak)) as items:
            async for item in items:
                if not spoken:
                    most = max(most, len(speakers(os.getpid())))
                spoken += len(item) if isinstance(item, bytes) else 0
        order.append(number)
        return spoken

    lengths = await asyncio.gather(*map(speak, range(8)))
    await espeak.close()
    assert len(set(lengths)) == 1
    assert most == 1
    assert order == [*range(8)]


async def test_few_speak_at_once_and_whoever_is_waited_for_goes_first(
    espeak: Espeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "STILL_SECONDS", PATIENCE)
    stalled = [espeak.speak([Part(LONG)], TARA.espeak, when="soon") for _ in range(turns.AT_ONCE)]
    await asyncio.gather(*map(anext, stalled))
    ended: list[str] = []

    async def say(name: str, when: When) -> bytes:
        said = await spoken_by(espeak, Part(SENTENCE), when=when)
        ended.append(name)
        return said

    said = await spoken_by(
        espeak, Part(SENTENCE)
    )  # whose listener has heard nothing yet, and which waits for nobody
    later = asyncio.create_task(say("later", "later"))
    gone = asyncio.create_task(say("gone", "soon"))
    await asyncio.sleep(0)
    soon = asyncio.create_task(say("soon", "soon"))
    await asyncio.sleep(0)
    gone.cancel()
    assert len(speakers(os.getpid())) == turns.AT_ONCE
    await stalled.pop().aclose()
    assert await later == await soon == said
    assert ended == ["soon", "later"]
    for each in stalled:
        await each.aclose()


async def test_whoever_has_stopped_to_listen_keeps_nobody_waiting(
    espeak: Espeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "STILL_SECONDS", 0.2)
    stalled = [espeak.speak([Part(LONG)], TARA.espeak, when="soon") for _ in range(turns.AT_ONCE + 4)]
    await asyncio.gather(*map(anext, stalled))
    assert await spoken_by(espeak, Part(SENTENCE), when="later")
    for each in stalled:
        await each.aclose()


# --- words and phonemes ----------------------------------------


async def test_words_come_with_their_places_in_text_and_speech(model: PreviewModel) -> None:
    text = "  Hello \x01 <laugh> Dear\n\nworld,  नमस्ते you <SIGH> Smith. "
    words, samples = [], 0
    async for item in model.read(text, TARA.espeak, Usage()):
        if isinstance(item, WordTime):
            words.append(item)
            assert item.sample >= samples - SAMPLE_RATE // 50  # before its own samples
        else:
            samples += len(item)
    spoken = [text[word.start : word.start + word.length] for word in words]
    assert [word for word in spoken if word.isascii()] == ["Hello", "Dear", "world", "you", "Smith"]
    places = [word.sample for word in words]
    assert places == sorted(places)
    assert places[-1] < samples
    assert places[spoken.index("Dear")] - places[0] > 0.3 * SAMPLE_RATE


async def spoken_by(espeak: Espeak, *parts: Part | Pause, when: When = "first") -> bytes:
    items = espeak.speak(parts, TARA.espeak, when=when)
    return b"".join([item async for item in items if not isinstance(item, WordBegin)])


async def test_phonemes_are_what_a_field_says_and_never_what_a_text_says(espeak: Espeak) -> None:
    said = await spoken_by(espeak, Part("h@l'oU", kind="phonemes"))
    assert len(said) == pytest.approx(len(await spoken_by(espeak, Part("hello"))), rel=0.3)
    assert len(await spoken_by(espeak, Part("[[h@l'oU]]"))) > 1.3 * len(said)


async def test_a_pause_is_silence_and_counts(espeak: Espeak) -> None:
    silence = await spoken_by(espeak, Pause(500))
    assert not np.frombuffer(silence, np.int16).any()
    assert len(silence) == process.ESPEAK_SAMPLE_RATE
    words = [
        item
        async for item in espeak.speak([Pause(500), Part("Hello", 7)], EspeakVoice(language="de"))
        if isinstance(item, WordBegin)
    ]
    assert [(word.start, word.length) for word in words] == [(7, 5)]
    assert words[0].sample >= process.ESPEAK_SAMPLE_RATE // 2
