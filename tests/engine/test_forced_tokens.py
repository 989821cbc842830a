"""Tokens that can only follow are appended without a pass each, and change nothing else.

Where a grammar is not ready yet, its request waits and the others go on.
"""

from __future__ import annotations

import json
import threading
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch

from engine.config import CacheConfig, EngineConfig, SchedulerConfig
from engine.kv_cache import CacheGroup, KVCache
from engine.models.loader import load
from engine.models.registry import resolve
from engine.protocol import Finished, SamplingParams, Submit, Tokens, pack_token_ids
from engine.sampling.sampler import Sampler
from engine.scheduler import Scheduler
from engine.step import RowStart, StepResult
from engine.structured import grammar
from engine.structured.vocabulary import vocabulary_of
from engine.text.tokenizer import Tokenizer
from tests.engine.test_scheduler import NOW, Bench, make_submit
from tests.hash_runner import expected_tokens

if TYPE_CHECKING:
    from engine.runner import LoadedModel
    from engine.structured.vocabulary import OpenVocabulary

CARD = resolve()
VOCABULARY = vocabulary_of(CARD, CARD.vocab_size)
TOKENIZER = Tokenizer.from_folder(Path(CARD.path))
SCHEDULER = SchedulerConfig(max_batch_tokens=64)
PROPERTIES = {
    "identification_number": {"enum": [0, 1, 2]},
    "is_available_at_present": {"type": "boolean"},
    "remarks_of_the_reviewer": {"type": "string", "maxLength": 6},
}
SCHEMA = {
    "type": "object",
    "properties": PROPERTIES,
    "required": list(PROPERTIES),
    "additionalProperties": False,
}


