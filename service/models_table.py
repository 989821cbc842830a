"""What would be served, or is: a table for people, JSON for programs. Pure: facts in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.models.families import TESTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.models.card import ModelCard


class ListedModel(msgspec.Struct, frozen=True, kw_only=True, rename={"name": "id"}):
    """One row; in JSON its name is `id`, as a server says it."""

    name: str
    aliases: tuple[str, ...] = ()
    kind: str
    architecture: str
    size_bytes: int
    dtype: str
    max_model_len: int
    support: str
    """"tested", or what else there is to say of its family."""
    path: str


def listed(models: Iterable[tuple[ModelCard, Sequence[str]]]) -> list[ListedModel]:
    """The rows of cards and their aliases."""
    return [
        ListedModel(
            name=card.name,
            aliases=tuple(aliases),
            kind=card.kind,
            architecture=card.architecture,
            size_bytes=card.size_bytes,
            dtype=f"{card.quantization} ({card.dtype})" if card.quantization else card.dtype,
            max_model_len=card.max_model_len,
            support=support_of(card.model_type),
            path=card.path,
        )
        for card, aliases in models
    ]


def support_of(model_type: str) -> str:
    """How well Kvorum knows a family that it does not refuse."""
    return "tested" if model_type in TESTED else "not tested"


def table(models: Sequence[ListedModel]) -> str:
    """Aligned columns under a line of titles."""
    rows = [
        (
            model.name,
            ", ".join(model.aliases) or "-",
            model.kind,
            model.architecture,
            size_text(model.size_bytes),
            model.dtype,
            f"{model.max_model_len:,}",
            model.support,
        )
        for model in models
    ]
    titles = ("NAME", "ALIASES", "KIND", "ARCHITECTURE", "SIZE", "DTYPE", "CONTEXT", "SUPPORT")
    return aligned([titles, *rows])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Text in columns, each as wide as its widest cell."""
    rows = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def size_text(num_bytes: int) -> str:
    """In the unit that leaves one to four digits before the point."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 2**10:.1f} KiB"


def _printable(text: str) -> str:
    """A name from elsewhere must not steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
