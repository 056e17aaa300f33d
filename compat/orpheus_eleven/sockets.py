"""ElevenLabs' sockets: text in while speech comes out, of one text or of several contexts side by side."""

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import msgspec
from litestar import websocket
from litestar.di import NamedDependency
from litestar.params import PathParameter

from orpheus_eleven.context import Context
from orpheus_eleven.messages import POLICY, ClientMessage, client_message, error_message
from orpheus_eleven.output import Output, output_of
from orpheus_eleven.schemas import VoiceSettings
from orpheus_eleven.speech import wanted
from orpheus_openai.errors import AuthenticationError, InvalidRequestError, SpeechError
from orpheus_openai.http.delivery import ListenerTooSlowError
from orpheus_openai.http.middleware.keys import UNKNOWN_SECONDS
from orpheus_openai.http.refusal import MAX_REASON
from orpheus_openai.http.sockets import (
    NORMAL,
    RESTART,
    AnySocket,
    Line,
    SocketClosedError,
    admit,
    prepare_utterance,
)
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech

INACTIVITY_SECONDS, LONGEST_INACTIVITY = 20.0, 180.0
"""How long nothing may come, unless the query says else, and what it may say at the most: ElevenLabs' figures."""

MOST_CONTEXTS = 5
"""Contexts that text may be written to at once, as at ElevenLabs."""
MOST_ENDING = 16
"""Contexts in all, with those that are closed and still spoken."""

_PHRASE = re.compile(r"[.!?…。！？।][\"'”’»)\]」』]*\s*\Z")
"""How a message ends that, with `auto_mode`, is a phrase of its own, whether or not a space follows it."""

SHORTEST_SECONDS = 0.02
"""Between two looks at what is due."""


