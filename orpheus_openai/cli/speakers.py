"""Who speaks for `speak`: the server that runs, else this process."""

import base64
import contextlib
import html
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import numpy as np

from orpheus_openai import running
from orpheus_openai.audio import PCM
from orpheus_openai.errors import ConfigurationError, InvalidRequestError, ModelUnavailableError, SpeechError
from orpheus_openai.settings import load_settings

if TYPE_CHECKING:
    from orpheus_openai.speech.timed import TimedSegment

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 3700.0
"""How long a server may say nothing: it may be loading its model, for an hour at most (ORPHEUS_LOAD_WAIT)."""


async def _nothing() -> list["TimedSegment"]:
    return []


class Speaker(msgspec.Struct, frozen=True):
    """A speech that has begun: who says it, and how it sounds."""

    model: str
    voice: str
    sound: AsyncGenerator[PCM]
    server: str | None = None
    """The URL of the server that speaks; None: this process."""
    times: Callable[[], Awaitable[list["TimedSegment"]]] = _nothing
    """When its words sounded, once it has ended, if that was asked for."""


@contextlib.asynccontextmanager
async def speaker(
    wanted: dict[str, Any],
    *,
    here: bool,
    tell: Callable[[str], None],
    timed: bool = False,
    whole: bool = False,
) -> AsyncGenerator[Speaker]:
    """Begin to speak `wanted`, the fields of a request; `tell` is told who does it. `timed`: words are timed.

    `whole`: nobody listens meanwhile, so that what fails can be spoken again.

    The server that ORPHEUS_URL names is asked, else the one on this machine's port, if one of ours answers there;
    where none does, or `here` is asked for, this process loads the model. Raises the request's own errors.
    """
    from orpheus_openai.speech.request import speech_request  # noqa: PLC0415  a quarter of a second

    speech_request(**wanted)  # what is wrong in itself need not be sent to anybody
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            _server(here=here, tell=lambda who: tell(f"spoken by {who}"))
        )
        by_server = _timed_by_server if timed else _by_server
        if server is None:
            speaks = _by_this_process(wanted, timed=timed, whole=whole)
        else:
            server[0].headers.update({"x-orpheus-whole": "true"} if whole else {})
            speaks = by_server(*server, wanted)
        yield await stack.enter_async_context(speaks)


async def plan(wanted: dict[str, Any], *, here: bool, tell: Callable[[str], None]) -> Any:
    """What would be said of `wanted`, as POST /api/text answers; asked of whom `speaker` would ask."""
    async with _server(here=here, tell=lambda who: tell(f"told by {who}")) as server:
        return await (_plan_of_server(*server, wanted) if server else _plan_of_this_process(wanted))


@contextlib.asynccontextmanager
async def _server(
    *, here: bool, tell: Callable[[str], None]
) -> AsyncGenerator[tuple[httpx.AsyncClient, str] | None]:
    """The server that does it, and its URL; None: this process does. `tell` is told who."""
    url, key = ("", "") if here else running.named_server()
    server = "" if here else url or running.own_url(load_settings())
    if not server:
        yield None
        return
    async with _client(key, local=not url) as http:
        if await running.answers(http, server):
            tell(f"the server at {server}")
            yield http, server
            return
        if url:
            raise ConfigurationError(
                f"{running.URL}={url}: no orpheus-openai answers there; start it, or unset {running.URL}"
            )
        tell(f"this process, as no orpheus-openai answers at {server}")
        yield None


def _client(key: str, *, local: bool) -> httpx.AsyncClient:
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    # No HTTP proxy has a say on one's own machine.
    return httpx.AsyncClient(headers=running.key_headers(key), timeout=timeout, trust_env=not local)


@contextlib.asynccontextmanager
async def _by_this_process(wanted: dict[str, Any], *, timed: bool, whole: bool) -> AsyncGenerator[Speaker]:
    from orpheus_openai.limits.caller import PROGRAM  # noqa: PLC0415
    from orpheus_openai.speech.request import speech_request  # noqa: PLC0415
    from orpheus_openai.speech.service import SpeechService  # noqa: PLC0415

    service = SpeechService.create(load_settings())
    try:
        request = msgspec.structs.replace(speech_request(**wanted), word_times=timed, whole=whole)
        speech = service.prepare(request, account=PROGRAM)

        async def times() -> list["TimedSegment"]:
            if speech.word_times is None:
                return []
            await speech.word_times.rest()
            return speech.word_times.taken

        yield Speaker(speech.model.id, speech.voice.id, speech.stream(), times=times)
    finally:
        await service.close()


