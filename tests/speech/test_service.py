"""The service: segments spoken side by side and heard in order, and nothing left running when nobody listens."""

import asyncio
import contextlib
import threading
from types import SimpleNamespace

import anyio
import numpy as np
import pytest

from orpheus_openai.errors import EngineError, InvalidRequestError, ModelUnavailableError
from orpheus_openai.events import EventHub
from orpheus_openai.limits.filter import InputFilter
from orpheus_openai.settings import Settings
from orpheus_openai.speech import segments
from orpheus_openai.speech.producer import SEGMENT_AHEAD
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.segments import IN_HAND, LITTLE_IN_HAND, SEGMENTS_AT_ONCE
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.synthesis import Sampling
from orpheus_openai.text import normalise
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.reading import ReadingRules
from tests.support.fake_engine import Clock

SENTENCES = [
    f"This is sentence number {i}, and it is long enough to fill a segment of its own. " * 3 for i in range(8)
]
TEXT = "\n\n".join(SENTENCES)


class Speaker:
    """Stands where a model would: a second of a constant for each segment, its number."""

    alive = True
    one_by_one = busy = False

    def __init__(self, fail_at=None):
        self.fail_at = fail_at
        self.chunks, self.samples, self.yielded = 10, 0, {}
        self.begun, self.ahead, self.running, self.most = [], [], set(), 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def synthesize(self, text, voice, sampling, usage):
        number = int(text.split("number ")[1].split(",")[0])
        self.begun.append(number)
        self.ahead.append(sampling.ahead)
        self.running.add(text)
        self.most = max(self.most, len(self.running))
        try:
            for _ in range(self.chunks):
                await self.hold.wait()
                await asyncio.sleep(0.001)
                if number == self.fail_at:
                    raise EngineError("it broke")
                self.samples += 2_400
                self.yielded[text] = self.yielded.get(text, 0) + 2_400
                yield np.full(2_400, 1_000 * (number + 1), np.int16)
        finally:
            try:
                await asyncio.sleep(0.005)  # an engine's abort takes a moment
            finally:
                self.running.discard(text)

    async def close(self):
        pass


@pytest.fixture
def service(monkeypatch):
    service = SpeechService.create(Settings(model="preview", numbers="as_is"))
    service.speaker = speaker = Speaker()  # type: ignore[attr-defined]  # so that a test need not ask for both

    async def load(model, gpu):
        return speaker

    monkeypatch.setattr(service.factory, "load", load)
    return service


async def until_quiet(state):
    """Until nothing has changed for a while."""
    async with asyncio.timeout(60):
        before = None
        while before != (before := str(state())):  # noqa: ASYNC110  a bounded wait
            await asyncio.sleep(0.03)


def request(**fields):
    return SpeechRequest(**{"text": TEXT, "model": "preview", **fields})


async def test_segments_are_spoken_side_by_side_and_heard_in_order(service):
    pcm = np.concatenate([chunk async for chunk in service.stream(request())])
    levels = [level for level in dict.fromkeys(pcm[np.abs(pcm) >= 1_000].tolist()) if level % 1_000 == 0]
    assert levels == sorted(levels)
    assert len(levels) == len(SENTENCES)
    assert service.speaker.most == SEGMENTS_AT_ONCE
    assert service.speaker.ahead == [False, *[True] * (len(service.speaker.begun) - 1)]
    for level in levels:
        assert np.count_nonzero(pcm == level) >= 24_000


async def test_later_segments_wait_until_the_first_one_sounds(service):
    service.speaker.hold.clear()
    stream = service.stream(request())
    first = asyncio.ensure_future(anext(stream))
    while not service.speaker.begun:  # noqa: ASYNC110  a fake that sets no event
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert service.speaker.begun == [0]
    service.speaker.hold.set()
    await first
    await stream.aclose()


async def test_a_failing_segment_ends_the_stream_after_what_came_before_it(service):
    service.speaker.fail_at = 2
    heard = []
    with pytest.raises(EngineError, match="it broke"):
        async for chunk in service.stream(request()):
            heard.append(chunk)
    assert np.concatenate(heard).max() == 2_000
    assert service.speaker.running == set()


