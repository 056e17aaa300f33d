"""ElevenLabs' sockets: text in while speech comes out, asked by the official SDK as it is, and by a plain client."""

import base64
import contextlib
import json
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import orpheus_eleven.context
import orpheus_eleven.sockets
from orpheus_eleven.sockets import inactivity_seconds
from orpheus_openai.app import create_app
from orpheus_openai.settings import Settings
from tests.support.local_server import running
from tests.support.tls import certificate, tls_in_front_of

PCM = "output_format=pcm_16000"
SECOND = 32_000
"""Bytes of it."""


@contextlib.contextmanager
def socket(url, path="stream-input", query=PCM, voice="tara", **options):
    address = f"{url.replace('http', 'ws', 1)}/v1/text-to-speech/{voice}/{path}?{query}"
    with connect(address, max_size=None, open_timeout=60, compression=None, proxy=None, **options) as opened:
        yield opened


def say(opened, *messages):
    for message in messages:
        opened.send(json.dumps(message))


def rest(opened):
    """All messages until the socket is closed, and the code with which it was."""
    messages = []
    try:
        while True:
            messages.append(json.loads(opened.recv(60)))
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code


def until_final(opened, context=None):
    messages = []
    while not messages or not (messages[-1].get("isFinal") and messages[-1].get("contextId") == context):
        messages.append(json.loads(opened.recv(60)))
    return messages


def audio(messages):
    return b"".join(base64.b64decode(each["audio"]) for each in messages if each.get("audio"))


def characters(messages):
    """Each character with the time at which it starts and ends in all of the audio, in seconds."""
    found, clock = [], 0
    for each in messages:
        told = each.get("alignment")
        if told:
            starts, durations = told["charStartTimesMs"], told["charDurationsMs"]
            assert all(start >= 0 for start in starts)
            found += [
                (char, (clock + start) / 1000, (clock + start + duration) / 1000)
                for char, start, duration in zip(told["chars"], starts, durations, strict=True)
            ]
            clock += starts[-1] + durations[-1]
            assert each["normalizedAlignment"] == told
    return found


def test_the_sdk_hears_speech_before_its_text_ends(server_url, tmp_path, monkeypatch):
    elevenlabs = pytest.importorskip("elevenlabs.client")
    file = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))  # it speaks wss to any base URL
    with tls_in_front_of(server_url, file) as url:
        sdk = elevenlabs.ElevenLabs(base_url=url, api_key="none")
        heard = []

        def text():
            yield "Hello there, my dear friend. "
            yield "This is said while the rest is written. "
            deadline = time.monotonic() + 30
            while not heard and time.monotonic() < deadline:
                yield "More. "
                time.sleep(0.05)
            assert heard, "nothing came before the text was over"
            yield "Good bye."

        asked = {"model_id": "eleven_flash_v2_5", "output_format": "pcm_16000"}
        heard.extend(sdk.text_to_speech.convert_realtime("tara", text=text(), **asked))
        assert len(b"".join(heard)) > 3 * SECOND
        with pytest.raises(Exception, match="nobody"):
            list(
                sdk.text_to_speech.convert_realtime(
                    "nobody", text=iter(["Hello."]), output_format="pcm_16000"
                )
            )


def test_one_text_word_by_word_is_spoken_whole_and_its_characters_are_timed(server_url):
    words = "Hello there, my friend. It costs 3.5 dollars; that is not much. And this has no end ".split(" ")
    with socket(server_url) as opened:
        say(
            opened, {"text": " ", "voice_settings": {"stability": 0.5, "speed": 1.0}, "generation_config": {}}
        )
        say(
            opened,
            *({"text": f"{word} ", "try_trigger_generation": True} for word in words if word),
            {"text": ""},
        )
        messages, code = rest(opened)
    assert code == 1000
    assert messages[-1]["isFinal"] is True
    timed = characters(messages)
    assert "".join(char for char, _, _ in timed) == " ".join(words)
    edges = [edge for _, start, end in timed for edge in (start, end)]
    assert edges == sorted(edges)
    assert edges[-1] == pytest.approx(len(audio(messages)) / SECOND, abs=0.01)


