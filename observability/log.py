"""Log lines on stderr: JSON for machines or text for people, with request and trace ids.

Only the fields listed here are taken from `extra=`, so that a prompt or an answer never gets into
a log by an attribute somebody passed along. `configure_logging` is the one place that touches the
process-wide logging tree; the command line calls it once.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

FIELDS: Final = (
    "request_id",
    "trace_id",
    "tenant",
    "method",
    "route",
    "status_code",
    "duration_s",
    "error_type",
    "model",
    "prompt_tokens",
    "output_tokens",
    "finish_reason",
    "first_token_s",
)
"""What `extra=` may carry; anything else in it is left out."""

# Text lines keep to one line whatever a client put into a path: no forged entries, no escapes.
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x0A: "\\n",
    0x0D: "\\r",
    0x09: "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def configure_logging(level: str, json: bool, stream: TextIO | None = None) -> None:
    """Replace all root handlers by one on `stream` (stderr). Raises ValueError for a bad level."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if json else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the known fields, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # half a surrogate pair, as file names may hold
            text = {
                name: str(value).encode(errors="replace").decode() for name, value in line.items()
            }
            return msgspec.json.encode(text).decode()


class TextFormatter(logging.Formatter):
    """`2026-11-03T10:00:00.123Z INFO  service.app: listening  request_id=…`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        message = f"{record.getMessage()}{fields}".translate(_CONTROL)
        line = f"{_timestamp(record)} {record.levelname:<7} {record.name}: {message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    present = {name: getattr(record, name, None) for name in FIELDS}
    return {name: value for name, value in present.items() if value is not None}


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