async def test_a_slow_listener_does_not_fill_the_memory(service):
    stream = service.stream(request(text=TEXT * 4))
    await anext(stream)
    await asyncio.sleep(0.1)
    assert len(service.speaker.begun) <= SEGMENTS_AT_ONCE
    await stream.aclose()
    assert service.manager.get_status()[0].leases == 0


async def test_a_segment_is_half_a_minute_ahead_of_its_listener_at_most(service):
    service.speaker.chunks = 10_000
    stream = service.stream(request())
    await anext(stream)
    await until_quiet(lambda: service.speaker.yielded)
    for yielded in service.speaker.yielded.values():
        assert SEGMENT_AHEAD <= yielded <= SEGMENT_AHEAD + 2 * 2_400
    await stream.aclose()
    assert service.speaker.running == set()


@pytest.mark.parametrize(("busy", "wanted"), [(False, IN_HAND), (True, LITTLE_IN_HAND)])
async def test_one_by_one_the_model_is_idle_while_enough_is_in_hand_and_less_is_enough_where_it_is_busy(
    service, busy, wanted
):
    service.speaker.one_by_one, service.speaker.busy = True, busy
    least = min(wanted, 24_000 * (SEGMENTS_AT_ONCE - 1)) // 2
    heard = 0
    async with contextlib.aclosing(service.stream(request(text=TEXT * 2))) as stream:
        async for chunk in stream:
            heard += int(np.count_nonzero(chunk))  # without the pauses between segments
            await until_quiet(lambda: (service.speaker.samples, service.speaker.running))
            assert service.speaker.running == set()
            in_hand = service.speaker.samples - heard
            assert in_hand <= wanted + 24_000
            if heard >= 24_000 and len(service.speaker.begun) < 2 * len(SENTENCES):
                assert in_hand >= least
    assert service.speaker.most == 1
    assert set(service.speaker.begun) == set(range(len(SENTENCES)))


async def test_one_by_one_no_more_sentences_of_a_segment_are_spoken_than_the_listener_needs(service):
    service.speaker.one_by_one = True
    service.speaker.chunks = 60
    sentences = [
        f"This is number {n}, and it is as long as a sentence is that is spoken on its own, all in all."
        for n in range(6)
    ]
    heard = 0
    async with contextlib.aclosing(service.stream(request(text=" ".join(sentences)))) as stream:
        async for chunk in stream:
            heard += len(chunk)
            if heard % 48_000 < len(chunk):
                await until_quiet(lambda: (service.speaker.samples, service.speaker.running))
                assert service.speaker.running == set(), "nothing is under way, and holds nothing"
                assert service.speaker.samples - heard <= IN_HAND + 60 * 2_400
            if heard > 10 * 24_000:
                break
    assert list(service.speaker.yielded) == sentences[: len(service.speaker.yielded)]
    assert 2 <= len(service.speaker.yielded) <= 4


async def test_one_by_one_a_segment_that_is_needed_soon_is_spoken_as_fast_as_the_first_one(
    service, monkeypatch
):
    service.speaker.one_by_one = True
    clock = Clock()
    monkeypatch.setattr(segments, "time", SimpleNamespace(monotonic=clock))
    async for chunk in service.stream(request(text=TEXT * 2)):
        clock.now += len(chunk) / 24_000
    assert service.speaker.ahead == [False] * len(service.speaker.begun)


async def test_one_by_one_a_segment_for_a_listener_who_has_much_in_hand_leaves_the_processor_to_others(
    service, monkeypatch
):
    service.speaker.one_by_one = True
    monkeypatch.setattr(segments, "time", SimpleNamespace(monotonic=Clock()))
    async for _ in service.stream(request(text=TEXT * 2)):
        pass
    seconds = IN_HAND // 24_000
    begun = len(service.speaker.begun)
    assert service.speaker.ahead[: seconds - 1] == [False] * (seconds - 1)
    assert service.speaker.ahead[seconds + 1 :] == [True] * (begun - seconds - 1)


