"""Plain WebSocket clients of /v1/audio/speech/stream: one as any language has it, and one that keeps no rules."""

import base64
import contextlib
import json
import socket
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from benchmarks.sockets import DOORS
from orpheus_openai.http.sockets import NORMAL

PATIENCE = 60
"""Seconds for what takes a moment on an idle machine."""
PCM = {"model": "preview", "voice": "tara", "response_format": "pcm", "stream_audio": True}


@dataclass
class Heard:
    """What came for one utterance."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    audio: list[bytes] = field(default_factory=list)

    def of(self, kind):
        return [message for message in self.messages if message["type"] == kind]

    @property
    def kinds(self):
        return [message["type"] for message in self.messages]


class Talk:
    """One socket."""

    def __init__(self, url, **options):
        self._address = url.replace("http", "ws", 1) + "/v1/audio/speech/stream"
        self._options = {"open_timeout": PATIENCE, "compression": None, "proxy": None, **options}
        self._opened = contextlib.ExitStack()

    def __enter__(self):
        self.socket = self._opened.enter_context(connect(self._address, **self._options))
        return self

    def __exit__(self, *_error):
        self._opened.close()

    def send(self, kind, **fields):
        self.socket.send(json.dumps({"type": kind, **fields}))

    def say(self, *texts, done=True):
        for text in texts:
            self.send("input.text", text=text)
        if done:
            self.send("input.done")

    def receive(self):
        message = self.socket.recv(timeout=PATIENCE)
        return message if isinstance(message, bytes) else json.loads(message)

    def until(self, kind, heard=None):
        """All up to the first message of that kind; `bytes`: of audio."""
        heard = heard or Heard()
        while True:
            message = self.receive()
            if isinstance(message, bytes):
                heard.audio.append(message)
                if kind is bytes:
                    return heard
            else:
                heard.messages.append(message)
                if message["type"] == kind:
                    return heard

    def closed(self):
        """The code it is closed with, whatever comes before."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.receive()
        return self.socket.close_code


class MutePeer:
    """A socket that sends the frames it is told to, and never answers the server's: no ping, no close."""

    def __init__(self, url, path="/v1/audio/speech/stream"):
        address = httpx.URL(url)
        self.socket = socket.create_connection((address.host, address.port), timeout=PATIENCE)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n".encode()
        )
        self.until(b"\r\n\r\n")

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.socket.close()

    def send(self, data, opcode=Opcode.TEXT, *, fin=True):
        self.socket.sendall(Frame(opcode, data, fin).serialize(mask=True))

    def until(self, part):
        """All that comes, up to what holds `part`, or to the end where it is None."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while (part is None or part not in received) and (data := self.socket.recv(65_536)):
                received += data
        return received


async def assert_sockets_pass(url, **options):
    """At each door speech comes while its text is written, and the server hears when the client closes the socket.

    By asyncio's client, in one thread: `Talk` has two, which TLS may not have (see `tls_in_front_of`).
    """
    for door in DOORS:
        async with await door.opened(url, **options) as opened:
            await door.write(opened, "Good morning, everybody, and welcome. This ")
            assert await door.heard(opened, beginning=True)
            await door.write(opened, "is the end. ", end=True)
            assert await door.heard(opened)
            await opened.close()
            assert opened.close_code == NORMAL
