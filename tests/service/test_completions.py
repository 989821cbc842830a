"""The route of legacy completions: prompts of all kinds, echoes, scores, several prompts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.processors import TemplateProcessing

from engine.errors import ENGINE_ERROR
from engine.protocol import (
    Failed,
    Finished,
    PromptLogprobs,
    RequestEvent,
    RequestTimings,
    Started,
    Tokens,
)
from engine.text.prompt_encoder import PromptEncoder
from engine.text.tokenizer import Tokenizer
from engine.text.tokenizer_file import TokenizerFile
from service import generation
from service.answering import AnswerLimits
from service.api import completions
from service.request_limits import RequestLimits
from service.served_model import ServedModel
from tests.fakes import FakeEngine, finished
from tests.requirements import requirement
from tests.service.chat_client import MODEL, Call, ids_of, served_model
from tests.service.completions_client import (
    body_of,
    completions_app,
    joined,
    post,
    says,
    score,
)

if TYPE_CHECKING:
    from pathlib import Path

    from engine.protocol import Submit

PROMPT, TEXT = "Once upon a", " time, wörld 🌍!"
BOTH = {PROMPT: TEXT, "Hi": " there."}


@requirement("completions.answer.shape", "completions.max_tokens")
async def test_a_whole_answer_has_the_shape_of_openai() -> None:
    engine = FakeEngine(says(BOTH))
    async with completions_app(engine) as app:
        call = await post(app, prompt="Hi")
    assert call.status == 200
    answer = call.json
    assert answer["id"].startswith("cmpl-")
    assert answer["system_fingerprint"].startswith("fp_")
    num_output = len(ids_of(" there.")) + 1  # the stop token counts
    assert answer == {
        "id": answer["id"],
        "object": "text_completion",
        "created": answer["created"],
        "model": MODEL,
        "choices": [{"text": " there.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": answer["usage"],
        "system_fingerprint": answer["system_fingerprint"],
    }
    assert answer["usage"]["completion_tokens"] == num_output
    assert engine.submits[0].params.max_tokens == 16
    record = app.exchanges[0].generation
    assert record is not None
    assert (record.operation, record.finish_reasons) == ("text_completion", ("stop",))


@requirement("completions.prompt")
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Hi", [ids_of("Hi")]),
        (["Hi", PROMPT], [ids_of("Hi"), ids_of(PROMPT)]),
        ([5, 6, 7], [[5, 6, 7]]),
        ([[5], [6, 7]], [[5], [6, 7]]),
    ],
)
async def test_prompts_of_every_kind_reach_the_engine(
    prompt: object, expected: list[list[int]]
) -> None:
    engine = FakeEngine([])
    async with completions_app(engine) as app:
        call = await post(app, prompt=prompt)
    assert call.status == 200
    assert sorted(submit.prompt_token_ids for submit in engine.submits) == sorted(expected)
    assert call.json["usage"]["prompt_tokens"] == sum(map(len, expected))


@requirement("completions.special_tokens")
async def test_a_control_token_in_a_text_is_that_token() -> None:
    engine = FakeEngine([])
    async with completions_app(engine) as app:
        await post(app, prompt="<|im_start|>user\nHi")
    start = served_model().tokenizer.token_to_id("<|im_start|>")
    assert engine.submits[0].prompt_token_ids[0] == start


def model_with_bos(folder: Path) -> ServedModel:
    """The embedded model under a tokenizer that puts `<|im_start|>` before a text."""
    served = served_model()
    backend = Backend.from_str(served.tokenizer.backend.to_str())
    bos = served.tokenizer.token_to_id("<|im_start|>")
    assert bos is not None
    backend.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)]
    )
    path = folder / "tokenizer.json"
    backend.save(str(path))
    tokenizer = Tokenizer(backend, TokenizerFile.read(path))
    return ServedModel(served.card, PromptEncoder(tokenizer, served.encoder.template))


@requirement("completions.special_tokens")
async def test_a_text_gets_its_bos_unless_the_client_adds_its_own(tmp_path: Path) -> None:
    engine = FakeEngine([])
    async with completions_app(engine, model=model_with_bos(tmp_path)) as app:
        usual = await post(app, prompt="Hi", echo=True)
        await post(app, prompt="Hi", add_special_tokens=False)
        await post(app, prompt="")
    bos = served_model().tokenizer.token_to_id("<|im_start|>")
    prompts = [submit.prompt_token_ids for submit in engine.submits]
    assert prompts == [[bos, *ids_of("Hi")], ids_of("Hi"), [bos]]
    assert usual.json["choices"][0]["text"] == "Hi"


async def test_a_token_that_the_text_does_not_have_stands_where_the_next_one_does(
    tmp_path: Path,
) -> None:
    def script(submit: Submit) -> list[RequestEvent]:
        _, *others = submit.prompt_token_ids
        scores = [score(token_id, -1.0) for token_id in others]
        return [Started(3, 0), PromptLogprobs((None, *scores)), finished(submit, 0)]

    async with completions_app(FakeEngine(script), model=model_with_bos(tmp_path)) as app:
        call = await post(app, prompt="Hi there", echo=True, logprobs=0)
    logprobs = call.json["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["<|im_start|>", "Hi", " there"]
    assert logprobs["text_offset"] == [0, 0, 2]


@requirement("completions.order")
@pytest.mark.parametrize("stream", [False, True])
async def test_choices_stand_prompt_by_prompt(stream: bool) -> None:
    async with completions_app(FakeEngine(says(BOTH))) as app:
        call = await post(app, prompt=["Hi", PROMPT, "Hi"], n=2, stream=stream)
    choices = joined(call) if stream else call.json["choices"]
    assert [choice["index"] for choice in choices] == list(range(6))
    assert [choice["text"] for choice in choices] == [
        *[" there."] * 2,
        *[TEXT] * 2,
        *[" there."] * 2,
    ]


@requirement("completions.usage")
@pytest.mark.parametrize("stream", [False, True])
async def test_usage_is_that_of_all_prompts_together(stream: bool) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    async with completions_app(FakeEngine(says(BOTH))) as app:
        call = await post(app, prompt=["Hi", PROMPT], **options)
    usage = call.events[-2]["usage"] if stream else call.json["usage"]
    num_prompt = len(ids_of("Hi")) + len(ids_of(PROMPT))
    num_output = len(ids_of(" there.")) + len(ids_of(TEXT)) + 2
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (num_prompt, num_output)
    assert usage["total_tokens"] == num_prompt + num_output
    record = app.exchanges[0].generation
    assert record is not None
    assert (record.prompt_tokens, record.output_tokens) == (num_prompt, num_output)
    assert (record.choice_count, record.finish_reasons) == (2, ("stop", "stop"))


@requirement("completions.stream")
async def test_a_stream_tells_each_end_once_and_the_usage_last() -> None:
    async with completions_app(FakeEngine(says(BOTH))) as app:
        call = await post(
            app, prompt=["Hi", PROMPT], stream=True, stream_options={"include_usage": True}
        )
        plain = await post(app, stream=True)
    *chunks, last, done = call.events
    assert done == "[DONE]"
    assert last["choices"] == []
    assert all(chunk["usage"] is None for chunk in chunks)
    assert all(chunk["object"] == "text_completion" for chunk in chunks)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    ends = [c["choices"][0] for c in chunks if c["choices"][0]["finish_reason"]]
    assert sorted(end["index"] for end in ends) == [0, 1]
    assert "usage" not in plain.events[0]


@requirement("completions.echo", "completions.logprobs")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", [PROMPT, ids_of(PROMPT)])
async def test_an_echo_begins_each_choice_and_its_scores(prompt: object, stream: bool) -> None:
    async with completions_app(FakeEngine(says(BOTH))) as app:
        call = await post(app, prompt=prompt, echo=True, logprobs=1, stream=stream, n=2)
    choices = joined(call) if stream else call.json["choices"]
    for choice in choices:
        logprobs, text = choice["logprobs"], choice["text"]
        assert text == PROMPT + TEXT
        ids = ids_of(PROMPT) + ids_of(TEXT)
        assert logprobs["token_logprobs"] == [None, *[-at / 8 for at in range(1, len(ids))]]
        assert logprobs["top_logprobs"][0] is None
        ends = [*logprobs["text_offset"][1:], len(text)]
        for token, begin, end in zip(
            logprobs["tokens"], logprobs["text_offset"], ends, strict=True
        ):
            assert token == "\ufffd" or token == text[begin:end]
    if stream:
        assert call.events[0]["choices"][0]["text"] == PROMPT


async def test_an_echo_without_scores_needs_none_from_the_engine() -> None:
    engine = FakeEngine(says(BOTH))
    async with completions_app(engine) as app:
        call = await post(app, prompt=[PROMPT, "Hi"], echo=True)
    assert [c["text"] for c in call.json["choices"]] == [PROMPT + TEXT, "Hi there."]
    assert [submit.params.num_prompt_logprobs for submit in engine.submits] == [None, None]


@requirement("completions.max_tokens_0")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("said", [" there", ""])
async def test_with_no_new_tokens_only_the_prompt_is_told(stream: bool, said: str) -> None:
    engine = FakeEngine(says({"Hi": said}))
    async with completions_app(engine) as app:
        call = await post(
            app,
            max_tokens=0,
            echo=True,
            logprobs=2,
            **({"stream": True, "stream_options": {"include_usage": True}} if stream else {}),
        )
        silent = await post(app, max_tokens=0)
    (choice,) = joined(call) if stream else call.json["choices"]
    assert choice["text"] == "Hi"
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"]["tokens"] == ["Hi"]
    usage = call.events[-2]["usage"] if stream else call.json["usage"]
    assert usage["completion_tokens"] == 0
    assert engine.submits[0].params.max_tokens == 1
    (choice,) = silent.json["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("", "length")


@requirement("completions.stop_token_score")
@pytest.mark.parametrize("stream", [False, True])
async def test_the_one_token_of_an_answer_has_its_score_if_it_is_the_end(stream: bool) -> None:
    async with completions_app(FakeEngine(says({PROMPT: "", "Hi": " there."}))) as app:
        call = await post(
            app, prompt=[PROMPT, "Hi"], max_tokens=1, logprobs=1, echo=True, stream=stream
        )
    first, second = joined(call) if stream else call.json["choices"]
    num_prompt = len(ids_of(PROMPT))
    assert first["text"] == PROMPT
    assert first["finish_reason"] == "stop"
    assert len(first["logprobs"]["tokens"]) == num_prompt + 1
    assert first["logprobs"]["token_logprobs"][-1] == -num_prompt / 8
    assert first["logprobs"]["text_offset"][-1] == len(PROMPT)
    assert (second["text"], second["finish_reason"]) == ("Hi there", "length")
    assert len(second["logprobs"]["tokens"]) == 2


async def test_tokens_of_one_text_are_told_by_the_likeliest() -> None:
    """Half characters all look the same."""
    half, other = ids_of("🌍")[0], ids_of("é")[0]

    def script(submit: Submit) -> list[RequestEvent]:
        scores = score(half, -3.0, {other: -0.5, half: -3.0, 7: float("-inf")})
        return [Started(1, 0), Tokens((half,), 0, (scores,)), finished(submit, 1, "length")]

    async with completions_app(FakeEngine(script)) as app:
        call = await post(app, logprobs=3, max_tokens=2)
    logprobs = call.json["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["\ufffd"]
    name = served_model().tokenizer.token_bytes(7).decode()
    assert logprobs["top_logprobs"] == [{"\ufffd": -0.5, name: -9999.0}]


@requirement("completions.sampling")
async def test_a_stop_string_is_found_in_the_answer_and_never_in_the_echo() -> None:
    async with completions_app(FakeEngine(says({"Stop here": " and stop here too"}))) as app:
        call = await post(app, prompt="Stop here", echo=True, stop=["here", "Stop", "e a"])
        split = await post(app, prompt="Stop here", echo=True, logprobs=0, stop="here")
    assert call.json["choices"][0]["text"] == "Stop here and stop "
    assert call.json["choices"][0]["finish_reason"] == "stop"
    said = "".join(split.json["choices"][0]["logprobs"]["tokens"])
    assert split.json["choices"][0]["text"].startswith(said)


@requirement("completions.sampling")
async def test_every_parameter_of_drawing_reaches_the_engine() -> None:
    engine = FakeEngine([])
    async with completions_app(engine) as app:
        call = await post(
            app,
            n=2,
            best_of=2,
            max_tokens=9,
            temperature=0.5,
            top_p=0.9,
            top_k=7,
            min_p=0.1,
            seed=4,
            presence_penalty=1.5,
            frequency_penalty=-0.5,
            repetition_penalty=1.2,
            min_tokens=3,
            logit_bias={"7": -100},
            logprobs=5,
            stop_token_ids=[3],
            ignore_eos=True,
            priority=-2,
            cache_salt="salt",
            user="u",
            suffix="",
        )
    assert call.status == 200, call.body
    (submit,) = engine.submits
    params = submit.params
    assert (submit.num_samples, submit.priority, submit.cache_salt) == (2, -2, "salt")
    assert (params.max_tokens, params.temperature, params.top_p, params.top_k) == (9, 0.5, 0.9, 7)
    assert (params.presence_penalty, params.frequency_penalty) == (1.5, -0.5)
    assert (params.repetition_penalty, params.min_p, params.min_tokens) == (1.2, 0.1, 3)
    assert (params.logit_bias, params.stop_token_ids) == (((7, -100.0),), (3,))
    assert (params.num_logprobs, params.num_prompt_logprobs, params.seed) == (5, None, 4)
    assert app.exchanges[0].ignored_fields == ["priority"]


@requirement("completions.structure")
@pytest.mark.parametrize(
    "field",
    [
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a+"}},
        {"guided_choice": ["yes", "no"]},
    ],
)
async def test_an_answer_can_have_a_form(field: dict[str, object]) -> None:
    engine = FakeEngine([])
    async with completions_app(engine) as app:
        call = await post(app, **field)
        twice = await post(app, **field, guided_grammar='start: "a"')
    assert call.status == 200
    assert engine.submits[0].params.grammar
    assert (twice.status, twice.json["error"]["param"]) == (422, "guided_grammar")


@requirement("completions.best_of", "completions.prompt_ids")
@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": ["Hi", ""]}, "prompt[1]", "invalid_value"),
        ({"prompt": [[]]}, "prompt[0]", "invalid_value"),
        ({"prompt": None}, "prompt", "invalid_value"),
        ({"prompt": [[1], "Hi"]}, "prompt", "invalid_value"),
        ({"prompt": [1, "Hi"]}, "prompt", "invalid_value"),
        ({"prompt": [1, -1]}, "prompt[1]", "invalid_value"),
        ({"prompt": [1, 10**6]}, "prompt[1]", "invalid_value"),
        ({"prompt": [[1], [2, 10**6]]}, "prompt[1][1]", "invalid_value"),
        ({"prompt": ["Hi"] * 65}, "prompt", "invalid_value"),
        ({"prompt": True}, "prompt", "invalid_value"),
        ({"best_of": 2}, "best_of", "unsupported_parameter"),
        ({"best_of": 1, "n": 2}, "best_of", "invalid_value"),
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"truncate_prompt_tokens": 5}, "truncate_prompt_tokens", "unsupported_parameter"),
        ({"logprobs": 6}, "logprobs", "invalid_value"),
        ({"logprobs": True}, "logprobs", "invalid_value"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"max_tokens": 513}, "max_tokens", "invalid_value"),
        ({"min_tokens": 17}, "min_tokens", "invalid_value"),
        ({"n": 17}, "n", "invalid_value"),
        ({"stop": ["x"] * 17}, "stop", "invalid_value"),
        ({"stop": ["x", "y" * 257]}, "stop[1]", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"logit_bias": {"+7": 1}}, "logit_bias.+7", "invalid_value"),
        ({"logit_bias": {"1000000": 1}}, "logit_bias.1000000", "invalid_value"),
        ({"return_token_ids": True}, "return_token_ids", "unknown_field"),
        ({"messages": []}, "messages", "unknown_field"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name(
    fields: dict[str, object], param: str, code: str
) -> None:
    engine = FakeEngine()
    async with completions_app(engine) as app:
        call = await post(app, **fields)
    assert call.status == 422
    assert (call.json["error"]["param"], call.json["error"]["code"]) == (param, code)
    assert not engine.submits


@pytest.mark.parametrize("prompt", ["word " * 20_000, [5] * 513, "word " * 600])
async def test_a_prompt_above_the_context_is_refused_by_its_place(prompt: object) -> None:
    async with completions_app(FakeEngine()) as app:
        alone = await post(app, prompt=prompt)
        second = await post(app, prompt=["Hi" if isinstance(prompt, str) else [5], prompt])
    for call, param in ((alone, "prompt"), (second, "prompt[1]")):
        error = call.json["error"]
        assert (call.status, error["code"]) == (400, "context_length_exceeded")
        assert error["param"] == param
        assert "your prompt resulted in" in error["message"]


async def test_limits_of_the_operator_hold() -> None:
    narrow = AnswerLimits(
        request=RequestLimits(max_choices=2, max_stop_strings=1, max_top_logprobs=1)
    )
    async with completions_app(FakeEngine(), narrow) as app:
        calls = [await post(app, **f) for f in ({"n": 3}, {"stop": ["a", "b"]}, {"logprobs": 2})]
    assert [call.json["error"]["param"] for call in calls] == ["n", "stop", "logprobs"]


async def test_no_more_scores_of_prompts_are_told_than_an_answer_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(completions, "MAX_ECHOED_SCORES", 7)
    engine = FakeEngine([])
    async with completions_app(engine) as app:
        unscored = await post(app, prompt=[[5, 6], [7, 8]], n=2, echo=True)
        many = await post(app, prompt=[[5, 6], [7, 8]], n=2, echo=True, logprobs=0)
    assert unscored.status == 200
    assert (many.status, many.json["error"]["param"]) == (422, "echo")
    assert len(engine.submits) == 2


async def test_a_lenient_server_takes_unknown_fields_and_tells_them() -> None:
    async with completions_app(FakeEngine([]), AnswerLimits(is_lenient=True)) as app:
        call = await post(app, return_token_ids=True)
    assert call.status == 200
    assert app.exchanges[0].ignored_fields == ["return_token_ids"]


def failing_at(prompt: str, code: str = ENGINE_ERROR) -> Any:
    """An engine that fails at one prompt after a token, and goes on with others for ever."""
    wrong = ids_of(prompt)

    def script(submit: Submit) -> list[RequestEvent]:
        started: list[RequestEvent] = [Started(1, 0), Tokens((5,))]
        if submit.prompt_token_ids == wrong:
            return [*started, Failed(code, "It failed.", RequestTimings())]
        return [*started, *[Tokens((6,)) for _ in range(10_000)]]

    return script


@requirement("completions.several_prompts")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_fails_ends_all(stream: bool) -> None:
    engine = FakeEngine(failing_at("Hi"))
    async with completions_app(engine) as app:
        call = await post(app, prompt=["One", "Hi", "Two"], stream=stream, max_tokens=500)
        with anyio.fail_after(5):
            while len(engine.aborts) < 2:
                await anyio.lowlevel.checkpoint()
    if stream:
        assert call.status == 200
        assert call.events[-1]["error"]["code"] == ENGINE_ERROR
    else:
        assert (call.status, call.json["error"]["code"]) == (500, ENGINE_ERROR)
    assert {abort.request_id for abort in engine.aborts} == {
        submit.request_id for submit in engine.submits if submit.prompt_token_ids != ids_of("Hi")
    }
    record = app.exchanges[0].generation
    assert record is not None
    assert record.error_type == ENGINE_ERROR
    assert sorted(record.finish_reasons) == ["abort", "abort", "error"]


@requirement("completions.several_prompts")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_all_prompts(stream: bool) -> None:
    engine = FakeEngine(hold_after=2)
    async with completions_app(engine) as app, anyio.create_task_group() as tasks:
        call = Call(app, body_of(prompt=["One", "Two"], stream=stream))
        tasks.start_soon(call.run)
        if stream:
            await call.wait_for_body(b'"index":1')
        else:
            await engine.submitted.wait()
        call.leave()
        with anyio.fail_after(5):
            while len(engine.aborts) < 2:
                await anyio.lowlevel.checkpoint()
    assert {abort.reason for abort in engine.aborts} == {"abort"}


@requirement("completions.several_prompts")
@pytest.mark.parametrize("name", ["x-stainless-timeout", "x-stainless-read-timeout"])
async def test_the_patience_of_a_client_ends_all_prompts(name: str) -> None:
    engine = FakeEngine(hold_after=2)
    async with completions_app(engine) as app:
        headers = [("content-type", "application/json"), (name, "0.2")]
        call = await Call(app, body_of(prompt=["One", "Two"]), headers=headers).run()
    assert call.status == 408
    assert {abort.reason for abort in engine.aborts} <= {"timeout", "abort"}
    assert {abort.request_id for abort in engine.aborts} == {
        submit.request_id for submit in engine.submits
    }


async def test_a_prompt_that_ends_early_waits_for_no_other() -> None:
    """Its text is streamed while the other has not begun."""

    def script(submit: Submit) -> list[RequestEvent]:
        if submit.prompt_token_ids == ids_of("Hi"):
            return [Started(1, 0), Tokens((5,)), finished(submit, 1, "length")]
        return [Started(1, 0), *[Tokens((6,))] * 3, Finished("length", 1, 0, 3, RequestTimings())]

    engine = FakeEngine(script, hold_after=3)
    async with completions_app(engine) as app, anyio.create_task_group() as tasks:
        call = Call(app, body_of(prompt=["One", "Hi"], stream=True))
        tasks.start_soon(call.run)
        await call.wait_for_body(b'"finish_reason":"length"')
        assert not call.is_complete
        engine.resume()
    assert call.is_complete
    assert [choice["finish_reason"] for choice in joined(call)] == ["length"] * 2


@pytest.mark.parametrize("prompt", [PROMPT, ids_of(PROMPT)])
async def test_a_large_prompt_is_scored_beside_the_loop(
    prompt: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with completions_app(FakeEngine(says(BOTH))) as app:
        inline = await post(app, prompt=prompt, echo=True, logprobs=1)
        for module in (generation, completions):
            monkeypatch.setattr(module, "MAX_INLINE_SCORES", 0)
        monkeypatch.setattr(generation, "MAX_INLINE_BYTES", 0)
        aside = await post(app, prompt=prompt, echo=True, logprobs=1)
    assert inline.json["choices"] == aside.json["choices"]
