"""The audit log: one JSON line for each request, written by a thread of its own."""

import contextlib
import logging
import os
import queue
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.limits.caller import Caller
from orpheus_openai.speech.report import FACTS
from orpheus_openai.speech.speech import Speech

STANDARD_OUTPUT = "-"
BACKLOG = 10_000
"""Lines that may wait for a slow disk; those beyond are lost, and the log says how many."""

logger = logging.getLogger(__name__)


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
) -> dict[str, Any]:
    """The line of a request that has ended just now; what there was no speech for is null, times are in seconds.

    `status` 0: the client left before there was an answer; `seconds` are those from the request's arrival to the end
    of its answer. Where an `outcome` is null the speech was refused before it began.
    """
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(datetime.now(UTC).timestamp() - seconds, UTC),
        "id": request_id,
        "key": caller.key,
        "address": caller.address,
        "method": method,
        "path": path,
        "status": status,
        "seconds": round(seconds, 3),
        **(dict.fromkeys(FACTS) if speech is None else speech.report().facts()),
    }
    if speech is not None and with_text:
        line["text"] = speech.input
    return line


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

    def write(self, line: dict[str, Any]) -> None:
        """Hand a line over; never waits."""
        try:
            self._lines.put_nowait(msgspec.json.encode(line) + b"\n")
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
