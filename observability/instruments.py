"""Every metric Kvorum exposes, declared once: name, kind, unit, labels, meaning.

Names follow OpenTelemetry's semantic conventions where they have one, in Prometheus' spelling
(`gen_ai.server.time_to_first_token`, unit s → `gen_ai_server_time_to_first_token_seconds`), and
`kvorum_` elsewhere. `vllm:` names repeat three gauges, because they are what the Gateway API
Inference Extension's model server protocol (its proposal 003) tells endpoint pickers to read.
"""

from enum import StrEnum
from typing import Final

import msgspec


class MetricKind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Instrument(msgspec.Struct, frozen=True):
    """One metric family. A counter's name carries `_total`, as on the wire."""

    name: str
    kind: MetricKind
    unit: str
    """"s", "1" for a ratio, or what is counted."""
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# http.server.request.duration has bounds up to 10 s (stable); generations take longer.
_HTTP_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0),
)
_GENERATION_BUCKETS: Final = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
# The convention's bounds, and 0.2, 0.3 and 2 s: an alert on an objective needs its exact bound.
_FIRST_TOKEN_BUCKETS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 2.0, 2.5),
    *(5.0, 7.5, 10.0),
)
# The convention starts at 10 ms; a large GPU makes a token in 3 to 10 ms.
_OUTPUT_TOKEN_BUCKETS: Final = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)

_GEN_AI_LABELS: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

# What requests took, from records.
HTTP_DURATION: Final = Instrument(
    "http_server_request_duration_seconds",
    MetricKind.HISTOGRAM,
    "s",
    "From the head of the request to the last byte of the answer; a stream counts to its end. "
    'Status "none": the client left before one was sent. Route "unmatched": no route took it.',
    ("method", "route", "status"),
    _HTTP_BUCKETS,
)
GENERATION_DURATION: Final = Instrument(
    "gen_ai_server_request_duration_seconds",
    MetricKind.HISTOGRAM,
    "s",
    "From the start of a generation to its last token or its failure; error_type is empty if it "
    "went well.",
    (*_GEN_AI_LABELS, "error_type"),
    _GENERATION_BUCKETS,
)
TIME_TO_FIRST_TOKEN: Final = Instrument(
    "gen_ai_server_time_to_first_token_seconds",
    MetricKind.HISTOGRAM,
    "s",
    "From the start of a generation to its first token, tokenizing, queue and prefill included; "
    "generations without a fault only.",
    _GEN_AI_LABELS,
    _FIRST_TOKEN_BUCKETS,
)
TIME_PER_OUTPUT_TOKEN: Final = Instrument(
    "gen_ai_server_time_per_output_token_seconds",
    MetricKind.HISTOGRAM,
    "s",
    "Mean time between the tokens of one answer, the first excluded; generations without a fault "
    "only.",
    _GEN_AI_LABELS,
    _OUTPUT_TOKEN_BUCKETS,
)
FROM_RECORDS: Final = (
    HTTP_DURATION,
    GENERATION_DURATION,
    TIME_TO_FIRST_TOKEN,
    TIME_PER_OUTPUT_TOKEN,
)

