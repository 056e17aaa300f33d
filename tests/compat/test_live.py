"""Text in while speech comes out, over a WebSocket, as clients of vLLM-Omni and SGLang-Omni have it."""

import json
import time
from socket import SHUT_RDWR

import httpx
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode
from websockets.sync.client import connect

from orpheus_compat import live, live_utterance
from orpheus_compat.live_messages import UtteranceConfig
from orpheus_compat.live_utterance import Utterance
from orpheus_compat.schemas import CreateSpeechRequest
from orpheus_openai.app import create_app
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.http.delivery import SlowestPace
from orpheus_openai.http.socket_protocol import MAX_FRAGMENTS, MAX_MESSAGE_BYTES, socket_settings
from orpheus_openai.http.sockets import Line
from orpheus_openai.settings import Settings
from orpheus_openai.speech.service import SpeechService
from tests.support.local_server import running
from tests.support.socket_client import PCM, Heard, MutePeer, Talk

pytest.importorskip("espeakng_loader")

LONG = "The train to the coast leaves from platform nine. " * 100
WHOLE = "Good morning, everybody, and welcome. This is the second sentence."


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    settings = Settings(
        model="preview",
        text_pause=0.2,
        text_wait=2,
        max_input_chars=20_000,
        block_list="forbidden",
        output_dir=tmp_path_factory.mktemp("outputs"),
    )
    with running(create_app(settings), **socket_settings(settings.stall_timeout)) as url:
        yield url


@pytest.fixture
def talk(url):
    with Talk(url) as talk:
        talk.send("session.config", **PCM)
        yield talk


def state_of(url):
    return httpx.get(f"{url}/api/status", timeout=60).json()


def wait_until_nothing_is_spoken(url):
    until = time.monotonic() + 30
    while (speaking := state_of(url)["active_speeches"]) and time.monotonic() < until:
        time.sleep(0.02)
    assert speaking == 0


def test_the_messages_and_the_audio_are_those_of_the_protocol(talk, url):
    talk.say(WHOLE)
    heard = talk.until("session.done")
    start, done, end = heard.messages
    speech_id = start.pop("speech_id")
    assert speech_id.endswith(".0")
    assert start == {
        "type": "audio.start",
        "utterance_index": 0,
        "sentence_index": 0,
        "sentence_text": WHOLE,
        "format": "pcm",
        "sample_rate": 24_000,
        "channels": 1,
    }
    size = sum(map(len, heard.audio))
    place = {"utterance_index": 0, "sentence_index": 0}
    assert done == {"type": "audio.done", **place, "total_bytes": size, "error": False}
    assert end == {"type": "session.done", "utterance_index": 0, "total_sentences": 1}
    body = {"model": "preview", "voice": "tara", "input": WHOLE, "response_format": "pcm"}
    whole = len(httpx.post(f"{url}/v1/audio/speech", json=body, timeout=60).content)
    assert abs(size - whole) < 0.2 * whole


def test_speech_begins_before_input_done_and_the_next_utterance_has_the_same_configuration(talk):
    for index in range(2):
        talk.say("Good ", "morn", "ing, every", "body, and", done=False)
        heard = talk.until(bytes)
        assert heard.messages[0]["utterance_index"] == index
        talk.say(" welcome.")
        assert talk.until("session.done", heard).messages[-1]["utterance_index"] == index


