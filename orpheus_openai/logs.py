"""The log: one line a record, for people or for machines, each with the id of its request."""

import contextvars
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from orpheus_openai.settings import Settings

current_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
"""Set around each request; tasks that it starts inherit it."""


class TextFormatter(logging.Formatter):
    """`12:00:00 info  message  [req_…]`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the trace below it where there is one."""
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():<7} {record.getMessage()}"
        if request_id := current_request_id.get():
            line += f"  [{request_id}]"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level, logger, message, request id, trace; and the record's `fields`, if it has some."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id.get():
            entry["request_id"] = request_id
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def configure_logging(settings: Settings) -> None:
    """Everything to standard error, in the chosen form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("uvicorn.access", "httpx", "httpcore", "gguf"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_told_by_none_else)


def _is_told_by_none_else(record: logging.LogRecord) -> bool:
    """Whether it is none of uvicorn's lines of which we have our own: for what is not HTTP, and for each socket.

    Those for sockets show what stands in the query, which may be a key.
    """
    return not str(record.msg).startswith(("Invalid HTTP request received", '%s - "WebSocket'))
