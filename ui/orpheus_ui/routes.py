"""The page's routes: its files, and the speech and captions a listener keeps in the format of their choice."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from litestar import HttpMethod, Request, Response, Router, post, route
from litestar.di import NamedDependency, Provide
from litestar.params import PathParameter

from orpheus_openai.audio import PCM
from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.errors import (
    InvalidRequestError,
    NotFoundError,
    RequestTimeoutError,
    RequestTooLargeError,
)
from orpheus_openai.http.body import parts, read_body
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.delivery import encoded
from orpheus_openai.limits.queue import Queue
from orpheus_openai.settings import Settings
from orpheus_openai.speech.captions import CaptionFormat, render
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.timed import TimedSegment, TimedWord
from orpheus_ui.assets import Asset, load_assets

STATIC = Path(__file__).parent / "static"

MAX_PCM_BYTES = 8 * 1024 * 1024
"""Three minutes of speech, which proxies let through; what is longer is downloaded as a take (`/api/takes`)."""

ENCODERS, ENCODER_QUEUE, ENCODER_WAIT = 4, 8, 30.0
"""How many downloads are encoded at once, how many wait, for how many seconds; each takes 2 × MAX_PCM_BYTES at most."""
ENCODERS_PER_CALLER = 2
"""Of one caller's, those that wait included: nobody shall have all the places."""
ENCODER_SECONDS = 120.0
"""For one of them, in which its PCM has to be here: whoever sends slowly keeps a place no longer."""

MAX_TIMED_BYTES = 2 * 1024 * 1024
"""Of a text and its words' times, several times what the longest text takes by itself: while it is read as JSON nobody
else is served."""
LONGEST_SOUND = 7 * 24 * 3_600.0
"""Seconds; no word sounds later."""

