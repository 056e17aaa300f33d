"""A plain WebSocket client of /v1/audio/speech/stream, as any language has one."""

import base64
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

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
        address = url.replace("http", "ws", 1) + "/v1/audio/speech/stream"
        self.socket = connect(address, open_timeout=PATIENCE, compression=None, proxy=None, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.socket.close()

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


def spoken_at_elevenlabs_doors(url, **options):
    """How many bytes of audio each of ElevenLabs' sockets answers a sentence with, by its path."""
    found = {}
    for path, context, end in (
        ("stream-input", {}, {"text": ""}),
        ("multi-stream-input", {"context_id": "a"}, {"context_id": "a", "close_context": True}),
    ):
        address = f"{url.replace('http', 'ws', 1)}/v1/text-to-speech/tara/{path}?output_format=pcm_16000"
        with connect(address, open_timeout=PATIENCE, compression=None, proxy=None, **options) as opened:
            for message in ({"text": " ", **context}, {"text": "Hello there. ", **context}, end):
                opened.send(json.dumps(message))
            found[path], told = 0, {}
            while not told.get("isFinal"):
                told = json.loads(opened.recv(timeout=PATIENCE))
                found[path] += len(base64.b64decode(told.get("audio") or ""))
    return found