# What the engine says of itself, read at each scrape.
REQUESTS_RUNNING: Final = Instrument(
    "kvorum_requests_running",
    MetricKind.GAUGE,
    "requests",
    "Requests that hold KV blocks and take part in steps.",
)
REQUESTS_WAITING: Final = Instrument(
    "kvorum_requests_waiting",
    MetricKind.GAUGE,
    "requests",
    "Requests that wait to be admitted, preempted ones included.",
)
KV_BLOCKS_USED: Final = Instrument(
    "kvorum_kv_blocks_used", MetricKind.GAUGE, "blocks", "KV blocks that running requests hold."
)
KV_BLOCKS: Final = Instrument(
    "kvorum_kv_blocks", MetricKind.GAUGE, "blocks", "KV blocks there are."
)
ENGINE_STEPS: Final = Instrument(
    "kvorum_engine_steps_total", MetricKind.COUNTER, "steps", "Forward passes since start."
)
PROMPT_TOKENS: Final = Instrument(
    "kvorum_prompt_tokens_total",
    MetricKind.COUNTER,
    "tokens",
    "Prompt tokens of admitted requests.",
)
GENERATED_TOKENS: Final = Instrument(
    "kvorum_generated_tokens_total", MetricKind.COUNTER, "tokens", "Tokens sampled."
)
REQUEST_FINISHES: Final = Instrument(
    "kvorum_request_finishes_total",
    MetricKind.COUNTER,
    "requests",
    "Requests that ended, by finish reason; every reason is there from the start.",
    ("reason",),
)
PREEMPTIONS: Final = Instrument(
    "kvorum_preemptions_total",
    MetricKind.COUNTER,
    "preemptions",
    "Times a running request gave its blocks back and waited again.",
)
ENGINE_RESTARTS: Final = Instrument(
    "kvorum_engine_restarts_total",
    MetricKind.COUNTER,
    "restarts",
    "Times the engine process died and was started again; its own counters begin at 0 then.",
)
VLLM_RUNNING: Final = Instrument(
    "vllm:num_requests_running",
    MetricKind.GAUGE,
    "requests",
    "kvorum_requests_running under the name endpoint pickers read.",
    ("model_name",),
)
VLLM_WAITING: Final = Instrument(
    "vllm:num_requests_waiting",
    MetricKind.GAUGE,
    "requests",
    "kvorum_requests_waiting under the name endpoint pickers read.",
    ("model_name",),
)
VLLM_KV_CACHE_USAGE: Final = Instrument(
    "vllm:kv_cache_usage_perc",
    MetricKind.GAUGE,
    "1",
    "KV blocks used of those there are, 0 to 1, under the name endpoint pickers read.",
    ("model_name",),
)
FROM_ENGINE: Final = (
    REQUESTS_RUNNING,
    REQUESTS_WAITING,
    KV_BLOCKS_USED,
    KV_BLOCKS,
    ENGINE_STEPS,
    PROMPT_TOKENS,
    GENERATED_TOKENS,
    REQUEST_FINISHES,
    PREEMPTIONS,
    ENGINE_RESTARTS,
    VLLM_RUNNING,
    VLLM_WAITING,
    VLLM_KV_CACHE_USAGE,
)

# How telemetry itself fares.
SPANS_RECORDED: Final = Instrument(
    "kvorum_telemetry_spans_recorded_total",
    MetricKind.COUNTER,
    "spans",
    "Spans made of sampled requests.",
)
SPANS_EXPORTED: Final = Instrument(
    "kvorum_telemetry_spans_exported_total",
    MetricKind.COUNTER,
    "spans",
    "Spans a collector took.",
)
SPANS_DROPPED: Final = Instrument(
    "kvorum_telemetry_spans_dropped_total",
    MetricKind.COUNTER,
    "spans",
    "Spans lost to a full queue or a failed export.",
)
FROM_TELEMETRY: Final = (SPANS_RECORDED, SPANS_EXPORTED, SPANS_DROPPED)


def describe() -> str:
    """All instruments as a Markdown page, for `docs/metrics.md`."""
    groups = (
        ("From finished requests", FROM_RECORDS),
        ("From the engine, at each scrape", FROM_ENGINE),
        ("From telemetry itself", FROM_TELEMETRY),
    )
    lines = [
        "# Metrics",
        "",
        "`GET /metrics` answers in Prometheus' text format, or in OpenMetrics if the scraper asks "
        "for it; only the latter carries exemplars: the trace id of a request in each bucket.",
        "The `process_*` metrics of prometheus-client (memory, CPU, descriptors) are there too.",
    ]
    for title, instruments in groups:
        lines += ["", f"## {title}", "", "| name | kind | unit | labels | meaning |"]
        lines.append("|---|---|---|---|---|")
        for one in instruments:
            labels = ", ".join(f"`{label}`" for label in one.labels) or "-"
            lines.append(f"| `{one.name}` | {one.kind} | {one.unit} | {labels} | {one.help} |")
    lines += ["", "## Buckets", "", "| histogram | upper bounds in seconds |", "|---|---|"]
    for one in FROM_RECORDS:
        bounds = ", ".join(f"{bound:g}" for bound in one.buckets)
        lines.append(f"| `{one.name}` | {bounds} |")
    return "\n".join(lines) + "\n"