@pytest.mark.parametrize(
    ("split", "texts"),
    [
        ("sentence", ["Good morning, everybody, and welcome.", "This is the second sentence."]),
        ("clause", ["Good morning, everybody,", "and welcome.", "This is the second sentence."]),
    ],
)
@pytest.mark.parametrize("stream_audio", [True, False])
def test_each_sentence_or_clause_can_be_a_file_of_its_own(talk, split, texts, stream_audio):
    talk.send(
        "session.config",
        **{**PCM, "response_format": "wav", "split_granularity": split, "stream_audio": stream_audio},
    )
    talk.say(WHOLE)
    heard = talk.until("session.done")
    assert [start["sentence_text"] for start in heard.of("audio.start")] == texts
    assert [start["sentence_index"] for start in heard.of("audio.start")] == list(range(len(texts)))
    assert heard.messages[-1]["total_sentences"] == len(texts)
    assert sum(chunk.startswith(b"RIFF") for chunk in heard.audio) == len(texts)
    if not stream_audio:
        assert len(heard.audio) == len(texts)
        assert [len(chunk) for chunk in heard.audio] == [
            done["total_bytes"] for done in heard.of("audio.done")
        ]


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcmu"])
def test_every_format_is_there_and_by_default_a_wav_in_one_message(talk, audio_format):
    wanted = {} if audio_format == "wav" else {"response_format": audio_format}
    talk.send("session.config", voice="tara", speaker="leo", **wanted)
    talk.say("Hello.")
    heard = talk.until("session.done")
    assert heard.messages[0]["format"] == audio_format
    assert len(heard.audio) == 1
    assert len(heard.audio[0]) == heard.of("audio.done")[0]["total_bytes"]


def test_words_and_their_times_come_as_they_are_known(talk):
    talk.send("session.config", **PCM, timestamp_granularities=["word", "segment"])
    talk.say(WHOLE)
    heard = talk.until("session.done")
    words = [word for message in heard.of("words") for word in message["words"]]
    assert [word["word"] for word in words][:3] == ["Good", "morning", "everybody"]
    assert all(WHOLE[slice(*word["span"])] == word["word"] for word in words)
    assert {message["timing"] for message in heard.of("words")} == {"exact"}
    assert words[-1]["end"] <= sum(map(len, heard.audio)) / 48_000


@pytest.mark.parametrize("speed", [1.0, 1.5])
def test_a_sentence_is_told_whole_though_the_next_is_not_written_yet(talk, speed):
    files = {**PCM, "response_format": "wav", "split_granularity": "sentence", "stream_audio": False}
    files["speed"] = speed
    talk.send("session.config", **files, timestamp_granularities=["word"])
    talk.say("Good morning, everybody.", done=False)
    talk.send("input.flush")
    heard = talk.until("audio.done")
    if not heard.of("words"):
        talk.until("words", heard)
    assert [word["word"] for word in heard.of("words")[0]["words"]] == ["Good", "morning", "everybody"]
    assert len(heard.audio) == 1
    talk.say(" And more.")
    talk.until("session.done", heard)
    assert [start["sentence_text"] for start in heard.of("audio.start")] == [
        "Good morning, everybody.",
        "And more.",
    ]
    first, second = heard.of("words")
    assert second["words"][0]["start"] >= first["words"][-1]["end"]


class Loud:
    """Stands where a model would: each sentence is half a second of one level, with no silence at its end."""

    alive = True
    one_by_one = busy = False

    async def synthesize(self, text, voice, sampling, usage):
        yield np.full(12_000, LEVELS[text], np.int16)

    async def close(self):
        pass


LEVELS = {"One.": 4_000, "Two.": 9_000, "Three.": 15_000}


class Recorder(Line):
    """Keeps what is sent, and needs no socket."""

    def __init__(self):
        self.scope, self.pace = {"state": {}}, SlowestPace()
        self.heard = Heard()

    @property
    def account(self):
        return "somebody"

    async def send(self, message):
        self.heard.messages.append(message)

    async def send_bytes(self, data):
        self.heard.audio.append(data)


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.5, 4.0])
async def test_each_file_has_its_sentence_and_together_they_are_the_stream_at_any_speed(monkeypatch, speed):
    service = SpeechService.create(Settings(model="preview"))

    async def load(model, gpu):
        return Loud()

    monkeypatch.setattr(service.factory, "load", load)
    files = {"response_format": "pcm", "split_granularity": "sentence"}
    config = UtteranceConfig.of({"model": "preview", "speed": speed, **files})
    line, utterance, alone = Recorder(), Utterance(0), Utterance(1)
    for each in (utterance, alone):
        each.prepare(line, service, config)
        await each.feed.put("One. Two. Three.")
        each.end()
    await utterance.say(line, begun=lambda: None)
    heard = [np.frombuffer(data, np.int16) for data in line.heard.audio]
    for own, file in zip(LEVELS.values(), heard, strict=True):
        for level in LEVELS.values():
            seconds = np.count_nonzero(np.abs(file.astype(int) - level) < 500) / 24_000
            if level == own:
                assert seconds > 0.4 / speed
            else:
                assert seconds < 0.005, "more than it takes for the sound to begin and to end"
    stream = np.concatenate([pcm async for pcm in alone.speech.stream()])
    np.testing.assert_array_equal(np.concatenate(heard), stream)