def test_what_is_flushed_is_spoken_though_no_sentence_has_ended(server_url):
    with socket(server_url) as opened:
        say(opened, {"text": "Without an end "}, {"text": " ", "flush": True})
        first = json.loads(opened.recv(30))
        assert first["audio"]
        told = first
        while not told["alignment"]:  # which does not wait for more of the text either
            told = json.loads(opened.recv(30))
        assert "".join(told["alignment"]["chars"]) == "Without an end"
        say(opened, {"text": ""})
        assert rest(opened)[1] == 1000


def test_contexts_are_spoken_side_by_side_each_to_its_own_end(server_url):
    with socket(server_url, "multi-stream-input") as opened:
        for name in ("one", "two"):
            say(opened, {"text": " ", "context_id": name, "voice_settings": {"speed": 1.0}})
            say(opened, {"text": f"This is context {name}. ", "context_id": name})
        say(opened, {"text": ""}, {"text": "", "context_id": "one"}, {"context_id": "one", "flush": True})
        say(opened, {"context_id": "one", "close_context": True})
        messages = until_final(opened, "one")
        say(opened, {"text": "It goes on. ", "context_id": "two"}, {"close_socket": True})
        more, code = rest(opened)
    assert code == 1000
    messages += more
    for name, text in (("one", "This is context one. "), ("two", "This is context two. It goes on. ")):
        own = [each for each in messages if each["contextId"] == name]
        assert own[-1]["isFinal"] is True
        assert "".join(char for char, _, _ in characters(own)) == text
        assert len(audio(own)) > SECOND


def test_with_auto_mode_a_phrase_needs_no_space_and_no_flush(server_url):
    with socket(server_url, "multi-stream-input", f"{PCM}&auto_mode=true") as opened:
        say(opened, {"text": " ", "context_id": "a"}, {"text": "It is late.", "context_id": "a"})
        assert json.loads(opened.recv(30))["audio"]
        say(opened, {"text": "Good night!", "context_id": "a"}, {"context_id": "a", "close_context": True})
        timed = characters(until_final(opened, "a"))
    assert "".join(char for char, _, _ in timed).endswith("Good night! ")


LONG = "This is a sentence that is spoken again and again. " * 40


def test_a_listener_who_cuts_in_learns_what_was_heard_and_the_context_is_over_at_once(server_url):
    with socket(server_url, "multi-stream-input") as opened:
        say(opened, {"text": LONG, "context_id": "a"})
        messages = []
        while len(audio(messages)) < 4 * SECOND:
            messages.append(json.loads(opened.recv(30)))
        say(opened, {"context_id": "a", "close_context": True, "played_ms": 2_000})
        messages = until_final(opened, "a")
        (told,) = (each for each in messages if each.get("type") == "interrupted")
        assert (told["played_ms"], told["contextId"]) == (2_000, "a")
        assert told["text_spoken"] + told["text_remaining"] == LONG
        assert 10 < len(told["text_spoken"]) < 60
        say(opened, {"text": "Now this. ", "context_id": "b"}, {"context_id": "b", "close_context": True})
        assert audio(until_final(opened, "b"))


def test_a_context_that_was_closed_may_still_be_cut_into(server_url):
    with socket(server_url, "multi-stream-input") as opened:
        say(
            opened, {"text": "One two three. ", "context_id": "a"}, {"context_id": "a", "close_context": True}
        )
        until_final(opened, "a")
        say(opened, {"context_id": "a", "close_context": True, "played_ms": 60_000})
        told = json.loads(opened.recv(30))
        assert told["text_spoken"] == "One two three. "
        assert told["text_remaining"] == ""


