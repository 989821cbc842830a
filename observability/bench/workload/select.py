"""`workload_of`: from the words of the command line to a workload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from observability.bench.errors import WrongOption
from observability.bench.workload.jsonl_workload import JsonlWorkload
from observability.bench.workload.random_workload import RandomWorkload
from observability.bench.workload.shared_workload import SharedWorkload
from observability.bench.workload.trace_workload import TraceWorkload
from observability.bench.workload.turns_workload import TurnsWorkload

if TYPE_CHECKING:
    from collections.abc import Callable

    from observability.bench.workload.workload import Workload

POSSIBLE = (
    "W1, W2, W3, W4, random:IN,OUT, shared:PREFIX+IN,OUT[,GROUPS], turns:NxIN,OUT, jsonl:FILE, "
    "trace:FILE[,scale=N] (IN and OUT in tokens; 512~0.3 is 30 % around 512)"
)


def workload_of(words: str) -> Workload:
    """Not of a named workload: that gives words for this. Files are read here.

    Raises `WrongOption` with what is possible, or with the file and line that are wrong.
    """
    name, colon, rest = words.strip().partition(":")
    forms: dict[str, Callable[[str], Workload]] = {
        "random": RandomWorkload.of,
        "shared": SharedWorkload.of,
        "turns": TurnsWorkload.of,
        "jsonl": JsonlWorkload.of,
        "trace": TraceWorkload.of,
    }
    form = forms.get(name.lower())
    if form is None or not colon or not rest:
        raise WrongOption(f"there is no --workload {words!r}; possible are {POSSIBLE}")
    return form(rest)
