import re

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as plain_families

from observability.engine_gauges import EngineGauges
from observability.instruments import (
    FROM_ENGINE,
    FROM_RECORDS,
    FROM_TELEMETRY,
    MetricKind,
    describe,
)
from observability.metrics import Metrics
from observability.record import RequestRecord
from observability.span_counts import SpanCounts
from tests.observability.records import TRACE, at, generation, request

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
ROUTES = ["/v1/chat/completions", "/v1/models"]
ENGINE = EngineGauges(
    model_name="kvorum-mini",
    requests_running=3,
    requests_waiting=5,
    blocks_used=25,
    blocks_total=100,
    steps=1000,
    prompt_tokens=12_000,
    generated_tokens=3_000,
    preemptions=2,
    finishes={"stop": 7, "length": 1},
)

Labels = frozenset[tuple[str, str]]


def samples(families: list[Metric]) -> dict[tuple[str, Labels], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def scraped(metrics: Metrics) -> dict[tuple[str, Labels], float]:
    body, _ = metrics.render(None)
    return samples(list(plain_families(body.decode())))


def observed(*records: RequestRecord) -> dict[tuple[str, Labels], float]:
    metrics = Metrics(ROUTES)
    for record in records:
        metrics.observe(record)
    return scraped(metrics)


def count(found: dict[tuple[str, Labels], float], name: str) -> float:
    return sum(value for (one, _), value in found.items() if one == f"{name}_count")


def total(found: dict[tuple[str, Labels], float], name: str) -> float:
    return sum(value for (one, _), value in found.items() if one == f"{name}_sum")


def test_the_engine_is_there_with_all_finish_reasons_before_anything_happened() -> None:
    found = scraped(Metrics(ROUTES))
    reasons = {
        dict(labels)["reason"]: value
        for (name, labels), value in found.items()
        if name == "kvorum_request_finishes_total"
    }
    assert reasons == dict.fromkeys(["stop", "length", "abort", "timeout", "error"], 0)
    assert found["kvorum_requests_running", frozenset()] == 0
    assert not [name for name, _ in found if name.startswith("vllm:")]


def test_a_scrape_shows_the_latest_snapshot_of_the_engine() -> None:
    metrics = Metrics(ROUTES, lambda: SpanCounts(recorded=9, exported=6, dropped=2))
    metrics.set_engine(EngineGauges(model_name="other", steps=1))
    metrics.set_engine(ENGINE)
    found = scraped(metrics)
    model = frozenset({("model_name", "kvorum-mini")})
    expected: dict[tuple[str, Labels], float] = {
        ("kvorum_requests_running", frozenset()): 3,
        ("kvorum_requests_waiting", frozenset()): 5,
        ("kvorum_kv_blocks_used", frozenset()): 25,
        ("kvorum_kv_blocks", frozenset()): 100,
        ("kvorum_engine_steps_total", frozenset()): 1000,
        ("kvorum_prompt_tokens_total", frozenset()): 12_000,
        ("kvorum_generated_tokens_total", frozenset()): 3_000,
        ("kvorum_preemptions_total", frozenset()): 2,
        ("kvorum_request_finishes_total", frozenset({("reason", "stop")})): 7,
        ("kvorum_request_finishes_total", frozenset({("reason", "length")})): 1,
        ("kvorum_request_finishes_total", frozenset({("reason", "error")})): 0,
        ("vllm:num_requests_running", model): 3,
        ("vllm:num_requests_waiting", model): 5,
        ("vllm:kv_cache_usage_perc", model): 0.25,
        ("kvorum_telemetry_spans_recorded_total", frozenset()): 9,
        ("kvorum_telemetry_spans_exported_total", frozenset()): 6,
        ("kvorum_telemetry_spans_dropped_total", frozenset()): 2,
    }
    assert found.items() >= expected.items()


def test_no_blocks_at_all_is_no_division_by_zero() -> None:
    metrics = Metrics(ROUTES)
    metrics.set_engine(EngineGauges(model_name="m"))
    assert scraped(metrics)["vllm:kv_cache_usage_perc", frozenset({("model_name", "m")})] == 0


def test_a_record_becomes_four_observations() -> None:
    found = observed(request())
    assert total(found, "http_server_request_duration_seconds") == pytest.approx(0.414)
    assert total(found, "gen_ai_server_request_duration_seconds") == pytest.approx(0.411)
    assert total(found, "gen_ai_server_time_to_first_token_seconds") == pytest.approx(0.130)
    # 280 ms for the 95 tokens after the first
    pace = total(found, "gen_ai_server_time_per_output_token_seconds")
    assert pace == pytest.approx(0.280 / 95)
    labels = {
        ("gen_ai_operation_name", "chat"),
        ("gen_ai_provider_name", "kvorum"),
        ("gen_ai_request_model", "kvorum-mini"),
    }
    assert ("gen_ai_server_time_to_first_token_seconds_count", frozenset(labels)) in found


def test_choices_decode_side_by_side_and_do_not_make_the_pace_look_faster() -> None:
    found = observed(request(generation=generation(choice_count=4, output_tokens=4 * 96)))
    pace = total(found, "gen_ai_server_time_per_output_token_seconds")
    assert pace == pytest.approx(0.280 / 95)


def test_a_failed_generation_counts_in_the_duration_only_and_under_its_error() -> None:
    found = observed(request(generation=generation(error_type="engine_error")))
    assert count(found, "gen_ai_server_request_duration_seconds") == 1
    assert count(found, "gen_ai_server_time_to_first_token_seconds") == 0
    assert count(found, "gen_ai_server_time_per_output_token_seconds") == 0
    assert [labels for _, labels in found if ("error_type", "engine_error") in labels]


@pytest.mark.parametrize("changes", [{"output_tokens": 1}, {"decode": None}])
def test_a_single_token_has_no_pace(changes: dict[str, None]) -> None:
    found = observed(request(generation=generation(**changes)))
    assert count(found, "gen_ai_server_time_to_first_token_seconds") == 1
    assert count(found, "gen_ai_server_time_per_output_token_seconds") == 0


def test_clocks_that_disagree_never_make_a_negative_time() -> None:
    late = generation(first_token_ns=at(-5), start_ns=at(3), end_ns=at(2))
    found = observed(request(start_ns=at(9), end_ns=at(8), generation=late))
    assert total(found, "http_server_request_duration_seconds") == 0
    assert total(found, "gen_ai_server_time_to_first_token_seconds") == 0


def test_clients_cannot_invent_series() -> None:
    noise = [
        request(method=f"M{i}", route=f"/{i}", path=f"/{i}", status_code=404, generation=None)
        for i in range(50)
    ]
    found = observed(*noise, request(route=None, status_code=None, generation=None))
    series = {
        labels for name, labels in found if name == "http_server_request_duration_seconds_count"
    }
    assert series == {
        frozenset({("method", "_OTHER"), ("route", "unmatched"), ("status", "404")}),
        frozenset({("method", "POST"), ("route", "unmatched"), ("status", "none")}),
    }


def test_a_traced_request_leaves_its_trace_id_in_openmetrics_only() -> None:
    metrics = Metrics(ROUTES)
    metrics.set_engine(ENGINE)
    metrics.observe(request(), is_traced=True)
    body, content_type = metrics.render(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    found: dict[str, list[dict[str, str]]] = {}
    for family in openmetrics_families(body.decode()):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            if sample.exemplar:
                found.setdefault(family.name, []).append(sample.exemplar.labels)
    ids = {"trace_id": TRACE.trace_id, "span_id": TRACE.span_id}
    assert found == {instrument.name: [ids] for instrument in FROM_RECORDS}
    assert TRACE.trace_id not in metrics.render("text/plain")[0].decode()


def test_an_untraced_request_leaves_no_exemplar() -> None:
    metrics = Metrics(ROUTES)
    metrics.observe(request(), is_traced=False)
    assert TRACE.trace_id not in metrics.render(OPENMETRICS)[0].decode()


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "text/plain"),
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/html", "text/plain"),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", "text/plain"),
        ("application/openmetrics-text", "application/openmetrics-text"),
        ("application/openmetrics-text;version=banana", "application/openmetrics-text"),
        ("application/openmetrics-text;version=;escaping=", "application/openmetrics-text"),
    ],
)
def test_every_accept_header_gets_an_exposition(accept: str | None, media_type: str) -> None:
    body, content_type = Metrics(ROUTES).render(accept)
    assert content_type.partition(";")[0] == media_type
    assert b"kvorum_requests_running 0.0\n" in body


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_every_declared_instrument_is_exposed_with_its_kind_and_help(accept: str | None) -> None:
    metrics = Metrics(ROUTES)
    metrics.set_engine(ENGINE)
    metrics.observe(request())
    parse = openmetrics_families if accept else plain_families
    families = {family.name: family for family in parse(metrics.render(accept)[0].decode())}
    for one in (*FROM_RECORDS, *FROM_ENGINE, *FROM_TELEMETRY):
        family = families.pop(one.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (str(one.kind), one.help)
        assert family.samples
    # prometheus-client states when a series began, and the process's own numbers
    rest = [n for n in families if not n.startswith("process_") and not n.endswith("_created")]
    assert rest == []


def test_names_follow_the_rules_and_are_declared_once() -> None:
    declared = [*FROM_RECORDS, *FROM_ENGINE, *FROM_TELEMETRY]
    assert len({one.name for one in declared}) == len(declared)
    for one in declared:
        assert re.fullmatch(r"(kvorum_|gen_ai_|http_|vllm:)[a-z_]+", one.name)
        assert one.name.endswith("_total") == (one.kind is MetricKind.COUNTER)
        assert one.help.endswith(".")
        assert one.unit
        assert list(one.buckets) == sorted(set(one.buckets))
        assert bool(one.buckets) == (one.kind is MetricKind.HISTOGRAM)


def test_the_page_describes_every_instrument() -> None:
    page = describe()
    for one in (*FROM_RECORDS, *FROM_ENGINE, *FROM_TELEMETRY):
        assert f"| `{one.name}` | {one.kind} | {one.unit} |" in page
        assert one.help in page


def test_two_registries_do_not_know_each_other() -> None:
    first, second = Metrics(ROUTES), Metrics(ROUTES)
    first.observe(request())
    assert count(scraped(second), "http_server_request_duration_seconds") == 0
