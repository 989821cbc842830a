"""A `Run` as rows of tables, and back. Pure: knows no database.

What no database takes is kept as well as can be: a zero character or half a surrogate pair becomes
a sign for the unknown; a value that is no number, or a count beyond 64 bits, a NULL.
"""

from __future__ import annotations

import json
import math
import struct
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from observability.bench.measured import Measured
from observability.bench.plan import Plan
from observability.bench.run import Lateness, Machine, Run, Sample
from observability.bench.store.schema import REQUEST_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Row = tuple[Any, ...]
"""Values as a driver takes and gives them: of the columns of `schema`, in their order."""
_MAX_INTEGER = 2**63 - 1


def run_row(run: Run) -> Row:
    """Of `RUN_COLUMNS`."""
    plan, target = run.plan, run.plan.target
    return (
        run.id,
        _clean(run.label),
        run.begun_at,
        datetime.fromisoformat(run.begun_at).timestamp(),
        _clean(without_password(target.url)),
        _clean(target.model),
        target.endpoint,
        target.protocol,
        _clean(plan.workload),
        _clean(plan.arrival),
        plan.num_requests,
        len(run.results),
        sum(1 for one in run.results if one.error),
        plan.num_processes,
        plan.max_concurrency,
        _kept(plan.seed),
        run.duration_s,
        *(_json(part) for part in (plan, run.machine, run.versions, run.lateness)),
    )


def request_rows(run: Run) -> Iterator[Row]:
    """Of `run_id`, `number`, `first_s` and `REQUEST_COLUMNS`."""
    for number, one in enumerate(run.results):
        yield (
            run.id,
            number,
            one.arrivals_s[0] if one.arrivals_s else None,
            *(_kept(getattr(one, column)) for column in REQUEST_COLUMNS),
        )


def sample_rows(run: Run) -> Iterator[Row]:
    """Of `run_id`, `number`, `at_s`, `name` and `value`."""
    for number, one in enumerate(run.samples):
        yield run.id, number, one.at_s, _clean(one.name), number_or_null(one.value)


def run_of(whole: Row, results: Sequence[Row], samples: Sequence[Row]) -> Run:
    """From rows of `WHOLE_COLUMNS`, `REQUEST_COLUMNS` and (`at_s`, `name`, `value`)."""
    run_id, label, begun_at, duration_s, plan, machine, versions, lateness = whole
    return Run(
        id=run_id,
        label=label,
        begun_at=begun_at,
        plan=msgspec.json.decode(plan, type=Plan),
        duration_s=duration_s,
        results=[_measured(row) for row in results],
        samples=[Sample(at_s, name, number_of(value)) for at_s, name, value in samples],
        lateness=msgspec.json.decode(lateness, type=Lateness),
        machine=msgspec.json.decode(machine, type=Machine),
        versions=msgspec.json.decode(versions, type=dict[str, str]),
    )


def number_or_null(value: float) -> float | None:
    """SQLite knows no other NaN."""
    return None if math.isnan(value) else float(value)


def number_of(value: float | None) -> float:
    """What `number_or_null` was given."""
    return math.nan if value is None else value


def without_password(url: str) -> str:
    """An address that may be shown: without a user and a password."""
    before, slashes, rest = url.partition("//") if "//" in url else ("", "", url)
    authority, slash, path = rest.partition("/")
    return f"{before}{slashes}{authority.rpartition('@')[2]}{slash}{path}"


def _measured(row: Row) -> Measured:
    values = dict(zip(REQUEST_COLUMNS, row, strict=True))
    packed = bytes(values.pop("arrivals_s"))
    arrivals_s = struct.unpack(f"<{len(packed) // 8}d", packed)
    return Measured(arrivals_s=list(arrivals_s), **values)


def _kept(value: object) -> object:
    match value:
        case str():
            return _clean(value)
        case list():
            return struct.pack(f"<{len(value)}d", *value)
        case int() if abs(value) > _MAX_INTEGER:
            return None
        case _:
            return value


def _json(value: object) -> str:
    # The standard library's encoder: msgspec's raises for half a surrogate pair.
    return _clean(json.dumps(msgspec.to_builtins(value), ensure_ascii=False))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
