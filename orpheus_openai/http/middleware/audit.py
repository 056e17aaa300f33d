"""The audit log: one JSON line for each request, written by a thread of its own."""

import contextlib
import logging
import os
import queue
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.limits.caller import Caller
from orpheus_openai.speech.speech import Speech

STANDARD_OUTPUT = "-"
BACKLOG = 10_000
"""Lines that may wait for a slow disk; those beyond are lost, and the log says how many."""

logger = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line. What there was no speech for is null; times are in seconds."""

    time: datetime
    """When the request came."""
    id: str
    key: str | None
    address: str
    method: str
    path: str
    status: int
    """0: the client left before there was an answer."""
    seconds: float
    """From the request's arrival to the end of its answer."""
    model: str | None = None
    voice: str | None = None
    characters: int | None = None
    audio_seconds: float | None = None
    queue_seconds: float | None = None
    load_seconds: float | None = None
    first_audio_seconds: float | None = None
    outcome: str | None = None
    """`completed`, `cancelled` or what went wrong; null: it was refused before it began."""
    text: str | msgspec.UnsetType = msgspec.UNSET


def describe(
    request_id: str,
    caller: Caller,
    speech: Speech | None,
    *,
    method: str,
    path: str,
    status: int,
    seconds: float,
    with_text: bool,
) -> Entry:
    """What the log says of a request that has ended just now."""
    time = datetime.fromtimestamp(datetime.now(UTC).timestamp() - seconds, UTC)
    entry = Entry(
        time=time,
        id=request_id,
        key=caller.key,
        address=caller.address,
        method=method,
        path=path,
        status=status,
        seconds=round(seconds, 3),
    )
    if speech is None:
        return entry
    first = speech.first_audio_seconds
    return msgspec.structs.replace(
        entry,
        model=speech.model.id,
        voice=speech.voice.id,
        characters=len(speech.input),
        audio_seconds=round(speech.samples / SAMPLE_RATE, 3),
        queue_seconds=round(speech.queue_seconds, 3),
        load_seconds=round(speech.load_seconds, 3),
        first_audio_seconds=None if first is None else round(first, 3),
        outcome=speech.outcome,
        text=speech.input if with_text else msgspec.UNSET,
    )


class AuditLog:
    """Lines on their way to a file, which only its owner may read, or to standard output."""

    def __init__(self, target: str) -> None:
        """Start the thread; raises ConfigurationError when the file cannot be written."""
        self._path = None if target == STANDARD_OUTPUT else Path(target).expanduser()
        self._lines: queue.Queue[bytes | None] = queue.Queue(BACKLOG)
        self._lost = 0
        try:
            self._append(b"")
        except OSError as error:
            raise ConfigurationError(f"ORPHEUS_AUDIT_LOG={target}: cannot be written ({error})") from error
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def write(self, entry: Entry) -> None:
        """Hand a line over; never waits."""
        try:
            self._lines.put_nowait(msgspec.json.encode(entry) + b"\n")
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """Write what is left; takes as long as the disk does."""
        self._lines.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            batch = [self._lines.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._lines.get_nowait())
            closing = None in batch
            lost, self._lost = self._lost, 0
            if lost:
                logger.error("the audit log lost %d lines: they came faster than they could be written", lost)
            try:
                self._append(b"".join(filter(None, batch)))
            except OSError:
                logger.exception("the audit log could not be written; %d lines are lost", len(batch))

    def _append(self, lines: bytes) -> None:
        if self._path is None:
            sys.stdout.buffer.write(lines)
            sys.stdout.buffer.flush()
            return
        # Opened for each batch: a file that was moved away, to keep or to compress it, is begun anew.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(file, "ab") as log:  # noqa: PTH123  it is a descriptor
            log.write(lines)