class Told:
    """What one request has been told, and how many of its tokens were computed."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.num_scores = 0
        self.end: Finished | None = None

    @property
    def text(self) -> str:
        return TOKENIZER.decode(self.token_ids)


class Model:
    """kvorum-mini with a number of blocks, driven by hand."""

    def __init__(self, num_blocks: int) -> None:
        config = EngineConfig(
            card=CARD,
            device="cpu",
            dtype="float32",
            max_model_len=256,
            num_threads=1,
            cache=CacheConfig(block_size=8, num_blocks=num_blocks),
            scheduler=SCHEDULER,
        )
        self.loaded: LoadedModel = load(config, lambda _: None)
        self.num_steps = 0
        self.num_preemptions = 0

    def run(self, submits: list[Submit]) -> dict[str, Told]:
        ready = self.loaded.ready
        groups = [CacheGroup(n, ready.block_size, window) for n, window in self.loaded.groups]
        cache = KVCache(groups, max_step_tokens=SCHEDULER.max_batch_tokens)
        scheduler = Scheduler(cache, SCHEDULER, max_model_len=ready.max_model_len)
        told = {submit.request_id: Told() for submit in submits}
        for submit in submits:
            assert not scheduler.submit(submit, NOW)
        for self.num_steps in count():
            plan = scheduler.schedule(NOW)
            if not plan.rows:
                break
            for name, event in scheduler.update(plan, self.loaded.runner.execute(plan), NOW):
                match event:
                    case Tokens(token_ids, _, logprobs):
                        told[name].token_ids += token_ids
                        told[name].num_scores += len(logprobs)
                    case Finished():
                        told[name].end = event
            scheduler.check()
        self.num_preemptions = scheduler.stats(0).num_preemptions
        return told


@pytest.fixture(scope="module")
def roomy() -> Model:
    return Model(num_blocks=600)


@pytest.fixture(scope="module")
def tight() -> Model:
    return Model(num_blocks=33)  # a little more than one sequence of full length


def ask(name: str, prompt: str = "Tell me. ", seed: int = 0, **params: object) -> Submit:
    fields: dict[str, object] = {
        "max_tokens": 120,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "seed": seed,
        "stop_token_ids": CARD.eos_token_ids,
        "grammar": grammar.of_schema(SCHEMA),
        **params,
    }
    return Submit(
        name,
        pack_token_ids(TOKENIZER.encode(prompt)),
        SamplingParams(**fields),  # type: ignore[arg-type]
        0,
    )


def test_what_can_only_follow_costs_no_pass_each(roomy: Model) -> None:
    (told,) = roomy.run([ask("a")]).values()
    answer = json.loads(told.text)
    assert list(answer) == list(PROPERTIES)
    assert told.end is not None
    assert told.end.reason == "stop"
    assert told.end.num_output_tokens == len(told.token_ids) + 1
    assert roomy.num_steps < told.end.num_output_tokens / 2


def test_a_crowd_that_is_preempted_gets_what_each_gets_alone(roomy: Model, tight: Model) -> None:
    crowd = [ask(str(n), f"Tell me about number {n}. " * (1 + n % 3), n) for n in range(6)]
    crowd += [ask(f"free {n}", "Tell me. " * n, n, grammar="", max_tokens=60) for n in range(1, 4)]
    together = tight.run(crowd)
    assert tight.num_preemptions > 0
    for submit in crowd:
        (alone,) = roomy.run([submit]).values()
        assert together[submit.request_id].token_ids == alone.token_ids


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 8, 20])
def test_a_forced_run_ends_at_the_requests_length(roomy: Model, max_tokens: int) -> None:
    (whole,) = roomy.run([ask("a")]).values()
    (told,) = roomy.run([ask("a", max_tokens=max_tokens)]).values()
    assert told.token_ids == whole.token_ids[:max_tokens]
    assert told.end is not None
    assert (told.end.reason, told.end.num_output_tokens) == ("length", max_tokens)


def test_a_stop_token_ends_a_forced_run(roomy: Model) -> None:
    (whole,) = roomy.run([ask("a")]).values()
    stop = whole.token_ids[-2]
    (told,) = roomy.run([ask("a", stop_token_ids=(stop,))]).values()
    assert told.token_ids == whole.token_ids[: whole.token_ids.index(stop)]
    assert told.end is not None
    assert (told.end.reason, told.end.num_output_tokens) == ("stop", len(told.token_ids) + 1)


def test_who_asks_for_scores_gets_one_for_each_token(roomy: Model) -> None:
    (told,) = roomy.run([ask("a", num_logprobs=0)]).values()
    assert told.num_scores == len(told.token_ids) > 20
    assert list(json.loads(told.text)) == list(PROPERTIES)


def test_forced_tokens_count_for_penalties(roomy: Model) -> None:
    form = grammar.of_regex("(aaaaaaaaaaaaaaaa)[ab]")
    (told,) = roomy.run([ask("a", grammar=form, temperature=0.0, presence_penalty=2.0)]).values()
    (free,) = roomy.run([ask("a", grammar=form, temperature=0.0, num_logprobs=0,
                             presence_penalty=2.0)]).values()  # fmt: skip
    assert told.text == free.text


class SlowVocabulary:
    """One that opens when it is told to."""

    def __init__(self) -> None:
        self.may_open = threading.Event()

    def open(self) -> OpenVocabulary:
        assert self.may_open.wait(30)
        return VOCABULARY.open()


def test_a_grammar_that_is_not_ready_holds_up_its_own_row_only() -> None:
    slow = SlowVocabulary()
    cpu = torch.device("cpu")
    sampler = Sampler(2, CARD.vocab_size, cpu, slow, takes_forced=True)  # type: ignore[arg-type]
    bound = SamplingParams(9, 0.0, 1.0, 0, 0, grammar=grammar.of_choice(["x"]))
    for row, params in enumerate((bound, msgspec.structs.replace(bound, grammar=""))):
        sampler.start(RowStart(row, params, 0, [1], 1, scores_prompt=False))
    rows = np.asarray([0, 1])
    sampler.prepare(rows)
    assert sampler.judge(rows) == ([0], [], {})
    logits = torch.zeros(1, CARD.vocab_size)
    logits[:, 77] = 9
    assert sampler.sample(logits, rows[1:], [1]).token_ids == [77]
    slow.may_open.set()
    assert sampler.sample(logits, rows[:1], [1]).token_ids == TOKENIZER.encode("x")
    assert sampler.force(rows) == {0: [CARD.eos_token_ids[0]]}
    assert sampler.judge(rows) == ([], [], {})


def test_who_could_not_draw_draws_later_what_it_would_have_drawn() -> None:
    bench = Bench()
    bench.submit(make_submit("late", [1, 2, 3]))
    bench.submit(make_submit("other", [2]))
    for _ in range(3):
        plan = bench.scheduler.schedule(NOW)
        _, other = bench.runner.execute(plan).token_ids
        bench.note(
            bench.scheduler.update(plan, StepResult([other], without_draw=[0], late=[0]), NOW)
        )
    assert not bench.told["late"]
    assert len(bench.tokens("other")) == 3
    bench.run()
    assert bench.tokens("late") == expected_tokens([1, 2, 3], 4)
    assert bench.tokens("other") == expected_tokens([2], 4)


def test_a_forced_run_displaces_nobody_and_is_computed_as_there_is_room() -> None:
    bench = Bench(num_blocks=8, block_size=4)
    expected = expected_tokens([1], 28)
    bench.submit(make_submit("forced", [1], max_tokens=28))
    bench.submit(make_submit("other", [2] * 10, max_tokens=6))
    plan = bench.scheduler.schedule(NOW)
    drawn = bench.runner.execute(plan).token_ids
    result = StepResult(drawn, forced={0: expected[1:27]})
    bench.note(bench.scheduler.update(plan, result, NOW))
    bench.run()
    assert bench.tokens("forced") == expected
    assert bench.tokens("other") == expected_tokens([2] * 10, 6)
    assert bench.scheduler.stats(0).num_preemptions <= 1


def test_blocks_that_were_given_for_a_step_that_failed_without_them_are_not_forgotten() -> None:
    bench = Bench(num_blocks=16, block_size=4)
    prompts = {name: [ord(name)] * 7 for name in "ab"}
    expected = {name: expected_tokens(prompt, 30) for name, prompt in prompts.items()}
    for name, prompt in prompts.items():
        bench.submit(make_submit(name, prompt, max_tokens=30))
    bench.step()
    plan = bench.scheduler.schedule(NOW)
    drawn = bench.runner.execute(plan).token_ids
    forced = {0: expected["a"][2:26], 1: expected["b"][2:5]}
    bench.note(bench.scheduler.update(plan, StepResult(drawn, forced=forced), NOW))
    plan = bench.scheduler.schedule(NOW)  # all of the budget is the first one's
    assert len(plan.rows) == 1
    bench.note(bench.scheduler.fail_step(plan, "engine_error", "before anything was noted"))
    bench.run()
    assert bench.tokens("b") == expected["b"]


def test_a_control_token_is_never_forced() -> None:
    control = next(i for i, t in TOKENIZER.added_tokens.items() if t.content == "<|im_start|>")
    opened = VOCABULARY.open()
    matcher = opened.matcher(grammar.of_source(f'start: "abcabc" <[{control}]> "x"'))
    assert matcher.consume_tokens(TOKENIZER.encode("a"))
    assert control not in opened.forced(matcher)
