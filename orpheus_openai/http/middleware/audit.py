"""The audit log: one JSON line for each request, written off the event loop."""

import logging
import logging.handlers
import os
import queue
import sys
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

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
    voice: str | None = None,
) -> dict[str, Any]:
    """The line of a request that has ended just now; what there was no speech for is null, times are in seconds.

    `status` 0: the client left before there was an answer; `seconds` are those from the request's arrival to the end
    of its answer. Where an `outcome` is null the speech was refused before it began. `voice` is the
    one that was added or removed.
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
    if voice is not None:
        line["voice"] = voice
    if speech is not None and with_text:
        line["text"] = speech.input
    return line


class AuditLog:
    """Lines on their way to a file, which only its owner may read, or to standard output.

    They travel as logging's records, by its queue and its thread, but past its loggers: the level and the format of the
    server's own log do not concern them.
    """

    def __init__(self, target: str) -> None:
        """Start writing; raises ConfigurationError when the file cannot be written."""
        try:
            self._handler = (
                _AuditStream(sys.stdout)
                if target == STANDARD_OUTPUT
                else _OwnFile(Path(target).expanduser(), encoding="utf-8")
            )
        except OSError as error:
            raise ConfigurationError(f"ORPHEUS_AUDIT_LOG={target}: cannot be written ({error})") from error
        lines: queue.Queue[logging.LogRecord] = queue.Queue(BACKLOG)
        self._entrance = _Entrance(lines)
        self._listener = _Listener(lines, self._handler)
        self._listener.start()

    def write(self, line: dict[str, Any]) -> None:
        """Hand a line over; never waits."""
        self._entrance.emit(logging.makeLogRecord({"msg": msgspec.json.encode(line).decode()}))

    def close(self) -> None:
        """Write what is left; takes as long as the disk does."""
        self._listener.stop()
        self._entrance.tell_lost()
        self._handler.close()


class _AuditStream(logging.StreamHandler[TextIO]):
    """Tells the server's log of a line that cannot be written; logging itself writes a trace to standard error."""

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802  its name with logging
        logger.error("the audit log could not be written; a line is lost: %s", sys.exc_info()[1])


class _OwnFile(_AuditStream, logging.handlers.WatchedFileHandler):
    """Its owner's alone; when it was moved away, to keep or to compress it, it is begun anew."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it could not be begun anew; unlike a failure to write that is not dealt with there
            self.handleError(record)


class _Entrance(logging.handlers.QueueHandler):
    """Drops what the queue has no room for, and says how much that was when there is room again."""

    _lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost += 1
            return
        self.tell_lost()

    def tell_lost(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            logger.error("the audit log lost %d lines: they came faster than they could be written", lost)


class _Listener(logging.handlers.QueueListener):
    queue: queue.Queue[logging.LogRecord | None]

    def enqueue_sentinel(self) -> None:
        self.queue.put(None)  # logging's own fails where there is no room