@pytest.mark.parametrize("after", [0.0, 0.003, 0.02])
async def test_a_scope_that_is_cancelled_leaves_nothing_running(service, after):
    stream = service.stream(request())
    async with anyio.create_task_group() as tasks, contextlib.aclosing(stream):
        await anext(stream)

        async def hang_up():
            await asyncio.sleep(after)
            tasks.cancel_scope.cancel()

        tasks.start_soon(hang_up)
        async for _ in stream:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert service.speaker.running == set()
    assert service.manager.get_status()[0].leases == 0


async def test_events_tell_what_is_spoken_and_when(service):
    with service.events.subscribe() as told:
        samples = sum([len(chunk) async for chunk in service.stream(request())])
        seen = []
        async for event in told:
            seen.append(event)
            if event.type == "speech.ended":
                break
    kinds = [event.type for event in seen if event.type.startswith("speech.")]
    assert kinds.index("speech.queued") < kinds.index("speech.started") < kinds.index("speech.ended")
    starts = [event.data["audio_seconds"] for event in seen if event.type == "speech.segment"]
    assert len(starts) == len(list(Desk([]).read(TEXT, ReadingRules(language="en", numbers="as_is"))))
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert seen[-1].data["outcome"] == "completed"
    assert seen[-1].data["audio_seconds"] == round(samples / 24_000, 3)


def test_a_request_is_refused_before_anything_is_loaded(service):
    for fields, param in (({"text": " \n"}, "input"), ({"voice": "nobody"}, "voice")):
        with pytest.raises(InvalidRequestError) as caught:
            service.prepare(request(**fields))
        assert caught.value.param == param
    with pytest.raises(ModelUnavailableError):
        service.prepare(request(model="small-1b"))
    assert service.manager.get_status() == []


@pytest.mark.parametrize(
    "text", ["—", "...", "!", "***", "。", "```", "\u200b", "<|eot_id|>", "<laugh>", "." * 5_000]
)
async def test_a_text_with_nothing_to_say_is_silence_that_asks_nothing_of_model_or_queue(service, text):
    speech = service.prepare(request(text=text))
    async with contextlib.AsyncExitStack() as turns:
        for _ in range(service.gate.queue._at_once):
            await turns.enter_async_context(service.gate.turn(lambda _: None))
        pcm = np.concatenate([chunk async for chunk in speech.stream()])
    assert len(pcm) == 4_800
    assert not pcm.any()
    assert (speech.usage.input_tokens, speech.usage.output_tokens) == (0, 0)
    assert speech.report().outcome == "completed"
    assert service.manager.get_status() == []


async def test_what_is_judged_is_all_that_will_be_spoken(service, monkeypatch):
    judged = []

    async def moderator(text):
        judged.append(text)

    monkeypatch.setattr(service.gate, "_filter", InputFilter(moderator=moderator))
    sounds = service.stream(request(text=f"\u200b{TEXT}<|eot_id|>"))
    await anext(sounds)
    await sounds.aclose()
    assert judged == [TEXT.replace(" \n", "\n").strip()]


async def test_a_long_text_is_read_no_further_than_it_is_spoken(service, monkeypatch):
    lines_read = count_lines_read(monkeypatch)
    speech = service.prepare(request(text=TEXT * 20))
    assert lines_read == []
    sounds = speech.stream()
    await anext(sounds)
    assert len(lines_read) <= 2 * SEGMENTS_AT_ONCE + 2
    await sounds.aclose()


@pytest.mark.parametrize("characters", [200, 50_000])
async def test_only_a_short_text_is_read_on_the_event_loop(service, monkeypatch, characters):
    threads = []
    monkeypatch.setattr(normalise, "_clean", lambda line: threads.append(threading.get_ident()) or line)
    sounds = service.stream(request(text=TEXT[:characters] if characters < 1_000 else TEXT * 20))
    await anext(sounds)
    await sounds.aclose()
    assert (threading.get_ident() in threads) == (characters < 1_000)


