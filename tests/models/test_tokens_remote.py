"""Token ids from remote engines, against a real server on a socket that answers what a test tells it to."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.replay_server import ReplayServer, chunk, in_ids
from orpheus_openai.errors import ConfigurationError, EngineError, InvalidRequestError, ModelUnavailableError
from orpheus_openai.models.orpheus.completions import BrokenStreamError, event_data
from orpheus_openai.models.orpheus.dialects import ChunkReader
from orpheus_openai.models.orpheus.prompt import build_prompt
from orpheus_openai.models.orpheus.remote_server import RemoteTimeouts
from orpheus_openai.models.orpheus.token_text import TokenReader, spell_prompt
from orpheus_openai.models.orpheus.tokenizer import CheckpointTokenizer
from orpheus_openai.models.orpheus.tokens_remote import RemoteTokenSource
from orpheus_openai.synthesis import Sampling
from tests.support.tiny_tokenizer import write_tokenizer

PROMPT = [128_259, 128_000, *b"tara: Hello", 128_009, 128_260, 128_261, 128_257]
SPEECH = [128_266 + 4_096 * (n % 7) + n for n in range(21)]
END = 128_258


def decode(ids):
    return bytes(ids).decode()


def spell(ids):
    return "".join(f"<custom_token_{token - 128_256}>" for token in ids)


def in_text(text, *, size=5):
    pieces = [chunk(text=text[start : start + size]) for start in range(0, len(text), size)]
    return [*pieces, chunk(text="", finish_reason="stop"), b"data: [DONE]\n\n"]


@contextlib.asynccontextmanager
async def source_of(*servers, **options) -> AsyncIterator[RemoteTokenSource]:
    source = RemoteTokenSource([server.url for server in servers], **options)
    try:
        yield source
    finally:
        await source.close()


async def speak(source, **sampling):
    return [token async for ids in source.generate(PROMPT, Sampling(**sampling)) for token in ids]


async def test_ids_come_as_the_server_gives_them_and_end_with_the_end_token():
    async with ReplayServer(in_ids([*SPEECH, END])) as server, source_of(server) as source:
        assert await speak(source) == [*SPEECH, END]


async def test_ids_are_read_from_text_where_the_server_gives_no_ids():
    async with ReplayServer(in_text("well " + spell(SPEECH))) as server, source_of(server) as source:
        assert await speak(source) == SPEECH


async def test_nothing_is_taken_after_the_end_token():
    async with ReplayServer(in_text(spell([*SPEECH, END, *SPEECH]))) as server, source_of(server) as source:
        assert await speak(source) == [*SPEECH, END]


async def test_the_request_says_all_that_any_engine_needs():
    async with ReplayServer(in_ids([*SPEECH, END])) as server, source_of(server, api_key="secret") as source:
        await speak(source, seed=5, temperature=0.5, top_p=0.8, repetition_penalty=1.2)
    body = server.bodies[0]
    assert body["model"] == "my-orpheus"
    assert body["prompt"] == PROMPT
    assert body["max_tokens"] == 2_048 - len(PROMPT)
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.5, 0.8, 5)
    assert body["repetition_penalty"] == body["repeat_penalty"] == 1.2
    assert body["stop_token_ids"] == [END]
    assert body["skip_special_tokens"] is False
    assert body["return_token_ids"] is True
    assert server.keys == {"bearer secret"}


async def test_the_name_that_is_set_goes_before_the_listed_one():
    async with ReplayServer(in_ids([*SPEECH, END])) as server, source_of(server, model="other") as source:
        await speak(source, max_tokens=70)
    assert server.bodies[0]["model"] == "other"
    assert server.bodies[0]["max_tokens"] == 70


async def test_a_server_that_lists_nothing_is_asked_without_a_name():
    async with (
        ReplayServer(in_ids([*SPEECH, END]), models="no such page") as server,
        source_of(server) as source,
    ):
        assert await speak(source) == [*SPEECH, END]
    assert "model" not in server.bodies[0]


async def test_one_connection_serves_one_prompt_after_another():
    async with ReplayServer(in_ids([*SPEECH, END])) as server, source_of(server) as source:
        for _ in range(3):
            await speak(source)
        assert server.connections == 1


async def test_a_prompt_without_room_to_speak_is_refused():
    models = {"data": [{"id": "orpheus", "max_model_len": len(PROMPT) + 6}]}
    async with ReplayServer(in_ids([END]), models=models) as server, source_of(server) as source:
        with pytest.raises(InvalidRequestError, match="too long"):
            await speak(source)


async def test_leaving_closes_the_connection_at_once():
    async with ReplayServer([chunk(token_ids=SPEECH), 30.0]) as server, source_of(server) as source:
        stream = source.generate(PROMPT, Sampling())
        assert await anext(stream) == SPEECH
        await stream.aclose()
        await asyncio.wait_for(server.left.wait(), 2)


async def test_a_cancelled_task_closes_the_connection_at_once():
    async with ReplayServer([30.0]) as server, source_of(server) as source:
        task = asyncio.create_task(speak(source))
        await server.asked.wait()
        task.cancel()
        await asyncio.wait_for(server.left.wait(), 2)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_connection_that_breaks_in_the_middle_is_an_error():
    async with ReplayServer([chunk(token_ids=SPEECH), None]) as server, source_of(server) as source:
        stream = source.generate(PROMPT, Sampling())
        assert await anext(stream) == SPEECH
        with pytest.raises(EngineError, match=server.url):
            await anext(stream)


@pytest.mark.parametrize(
    "last",
    [
        b"",
        b'data: {"error": {"message": "out of memory"}}\n\n',
        b"data: {nonsense\n\n",
        chunk(text="", finish_reason="abort"),
    ],
)
async def test_an_answer_that_stops_short_is_an_error(last):
    pieces = [chunk(token_ids=SPEECH), last] if last else [chunk(token_ids=SPEECH)]
    async with ReplayServer(pieces) as server, source_of(server) as source:
        with pytest.raises(EngineError, match="in the middle"):
            await speak(source)


async def test_silence_in_the_middle_is_an_error():
    timeouts = RemoteTimeouts(between_tokens=0.2)
    async with (
        ReplayServer([chunk(token_ids=SPEECH), 30.0]) as server,
        source_of(server, timeouts=timeouts) as source,
    ):
        with pytest.raises(EngineError, match="no token in time"):
            await speak(source)


async def test_another_server_is_asked_when_the_first_does_not_begin():
    timeouts = RemoteTimeouts(first_token=0.3)
    good = in_ids([*SPEECH, END])
    for bad in [(500, b'{"error": {"message": "sorry"}}'), [30.0], [None], (429, b"")]:
        async with (
            ReplayServer(bad) as first,
            ReplayServer(good) as second,
            source_of(first, second, timeouts=timeouts) as source,
        ):
            assert await speak(source) == [*SPEECH, END]
            assert len(first.bodies) == 1


async def test_a_server_that_failed_is_asked_last_for_a_while():
    timeouts = RemoteTimeouts(avoided=0.5)
    good = in_ids([*SPEECH, END])
    bad = ReplayServer((500, b""), good)
    async with (
        bad as first,
        ReplayServer(good) as second,
        source_of(first, second, timeouts=timeouts) as source,
    ):
        for _ in range(3):
            await speak(source)
        assert (len(first.bodies), len(second.bodies)) == (1, 3)
        await asyncio.sleep(0.6)
        await speak(source)
        assert len(first.bodies) == 2


async def test_another_server_is_not_asked_once_tokens_have_come():
    broken = [chunk(token_ids=SPEECH), None]
    async with (
        ReplayServer(broken) as first,
        ReplayServer(in_ids([END])) as second,
        source_of(first, second) as source,
    ):
        with pytest.raises(EngineError):
            await speak(source)
    assert second.bodies == []


async def test_prompts_go_to_the_server_with_the_fewest_streams():
    slow = [chunk(token_ids=SPEECH), 0.3, *in_ids([END])]
    async with ReplayServer(slow) as first, ReplayServer(slow) as second, source_of(first, second) as source:
        await asyncio.gather(*(speak(source) for _ in range(8)))
        assert (len(first.bodies), len(second.bodies)) == (4, 4)


async def test_busy_servers_pass_on_when_to_come_again():
    busy = (503, b'{"error": "full"}', "Retry-After: 7\r\n")
    busier = (429, b"", "Retry-After: 11\r\n")
    async with (
        ReplayServer(busy) as first,
        ReplayServer(busier) as second,
        source_of(first, second) as source,
    ):
        with pytest.raises(EngineError, match="busy") as caught:
            await speak(source)
    assert caught.value.retry_after == 7
    assert caught.value.code == "engine_busy"


async def test_an_error_names_the_servers_and_never_the_key():
    async with ReplayServer((401, b"bad key: secret")) as server:
        url = server.url.replace("http://", "http://me:password@")
        source = RemoteTokenSource(f"{url}, http://127.0.0.1:9/v1/", api_key="secret")
        with pytest.raises(EngineError) as caught:
            await speak(source)
        await source.close()
    message = caught.value.message
    assert server.url in message
    assert "http://127.0.0.1:9/v1" in message
    assert "cannot be reached" in message
    assert "secret" not in message
    assert "password" not in message


async def test_a_server_comes_back_after_it_was_away():
    server = ReplayServer(in_ids([*SPEECH, END]))
    async with server:
        source = RemoteTokenSource(server.url)
        assert await speak(source) == [*SPEECH, END]
    with pytest.raises(EngineError, match="cannot be reached"):
        await speak(source)
    async with server:
        assert await speak(source) == [*SPEECH, END]
    await source.close()


async def test_a_server_that_refuses_ids_is_given_text_from_then_on(tmp_path):
    write_tokenizer(tmp_path)
    refusal = (400, b'{"error": {"message": "prompt must be a string"}}')
    good = in_text(spell([*SPEECH, END]))
    async with (
        ReplayServer(refusal, good) as server,
        source_of(server, tokenizer=CheckpointTokenizer(str(tmp_path))) as source,
    ):
        prompt = build_prompt(await source.encode("tara: Hello"))
        for _ in range(2):
            ids = [token async for ids in source.generate(prompt, Sampling()) for token in ids]
            assert ids == [*SPEECH, END]
    assert [type(body["prompt"]) for body in server.bodies] == [list, str, str]
    frame = "<custom_token_3><|begin_of_text|>{}<|eot_id|><custom_token_4><custom_token_5><custom_token_1>"
    assert server.bodies[1]["prompt"] == frame.format("tara: Hello")


async def test_a_refused_request_says_why_and_goes_to_no_other_server():
    refusal = (400, b'{"detail": "prompt must be a string"}')
    async with (
        ReplayServer(refusal) as first,
        ReplayServer(in_ids([END])) as second,
        source_of(first, second) as source,
    ):
        with pytest.raises(EngineError, match="prompt must be a string"):
            await speak(source)
    assert second.bodies == []


async def test_a_server_without_audio_tokens_is_an_error():
    async with ReplayServer(in_text("I am a chat model.")) as server, source_of(server) as source:
        with pytest.raises(EngineError, match="no audio tokens"):
            await speak(source)


@pytest.mark.parametrize("url", ["", " , ", "localhost:8000", "ftp://x", "http://"])
def test_what_is_no_url_is_refused_at_the_start(url):
    with pytest.raises(ConfigurationError, match="ORPHEUS_REMOTE_URL"):
        RemoteTokenSource(url)


@given(st.lists(st.integers(0, 28_681)), st.text(max_size=10), st.data())
def test_text_gives_the_same_ids_wherever_it_is_cut(numbers, noise, data):
    text = noise.join(["", *(f"<custom_token_{number}>" for number in numbers), ""])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    reader = TokenReader()
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert [token for piece in pieces for token in reader.read(piece)] == [
        128_256 + number for number in numbers
    ]


@given(st.text(alphabet="<custom_token_0123456789>", max_size=200))
def test_a_reader_of_text_keeps_no_more_than_one_token(text):
    reader = TokenReader()
    reader.read(text)
    assert len(reader._rest) < len("<custom_token_28683>")


@pytest.mark.parametrize("number", ["28682", "99999", "123456", "", "x"])
def test_what_is_no_token_of_the_vocabulary_gives_no_id(number):
    assert TokenReader().read(f"<custom_token_{number}>") == []


@given(st.data())
async def test_events_are_the_same_wherever_the_bytes_are_cut(data):
    spoken: list[Any] = in_ids(SPEECH)
    body = b": ping\r\n\r\n" + b"".join(spoken) + chunk(text="é\u2028").replace(b"\n", b"\r\n")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=20)))

    async def pieces():
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            yield body[start:end]

    found = [event async for event in event_data(pieces())]
    assert len(found) == 6
    assert all(event == b"[DONE]" or json.loads(event) for event in found)


async def test_a_line_without_end_is_not_kept():
    async def pieces():
        while True:
            yield b"x" * 65_536

    with pytest.raises(BrokenStreamError):
        await asyncio.wait_for(anext(event_data(pieces())), 5)


def test_a_reader_of_chunks_is_finished_by_done_alone():
    reader = ChunkReader()
    assert reader.read(chunk(token_ids=SPEECH)[6:]) == SPEECH
    assert not reader.finished
    reader.read(b"[DONE]")
    assert reader.finished


def test_a_text_that_spells_special_tokens_does_not_become_them():
    text = list(b"say <custom_token_5> and <|eot_id|> < here")
    spelt = spell_prompt([128_000, 128_259, *text, 128_009], decode)
    assert spelt == "<custom_token_3>say < custom_token_5> and < |eot_id|> < here<|eot_id|>"


async def test_a_recognised_server_without_its_own_way_is_asked_in_the_common_words():
    class Gateway(ReplayServer):
        """Says that it is llama.cpp, and passes on nothing but OpenAI's paths."""

        def answer_to(self, body):
            return in_ids([*SPEECH, END]) if "max_tokens" in body else (404, b"no such path")

    async with Gateway(models={"data": [{"id": "x", "owned_by": "llamacpp"}]}) as server:
        async with source_of(server) as source:
            assert await speak(source) == [*SPEECH, END]
            assert await speak(source) == [*SPEECH, END]
    assert ["n_predict" in body for body in server.bodies] == [True, False, False]


