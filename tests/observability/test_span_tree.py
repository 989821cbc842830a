import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability import semconv
from observability.record import Interval, RequestRecord
from observability.span_tree import SpanDescription, SpanKind, span_tree
from tests.observability.records import (
    CLOCK,
    GENERATION,
    START_NS,
    CountingBytes,
    at,
    between,
    generation,
    request,
    wall,
)


def drawn(record: RequestRecord) -> list[SpanDescription]:
    return span_tree(record, CLOCK, CountingBytes())


def test_a_request_without_generation_is_one_server_span() -> None:
    [server] = drawn(request(route="/v1/models/{model}", method="GET", generation=None))
    assert server.name == "GET /v1/models/{model}"
    assert server.kind is SpanKind.SERVER
    assert (server.start_ns, server.end_ns) == (wall(0), wall(414))


def test_an_unmatched_route_is_named_by_its_method_only() -> None:
    [server] = drawn(request(route=None, status_code=404, generation=None))
    assert server.name == "POST"
    assert semconv.HTTP_ROUTE not in server.attributes
    assert not server.is_error


def test_an_unknown_method_is_other_and_keeps_its_text_apart() -> None:
    [server] = drawn(request(method="BREW", route=None, generation=None))
    assert server.name == "HTTP"
    assert server.attributes[semconv.HTTP_REQUEST_METHOD] == "_OTHER"
    assert server.attributes[semconv.HTTP_REQUEST_METHOD_ORIGINAL] == "BREW"


@pytest.mark.parametrize(
    ("status_code", "error_type", "expected", "is_error"),
    [
        (200, None, None, False),
        (422, "invalid_request", "invalid_request", False),
        (429, "overloaded", "overloaded", False),
        (500, None, "500", True),
        (503, "engine_unavailable", "engine_unavailable", True),
    ],
)
def test_only_5xx_makes_the_server_span_an_error(
    status_code: int, error_type: str | None, expected: str | None, is_error: bool
) -> None:
    [server] = drawn(request(status_code=status_code, error_type=error_type, generation=None))
    assert server.is_error is is_error
    assert server.attributes.get(semconv.ERROR_TYPE) == expected


def test_a_stream_that_fails_after_its_200_is_an_error_in_both_spans() -> None:
    failed = generation(error_type="engine_error", finish_reasons=("error",))
    server, chat, *phases = drawn(request(generation=failed))
    assert server.is_error
    assert chat.is_error
    assert server.attributes[semconv.ERROR_TYPE] == "engine_error"
    assert chat.attributes[semconv.ERROR_TYPE] == "engine_error"
    assert not any(phase.is_error for phase in phases)


def test_a_refused_generation_is_a_fault_of_the_generation_not_of_the_server() -> None:
    refused = generation(error_type="context_length_exceeded", decode=None, first_token_ns=None)
    server, chat, *_ = drawn(request(status_code=400, generation=refused))
    assert not server.is_error
    assert chat.is_error


def test_a_client_that_left_is_told_but_is_no_error() -> None:
    gone = generation(finish_reasons=("abort",))
    server, chat, *_ = drawn(request(status_code=None, client_left=True, generation=gone))
    assert not server.is_error
    assert not chat.is_error
    assert server.attributes[semconv.KVORUM_CLIENT_LEFT] is True
    assert semconv.HTTP_RESPONSE_STATUS_CODE not in server.attributes
    assert chat.attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] == ("abort",)


def test_phases_that_were_not_reached_have_no_span() -> None:
    rejected = generation(
        queues=(between(4, 8),), prefill=None, decode=None, first_token_ns=None, end_ns=at(8)
    )
    names = [span.name for span in drawn(request(generation=rejected))]
    assert names == ["POST /v1/chat/completions", "chat kvorum-mini", "tokenize", "queue"]


def test_a_single_token_marks_the_prefill() -> None:
    spans = drawn(request(generation=generation(decode=None, output_tokens=1)))
    [prefill] = [span for span in spans if span.name == "prefill"]
    assert [(event.name, event.time_ns) for event in prefill.events] == [("first_token", wall(131))]


def test_every_wait_is_a_span_and_every_wait_but_the_first_a_preemption() -> None:
    _, chat, *phases = drawn(request())
    waits = [span for span in phases if span.name == "queue"]
    assert [span.attributes[semconv.KVORUM_QUEUE_INDEX] for span in waits] == [0, 1]
    assert chat.attributes[semconv.KVORUM_PREEMPTIONS] == 1


def test_one_choice_is_not_mentioned_and_two_are() -> None:
    one = drawn(request())[1]
    two = drawn(request(generation=generation(choice_count=2)))[1]
    assert semconv.GEN_AI_REQUEST_CHOICE_COUNT not in one.attributes
    assert two.attributes[semconv.GEN_AI_REQUEST_CHOICE_COUNT] == 2


moments = st.integers(min_value=START_NS - 10**9, max_value=START_NS + 10**9)
intervals = st.builds(Interval, moments, moments)


@given(
    times=st.tuples(moments, moments, moments, moments),
    phases=st.tuples(intervals, intervals, intervals, intervals),
    first_token_ns=moments,
)
def test_children_lie_inside_their_parents_whatever_the_clocks_say(
    times: tuple[int, int, int, int],
    phases: tuple[Interval, Interval, Interval, Interval],
    first_token_ns: int,
) -> None:
    work = generation(
        start_ns=times[0],
        end_ns=times[1],
        tokenize=phases[0],
        queues=(phases[1],),
        prefill=phases[2],
        decode=phases[3],
        first_token_ns=first_token_ns,
    )
    spans = drawn(request(start_ns=times[2], end_ns=times[3], generation=work))
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans) == 6
    for span in spans:
        assert span.start_ns <= span.end_ns
        assert all(span.start_ns <= event.time_ns <= span.end_ns for event in span.events)
        if span.kind is not SpanKind.SERVER:
            parent = by_id[str(span.parent_span_id)]
            assert parent.start_ns <= span.start_ns
            assert span.end_ns <= parent.end_ns


def test_no_text_of_prompt_or_answer_is_in_a_record() -> None:
    fields = set(GENERATION.__struct_fields__)
    assert not fields & {"prompt", "messages", "content", "text", "output", "input"}
