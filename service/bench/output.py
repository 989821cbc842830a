"""What programs and browsers read: JSON and pages."""

from __future__ import annotations

from pathlib import Path

import msgspec

from observability.bench.errors import CannotKeep


def to_json(value: object) -> str:
    """Indented."""
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def write_page(path: str, page: str) -> None:
    """Raises `CannotKeep`."""
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise CannotKeep(f"the report cannot be written: {error}") from None
