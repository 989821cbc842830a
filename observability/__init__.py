"""Turns facts about finished requests into spans, metrics and log lines.

Knows OpenTelemetry, Prometheus and numbers; knows neither `service` nor `engine`. The hot path
only makes ids and timestamps; everything here happens after a request has ended.

Reading order: `record` (the facts) → `trace_context` (who called) → `span_tree` (facts to spans,
pure) → `span_pipeline` (spans to a collector) → `tracing` (the switch) → `instruments` and
`metrics` (facts to numbers) → `recorder` (the one call a route makes) → `log`.
"""
