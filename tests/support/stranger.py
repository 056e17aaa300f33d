"""Clients that send what they should not, many at once, and look at what they are told."""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools
import msgspec

from orpheus_openai.http.error_body import ErrorBody
from tests.support.malformed import Malformed, Manner, conversation

AT_ONCE = 24
MOMENT = 0.05
"""Seconds that a client waits where nobody can say whether an answer is due, or when it will end."""
PATIENCE = 60
"""Seconds after which an answer that is due is stuck, however busy the machine is."""
A_BIT = 20_000
"""Bytes after which such a client has heard enough."""

MEANT = {(503, "model_offloading"), (503, "model_loading")}
"""Failures that anybody can bring about, by an offload by force: status and code. All others are faults."""


@dataclass
class Findings:
    """What was heard: how often which status, and everything that should not have been."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass
class _Answer:
    """One answer, as far as it came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False


async def meet(url: str, seed: int, numbers: range) -> Findings:
    """Have all these conversations with a server."""
    address = urlsplit(url)
    findings = Findings()
    waiting = iter(numbers)

    async def talk_on() -> None:
        for number in waiting:
            said = conversation(seed, number)
            answers, faults = await _talk(str(address.hostname), address.port or 80, said)
            findings.statuses.update(answer.status for answer in answers)
            faults += [fault for answer in answers for fault in _faults(answer)]
            findings.faults += [
                f"{seed}/{number}, {said.kind}: {fault}\n  {said.data[:400]!r}" for fault in faults
            ]

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(talk_on())
    return findings


async def _talk(host: str, port: int, said: Malformed) -> tuple[list[_Answer], list[str]]:
    """The answers of one connection, and what is wrong with how they came."""
    reader, writer = await asyncio.open_connection(host, port)
    received, reset = b"", False
    try:
        writer.write(said.data)
        try:
            async with asyncio.timeout(PATIENCE):
                if said.manner is Manner.LEAVES:
                    await writer.drain()
                elif said.manner is Manner.READS:
                    received = await reader.read()
                else:
                    received = await _what_comes(reader)
        except ConnectionError:
            reset = True  # a server that has heard enough may hang up on what is still being sent
        except TimeoutError:
            return [], [f"stuck after {received[-200:]!r}"]
    finally:
        _hang_up(writer)
    answers = _parsed(received, head=said.head)
    if said.manner is Manner.READS and not reset:
        if not answers:
            return [], ["no answer"]
        if not answers[-1].whole and answers[-1].status != 200:
            return answers, ["half an answer"]
    return answers, []


async def _what_comes(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MOMENT):
            while len(received) < A_BIT and (data := await reader.read(65_536)):
                received += data
    return received


def _hang_up(writer: asyncio.StreamWriter) -> None:
    """At once, as a process does that dies: the other side is told by a reset."""
    connection: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _parsed(received: bytes, *, head: bool) -> list[_Answer]:
    """The answers in what was received; with `head`, the one there is has no body."""
    answers: list[_Answer] = []

    class Reading:
        def on_message_begin(self) -> None:
            answers.append(_Answer())

        def on_header(self, name: bytes, value: bytes) -> None:
            answers[-1].headers[name.decode("latin-1").lower()] = value.decode("latin-1")

        def on_headers_complete(self) -> None:
            answers[-1].status = parser.get_status_code()

        def on_body(self, body: bytes) -> None:
            answers[-1].body += body

        def on_message_complete(self) -> None:
            answers[-1].whole = True

    parser = httptools.HttpResponseParser(Reading())
    parser.feed_data(received.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head and received else received)
    return [answer for answer in answers if answer.status >= 200]


def _faults(answer: _Answer) -> list[str]:
    """What is wrong with an answer."""
    faults = []
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    # What is no HTTP, or has no end, is answered before there is a request.
    unheard = answer.status == 431 or (
        answer.status == 400 and (not answer.body or b'"invalid_http"' in answer.body)
    )
    if not unheard and not answer.headers.get("x-request-id", "").startswith("req_"):
        faults.append("no x-request-id")
    code: str | None = None
    if (
        answer.status >= 400
        and media_type == "application/json"
        and answer.whole
        and b'"jsonrpc"' not in answer.body
    ):
        try:
            code = msgspec.json.decode(answer.body, type=ErrorBody).error.code
        except msgspec.DecodeError:
            faults.append(f"{answer.status} without OpenAI's body: {answer.body[:300]!r}")
    if answer.status >= 500 and (answer.status, code) not in MEANT:
        faults.append(f"{answer.status} {code}: {answer.body[:300]!r}")
    return faults
