"""Each field of a chat request does what it says: with several choices, log-probabilities,
reasoning, and what only some models heed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from engine.protocol import (
    Finished,
    RequestEvent,
    RequestTimings,
    SampleFinished,
    Started,
    TokenLogprobs,
    Tokens,
)
from engine.text.prompt_encoder import PromptEncoder
from engine.text.templates.chat_template import ChatTemplate
from service.answering import AnswerLimits
from service.request_limits import RequestLimits
from service.served_model import ServedModel
from tests.fakes import FakeEngine, finished
from tests.requirements import requirement
from tests.service.chat_client import (
    Call,
    body_of,
    chat_app,
    ids_of,
    post,
    served_model,
    thinking_model,
)

if TYPE_CHECKING:
    from engine.protocol import Submit


def choices_of(*texts: str) -> Any:
    """An engine that says one text for each sample, a token of each in turn."""

    def script(submit: Submit) -> list[RequestEvent]:
        ids = [ids_of(text) for text in texts[: submit.num_samples]]
        events: list[RequestEvent] = [Started(len(submit.prompt_token_ids), 0)]
        for step in range(max(map(len, ids))):
            events += [Tokens((each[step],), k) for k, each in enumerate(ids) if step < len(each)]
            over = [k for k, each in enumerate(ids) if step + 1 == len(each)]
            is_last = step + 1 == max(map(len, ids))
            events += [SampleFinished(k, "stop") for k in (over[:-1] if is_last else over)]
        return [*events, finished(submit, 0)]

    return script


@requirement(
    "chat.request.n", "chat.answer.choices", "chat.answer.usage", "chat.stream.choices_in_order"
)
@pytest.mark.parametrize("stream", [False, True])
async def test_each_choice_gets_its_own_text_and_the_prompt_counts_once(stream: bool) -> None:
    texts = ("Hello there", "Hi", "wörld 🌍")
    async with chat_app(FakeEngine(choices_of(*texts))) as app:
        call = await post(app, n=3, stream=stream, **usage_of(stream))
        alone = await post(app)
    if stream:
        *chunks, last, done = call.events
        assert done == "[DONE]"
        assert [call.text_of(choice) for choice in range(3)] == list(texts)
        assert [sum("role" in d for d in call.deltas_of(choice)) for choice in range(3)] == [1] * 3
        roles = [chunk["choices"][0] for chunk in chunks[:3]]
        assert [role["index"] for role in roles] == [0, 1, 2]
        assert all(role["delta"]["role"] == "assistant" for role in roles)
        ends = [c["choices"][0] for c in chunks if c["choices"][0]["finish_reason"]]
        assert sorted(end["index"] for end in ends) == [0, 1, 2]
        usage = last["usage"]
    else:
        assert [c["message"]["content"] for c in call.json["choices"]] == list(texts)
        assert [c["index"] for c in call.json["choices"]] == [0, 1, 2]
        usage = call.json["usage"]
    assert usage["prompt_tokens"] == alone.json["usage"]["prompt_tokens"]
    assert usage["completion_tokens"] == sum(len(ids_of(text)) + 1 for text in texts)


def usage_of(stream: bool) -> dict[str, object]:
    return {"stream_options": {"include_usage": True}} if stream else {}


async def test_a_stop_string_ends_its_own_choice_only() -> None:
    engine = FakeEngine(choices_of("one STOP and on and on", "two goes on and on to its own end"))
    async with chat_app(engine) as app:
        call = await post(app, n=2, stop="STOP")
    first, second = call.json["choices"]
    assert first["message"]["content"] == "one "
    assert second["message"]["content"] == "two goes on and on to its own end"
    assert [(abort.reason, abort.sample) for abort in engine.aborts] == [("stop", 0)]


async def test_when_all_choices_have_stopped_the_whole_request_is_ended() -> None:
    num_until_stop = 1 + 2 * len(ids_of("bb STOP"))
    engine = FakeEngine(
        choices_of("a STOP and more", "bb STOP and more"), hold_after=num_until_stop
    )
    async with chat_app(engine) as app:
        call = await post(app, n=2, stop="STOP")
    assert [c["message"]["content"] for c in call.json["choices"]] == ["a ", "bb "]
    assert [abort.sample for abort in engine.aborts] == [0, None]


@requirement(
    "chat.request.logit_bias",
    "chat.request.presence_penalty",
    "chat.request.frequency_penalty",
    "chat.request.min_p",
    "chat.request.repetition_penalty",
    "chat.request.stop_token_ids",
    "chat.request.priority",
)
async def test_every_parameter_of_drawing_reaches_the_engine() -> None:
    engine = FakeEngine([])
    async with chat_app(engine) as app:
        await post(
            app,
            n=4,
            presence_penalty=1.5,
            frequency_penalty=-0.5,
            repetition_penalty=1.2,
            min_p=0.1,
            min_tokens=3,
            logit_bias={"7": -100, "9": 2.5},
            logprobs=True,
            top_logprobs=5,
            stop_token_ids=[3],
            ignore_eos=True,
            priority=-2,
            cache_salt="salt",
        )
        await post(app, logprobs=True)
        await post(app)
    submit, bare, none = engine.submits
    params = submit.params
    assert (submit.num_samples, submit.priority, submit.cache_salt) == (4, -2, "salt")
    assert (params.presence_penalty, params.frequency_penalty) == (1.5, -0.5)
    assert (params.repetition_penalty, params.min_p, params.min_tokens) == (1.2, 0.1, 3)
    assert params.logit_bias == ((7, -100.0), (9, 2.5))
    assert params.stop_token_ids == (3,)
    assert (params.num_logprobs, bare.params.num_logprobs) == (5, 0)
    assert none.params.num_logprobs is None
    assert set(none.params.stop_token_ids) == set(served_model().card.eos_token_ids)


def scored(text: str, *, top: int) -> Any:
    """An engine that tells a log-probability with each token; the second best is impossible."""

    def script(submit: Submit) -> list[RequestEvent]:
        ids = ids_of(text)
        events: list[RequestEvent] = [Started(len(submit.prompt_token_ids), 0)]
        for place, token_id in enumerate(ids):
            others = (token_id, 5)[:top], (-0.25 * place, -math.inf)[:top]
            events.append(
                Tokens((token_id,), 0, (TokenLogprobs(token_id, -0.25 * place, *others),))
            )
        return [*events, finished(submit, len(ids))]

    return script


@requirement("chat.request.logprobs", "chat.answer.logprobs", "chat.stream.logprobs")
@pytest.mark.parametrize("stream", [False, True])
async def test_log_probabilities_name_each_token_with_its_bytes(stream: bool) -> None:
    text = "Hi 🌍!"
    async with chat_app(FakeEngine(scored(text, top=2))) as app:
        call = await post(app, logprobs=True, top_logprobs=2, stream=stream)
    if stream:
        choices = [chunk["choices"][0] for chunk in call.events[:-1]]
        entries = [e for c in choices if c["logprobs"] for e in c["logprobs"]["content"]]
        assert call.text == text
        assert all(c["delta"].get("content") is not None for c in choices if c["logprobs"])
    else:
        entries = call.json["choices"][0]["logprobs"]["content"]
        assert call.json["choices"][0]["logprobs"]["refusal"] is None
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == text
    assert [entry["logprob"] for entry in entries] == [-0.25 * n for n in range(len(entries))]
    for entry in entries:
        assert entry["token"] == bytes(entry["bytes"]).decode(errors="replace")
        best, second = entry["top_logprobs"]
        assert best["logprob"] == entry["logprob"]
        assert second["logprob"] == -9999.0


@requirement("chat.request.top_logprobs", "chat.answer.logprobs")
async def test_log_probabilities_alone_have_no_others_beside_them() -> None:
    async with chat_app(FakeEngine(scored("Hi", top=0))) as app:
        call = await post(app, logprobs=True)
        without = await post(app)
    entries = call.json["choices"][0]["logprobs"]["content"]
    assert [entry["top_logprobs"] for entry in entries] == [[]] * len(entries)
    assert without.json["choices"][0]["logprobs"] is None


@requirement("chat.request.labels")
async def test_metadata_and_tier_come_back_as_they_were_sent() -> None:
    async with chat_app(FakeEngine([])) as app:
        call = await post(app, metadata={"a": "b"}, service_tier="flex", store=True, user="u")
        auto = await post(app, service_tier="auto")
    assert call.json["metadata"] == {"a": "b"}
    assert call.json["service_tier"] == "flex"
    assert auto.json["service_tier"] == "default"
    assert "metadata" not in auto.json


@requirement("chat.request.logit_bias_vocabulary")
@pytest.mark.parametrize("field", ["logit_bias", "stop_token_ids"])
async def test_a_token_out_of_the_vocabulary_is_named(field: str) -> None:
    size = served_model().card.vocab_size
    value = {str(size): 1} if field == "logit_bias" else [size]
    async with chat_app(FakeEngine()) as app:
        call = await post(app, **{field: value})
    assert call.status == 422
    place = f".{size}" if field == "logit_bias" else "[0]"
    assert call.json["error"]["param"] == field + place


async def test_min_tokens_beyond_the_context_is_refused() -> None:
    async with chat_app(FakeEngine()) as app:
        call = await post(app, min_tokens=513)
    assert (call.status, call.json["error"]["param"]) == (422, "min_tokens")


THOUGHT = "<think>\nThree and four.\n</think>\n\nSeven."


@requirement("chat.answer.reasoning_tokens", "chat.answer.reasoning", "chat.stream.reasoning")
@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_is_told_under_both_names_and_apart_from_the_answer(stream: bool) -> None:
    engine = FakeEngine(ids_of(THOUGHT))
    async with chat_app(engine, model=thinking_model()) as app:
        call = await post(app, stream=stream, **usage_of(stream))
    if stream:
        deltas = call.deltas_of(0)
        for name in ("reasoning_content", "reasoning"):
            assert "".join(delta.get(name, "") for delta in deltas) == "Three and four."
        assert call.text == "Seven."
        usage = call.events[-2]["usage"]
    else:
        message = call.json["choices"][0]["message"]
        assert message["reasoning_content"] == message["reasoning"] == "Three and four."
        assert message["content"] == "Seven."
        usage = call.json["usage"]
    num_thought = usage["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < num_thought < usage["completion_tokens"]


@requirement("chat.request.reasoning_effort", "chat.request.chat_template_kwargs")
@pytest.mark.parametrize(
    ("fields", "is_open"),
    [
        ({}, True),
        ({"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        (
            {"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": False}},
            False,
        ),
    ],
)
async def test_the_switches_of_a_thinking_template_decide_whether_it_thinks(
    fields: dict[str, object], is_open: bool
) -> None:
    engine = FakeEngine(ids_of("So.</think>Seven."))
    async with chat_app(engine, model=thinking_model()) as app:
        call = await post(app, **fields)
    prompt = served_model().tokenizer.decode(engine.submits[0].prompt_token_ids)
    assert prompt.endswith("<think>\n") == is_open
    message = call.json["choices"][0]["message"]
    if is_open:
        assert (message["reasoning"], message["content"]) == ("So.", "Seven.")
    else:
        assert message["content"] == "So.</think>Seven."
    assert app.exchanges[0].ignored_fields == []


@requirement("chat.request.reasoning_effort")
async def test_the_word_of_the_effort_reaches_a_template_that_reads_it() -> None:
    engine = FakeEngine([])
    async with chat_app(engine, model=thinking_model()) as app:
        await post(app, reasoning_effort="minimal")
    prompt = served_model().tokenizer.decode(engine.submits[0].prompt_token_ids, False)
    assert prompt.startswith("Effort: minimal")


@requirement("chat.request.skip_special_tokens")
async def test_special_tokens_stay_in_the_text_if_they_are_asked_for() -> None:
    end = served_model().tokenizer.token_to_id("<|im_end|>")
    assert end is not None
    async with chat_app(FakeEngine([*ids_of("Hi"), end])) as app:
        usual = await post(app)
        shown = await post(app, skip_special_tokens=False)
    assert usual.json["choices"][0]["message"]["content"] == "Hi"
    assert shown.json["choices"][0]["message"]["content"] == "Hi<|im_end|>"


async def test_an_answer_that_ends_while_it_thinks_has_no_content() -> None:
    async with chat_app(FakeEngine(ids_of("Hm, ")), model=thinking_model()) as app:
        call = await post(app, max_tokens=2)
    choice = call.json["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == ""
    assert choice["message"]["reasoning"]


@requirement("chat.request.messages.history")
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_earlier_reasoning_is_taken_back_under_either_name(name: str) -> None:
    earlier = {"role": "assistant", "content": "Seven.", name: "Three and four."}
    user = {"role": "user", "content": "Hi"}
    engine = FakeEngine([])
    async with chat_app(engine, model=thinking_model()) as app:
        await post(app, messages=[user, earlier, user])
    prompt = served_model().tokenizer.decode(engine.submits[0].prompt_token_ids)
    assert "<think>Three and four.</think>Seven." in prompt


async def test_what_the_model_does_not_heed_is_accepted_and_told() -> None:
    async with chat_app(FakeEngine([])) as app:
        call = await post(
            app,
            reasoning_effort="low",
            chat_template_kwargs={"enable_thinking": True},
            priority=3,
        )
        await post(app, reasoning_effort="none", priority=0)
    assert call.status == 200
    assert app.exchanges[0].ignored_fields == [
        "chat_template_kwargs.enable_thinking",
        "reasoning_effort",
        "priority",
    ]
    assert app.exchanges[1].ignored_fields == []


async def test_tools_that_a_template_does_not_read_are_told() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    async with chat_app(FakeEngine([]), model=thinking_model()) as app:
        await post(app, tools=[tool])
        await post(app, tools=[tool], tool_choice="none")
    assert [exchange.ignored_fields for exchange in app.exchanges] == [["tools"], []]


async def test_a_message_that_is_cut_within_its_reasoning_goes_on_reasoning() -> None:
    messages = [
        {"role": "user", "content": "3 + 4?"},
        {"role": "assistant", "content": "<think>\nThe sum is"},
    ]
    async with chat_app(FakeEngine(ids_of(" 7.</think>Seven.")), model=thinking_model()) as app:
        call = await post(app, messages=messages, continue_final_message=True)
    message = call.json["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == (" 7.", "Seven.")


async def test_a_token_that_reaches_into_a_stop_string_is_not_told() -> None:
    async with chat_app(FakeEngine(scored("It is Answer: 42", top=0))) as app:
        call = await post(app, logprobs=True, stop="swer")
        half = await post(app, logprobs=True, stop="\U0001f30d")
    choice = call.json["choices"][0]
    said = "".join(entry["token"] for entry in choice["logprobs"]["content"])
    assert choice["message"]["content"].startswith(said)
    assert half.status == 200


async def test_priority_is_heeded_where_the_policy_heeds_it() -> None:
    async with chat_app(FakeEngine([]), AnswerLimits(heeds_priority=True)) as app:
        await post(app, priority=3)
    assert app.exchanges[0].ignored_fields == []


@requirement("chat.request.continue_final_message")
async def test_the_last_message_of_an_assistant_can_be_gone_on_with() -> None:
    messages = [
        {"role": "user", "content": "Count."},
        {"role": "assistant", "content": "One, two,"},
    ]
    engine = FakeEngine(ids_of(" three"))
    async with chat_app(engine) as app:
        call = await post(app, messages=messages, continue_final_message=True)
        await post(app, messages=messages[:1], add_generation_prompt=False)
    prompts = [served_model().tokenizer.decode(s.prompt_token_ids, False) for s in engine.submits]
    assert prompts[0].endswith("<|im_start|>assistant\nOne, two,")
    assert prompts[1].endswith("Count.<|im_end|>\n")
    assert call.json["choices"][0]["message"]["content"] == " three"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 3}, "n"),
        ({"messages": [{"role": "user", "content": ""}] * 3}, "messages"),
        ({"stop": ["a", "b", "c"]}, "stop"),
        ({"stop": "abc"}, "stop"),
        ({"logit_bias": {"1": 1, "2": 1, "3": 1}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
        ({"metadata": {"a": "", "b": "", "c": ""}}, "metadata"),
    ],
)
async def test_limits_are_settings(fields: dict[str, object], param: str) -> None:
    narrow = RequestLimits(
        max_choices=2,
        max_messages=2,
        max_stop_strings=2,
        max_stop_chars=2,
        max_logit_bias=2,
        max_top_logprobs=2,
        max_metadata=2,
    )
    async with chat_app(FakeEngine([]), AnswerLimits(request=narrow)) as app:
        call = await post(app, **fields)
    async with chat_app(FakeEngine([])) as app:
        allowed = await post(app, **fields)
    assert (call.status, call.json["error"]["param"]) == (422, param)
    assert allowed.status == 200


async def test_a_lenient_server_ignores_what_it_does_not_know_and_says_so() -> None:
    body = {
        "temprature": 1,
        "messages": [{"role": "user", "content": "Hi", "id": 5}] * 40
        + [{"role": "system", "content": "?", "id": 5, "a.b": 1}],
        "temperature": 0,
    }
    engine = FakeEngine([])
    async with chat_app(engine, AnswerLimits(is_lenient=True)) as app:
        call = await post(app, **body)
        wrong = await post(app, **body, max_tokens="5")
        many = await post(app, **{f"x{n}": 1 for n in range(17)})
    assert call.status == 200
    assert sorted(app.exchanges[0].ignored_fields) == [
        "messages[0].id",
        "messages[40].a.b",
        "messages[40].id",
        "temprature",
    ]
    assert engine.submits[0].params.temperature == 0
    assert (wrong.status, wrong.json["error"]["param"]) == (422, "max_tokens")
    assert (many.status, many.json["error"]["code"]) == (422, "unknown_field")


async def test_a_request_that_the_engine_aborts_is_no_answer_with_several_choices() -> None:
    def script(submit: Submit) -> list[RequestEvent]:
        return [
            Started(1, 0),
            SampleFinished(0, "stop"),
            Finished("abort", 1, 0, 0, RequestTimings()),
        ]

    async with chat_app(FakeEngine(script)) as app:
        call = await post(app, n=2)
    assert call.status == 500
    record = app.exchanges[0].generation
    assert record is not None
    assert record.finish_reasons == ("stop", "error")
    assert record.choice_count == 2


async def test_a_client_that_leaves_ends_all_choices_with_one_abort() -> None:
    engine = FakeEngine(choices_of("one", "two"), hold_after=2)
    async with chat_app(engine) as app, anyio.create_task_group() as tasks:
        call = Call(app, body_of(n=2, stream=True))
        tasks.start_soon(call.run)
        await call.wait_for_body(b'"index":1')
        call.leave()
        with anyio.fail_after(5):
            await engine.aborted.wait()
    assert [(abort.reason, abort.sample) for abort in engine.aborts] == [("abort", None)]


async def test_a_format_whose_marks_are_special_tokens_finds_its_calls() -> None:
    """Mistral's `[TOOL_CALLS]` is left out of plain text, which would hide the call."""
    served = served_model()
    template = ChatTemplate(
        {"default": "{% for m in messages %}{{ m.content }}{% endfor %}{{ tools }}[TOOL_CALLS]"}, {}
    )
    mistral = ServedModel(served.card, PromptEncoder(served.tokenizer, template))
    assert mistral.tool_format is not None
    assert mistral.tool_format.name == "mistral"
    call = '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}]'
    tool = {"type": "function", "function": {"name": "f"}}
    async with chat_app(FakeEngine(ids_of(call)), model=mistral) as app:
        found = await post(app, tools=[tool])
    choice = found.json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