class Session:
    """One socket: a task reads messages, others speak. Without contexts it has one, which has no id."""

    def __init__(
        self,
        line: Line,
        service: SpeechService,
        voice_id: str,
        query: Mapping[str, str],
        *,
        has_contexts: bool,
    ) -> None:
        self._line = line
        self._service = service
        self._voice = voice_id
        self._query = query
        self._has_contexts = has_contexts
        self._inactivity = inactivity_seconds(query.get("inactivity_timeout"))
        self._heard_from = time.monotonic()
        self._output = Output(audio_format="mp3", sample_rate=0)
        self._tasks = asyncio.TaskGroup()
        self._open: dict[str | None, Context] = {}
        self._closed: OrderedDict[str | None, Context] = OrderedDict()
        """Those that were closed last: they are still spoken, or may still be listened to."""
        self._ending = 0
        self._speeches = 0
        self._code: int | None = None
        """With which the socket is closed when all is said."""
        self._reason = ""
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until one side closes the socket."""
        try:
            async with self._tasks:
                reading = self._tasks.create_task(self._read_all())
                await self._over.wait()
                reading.cancel()
            await self._line.close(self._code or NORMAL, self._reason)
        except* (SocketClosedError, ListenerTooSlowError):
            pass
        finally:
            self._line.forget()

    # --- what comes -------------------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        try:
            await self._begin()
        except SpeechError as error:
            await self._refuse(error)
        while True:  # to the end, so that a client that hangs up is noticed
            received = await self._line.receive(self._patience())
            if self._code is not None:
                continue
            if received is None:
                self._look_around()
                continue
            try:
                message = client_message(received)
            except InvalidRequestError as error:
                await self._refuse(error)
                continue
            await self._take(message)

    async def _begin(self) -> None:
        """Find out who it is, where the request for the socket did not tell, and whether they can be served."""
        first = None
        if "unlock" in self._line.scope["state"]:
            received = await self._line.receive(UNKNOWN_SECONDS)
            if received is None:
                raise AuthenticationError(f"No API key came within {UNKNOWN_SECONDS:g} s.")
            first = client_message(received)
            if first.key is None:
                raise AuthenticationError(
                    "This server needs an API key: send it as xi_api_key, or in a header."
                )
            admit(self._line, first.key)
        self._output = output_of(self._query.get("output_format"))
        self._service.check(self._wanted(None), account=self._line.account)
        if first is not None:
            await self._take(first)

    async def _take(self, message: ClientMessage) -> None:
        self._heard_from = time.monotonic()
        context_id = message.context_id if self._has_contexts else None
        if self._has_contexts and message.close_socket:
            self._close(NORMAL)
        elif self._has_contexts and message.close_context:
            await self._close_context(context_id, message.played_ms)
        elif (context := await self._context(context_id, message)) is not None:
            context.heard_from = self._heard_from
            text = message.text or ""
            ends = self._query.get("auto_mode") == "true" and _PHRASE.search(text) is not None
            await context.write(f"{text} " if ends and not text[-1].isspace() else text)
            if message.flush or ends:
                context.flush()
            if not self._has_contexts and message.text == "" and self._code is None:
                self._close(NORMAL)

    async def _context(self, context_id: str | None, message: ClientMessage) -> Context | None:
        """The one that is meant; None where it is not there, and need not be or cannot."""
        if (context := self._open.get(context_id)) is not None:
            return context
        if self._has_contexts and not message.text:
            return None
        if len(self._open) >= MOST_CONTEXTS or len(self._open) + self._ending >= MOST_ENDING:
            error = InvalidRequestError(
                f"At most {MOST_CONTEXTS} contexts can be open at once, and {MOST_ENDING} spoken; close one first.",
                code="too_many_contexts",
            )
            await self._line.send(error_message(error, context_id))
            return None
        context = Context(
            context_id,
            self._line,
            self._tasks,
            prepare=partial(self._prepare, message.voice_settings),
            output=self._output,
            broken_off=self._broken_off,
        )
        self._open[context_id] = context
        return context

    async def _close_context(self, context_id: str | None, played_ms: float | None) -> None:
        context = self._open.get(context_id) or self._closed.get(context_id)
        if context is None:
            return
        if played_ms is not None:
            async with context.telling:
                told = await context.interrupt(played_ms / 1_000)
                await self._line.send({**msgspec.structs.asdict(told), **context.name})
        self._let_end(context)

    def _patience(self) -> float:
        """Seconds until something is to be done though nothing comes."""
        due = [self._heard_from + self._inactivity]
        for context in self._open.values():
            due += [at for at in (context.rests_at, context.heard_from + self._inactivity) if at is not None]
        return max(min(due) - time.monotonic(), SHORTEST_SECONDS)

    def _look_around(self) -> None:
        """Nothing has come for a while, or the server stops."""
        now = time.monotonic()
        if self._line.draining:
            self._close(RESTART, "The server stops.")
            return
        for context in list(self._open.values()):
            if context.rests_at is not None and context.rests_at <= now:
                context.rest()
            if self._has_contexts and context.heard_from + self._inactivity <= now:
                self._let_end(context)
        busy = self._has_contexts and (self._open or self._ending)
        if self._heard_from + self._inactivity <= now and not busy:
            self._close(POLICY, f"No new text came within {self._inactivity:g} s.")

    # --- how it ends ------------------------------------------------------------------------------------------

    async def _refuse(self, error: SpeechError) -> None:
        await self._line.send(error_message(error, None))
        self._close(POLICY, error.message)

    def _close(self, code: int, reason: str = "") -> None:
        """Take nothing more, and close the socket when all is said."""
        self._code, self._reason = code, reason.encode()[:MAX_REASON].decode(errors="ignore")
        for context in list(self._open.values()):
            self._let_end(context)
        self._look_whether_over()

    def _let_end(self, context: Context) -> None:
        if self._open.pop(context.id, None) is None:
            return
        context.close()
        self._closed[context.id] = context
        self._closed.move_to_end(context.id)
        while len(self._closed) > MOST_ENDING:
            self._closed.popitem(last=False)
        self._ending += 1
        self._tasks.create_task(self._end(context))

    async def _end(self, context: Context) -> None:
        await context.ended()
        if context.error is None:
            async with context.telling:
                await self._line.send({"audio": None, "isFinal": True, "is_final": True, **context.name})
        self._ending -= 1
        self._look_whether_over()

    def _broken_off(self, context: Context) -> None:
        """A context's speech has failed, which was told, or was interrupted."""
        if self._has_contexts:
            if (
                context.error is None
            ):  # else it stays until it is closed, and what is written to it is dropped
                self._let_end(context)
        elif context.error is not None:
            self._close(POLICY, context.error.message)
        else:
            self._close(NORMAL)

    def _look_whether_over(self) -> None:
        if self._code is not None and not self._open and not self._ending:
            self._over.set()

    # --- what is spoken ---------------------------------------------------------------------------------------

    def _prepare(self, settings: VoiceSettings | None, feed: TextFeed) -> Speech:
        number, self._speeches = self._speeches, self._speeches + 1
        return prepare_utterance(self._line, self._service, self._wanted(settings), feed, number=number)

    def _wanted(self, settings: VoiceSettings | None) -> SpeechRequest:
        return wanted(
            text="",
            voice=self._voice,
            model_id=self._query.get("model_id"),
            settings=settings,
            seed=None,
            output=self._output,
            word_times=True,
        )


def inactivity_seconds(asked: str | None) -> float:
    """How long nothing may come, if the query asks for so much; what is no number is as if nothing was asked for."""
    try:
        seconds = float(asked or INACTIVITY_SECONDS)
    except ValueError:
        seconds = math.nan
    return INACTIVITY_SECONDS if math.isnan(seconds) else min(max(seconds, 1.0), LONGEST_INACTIVITY)


VoiceId = Annotated[
    str, PathParameter(description="A voice's id or one of its other names, such as OpenAI's.")
]


@websocket("/v1/text-to-speech/{voice_id:str}/stream-input")
async def stream_input(socket: AnySocket, voice_id: VoiceId, service: NamedDependency[SpeechService]) -> None:
    """Serve a socket for one text."""
    await _serve(socket, voice_id, service, has_contexts=False)


@websocket("/v1/text-to-speech/{voice_id:str}/multi-stream-input")
async def multi_stream_input(
    socket: AnySocket, voice_id: VoiceId, service: NamedDependency[SpeechService]
) -> None:
    """Serve a socket for several contexts."""
    await _serve(socket, voice_id, service, has_contexts=True)


async def _serve(socket: AnySocket, voice_id: str, service: SpeechService, *, has_contexts: bool) -> None:
    line = Line(socket)
    await line.accept()
    query = {name: str(value) for name, value in socket.query_params.items()}
    await Session(line, service, voice_id, query, has_contexts=has_contexts).run()
