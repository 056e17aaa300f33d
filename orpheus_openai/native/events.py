"""GET /api/events: what happens in the server, as server-sent events."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from typing import Any

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.openapi.spec import Example, OpenAPIResponse

from orpheus_openai.events import EventHub
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.delivery import start
from orpheus_openai.http.openapi import event_stream, operation
from orpheus_openai.http.responses import StreamResponse
from orpheus_openai.limits.caller import Caller
from orpheus_openai.native.status import StatusBoard
from orpheus_openai.speech.seen import Seen
from orpheus_openai.speech.service import SpeechService

SAMPLE_SECONDS = 1.0
STATUS_EVERY = 10
"""Samples from one `status` event to the next; it also keeps proxies from closing a quiet connection."""


class Pulse:
    """Publishes GPU samples and the status for all listeners together, for as long as there is one."""

    def __init__(self, events: EventHub, monitor: GPUMonitor) -> None:
        self._events = events
        self._monitor = monitor
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def beating(self) -> Generator[None]:
        """There is one listener more inside the block."""
        self._listeners += 1
        if self._task is None:
            self._task = asyncio.create_task(self._beat(), name="pulse")
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._task.cancel()
                self._task = None

    async def _beat(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            beats += 1
            sample = await self._monitor.sample()
            if sample.gpus:
                self._events.publish("gpu.sample", gpus=sample.gpus)
            if beats % STATUS_EVERY == 0:
                self._events.publish("status")  # each listener's own is read for them


_EXAMPLE = Example(
    summary="A model is loaded and speaks",
    value='id: 7\nevent: model.state\ndata: {"model":"medium-3b","state":"ready","load_seconds":21.4}\n\n'
    'id: 8\nevent: speech.started\ndata: {"id":"req_1a2b","load_seconds":21.4}\n\n',
)

_OPERATION = operation(
    answers={
        "200": OpenAPIResponse(
            description="Events, until either side hangs up.",
            content={"text/event-stream": event_stream(_EXAMPLE)},
        )
    },
)


@get(
    "/events",
    tags=["Server"],
    operation_id="events",
    summary="Follow events as they happen",
    operation_class=_OPERATION,
)
async def events(
    request: Request[Any, Any, Any],
    service: NamedDependency[SpeechService],
    board: NamedDependency[StatusBoard],
    pulse: NamedDependency[Pulse],
) -> StreamResponse:
    """Server-sent events; each has an `id`, an `event` that is its type, and JSON as `data`.

    The first is `status`, the body of `/api/status`, and it comes again every ten seconds. `model.state`
    tells of a model's every change, `model.draining` that an offload waits for its speech to end, for how many
    `seconds` at most (null: no more); `speech.queued`, `speech.started`, `speech.segment`, `speech.progress`
    and `speech.ended` of every speech, by its id, which is the `x-request-id` of its answer, and
    `speech.underrun` that its listener had to wait for more, `speech.words` when its words sound, where that was
    asked for with `word_times`; `model.download` how far a model's file is on its way; `gpu.sample` of the GPUs each
    second, where there are any. `events.lost` says how many events a slow listener missed.

    Where there are several keys, each hears of its own speeches, an admin's of all.

    In a browser: `new EventSource("/api/events").addEventListener("model.state", event => …)`.
    """
    stream = await start(_stream(service.events, board, pulse, service.seen, caller_of(request.scope)))
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would hold events back
    return StreamResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(
    hub: EventHub, board: StatusBoard, pulse: Pulse, seen: Seen, caller: Caller
) -> AsyncGenerator[bytes]:
    # Subscribed before the status is read, so that nothing falls between the two.
    with hub.subscribe() as happenings, pulse.beating():
        yield _event(0, "status", await board.read(caller))
        async for event in happenings:
            if event.owner is not None and not caller.may_see(event.owner):
                continue
            data: Any = event.data
            if event.type == "status":
                data = await board.read(caller)
            elif event.type == "gpu.sample":
                data = {"gpus": seen.gpus(caller, data["gpus"])}
            yield _event(event.id, event.type, data)


def _event(number: int, kind: str, data: Any) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), msgspec.json.encode(data))