def test_a_configuration_is_refused_while_text_is_buffered_and_that_before_holds(talk):
    talk.say("Well", done=False)
    talk.send("session.config", voice="leo")
    assert "while an utterance is in progress" in talk.until("error").messages[-1]["message"]
    talk.send("input.done")
    assert talk.until("session.done").messages[0]["format"] == "pcm"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type":"input.text","text":5}', "invalid_type"),
        ('{"type":"unheard of"}', "unknown_message"),
        ("{", "invalid_message"),
        ("[]", "invalid_message"),
        (b"\x00", "invalid_message"),
        ('{"type":"session.config","speed":99}', "invalid_value"),
        ('{"type":"session.config","voice":"nobody"}', "voice_not_found"),
        ('{"type":"session.config","split_granularity":"word"}', "invalid_value"),
        ('{"type":"interrupt","played_ms":-1}', "invalid_value"),
        ('{"type":"interrupt","played_ms":1}', "nothing_to_interrupt"),
    ],
)
def test_what_is_wrong_is_said_and_the_socket_stays(talk, message, code):
    talk.socket.send(message)
    told = talk.until("error").messages[-1]
    assert told["code"] == code
    talk.say("Hello.")
    assert talk.until("session.done").audio


def test_who_does_not_begin_with_a_configuration_is_told_so_and_the_socket_is_closed(url):
    with Talk(url) as talk:
        talk.say("Hello.", done=False)  # after which it is closed
        assert "Expected session.config" in talk.receive()["message"]
        assert talk.closed() == 1008


FIELDS = {
    "model": "preview",
    "voice": "leo",
    "instructions": None,  # accepted there as well, without effect
    "response_format": "mp3",
    "timestamp_granularities": ["word"],
    "speed": 1.5,
    "temperature": 0.3,
    "top_p": 0.7,
    "repetition_penalty": 1.4,
    "max_tokens": 99,
    "seed": 5,
    "text_cleaning": False,
    "pronunciations": {"nginx": "engine x"},
    "cast": {"Ben": "leo"},
    "sample_rate": 16_000,
}


def test_every_field_of_a_request_over_http_configures_a_socket():
    assert FIELDS.keys() == set(CreateSpeechRequest.__struct_fields__) - {"input", "stream_format"}
    plain = UtteranceConfig.of({})
    for field, value in FIELDS.items():
        assert (UtteranceConfig.of({field: value}) != plain) == (value is not None), field
    with pytest.raises(InvalidRequestError):
        UtteranceConfig.of({"speed": 9})


def test_what_vllm_omni_calls_token_level_has_audio_sent_as_it_is_made():
    assert [
        UtteranceConfig.of({"streaming_mode": mode, "stream_audio": asked}).stream_audio
        for mode, asked in [("token_level", None), ("token_level", False), ("sentence", None), (None, True)]
    ] == [True, False, False, True]


def test_an_utterance_that_is_refused_costs_the_next_nothing(talk):
    talk.say("This is forbidden ", "to say. ", "And more.")
    heard = talk.until("session.done")
    assert heard.of("error")[0]["code"] == "content_policy_violation"
    assert not heard.audio
    talk.say("Hello." + 19_994 * " ", "x")
    assert talk.until("error").messages[-1]["code"] == "string_above_max_length"
    talk.until("session.done")
    talk.say("Never ended", done=False)
    assert talk.until("error").messages[-1]["code"] == "text_timeout"
    talk.until("session.done")
    talk.send("input.done")
    talk.send("input.done")
    assert talk.until("session.done").messages[-1]["total_sentences"] == 0
    talk.say("Hello.")
    assert talk.until("session.done").audio