@pytest.mark.parametrize("path", ["stream-input", "multi-stream-input"])
@pytest.mark.parametrize(
    "message", ["nonsense", "[1]", "{", b"\x00", '{"text": 1}', '{"text": "a", "played_ms": -1}', "[" * 9_999]
)
def test_what_is_no_message_is_told_and_closes_the_socket(server_url, path, message):
    with socket(server_url, path) as opened:
        opened.send(message)
        (error,), code = rest(opened)
    assert (error["error"], error["code"], code) == ("invalid_input_message", 1008, 1008)
    assert error["message"]


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"voice": "nobody"}, "voice_not_found"),
        ({"query": "output_format=midi"}, "invalid_output_format"),
        ({"query": "model_id=nothing"}, "model_not_found"),
    ],
)
def test_what_cannot_be_had_is_told_before_anything_is_said(server_url, asked, kind):
    with socket(server_url, **asked) as opened:
        (error,), code = rest(opened)
    assert (error["error"], code) == (kind, 1008)


def test_an_error_of_one_context_leaves_the_others_alone(server_url):
    with socket(server_url, "multi-stream-input") as opened:
        say(
            opened,
            {"text": " ", "context_id": "bad", "voice_settings": {"speed": 3}},
            {"text": "x" * 50_001, "context_id": "bad"},
        )
        error = json.loads(opened.recv(30))
        assert (error["error"], error["contextId"]) == ("string_above_max_length", "bad")
        say(opened, {"text": "Hello. ", "context_id": "good"}, {"context_id": "good", "close_context": True})
        assert audio(until_final(opened, "good"))


def test_one_context_too_many_is_told(server_url):
    with socket(server_url, "multi-stream-input") as opened:
        say(opened, *({"text": " ", "context_id": f"c{number}"} for number in range(6)))
        error = json.loads(opened.recv(30))
        assert (error["error"], error["contextId"]) == ("too_many_contexts", "c5")
        say(opened, {"text": "Hello. ", "context_id": "c4"}, {"context_id": "c4", "close_context": True})
        assert audio(until_final(opened, "c4"))


@contextlib.contextmanager
def own_server(**settings):
    pytest.importorskip("espeakng_loader")
    with running(create_app(Settings(model="preview", **settings))) as url:
        yield url


def test_the_key_comes_in_a_header_or_in_the_first_message_in_time(monkeypatch):
    monkeypatch.setattr(orpheus_eleven.sockets, "UNKNOWN_SECONDS", 0.3)
    with own_server(api_keys=("anne:sk-1",)) as url:
        for first in ({"xi_api_key": "sk-1"}, {"authorization": "Bearer sk-1"}, {"xi-api-key": "sk-1"}):
            with socket(url) as opened:
                say(opened, {"text": " ", **first}, {"text": "Hello. "}, {"text": ""})
                messages, code = rest(opened)
            assert code == 1000
            assert audio(messages)
        with socket(url, additional_headers={"xi-api-key": "sk-1"}) as opened:
            say(opened, {"text": "Hello. "}, {"text": ""})
            assert audio(rest(opened)[0])
        for wrong in ([{"text": "Hello. "}], [{"text": " ", "xi_api_key": "sk-2"}], []):
            with socket(url, voice="nobody") as opened:
                say(opened, *wrong)
                (error,), code = rest(opened)
            assert (error["error"], code) == ("invalid_api_key", 1008)