CAPTIONS: dict[str, CaptionFormat] = {"srt": "srt", "vtt": "vtt"}
"""What the page's captions can be."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)

HEADERS = {
    "cache-control": "no-cache",  # the etag makes asking again cheap, and an update shows at once
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}

AnyRequest = Request[Any, Any, Any]


def ui_router() -> Router:
    """The page at `/`, its files below `/ui`, and `/api/encode` and `/api/caption` for its downloads."""
    assets = load_assets(STATIC)
    methods = [HttpMethod.GET, HttpMethod.HEAD]

    @route("/", http_method=methods, include_in_schema=False, sync_to_thread=False)
    def page(request: AnyRequest) -> Response[bytes]:
        return _answer(request, assets["index.html"])

    @route("/ui/{path:path}", http_method=methods, include_in_schema=False, sync_to_thread=False)
    def file(request: AnyRequest, path: Annotated[Path, PathParameter()]) -> Response[bytes]:
        asset = assets.get(path.as_posix().lstrip("/"))
        if asset is None:
            raise NotFoundError(f"The page has no file {path.as_posix()[:200]}.", code="unknown_url")
        return _answer(request, asset)

    encoders = Queue(
        at_once=ENCODERS, length=ENCODER_QUEUE, wait=ENCODER_WAIT, per_caller=ENCODERS_PER_CALLER
    )
    return Router(
        "/",
        route_handlers=[page, file, encode, caption],
        dependencies={"encoders": Provide(lambda: encoders, sync_to_thread=False)},
    )


@post("/api/encode/{audio_format:str}", status_code=200, include_in_schema=False)
async def encode(
    request: AnyRequest,
    audio_format: Annotated[str, PathParameter()],
    service: NamedDependency[SpeechService],
    encoders: NamedDependency[Queue],
) -> Response[bytes]:
    """PCM in the body, as `response_format: pcm` gives it, in another format: what was heard is what is kept.

    Counts against the caller's share as a request, and waits for its turn. Raises InvalidRequestError for an unknown
    format, RequestTooLargeError beyond MAX_PCM_BYTES, RequestTimeoutError, RateLimitError, OverloadedError.
    """
    audio_format = audio_format.strip().lower()
    if audio_format not in FORMATS:
        raise InvalidRequestError(
            f"Unknown format; expected one of: {', '.join(FORMATS)}.",
            param="audio_format",
            code="invalid_value",
        )
    if int(request.headers.get("content-length", "0")) > MAX_PCM_BYTES:
        raise _too_large()
    account = caller_of(request.scope).account
    await service.gate.charge(account)
    async with encoders.turn(lambda _position: None, account), _in_time():
        body = b"".join([chunk async for chunk in encoded(_samples(request), audio_format)])
    return Response(body, media_type=FORMATS[audio_format].media_type, headers={"cache-control": "no-store"})


class TimedText(msgspec.Struct, frozen=True):
    """A text that was spoken, and when its words sounded."""

    text: str
    words: list[TimedWord]


@post("/api/caption/{caption_format:str}", status_code=200, include_in_schema=False)
async def caption(
    request: AnyRequest,
    caption_format: Annotated[str, PathParameter()],
    service: NamedDependency[SpeechService],
    settings: NamedDependency[Settings],
    encoders: NamedDependency[Queue],
) -> Response[str]:
    """A speech's words as subtitles, which the page keeps beside it: a `TimedText` as SubRip or WebVTT.

    Counts against the caller's share as a request, and waits for its turn. Raises InvalidRequestError for a format that
    there is not, a text longer than one that is spoken, or words that are not in it or sound at no time;
    RequestTooLargeError, RateLimitError, OverloadedError.
    """
    if caption_format not in CAPTIONS:
        raise InvalidRequestError(
            f"Unknown format; expected one of: {', '.join(CAPTIONS)}.",
            param="caption_format",
            code="invalid_value",
        )
    body = await read_body(request.receive, MAX_TIMED_BYTES)
    try:
        told = msgspec.json.decode(body, type=TimedText)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(
            f"This is no text with the times of its words: {error}.", code="invalid_json"
        ) from error
    if len(told.text) > settings.max_input_chars:
        raise InvalidRequestError(
            f"The text has {len(told.text)} characters; at most {settings.max_input_chars} are spoken in one request.",
            param="text",
            code="string_above_max_length",
        )
    account = caller_of(request.scope).account
    await service.gate.charge(account)
    async with encoders.turn(lambda _position: None, account):
        shown = await asyncio.to_thread(_shown, told, CAPTIONS[caption_format], service.catalog.emotion_tags)
    return Response(shown, media_type="text/plain", headers={"cache-control": "no-store"})


def _shown(told: TimedText, caption_format: CaptionFormat, emotion_tags: Sequence[str]) -> str:
    edges = [edge for word in told.words for edge in word.span]
    if not told.words or edges != sorted(edges) or edges[0] < 0 or edges[-1] > len(told.text):
        raise InvalidRequestError("The words are not in the text.", param="words", code="invalid_value")
    if not all(0 <= at <= LONGEST_SOUND for word in told.words for at in (word.start, word.end)):
        raise InvalidRequestError("The words' times are of no speech.", param="words", code="invalid_value")
    first, last = told.words[0], told.words[-1]
    whole = TimedSegment(told.text, first.start, last.end, (0, len(told.text)), "exact", tuple(told.words))
    return render(caption_format, [whole], text=told.text, duration=whole.end, emotion_tags=emotion_tags)


@contextlib.asynccontextmanager
async def _in_time() -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(ENCODER_SECONDS) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise RequestTimeoutError(f"The PCM did not arrive within {ENCODER_SECONDS:g} s.") from None


async def _samples(request: AnyRequest) -> AsyncGenerator[PCM]:
    """The body as samples, whatever the pieces it comes in."""
    size = 0
    rest = b""
    async for part in parts(request.receive):
        size += len(part)
        if size > MAX_PCM_BYTES:
            raise _too_large()
        whole = rest + part
        even = len(whole) - len(whole) % 2
        rest = whole[even:]
        yield np.frombuffer(whole[:even], "<i2")


def _too_large() -> RequestTooLargeError:
    return RequestTooLargeError(f"More than {MAX_PCM_BYTES // (1024 * 1024)} MiB of PCM.")


def _answer(request: AnyRequest, asset: Asset) -> Response[bytes]:
    headers = {**HEADERS, "etag": asset.etag}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    body = asset.body
    if asset.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body = asset.gzipped
        headers["content-encoding"] = "gzip"
    if request.method == HttpMethod.HEAD:
        headers["content-length"] = str(len(body))
        body = b""
    return Response(body, headers=headers, media_type=asset.media_type, status_code=200)