@pytest.fixture(scope="module")
def narrow_url():
    """Of a server that has one place and no line, and wants an answer to its pings within seconds."""
    settings = Settings(model="preview", max_concurrent="1", max_queue=0, stall_timeout=3)
    pings = {**socket_settings(settings.stall_timeout), "ws_ping_interval": 0.1}
    with running(create_app(settings), **pings) as url:
        yield url


def test_a_full_line_is_told_as_the_protocols_error_at_both_doors_and_the_place_is_had_later(narrow_url):
    with Talk(narrow_url) as first, Talk(narrow_url) as second:
        for talk in (first, second):
            talk.send("session.config", **PCM)
        first.say("Good morning, everybody, and welcome. ", done=False)
        first.until(bytes)
        second.say("Hello.")
        assert second.until("session.done").of("error")[0]["code"] == "overloaded"
        eleven = f"{narrow_url.replace('http', 'ws', 1)}/v1/text-to-speech/tara/stream-input"
        with connect(eleven, open_timeout=60, compression=None, proxy=None) as socket:
            socket.send(json.dumps({"text": "Hello. "}))
            assert json.loads(socket.recv(timeout=60))["error"] == "overloaded"
        first.send("input.done")
        first.until("session.done")
        second.say("Hello.")
        assert second.until("session.done").audio


def test_a_peer_that_answers_no_ping_is_let_go_and_its_place_is_free(narrow_url):
    with Talk(narrow_url) as answering, MutePeer(narrow_url) as mute:
        answering.send("session.config", **PCM)
        mute.send(json.dumps({"type": "session.config", **PCM}).encode())
        mute.send(b'{"type": "input.text", "text": "Good morning, everybody, and welcome. "}')
        mute.until(b"audio.start")
        answering.say("Hello.")
        assert answering.until("session.done").of("error")[0]["code"] == "overloaded"
        assert b"keepalive ping timeout" in mute.until(None)
        wait_until_nothing_is_spoken(narrow_url)
        answering.say("Hello.")
        assert answering.until("session.done").audio


def test_a_message_of_too_many_fragments_closes_the_socket(url):
    with MutePeer(url) as peer:
        peer.send(b"", fin=False)
        for _ in range(MAX_FRAGMENTS):
            peer.send(b"", Opcode.CONT, fin=False)
        assert b"too many fragments" in peer.until(None)


def test_a_message_that_is_not_utf_8_closes_the_socket_and_is_no_trace_in_the_log(url, caplog):
    with MutePeer(url) as peer:
        peer.send("Gr\u00fc\u00dfe".encode("latin-1"))
        assert b"\x03\xeftext that is not UTF-8" in peer.until(None)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_pings_are_answered_but_not_kept_for_whoever_does_not_read(url):
    with MutePeer(url) as peer:
        for number in range(60_000):
            peer.send(b"%0125d" % number, Opcode.PING)
        answered = peer.until(b"%0125d" % 59_999).count(b"\x8a\x7d")
        assert 1_000 < answered < 59_000


def test_an_interruption_frees_the_model_at_once_and_tells_what_was_heard(talk, url):
    talk.say(LONG)
    talk.say("This is dropped.")
    heard = talk.until(bytes)
    while sum(map(len, heard.audio)) < 2 * 48_000:
        talk.until(bytes, heard)
    talk.send("interrupt", played_ms=1_500)
    talk.until("session.done", heard)
    told = heard.of("interrupted")[0]
    assert told["text_spoken"] + told["text_remaining"] == LONG
    assert LONG.startswith(told["text_spoken"])
    assert 0 < len(told["text_spoken"]) < 50
    assert (told["played_ms"], told["timing"], told["utterance_index"]) == (1_500, "exact", 0)
    dropped = talk.until("session.done")
    assert not dropped.audio
    assert dropped.of("interrupted")[0]["text_remaining"] == "This is dropped."
    assert state_of(url)["active_speeches"] == 0
    talk.say("Hello.")
    talk.until("session.done")
    talk.send("interrupt", played_ms=10**8)  # all was sent, and is still being played
    assert talk.until("interrupted").messages[-1]["text_remaining"] == ""


