"""The chat route: whole answers, streams, faults, and clients that leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from engine.config import EngineConfig, SchedulerConfig
from engine.errors import CONTEXT_LENGTH_EXCEEDED, ENGINE_ERROR
from engine.protocol import Failed, Finished, RequestEvent, RequestTimings, Started, Tokens
from service.answering import AnswerLimits
from service.body import BodyLimits
from service.sse import StreamTiming
from tests.fakes import FakeEngine, answer_with, finished
from tests.requirements import requirement
from tests.service.chat_client import (
    MODEL,
    Call,
    ChatApp,
    body_of,
    chat_app,
    ids_of,
    post,
    served_model,
)

if TYPE_CHECKING:
    from engine.protocol import Submit

TEXT = "Hello, wörld! 🌍 How are you?"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>'


@requirement("chat.answer.shape", "chat.answer.finish_reason", "headers.content_type")
async def test_a_whole_answer_has_the_shape_of_openai() -> None:
    async with chat_app(FakeEngine(ids_of(TEXT))) as app:
        call = await post(app)
    assert call.status == 200
    assert call.headers["content-type"] == "application/json"
    answer = call.json
    num_prompt = answer["usage"]["prompt_tokens"]
    num_output = len(ids_of(TEXT)) + 1  # the stop token counts
    assert answer["id"].startswith("chatcmpl-")
    assert answer["system_fingerprint"].startswith("fp_")
    assert answer == {
        "id": answer["id"],
        "object": "chat.completion",
        "created": answer["created"],
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": TEXT,
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_output,
            "total_tokens": num_prompt + num_output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": answer["system_fingerprint"],
    }


@requirement(
    "chat.request.stream",
    "chat.stream.head",
    "chat.stream.finish_reason",
    "chat.stream.done",
    "chat.stream.role_once",
    "headers.content_type",
    "headers.cache_control",
)
async def test_a_stream_says_role_then_text_then_reason_then_done() -> None:
    async with chat_app(FakeEngine(ids_of(TEXT))) as app:
        call = await post(app, stream=True)
    assert call.status == 200
    assert call.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert call.headers["cache-control"] == "no-cache"
    assert call.headers["x-accel-buffering"] == "no"
    assert call.is_complete
    assert call.text == TEXT
    *chunks, done = call.events
    assert done == "[DONE]"
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all("role" not in choice["delta"] for choice in choices[1:])
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert choices[-1]["delta"] == {}
    assert all(choice["logprobs"] is None for choice in choices)


@requirement("chat.request.include_usage", "chat.stream.usage_null", "chat.stream.usage_last")
async def test_usage_comes_in_a_last_chunk_of_its_own() -> None:
    async with chat_app(FakeEngine(ids_of("Hi"))) as app:
        call = await post(app, stream=True, stream_options={"include_usage": True})
    *chunks, last, done = call.events
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(ids_of("Hi")) + 1


@requirement("chat.request.stop")
@pytest.mark.parametrize("stop", ["wör", ["zzz", "ld!"], ["?", "wörld! 🌍 H"], ["🌍"]])
async def test_a_stop_string_never_leaks_and_ends_the_request(stop: str | list[str]) -> None:
    stops = [stop] if isinstance(stop, str) else stop
    expected = TEXT[: min(TEXT.find(each) for each in stops if each in TEXT)]
    engine = FakeEngine(ids_of(TEXT) * 3)
    async with chat_app(engine) as app:
        whole = await post(app, stop=stop)
        streamed = await post(app, stop=stop, stream=True)
    assert whole.json["choices"][0]["message"]["content"] == expected
    assert whole.json["choices"][0]["finish_reason"] == "stop"
    assert streamed.text == expected
    assert len(engine.aborts) <= 2
    assert {abort.reason for abort in engine.aborts} <= {"stop"}


async def test_usage_counts_up_to_the_stop_string() -> None:
    async with chat_app(FakeEngine(ids_of(TEXT))) as app:
        call = await post(app, stop="wör")
    assert call.json["usage"]["completion_tokens"] == len(ids_of("Hello, wör"))


async def test_a_stop_string_aborts_a_request_that_still_runs_once() -> None:
    ids = ids_of(TEXT)
    engine = FakeEngine(ids, hold_after=len(ids) - 2)
    async with chat_app(engine) as app:
        call = await post(app, stop="Hello")
    assert call.json["choices"][0]["message"]["content"] == ""
    assert [abort.reason for abort in engine.aborts] == ["stop"]


@requirement("chat.request.max_completion_tokens", "chat.answer.finish_reason")
async def test_max_tokens_ends_with_length() -> None:
    engine = FakeEngine(ids_of(TEXT))
    async with chat_app(engine) as app:
        call = await post(app, max_completion_tokens=3)
    assert call.json["choices"][0]["finish_reason"] == "length"
    assert engine.submits[0].params.max_tokens == 3


@requirement("chat.request.temperature", "chat.request.top_p", "chat.request.top_k")
async def test_sampling_reaches_the_engine_as_it_was_sent() -> None:
    engine = FakeEngine([])
    async with chat_app(engine) as app:
        await post(app, temperature=0, top_p=0.5, top_k=7, seed=-5, stop_token_ids=[3])
        await post(app)
        await post(app, top_k=-1, seed=None)
    first, second, third = (submit.params for submit in engine.submits)
    assert (first.temperature, first.top_p, first.top_k, first.seed) == (0.0, 0.5, 7, -5)
    assert set(first.stop_token_ids) == {3, *served_model().card.eos_token_ids}
    assert (second.temperature, second.top_p, second.top_k) == (1.0, 1.0, 0)
    assert second.seed != third.seed
    assert third.top_k == 0


@requirement(
    "chat.request.tools",
    "chat.answer.tool_calls",
    "chat.answer.finish_reason",
    "chat.request.tool_choice.auto",
)
@pytest.mark.parametrize("fields", [{}, {"tool_choice": "auto"}])
async def test_calls_come_out_as_tool_calls(fields: dict[str, object]) -> None:
    async with chat_app(FakeEngine(ids_of(CALL))) as app:
        call = await post(app, tools=[WEATHER], **fields)
    choice = call.json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (tool_call,) = choice["message"]["tool_calls"]
    assert tool_call["id"].startswith("call_")
    assert tool_call == {
        "id": tool_call["id"],
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
    }


@requirement("chat.request.parallel_tool_calls", "chat.stream.tool_calls")
async def test_streamed_calls_name_themselves_once_and_then_add_arguments() -> None:
    async with chat_app(FakeEngine(ids_of("Sure. " + CALL + CALL))) as app:
        call = await post(app, tools=[WEATHER], stream=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in call.events[:-1]]
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", [])]
    assert call.text.strip() == "Sure."
    for index in (0, 1):
        first, *rest = [piece for piece in pieces if piece["index"] == index]
        assert first["id"].startswith("call_")
        assert first["type"] == "function"
        assert first["function"] == {"name": "get_weather", "arguments": ""}
        assert all(set(piece) == {"index", "function"} for piece in rest)
        arguments = "".join(piece["function"]["arguments"] for piece in rest)
        assert arguments == '{"city": "Oslo"}'
    assert call.events[-2]["choices"][0]["finish_reason"] == "tool_calls"


@requirement("chat.request.tool_choice.none")
@requirement("chat.request.parallel_tool_calls", "chat.request.parallel_tool_calls_false")
@pytest.mark.parametrize("stream", [False, True])
async def test_without_parallel_calls_the_answer_ends_before_a_second_one(stream: bool) -> None:
    engine = FakeEngine(ids_of("Sure. " + CALL + CALL + " And more."))
    async with chat_app(engine) as app:
        call = await post(app, tools=[WEATHER], parallel_tool_calls=False, stream=stream)
        both = await post(app, tools=[WEATHER], parallel_tool_calls=True)
    if stream:
        deltas = call.deltas_of(0)
        pieces = [piece for delta in deltas for piece in delta.get("tool_calls", [])]
        assert {piece["index"] for piece in pieces} == {0}
        arguments = "".join(piece["function"]["arguments"] for piece in pieces)
        assert call.text.strip() == "Sure."
    else:
        (found,) = call.json["choices"][0]["message"]["tool_calls"]
        arguments = found["function"]["arguments"]
        assert call.json["choices"][0]["finish_reason"] == "tool_calls"
    assert arguments == '{"city": "Oslo"}'
    assert len(both.json["choices"][0]["message"]["tool_calls"]) == 2


@pytest.mark.parametrize("fields", [{}, {"tools": [WEATHER], "tool_choice": "none"}])
async def test_without_tools_to_call_a_call_is_text(fields: dict[str, object]) -> None:
    async with chat_app(FakeEngine(ids_of(CALL))) as app:
        call = await post(app, **fields)
    assert call.json["choices"][0]["message"]["content"] == CALL
    assert call.json["choices"][0]["finish_reason"] == "stop"


@requirement("chat.request.tools", "chat.request.tool_choice.none")
async def test_tools_are_in_the_prompt_only_if_they_may_be_called() -> None:
    engine = FakeEngine([])
    async with chat_app(engine) as app:
        await post(app)
        await post(app, tools=[WEATHER])
        await post(app, tools=[WEATHER], tool_choice="none")
    plain, with_tools, forbidden = (submit.prompt_token_ids for submit in engine.submits)
    assert len(with_tools) > len(plain) == len(forbidden)


def failing(*events: RequestEvent, code: str = ENGINE_ERROR) -> Any:
    def script(_: Submit) -> list[RequestEvent]:
        return [*events, Failed(code, "The forward pass failed.")]

    return script


@requirement("errors.500", "errors.before_stream")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "status", "headers"),
    [
        (ENGINE_ERROR, 500, {"x-should-retry": "false"}),
        (CONTEXT_LENGTH_EXCEEDED, 400, {}),
        ("engine_unavailable", 503, {"retry-after": "5"}),
    ],
)
async def test_a_failure_before_the_start_is_a_status(
    code: str, status: int, headers: dict[str, str], stream: bool
) -> None:
    async with chat_app(FakeEngine(failing(code=code))) as app:
        call = await post(app, stream=stream)
    assert call.status == status
    assert call.json["error"]["code"] == code
    assert headers.items() <= call.headers.items()
    assert app.exchanges[0].error_type == code


@requirement("errors.in_stream")
async def test_a_failure_after_the_start_is_an_event_and_there_is_no_done() -> None:
    answer = failing(Started(3, 0), Tokens(tuple(ids_of("Hello"))))
    async with chat_app(FakeEngine(answer)) as app:
        call = await post(app, stream=True)
    assert call.status == 200
    assert call.text == "Hello"
    assert call.events[-1]["error"]["code"] == ENGINE_ERROR
    assert call.is_complete
    assert app.exchanges[0].error_type == ENGINE_ERROR
    record = app.exchanges[0].generation
    assert record is not None
    assert (record.finish_reasons, record.error_type) == (("error",), ENGINE_ERROR)


async def test_a_failure_of_a_whole_answer_is_a_status_even_after_the_start() -> None:
    async with chat_app(FakeEngine(failing(Started(3, 0)))) as app:
        call = await post(app)
    assert call.status == 500


async def test_an_abort_of_the_engines_own_is_no_answer() -> None:
    async with chat_app(
        FakeEngine(lambda _: [Started(1, 0), Finished("abort", 1, 0, 0, RequestTimings())])
    ) as app:
        call = await post(app)
    assert call.status == 500


@requirement("errors.disconnect")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hold_after", [0, 3])
async def test_a_client_that_leaves_sends_one_abort(stream: bool, hold_after: int) -> None:
    engine = FakeEngine(ids_of(TEXT), hold_after=hold_after)
    async with chat_app(engine) as app, anyio.create_task_group() as tasks:
        call = Call(app, body_of(stream=stream))
        tasks.start_soon(call.run)
        with anyio.fail_after(5):
            await engine.submitted.wait()
            if stream and hold_after:
                await call.wait_for_body(b'"content":"H')
            call.leave()
            await engine.aborted.wait()
            while app.client.num_in_flight:
                await anyio.lowlevel.checkpoint()
    assert [abort.reason for abort in engine.aborts] == ["abort"]
    assert not call.is_complete
    assert app.exchanges[0].client_left
    record = app.exchanges[0].generation
    assert record is not None
    assert record.finish_reasons == ("abort",)
    assert record.error_type is None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_with_the_last_byte_aborts_nothing(stream: bool) -> None:
    engine = FakeEngine(ids_of(TEXT))
    async with chat_app(engine) as app:
        await post(app, stream=stream)
    assert engine.aborts == []
    assert not app.exchanges[0].client_left


async def test_a_client_that_leaves_while_it_sends_gets_nothing() -> None:
    async with chat_app(FakeEngine()) as app:
        call = Call(app, [])
        call.leave()
        await call.run()
    assert call.num_messages == 0


@requirement("headers.stainless_timeout")
@pytest.mark.parametrize("name", ["x-stainless-timeout", "x-stainless-read-timeout"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_clients_timeout_shortens_the_servers(name: str, stream: bool) -> None:
    engine = FakeEngine(hold_after=0)
    headers = [("content-type", "application/json"), (name, "0.01")]
    async with chat_app(engine) as app:
        with anyio.fail_after(5):  # the server's own is 600 s
            call = await Call(app, body_of(stream=stream), headers).run()
    assert (call.status, call.json["error"]["code"]) == (408, "timeout")


async def test_a_stream_that_has_begun_outlives_the_clients_timeout() -> None:
    """Clients give up when nothing comes for so long, not when the whole takes longer."""
    engine = FakeEngine(ids_of(TEXT), hold_after=2)
    headers = [("content-type", "application/json"), ("x-stainless-timeout", "0.2")]
    async with chat_app(engine) as app, anyio.create_task_group() as tasks:
        call = Call(app, body_of(stream=True), headers)
        tasks.start_soon(call.run)
        await call.wait_for_body(b'"content":"H"')
        await anyio.sleep(0.3)  # it is the passing of time that must change nothing
        engine.resume()
    assert call.text == TEXT


@requirement("errors.429", "headers.retry_after")
async def test_a_full_engine_is_429_and_says_when_to_come_back() -> None:
    engine = FakeEngine(hold_after=0)
    config = EngineConfig(
        card=served_model().card, scheduler=SchedulerConfig(max_running=1, max_waiting=0)
    )
    async with engine(config) as client, anyio.create_task_group() as tasks:
        app = ChatApp(client, AnswerLimits(), served_model())
        first = Call(app, body_of())
        tasks.start_soon(first.run)
        await engine.submitted.wait()
        second = await post(app)
        streamed = await post(app, stream=True)
        engine.resume()
    assert first.status == 200
    for call in (second, streamed):
        assert (call.status, call.json["error"]["code"]) == (429, "overloaded")
        assert call.json["error"]["type"] == "rate_limit_error"
        assert int(call.headers["retry-after"]) >= 1


@requirement("errors.413")
async def test_a_body_above_the_limit_is_413() -> None:
    async with chat_app(FakeEngine([]), AnswerLimits(body=BodyLimits(max_bytes=1000))) as app:
        call = await post(app, user="x" * 500, safety_identifier="y" * 100)
        too_large = await post(app, messages=[{"role": "user", "content": "x" * 1000}])
    assert call.status == 200
    assert (too_large.status, too_large.json["error"]["code"]) == (413, "payload_too_large")


@requirement("errors.415")
@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
    ],
)
async def test_a_body_of_another_type_than_json_is_415(content_type: str, status: int) -> None:
    async with chat_app(FakeEngine([])) as app:
        call = await Call(app, body_of(), [("content-type", content_type)]).run()
    assert call.status == status
    if status == 415:
        assert call.json["error"]["code"] == "unsupported_media_type"


@requirement("errors.408", "errors.no_retry")
@pytest.mark.parametrize("timeout", ["0.01", "nonsense", "-1", "nan"])
async def test_the_clients_timeout_is_a_408_that_is_not_repeated(timeout: str) -> None:
    engine = FakeEngine(hold_after=0)
    headers = [("content-type", "application/json"), ("x-stainless-timeout", timeout)]
    limits = AnswerLimits(max_request_s=0.05)
    async with chat_app(engine, limits) as app:
        call = await Call(app, body_of(stream=True), headers).run()
    assert call.status == 408
    assert call.json["error"]["code"] == "timeout"
    assert call.headers["x-should-retry"] == "false"
    assert [abort.reason for abort in engine.aborts] == ["timeout"]


async def test_a_timeout_after_the_start_is_an_event() -> None:
    engine = FakeEngine(ids_of(TEXT), hold_after=2)
    async with chat_app(engine, AnswerLimits(max_request_s=0.05)) as app:
        call = await post(app, stream=True)
    assert call.status == 200
    assert call.text == "H"
    assert call.events[-1]["error"]["code"] == "timeout"
    assert [abort.reason for abort in engine.aborts] == ["timeout"]


async def test_after_the_start_wait_the_status_line_goes_out_anyway() -> None:
    engine = FakeEngine(ids_of(TEXT), hold_after=0)
    limits = AnswerLimits(stream=StreamTiming(max_start_wait_s=0.01))
    async with chat_app(engine, limits) as app, anyio.create_task_group() as tasks:
        call = Call(app, body_of(stream=True))
        tasks.start_soon(call.run)
        with anyio.fail_after(5):
            while not call.status:
                await anyio.lowlevel.checkpoint()
        assert call.body == b""
        engine.resume()
    assert call.text == TEXT


async def test_who_gives_up_while_the_model_loads_hears_that_it_loads() -> None:
    async with chat_app(FakeEngine(ready=False)) as app:
        call = await Call(app, body_of(), headers=[("x-stainless-timeout", "0.01")]).run()
    assert call.status == 503
    assert call.json["error"]["code"] == "model_loading"


@requirement("errors.503")
async def test_a_model_that_loads_is_waited_for_and_then_503() -> None:
    async with chat_app(FakeEngine(ready=False), max_load_wait_s=0.01) as app:
        call = await post(app)
    assert call.status == 503
    assert call.json["error"]["code"] == "model_loading"
    assert call.headers["retry-after"] == "5"


async def test_a_dead_engine_is_503() -> None:
    engine = FakeEngine()
    async with chat_app(engine) as app:
        engine.die()
        await app.client.wait_down()
        call = await post(app)
    assert call.status == 503
    assert call.json["error"]["code"] == "engine_unavailable"


@requirement("errors.400.context")
async def test_a_prompt_above_the_context_is_told_in_openais_words() -> None:
    async with chat_app(FakeEngine()) as app:
        call = await post(
            app, messages=[{"role": "user", "content": "a b c d " * 200}], stream=True
        )
    assert call.status == 400
    error = call.json["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith("This model's maximum context length is 512 tokens. However")


async def test_a_prompt_that_cannot_fit_is_refused_before_it_is_tokenized() -> None:
    async with chat_app(FakeEngine()) as app:
        call = await post(app, messages=[{"role": "user", "content": "a" * 1_000_000}])
    assert call.status == 400
    assert "at least" in call.json["error"]["message"]


async def test_a_long_prompt_that_fits_is_encoded_like_a_short_one() -> None:
    engine = FakeEngine([])
    padding = {"metadata": {str(n): "x" * 500 for n in range(10)}}
    async with chat_app(engine) as app:
        await post(app)
        await post(app, **padding)
    short, long = engine.submits
    assert short.prompt == long.prompt


@requirement("chat.request.max_tokens")
async def test_max_tokens_is_cut_to_what_the_context_leaves() -> None:
    engine = FakeEngine([])
    async with chat_app(engine) as app:
        await post(app, max_tokens=512)
        await post(app)
        too_many = await post(app, max_tokens=513)
    for submit in engine.submits:
        assert submit.params.max_tokens == 512 - len(submit.prompt_token_ids)
    assert too_many.status == 422
    assert too_many.json["error"]["param"] == "max_tokens"


@requirement("chat.request.model", "errors.404.model")
async def test_another_model_is_not_found() -> None:
    async with chat_app(FakeEngine()) as app:
        call = await post(app, model="gpt-4o")
    assert call.status == 404
    assert call.json["error"]["code"] == "model_not_found"
    assert call.json["error"]["param"] == "model"


async def test_the_record_tells_what_the_engine_measured() -> None:
    def script(submit: Submit) -> list[RequestEvent]:
        return [Started(5, 2), Tokens((72,)), finished(submit, 2)]

    engine = FakeEngine(script)
    async with chat_app(engine) as app:
        await post(app, temperature=0, seed=4)
    record = app.exchanges[0].generation
    assert record is not None
    assert record.model == MODEL
    assert record.seed == 4
    assert record.cached_tokens == 2
    assert record.output_tokens == 2
    assert record.finish_reasons == ("stop",)
    assert record.tokenize is not None
    assert len(record.queues) == 1
    assert record.prefill is not None
    assert record.decode is not None
    assert record.prefill.end_ns == record.first_token_ns == record.decode.start_ns
    assert record.start_ns <= record.tokenize.start_ns <= record.tokenize.end_ns <= record.end_ns


async def test_many_streams_at_once_each_get_their_own_answer() -> None:
    def script(submit: Submit) -> list[RequestEvent]:
        text = f"answer {submit.params.seed}"
        return list(answer_with(ids_of(text))(submit))

    async with chat_app(FakeEngine(script)) as app, anyio.create_task_group() as tasks:
        calls = [Call(app, body_of(stream=True, seed=seed)) for seed in range(32)]
        for call in calls:
            tasks.start_soon(call.run)
    assert [call.text for call in calls] == [f"answer {seed}" for seed in range(32)]
