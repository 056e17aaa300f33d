"""An engine without a model: a completions server that answers with what it was given, as fast as it is read."""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np

from orpheus_openai.models.orpheus.frames import (
    CODEBOOK_SIZE,
    END_OF_SPEECH,
    FIRST_AUDIO_TOKEN,
    TOKENS_PER_FRAME,
)

Piece: TypeAlias = bytes | float | None
"""Of a stream: bytes to send, seconds of silence, or None where the connection breaks."""
Answer: TypeAlias = Sequence[Piece] | tuple[int, bytes] | tuple[int, bytes, str]
"""A stream as a list of pieces; or, as a tuple, a status, a body and more header lines."""

LISTED: Mapping[str, Any] = {"data": [{"id": "chat"}, {"id": "my-orpheus", "max_model_len": 2_048}]}
"""What `/v1/models` says: Orpheus beside another model, as some servers have it."""


def random_speech(frames: int, seed: int = 0) -> list[int]:
    """Return the token ids of an utterance of so many frames, noise all of it, with the end token."""
    codes = np.random.default_rng(seed).integers(0, CODEBOOK_SIZE, (frames, TOKENS_PER_FRAME))
    slots = CODEBOOK_SIZE * np.arange(TOKENS_PER_FRAME)
    return [*(FIRST_AUDIO_TOKEN + codes + slots).flatten().tolist(), END_OF_SPEECH]


def chunk(**choice: Any) -> bytes:
    """Return one event of a stream, with one choice."""
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def in_ids(ids: Sequence[int], *, size: int = TOKENS_PER_FRAME) -> list[Piece]:
    """Return the whole stream in which vLLM gives `ids`, `size` of them at a time."""
    pieces = [chunk(text="", token_ids=ids[start : start + size]) for start in range(0, len(ids), size)]
    return [*pieces, chunk(text="", token_ids=[], finish_reason="stop"), b"data: [DONE]\n\n"]


class ReplayServer:
    """Answers `/v1/models` and `/v1/completions` on 127.0.0.1, and remembers what it was asked.

    It gives `answers` in turn, and the last one for good. An async context manager, which may be entered
    again: it then comes back on the same port.
    """

    def __init__(self, *answers: Answer, models: object = LISTED, port: int = 0) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        """The requests, as they came."""
        self.keys: set[str | None] = set()
        """The `Authorization` headers, in lower case."""
        self.connections = 0
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        """Set when somebody goes away in the middle of an answer."""
        self.url = ""
        self._models = models
        self._port = port
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*(task for task in self._open if task is not None))
        self._open.clear()

    def answer_to(self, _body: Mapping[str, Any]) -> Answer:
        """Choose the answer to a request for a completion."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[asyncio.current_task()] = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.keys.add(headers.get("authorization"))
                if head.startswith("get"):
                    await _reply(writer, 200, json.dumps(self._models).encode())
                    continue
                self.bodies.append(json.loads(body))
                self.asked.set()
                answer = self.answer_to(self.bodies[-1])
                if isinstance(answer, tuple):
                    await _reply(writer, *answer)
                else:
                    await self._stream(reader, writer, answer)

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: Sequence[Piece]
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            if isinstance(piece, float):
                if await _gone(reader, piece):
                    self.left.set()
                    return
            elif piece is None:
                writer.transport.abort()
                return
            else:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _reply(writer: asyncio.StreamWriter, status: int, body: bytes, headers: str = "") -> None:
    writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)
    await writer.drain()


async def _gone(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Whether the other side hangs up within so many seconds."""
    try:
        return not await asyncio.wait_for(reader.read(1), seconds)
    except TimeoutError:
        return False
    except ConnectionError:
        return True