def test_any_speech_can_be_interrupted_by_its_id_over_http(talk, url):
    talk.say(LONG)
    heard = talk.until(bytes)
    path = f"{url}/api/speech/{heard.messages[0]['speech_id']}/interrupt"
    told = httpx.post(path, json={"played_ms": 500}, timeout=60).json()
    assert told["text_spoken"] + told["text_remaining"] == LONG
    assert told["played_ms"] <= 500
    assert told == {k: v for k, v in talk.until("interrupted").messages[-1].items() if k != "utterance_index"}
    body = {"model": "preview", "voice": "tara", "input": LONG, "response_format": "pcm"}
    with httpx.stream("POST", f"{url}/v1/audio/speech", json=body, timeout=60) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        path = f"{url}/api/speech/{answer.headers['x-request-id']}/interrupt"
        assert httpx.post(path, json={"played_ms": 0}, timeout=60).json()["text_remaining"] == LONG
        with pytest.raises(httpx.RemoteProtocolError):
            list(chunks)
    assert httpx.post(f"{url}/api/speech/req_0/interrupt", json={"played_ms": 0}).status_code == 404
    assert httpx.post(path, json={"played_ms": "x"}).status_code == 400


def test_session_close_ends_in_order_after_what_was_said(talk):
    talk.say("Hello.", done=False)
    talk.send("session.close")
    assert talk.until("session.done").audio
    assert talk.closed() == 1000


def test_a_socket_that_says_nothing_is_closed(url, monkeypatch):
    monkeypatch.setattr(live, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(live, "IDLE_SECONDS", 0.2)
    with Talk(url) as talk:
        assert talk.receive()["code"] == "idle_timeout"
        assert talk.closed() == 1008
    with Talk(url) as talk:
        talk.send("session.config", **PCM)
        assert talk.receive()["code"] == "idle_timeout"
        assert talk.closed() == 1000


def test_a_message_that_is_too_large_closes_the_socket(talk):
    talk.socket.send(json.dumps({"type": "input.text", "text": "x" * MAX_MESSAGE_BYTES}))
    assert talk.closed() == 1009


def test_more_text_than_is_held_waits_in_the_clients_socket(talk, monkeypatch):
    monkeypatch.setattr(live, "MOST_AHEAD_CHARACTERS", 50)
    for _ in range(12):
        talk.say("This is one more. ")
    talk.send("nonsense")
    heard = talk.until("error")
    assert len(heard.of("session.done")) >= 9  # what follows them was not read before
    while len(heard.of("session.done")) < 12:
        talk.until("session.done", heard)
    assert [done["utterance_index"] for done in heard.of("session.done")] == list(range(12))


def test_audio_that_is_too_long_for_one_message_is_said_to_be(talk, monkeypatch):
    monkeypatch.setattr(live_utterance, "MOST_WHOLE_BYTES", 10_000)
    talk.send("session.config", **{**PCM, "stream_audio": False})
    talk.say(WHOLE)
    heard = talk.until("session.done")
    assert (heard.of("error")[0]["code"], heard.audio) == ("too_long", [])


def test_pages_of_other_sites_open_no_socket_and_names_of_others_get_none(url):
    for headers, status in [
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ]:
        with pytest.raises(InvalidStatus) as refused, Talk(url, additional_headers=headers):
            pass
        assert refused.value.response.status_code == status
    with Talk(url, origin=url) as talk:
        talk.send("session.config", **PCM)


def test_nothing_is_left_behind_by_those_who_hang_up(url):
    for _ in range(5):
        with Talk(url) as talk:
            talk.send("session.config", **PCM)
            talk.say(LONG)
            talk.until(bytes)
            talk.socket.socket.shutdown(SHUT_RDWR)
    wait_until_nothing_is_spoken(url)