async def _plan_of_this_process(wanted: dict[str, Any]) -> Any:
    from orpheus_openai.limits.caller import PROGRAM  # noqa: PLC0415
    from orpheus_openai.speech.request import speech_request  # noqa: PLC0415
    from orpheus_openai.speech.service import SpeechService  # noqa: PLC0415

    service = SpeechService.create(load_settings())
    try:
        return msgspec.to_builtins(await service.plan(speech_request(**wanted), account=PROGRAM))
    finally:
        await service.close()


async def _plan_of_server(http: httpx.AsyncClient, url: str, wanted: dict[str, Any]) -> Any:
    try:
        answer = await http.post(f"{url}/api/text", json=_given(wanted))
    except httpx.HTTPError as error:
        raise SpeechError(f"the server at {url} broke off: {error or type(error).__name__}") from error
    if answer.status_code != httpx.codes.OK:
        raise _refusal(answer, answer.content)
    return answer.json()


def _given(wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if value is not None}


@contextlib.asynccontextmanager
async def _by_server(http: httpx.AsyncClient, url: str, wanted: dict[str, Any]) -> AsyncGenerator[Speaker]:
    """PCM, so that what is saved, played and counted is one thing; its encoding is this machine's work."""
    try:
        async with http.stream(
            "POST", f"{url}/api/generate", json={**_given(wanted), "response_format": "pcm"}
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise _refusal(answer, await answer.aread())
            model = answer.headers.get("x-orpheus-model", "")
            voice = html.unescape(answer.headers.get("x-orpheus-voice", ""))
            yield Speaker(model, voice, _sound(answer), url)
    except httpx.HTTPError as error:
        raise SpeechError(f"the server at {url} broke off: {error or type(error).__name__}") from error


@contextlib.asynccontextmanager
async def _timed_by_server(
    http: httpx.AsyncClient, url: str, wanted: dict[str, Any]
) -> AsyncGenerator[Speaker]:
    """The same in events, which tell when each word sounds."""
    given = {
        "input" if name == "text" else name: value for name, value in wanted.items() if value is not None
    }
    given |= {
        "response_format": "pcm",
        "stream_format": "sse",
        "timestamp_granularities": ["word", "segment"],
    }
    segments: list[TimedSegment] = []

    async def times() -> list["TimedSegment"]:
        return segments

    try:
        async with http.stream("POST", f"{url}/v1/audio/speech", json=given) as answer:
            if answer.status_code != httpx.codes.OK:
                raise _refusal(answer, await answer.aread())
            model = answer.headers.get("x-orpheus-model", "")
            voice = html.unescape(answer.headers.get("x-orpheus-voice", ""))
            yield Speaker(model, voice, _sound_of_events(answer, segments), url, times)
    except httpx.HTTPError as error:
        raise SpeechError(f"the server at {url} broke off: {error or type(error).__name__}") from error


async def _sound_of_events(answer: httpx.Response, segments: list["TimedSegment"]) -> AsyncGenerator[PCM]:
    """The samples; `segments` gets what the events tell of words."""
    from orpheus_openai.speech.timed import TimedSegment  # noqa: PLC0415  a quarter of a second

    rest = b""
    async for line in answer.aiter_lines():
        if not line.startswith("data: "):
            continue
        event = msgspec.json.decode(line.removeprefix("data: "))
        match event["type"]:
            case "speech.audio.delta":
                rest += base64.b64decode(event["audio"])
                whole = len(rest) // 2 * 2
                yield np.frombuffer(rest[:whole], dtype="<i2").astype(np.int16, copy=False)
                rest = rest[whole:]
            case "speech.audio.timestamps":
                told = {**event["segments"][0], "words": event["words"], "timing": event["timing"]}
                segments.append(msgspec.convert(told, TimedSegment))
            case "error":
                raise SpeechError(str(event["error"]["message"]))


async def _sound(answer: httpx.Response) -> AsyncGenerator[PCM]:
    """The samples of an answer whose chunks may end within one."""
    rest = b""
    async for chunk in answer.aiter_bytes():
        rest += chunk
        whole = len(rest) // 2 * 2
        if whole:
            yield np.frombuffer(rest[:whole], dtype="<i2").astype(np.int16, copy=False)
        rest = rest[whole:]


def _refusal(answer: httpx.Response, content: bytes) -> Exception:
    """What a server's error is here, in its own words."""
    try:
        detail = msgspec.json.decode(content)["error"]
        message, code = str(detail["message"]), detail.get("code")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        message, code = f"the server answered with status {answer.status_code}", None
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return ConfigurationError(
            f"{message} Set {running.API_KEY} to a key that the server at {answer.url.host} knows."
        )
    if code == ModelUnavailableError.code:
        return ModelUnavailableError(message)
    if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
        return InvalidRequestError(message, code=code)
    return SpeechError(message, code=code)