def test_a_text_that_pauses_is_spoken_and_goes_on_in_the_same_time(monkeypatch):
    monkeypatch.setattr(orpheus_eleven.context, "IDLE_SECONDS", 0.3)
    with own_server() as url, socket(url, "multi-stream-input") as opened:
        say(opened, {"text": "One two", "context_id": "a"})
        messages = []
        while not any(each.get("alignment") for each in messages):  # it is over, though nobody said so
            messages.append(json.loads(opened.recv(30)))
        say(opened, {"text": " three four. ", "context_id": "a"}, {"context_id": "a", "close_context": True})
        messages += until_final(opened, "a")
        middle = 1000 * len(audio(messages)) / SECOND / 2
        say(opened, {"context_id": "a", "close_context": True, "played_ms": middle})
        told = json.loads(opened.recv(30))
        assert told["text_spoken"] + told["text_remaining"] == "One two three four. "
        assert told["text_spoken"].startswith("One ")
        assert told["text_remaining"].endswith("four. ")
        monkeypatch.setattr(orpheus_eleven.context, "MOST_REMEMBERED", 1)
        for text in ("One two. ", "Three. "):
            say(opened, {"text": text, "context_id": "b"})
            while not json.loads(opened.recv(30)).get("alignment"):
                pass
            time.sleep(0.4)  # the speech gives its place back
        say(opened, {"context_id": "b", "close_context": True, "played_ms": 0})
        told = json.loads(opened.recv(30))
        while told.get("type") != "interrupted":
            told = json.loads(opened.recv(30))
        assert told["text_remaining"] == "Three. "
    timed = characters(messages)
    assert "".join(char for char, _, _ in timed).split() == ["One", "two", "three", "four."]
    assert timed[-1][2] == pytest.approx(len(audio(messages)) / SECOND, abs=0.01)


def test_how_long_nothing_may_come_has_an_end_whatever_the_query_says():
    asked = {None: 20, "": 20, "60": 60, "0": 1, "-inf": 1, "1e999": 180, "nan": 20, "NaN": 20, "soon": 20}
    assert {each: inactivity_seconds(each) for each in asked} == asked


def test_a_sender_who_falls_silent_is_heard_out_and_told(server_url):
    with socket(server_url, query=f"{PCM}&inactivity_timeout=1") as opened:
        say(opened, {"text": "And this was not "})
        messages, code = rest(opened)
    assert code == 1008
    assert messages[-1]["isFinal"] is True
    assert len(audio(messages)) > SECOND // 2


def test_an_empty_text_keeps_a_context_and_opens_none(server_url):
    with socket(server_url, "multi-stream-input", f"{PCM}&inactivity_timeout=1") as opened:
        say(opened, *({"text": "And this ", "context_id": name} for name in "ab"))
        ended, began = [], time.monotonic()
        while "b" not in ended or time.monotonic() < began + 1.5:
            say(opened, {"text": "", "context_id": "a"}, {"text": "", "context_id": "never opened"})
            with contextlib.suppress(TimeoutError):
                told = json.loads(opened.recv(0.2))
                ended += [told["contextId"]] if told.get("isFinal") else []
        say(opened, {"text": "goes on. ", "context_id": "a"}, {"close_socket": True})
        messages, code = rest(opened)
    assert ended == ["b"]
    assert code == 1000
    own = [each for each in messages if each["contextId"] == "a"]
    assert "".join(char for char, _, _ in characters(own)) == "And this goes on. "
    assert {each["contextId"] for each in messages} == {"a"}


def test_close_socket_speaks_what_was_written_in_every_context_and_takes_nothing_more(server_url):
    with socket(server_url, "multi-stream-input") as opened:
        say(opened, *({"text": f"This is {name} and has no end", "context_id": name} for name in "ab"))
        say(opened, {"close_socket": True}, {"text": "Not this. ", "context_id": "c"}, {"nonsense": 1})
        messages, code = rest(opened)
    assert code == 1000
    for name in "ab":
        own = [each for each in messages if each["contextId"] == name]
        assert own[-1]["isFinal"] is True
        assert "".join(char for char, _, _ in characters(own)) == f"This is {name} and has no end"
    assert {each["contextId"] for each in messages} == {"a", "b"}


def test_a_client_that_hangs_up_leaves_nothing_behind(server_url):
    for _ in range(3):
        with socket(server_url, "multi-stream-input") as opened:
            say(opened, *({"text": LONG, "context_id": name} for name in "abc"))
            opened.recv(30)
    deadline = time.monotonic() + 30
    while leases(server_url) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leases(server_url) == 0


def leases(url):
    """Speeches that hold a model."""
    return sum(model["leases"] for model in httpx.get(f"{url}/api/status", trust_env=False).json()["models"])
