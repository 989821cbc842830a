"""What is worth keeping of a server's metrics: pure, from Prometheus' text to series and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.samples import Sample

_PREFIXES = (
    "kvorum_",
    "vllm:",
    "sglang:",
    "llamacpp:",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
)
MAX_SERIES = 2000
_MAX_NAME = 400


def series_of(text: str) -> dict[str, float]:
    """Gauges and counters, sums and counts of histograms; names with labels as Prometheus writes.

    Of servers that are known, and of the process. Raises `ValueError` if it is no such text.
    """
    found: dict[str, float] = {}
    for line in _kept(text):
        name = _name(line)
        if len(name) <= _MAX_NAME:
            found[name] = line.value
        if len(found) >= MAX_SERIES:
            break
    return found


def _kept(text: str) -> Iterator[Sample]:
    try:
        for family in text_string_to_metric_families("\n".join(_wanted_lines(text))):
            is_summed = family.type in {"histogram", "summary", "gaugehistogram"}
            endings = ("_sum", "_count") if is_summed else ("",)
            for sample in family.samples:
                # When a series was made, and constants in labels, are no measurements.
                is_other = sample.name.endswith(("_created", "_info", "_bucket"))
                if sample.name.endswith(endings) and not is_other:
                    yield sample
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # All that the parser raises for texts that are none. Its own text may quote a long line.
        raise ValueError(f"is no text of Prometheus: {str(error)[:100]}") from None


def _wanted_lines(text: str) -> Iterable[str]:
    # Others are never parsed: servers have thousands. A newline alone ends a line.
    for line in text.split("\n"):
        bare = line.removeprefix("# TYPE ").lstrip()
        if bare.startswith(_PREFIXES):
            yield line


def _name(sample: Sample) -> str:
    if not sample.labels:
        return sample.name
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