@pytest.mark.parametrize(
    ("setting", "wish", "spoken"),
    [
        (True, None, "It is sentence number 1, so."),
        (False, None, "It is **sentence** number 1, so."),
        (True, False, "It is **sentence** number 1, so."),
        (False, True, "It is sentence number 1, so."),
    ],
)
async def test_a_text_is_cleaned_as_the_server_is_set_unless_the_request_says_otherwise(
    service, monkeypatch, setting, wish, spoken
):
    monkeypatch.setattr(
        service._scripts, "_settings", Settings(model="preview", text_cleaning=setting, numbers="as_is")
    )
    with service.events.subscribe() as told:
        await anext(service.stream(request(text="It is **sentence** number 1, so.", text_cleaning=wish)))
        async for event in told:
            if event.type == "speech.segment":
                assert event.data["text"] == spoken
                break


def count_lines_read(monkeypatch):
    read = []
    clean = normalise._clean
    monkeypatch.setattr(normalise, "_clean", lambda line: read.append(line.text) or clean(line))
    return read


async def test_one_segment_passes_sample_for_sample(service):
    pcm = np.concatenate([chunk async for chunk in service.stream(request(text=SENTENCES[3][:80]))])
    assert (pcm == 4_000).all()
    assert len(pcm) == 24_000


def test_sampling_defaults_are_the_published_ones():
    sampling = Sampling()
    assert (sampling.temperature, sampling.top_p, sampling.repetition_penalty) == (0.6, 0.9, 1.1)


async def test_events_end_for_all_when_the_server_stops_also_for_those_who_come_then():
    events = EventHub()
    with events.subscribe() as early:
        events.publish("model.state", model="a")
        events.close()
        with events.subscribe() as late:
            async with asyncio.timeout(5):
                assert [event.type async for event in early] == ["model.state"]
                assert [event async for event in late] == []


async def test_each_line_is_spoken_by_whose_name_stands_before_it(service):
    heard = []
    speak = service.speaker.synthesize

    def synthesize(text, voice, sampling, usage):
        heard.append((voice.id, text))
        return speak(text, voice, sampling, usage)

    service.speaker.synthesize = synthesize
    text = "Anna: It is number 1, hello.\nBen: It is number 2, hi.\n\nIt is number 3, they left."
    wanted = request(text=text, cast={"Anna": "zoe", "ben": "leo"}, voice="tara")
    async for _ in service.stream(wanted):
        pass
    assert heard == [
        ("zoe", "It is number 1, hello."),
        ("leo", "It is number 2, hi."),
        ("tara", "It is number 3, they left."),
    ]


async def test_a_silence_that_is_asked_for_is_heard(service):
    async def seconds(text):
        return sum([len(pcm) async for pcm in service.stream(request(text=text))]) / 24_000

    plain = await seconds("It is number 1, one. [pause 200ms] It is number 2, two.")
    assert await seconds("It is number 1, one. [pause 3s] It is number 2, two.") - plain == pytest.approx(
        2.8, abs=0.01
    )
    assert await seconds(
        "[pause 1s] It is number 1, one. [pause 200ms] It is number 2, two. [pause 2s]"
    ) - plain == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(("rate", "factor"), [("200%", 2.0), ("slow", 0.75), ("+25%", 1.25)])
async def test_a_rate_that_is_asked_for_changes_how_long_it_sounds(service, rate, factor):
    async def seconds(inner):
        wanted = request(text=f"<speak>{inner}</speak>")
        return sum([len(pcm) async for pcm in service.stream(wanted)]) / 24_000

    plain = await seconds("It is number 1, one.")
    asked = await seconds(f"<prosody rate='{rate}'>It is number 1, one.</prosody>")
    assert asked == pytest.approx(plain / factor, rel=0.05)


async def test_the_report_tells_what_of_a_text_is_not_done_or_done_in_another_way(service):
    text = "<speak><emphasis>It is number 1, ᏌᏊ.</emphasis></speak>"
    speech = service.prepare(request(text=text))
    async for _ in speech.stream():
        pass
    assert speech.report().warnings == [
        "<emphasis> has no effect; the text inside it is read.",
        "Letters that the voice has no sound for are said by their names.",
    ]
    plain = service.prepare(request(text="It is number 1, one."))
    assert plain.report().warnings == []