async def test_a_connection_that_was_closed_meanwhile_is_opened_again():
    class Closing(ReplayServer):
        """Says that connections are kept, and closes them once it has answered."""

        async def _serve(self, reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            self.connections += 1
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}")
                await reader.read(1)  # the next request comes, and is not answered
            else:
                await reader.readexactly(1)
                await self._stream(reader, writer, in_ids([*SPEECH, END]))
            writer.transport.abort()

    async with Closing() as server, source_of(server) as source:
        assert await speak(source) == [*SPEECH, END]
        assert server.connections == 2


async def test_text_is_tokenized_by_the_checkpoint_where_the_server_cannot(tmp_path):
    write_tokenizer(tmp_path / "here")
    async with ReplayServer(in_ids([END])) as server:
        async with source_of(server, tokenizer=CheckpointTokenizer(str(tmp_path / "here"))) as source:
            assert await source.encode("ab") == (
                await CheckpointTokenizer(str(tmp_path / "here")).load()
            ).encode("ab")
        async with source_of(server) as source:
            with pytest.raises(ModelUnavailableError, match="ORPHEUS_MODEL_MEDIUM_3B"):
                await source.encode("ab")
    async with source_of(server) as source:
        with pytest.raises(EngineError, match="cannot be reached"):
            await source.encode("ab")
