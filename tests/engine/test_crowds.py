"""Random crowds over real models: what a request gets does not depend on who else is there.

The scheduler and the runner are driven by hand, without a loop or threads, so a crowd is the same
each time. Everything random is of the test's own seed.

A token is drawn where a number falls between two sums of probabilities; the sums of a crowd and of
a request alone differ by about 1e-7, so with these vocabularies and counts a given set of crowds
has a chance of a few percent to hold one tie. It shows at once and for good: change the seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
import transformers

from engine.config import CacheConfig, EngineConfig, SchedulerConfig
from engine.kv_cache import CacheGroup, KVCache
from engine.models.card import read_card
from engine.models.loader import load
from engine.protocol import (
    Failed,
    Finished,
    PromptLogprobs,
    RequestEvent,
    SampleFinished,
    SamplingParams,
    Started,
    Submit,
    TokenLogprobs,
    Tokens,
    pack_token_ids,
)
from engine.scheduler import Scheduler
from tests.tiny_model import EOS, VOCABULARY, save_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from engine.runner import LoadedModel

    Arrival = tuple[int, Submit]  # the step before which it comes
    Leaving = tuple[int, str, int | None]  # step, request, sample or all of them

FAMILIES = ("Llama", "Gemma3Text", "Mistral", "GptOss", "Qwen3Moe")
LOGPROB_ERROR = 1e-4
MAX_TOKENS = 20
MAX_STEPS = 3000
NUM_CROWDS = 4


@dataclass
class Answer:
    """What a request has been told."""

    tokens: dict[int, list[int]] = field(default_factory=dict)
    logprobs: dict[int, list[TokenLogprobs]] = field(default_factory=dict)
    ends: dict[int, str] = field(default_factory=dict)
    prompt: tuple[TokenLogprobs | None, ...] | None = None
    num_preemptions: int = 0
    has_started: bool = False
    is_over: bool = False

    def hear(self, event: RequestEvent, samples: Iterable[int]) -> None:
        assert not self.is_over, "an event follows the last one"
        match event:
            case Started():
                assert not self.has_started
                self.has_started = True
            case PromptLogprobs(logprobs):
                assert self.has_started
                assert self.prompt is None
                assert not self.tokens
                self.prompt = logprobs
            case Tokens(token_ids, sample, logprobs):
                assert sample not in self.ends, "a token follows its sample's end"
                self.tokens.setdefault(sample, []).extend(token_ids)
                self.logprobs.setdefault(sample, []).extend(logprobs)
            case SampleFinished(sample, reason):
                assert sample not in self.ends
                self.ends[sample] = reason
            case Finished():
                self.is_over = True
                self.num_preemptions = event.timings.num_preemptions
                self.ends.update({s: event.reason for s in samples if s not in self.ends})
            case Failed():
                raise AssertionError(event)


class Model:
    """A tiny model of a family, loaded twice: with a tight cache, and with room for everybody."""

    def __init__(self, folder: Path) -> None:
        self.reference = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32
        )
        self.tight_config = SchedulerConfig(max_batch_tokens=20)
        self.roomy_config = SchedulerConfig(max_batch_tokens=256)
        self.tight = self._load(folder, 14, self.tight_config)
        self.roomy = self._load(folder, 100, self.roomy_config)
        self.alone: Callable[[Submit, int], Answer] = cache(self._alone)

    def _load(self, folder: Path, num_blocks: int, scheduler: SchedulerConfig) -> LoadedModel:
        config = EngineConfig(
            card=read_card(folder, "tiny"),
            device="cpu",
            dtype="float32",
            max_model_len=96,
            num_threads=1,
            cache=CacheConfig(block_size=8, num_blocks=num_blocks),
            scheduler=scheduler,
        )
        return load(config, lambda _: None)

    def run(
        self, arrivals: list[Arrival], leavings: Iterable[Leaving] = ()
    ) -> tuple[dict[str, Answer], int]:
        """The answers of a crowd over the tight cache, and how often somebody was preempted."""
        return _run(self.tight, self.tight_config, arrivals, leavings)

    def _alone(self, submit: Submit, sample: int) -> Answer:
        """One sample of a request, with nobody else: those before it leave before they begin."""
        one = msgspec.structs.replace(submit, num_samples=sample + 1)
        leavings = [(0, submit.request_id, other) for other in range(sample)]
        answers, _ = _run(self.roomy, self.roomy_config, [(0, one)], leavings)
        return answers[submit.request_id]

    def logprobs(self, token_ids: list[int]) -> torch.Tensor:
        """What transformers says of the token after each of these: [tokens, vocabulary]."""
        with torch.inference_mode():
            logits = self.reference(torch.tensor([token_ids])).logits[0]
        return logits.float().log_softmax(-1)


def _run(
    loaded: LoadedModel,
    config: SchedulerConfig,
    arrivals: list[Arrival],
    leavings: Iterable[Leaving],
) -> tuple[dict[str, Answer], int]:
    ready = loaded.ready
    kv_cache = KVCache(
        [CacheGroup(num_blocks, ready.block_size, window) for num_blocks, window in loaded.groups],
        max_step_tokens=config.max_batch_tokens,
    )
    scheduler = Scheduler(kv_cache, config, max_model_len=ready.max_model_len, model="tiny")
    answers = {submit.request_id: Answer() for _, submit in arrivals}
    samples = {submit.request_id: range(submit.num_samples) for _, submit in arrivals}
    last_arrival = max(step for step, _ in arrivals)
    for step in count():
        assert step < MAX_STEPS, "the crowd never ends"
        events = [
            event
            for at, submit in arrivals
            if at == step
            for event in scheduler.submit(submit, step)
        ]
        for at, request_id, sample in leavings:
            events += scheduler.abort(request_id, "abort", sample) if at == step else ()
        plan = scheduler.schedule(step)
        if plan.rows:
            events += scheduler.update(plan, loaded.runner.execute(plan), step)
        scheduler.check()
        for request_id, event in events:
            answers[request_id].hear(event, samples[request_id])
        if step >= last_arrival and not scheduler.has_work:
            break
    stats = scheduler.stats(0)
    assert stats.num_blocks_used == stats.num_running == stats.num_waiting == 0
    assert all(answer.is_over for answer in answers.values())
    return answers, stats.num_preemptions


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    return cache(lambda family: Model(save_tiny_model(tmp_path_factory.mktemp(family), family)))


def submit(request_id: str, prompt: list[int], params: SamplingParams, **other: object) -> Submit:
    return Submit(request_id, pack_token_ids(prompt), params, 0, **other)  # type: ignore[arg-type]


def some(rng: random.Random, *values: object) -> object:
    """The first of them half the time: most requests leave most parameters alone."""
    return values[0] if rng.random() < 0.5 else rng.choice(values[1:])


def random_params(rng: random.Random) -> SamplingParams:
    def ids(most: int) -> tuple[int, ...]:
        return tuple(rng.randrange(VOCABULARY) for _ in range(rng.randint(1, most)))

    fields = {
        "temperature": some(rng, 1.0, 0.0, 0.3, 0.8, 1.5),
        "top_p": some(rng, 1.0, 0.5, 0.9, 0.99),
        "top_k": some(rng, 0, 1, 5, 40, 200),
        "min_p": some(rng, 0.0, 0.02, 0.2),
        "repetition_penalty": some(rng, 1.0, 0.8, 1.3),
        "presence_penalty": some(rng, 0.0, -1.0, 0.7),
        "frequency_penalty": some(rng, 0.0, -0.5, 0.4),
        "logit_bias": some(rng, (), tuple((i, rng.uniform(-5, 5)) for i in ids(9))),
        "allowed_token_ids": some(rng, (), (), (), (*ids(1), *range(40, 90), EOS)),
        "banned_token_ids": some(rng, (), ids(30)),
        "stop_token_ids": some(rng, (EOS,), (), (EOS, *ids(30))),
        "min_tokens": some(rng, 0, 1, 5, 12),
        "num_logprobs": some(rng, None, 0, 1, 5),
        "num_prompt_logprobs": some(rng, None, None, None, 0, 3),
    }
    seed = rng.choice((0, 7, 2**63 + 5))  # equal ones often, by intent
    return SamplingParams(rng.randint(1, MAX_TOKENS), seed=seed, **fields)  # type: ignore[arg-type]


def random_crowd(rng: random.Random, size: int) -> tuple[list[Arrival], list[Leaving]]:
    """Requests that begin alike, or not, and come and go while others run. Two come first and grow
    until the cache has room for one of them only."""
    stem = [rng.randrange(256) for _ in range(60)]
    arrivals: list[Arrival] = []
    for name in "ab":
        params = msgspec.structs.replace(random_params(rng), max_tokens=50, stop_token_ids=())
        prompt = [rng.randrange(256) for _ in range(30)]
        arrivals.append((0, submit(name, prompt, params)))
    leavings: list[Leaving] = []
    for index in range(size):
        tail = [rng.randrange(256) for _ in range(rng.randint(1, 12))]
        prompt = stem[: rng.choice((0, 0, 8, 20, 33, 60))] + tail
        num_samples = rng.choice((1, 1, 1, 2, 3))
        step = rng.randint(0, 30)
        one = submit(str(index), prompt, random_params(rng), num_samples=num_samples)
        arrivals.append((step, one))
        if rng.random() < 0.3:
            sample = rng.choice((None, *range(num_samples)))
            leavings.append((step + rng.randint(0, 25), str(index), sample))
    return arrivals, leavings


def check_same(model: Model, submit: Submit, answer: Answer) -> None:
    """Each sample says what it says alone; if it has left, the beginning of it."""
    for sample in range(submit.num_samples):
        alone = model.alone(submit, sample)
        tokens, expected = answer.tokens.get(sample, []), alone.tokens.get(sample, [])
        if answer.ends[sample] == "abort":
            assert tokens == expected[: len(tokens)]
        else:
            assert tokens == expected
            assert answer.ends[sample] == alone.ends[sample]
        check_logprobs(submit, answer.logprobs.get(sample, []), alone.logprobs.get(sample, []))
        if answer.prompt is not None:
            assert alone.prompt is not None
            check_logprobs(submit, answer.prompt[1:], alone.prompt[1:])


def check_logprobs(
    submit: Submit, found: Iterable[TokenLogprobs | None], expected: Iterable[TokenLogprobs | None]
) -> None:
    for one, other in zip(found, expected, strict=False):
        assert one is not None
        assert other is not None
        assert one.token_id == other.token_id
        assert one.logprob == pytest.approx(other.logprob, abs=LOGPROB_ERROR)
        assert one.top_logprobs == pytest.approx(other.top_logprobs, abs=LOGPROB_ERROR)


def check_against_transformers(
    found: Iterable[TokenLogprobs | None], token_ids: list[int], logprobs_TV: torch.Tensor
) -> None:
    """`found` tells of the tokens with these ids, one for each row of transformers' numbers."""
    for one, token_id, row_V in zip(found, token_ids, logprobs_TV, strict=True):
        assert one is not None
        assert one.token_id == token_id
        assert one.logprob == pytest.approx(row_V[token_id].item(), abs=LOGPROB_ERROR)
        tops = row_V[list(one.top_ids)].tolist()
        assert one.top_logprobs == pytest.approx(tops, abs=LOGPROB_ERROR)
        largest = row_V.topk(len(one.top_ids)).values.tolist()
        assert one.top_logprobs == pytest.approx(largest, abs=LOGPROB_ERROR)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_request_gets_in_any_crowd_what_it_gets_alone(
    family: str, model_of: Callable[[str], Model]
) -> None:
    model = model_of(family)
    for seed in range(NUM_CROWDS):
        arrivals, leavings = random_crowd(random.Random(f"{family} {seed}"), 10)
        answers, num_preemptions = model.run(arrivals, leavings)
        # A window reserves what it needs: with nothing but windows nobody has to yield.
        assert num_preemptions > 0 or family == "Mistral"
        for _, one in arrivals:
            answer = answers[one.request_id]
            wants_prompt = one.params.num_prompt_logprobs is not None
            assert (answer.prompt is not None) == (wants_prompt and answer.has_started)
            check_same(model, one, answer)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_plain_transformers(
    family: str, model_of: Callable[[str], Model]
) -> None:
    """In a crowd in which the prompts come in chunks and whoever is young is preempted."""
    model = model_of(family)
    rng = random.Random(family)
    params = SamplingParams(
        16, 1.0, 1.0, 0, 3, num_logprobs=4, num_prompt_logprobs=2, repetition_penalty=1.3
    )
    prompts = [[rng.randrange(256) for _ in range(n)] for n in (1, 8, 19, 45, 60, 70)]
    crowd = [(i, submit(str(i), prompt, params)) for i, prompt in enumerate(prompts)]
    answers, _ = model.run(crowd)
    for index, prompt in enumerate(prompts):
        answer = answers[str(index)]
        tokens = answer.tokens[0]
        logprobs_TV = model.logprobs(prompt + tokens)
        assert answer.prompt is not None
        assert answer.prompt[0] is None
        end = len(prompt) - 1
        check_against_transformers(answer.prompt[1:], prompt[1:], logprobs_TV[:end])
        check_against_transformers(answer.logprobs[0], tokens, logprobs_TV[end:-1])


def test_prompt_log_probabilities_are_whole_after_a_preemption_in_the_middle_of_the_prompt(
    tmp_path: Path,
) -> None:
    model = Model(save_tiny_model(tmp_path, "Llama"))
    config = SchedulerConfig(max_batch_tokens=4)
    scores = SamplingParams(4, 0.0, 1.0, 0, 0, num_prompt_logprobs=1)
    prompt = [i * 7 % 256 for i in range(80)]
    old = submit("old", [1, 2, 3, 4, 5, 6, 7], SamplingParams(60, 0.0, 1.0, 0, 0))
    young = submit("young", prompt, scores)
    answers, _ = _run(model.tight, config, [(0, old), (2, young)], ())
    assert answers["young"].num_preemptions > 0
    assert answers["young"].prompt is not None
    logprobs_TV = model.logprobs(prompt)
    check_against_transformers(answers["young"].prompt[1:], prompt[1:], logprobs_TV[:-1])


def test_equal_seeds_draw_equal_tokens_and_samples_of_one_seed_differ(
    model_of: Callable[[str], Model],
) -> None:
    model = model_of("Llama")
    params = SamplingParams(12, 1.0, 1.0, 0, seed=11)
    other = msgspec.structs.replace(params, seed=12)
    crowd = [
        (0, submit("a", [5, 6, 7], params, num_samples=3)),
        (3, submit("b", [5, 6, 7], params, num_samples=3)),
        (4, submit("c", [5, 6, 7], other)),
    ]
    answers, _ = model.run(crowd)
    assert answers["a"].tokens == answers["b"].tokens
    texts = [*answers["a"].tokens.values(), *answers["c"].tokens.values()]
    assert len(set(map(tuple, texts))) == 4


def test_each_of_many_samples_says_what_a_run_of_its_own_says(
    model_of: Callable[[str], Model],
) -> None:
    """More samples than the cache has room for: some fork, some begin again, some are preempted."""
    model = model_of("Gemma3Text")
    params = SamplingParams(MAX_TOKENS, 1.0, 1.0, 0, seed=5, num_logprobs=1)
    one = submit("a", list(range(40)), params, num_samples=9)
    answers, _ = model.run([(0, one)])
    assert sorted(answers["a"].tokens) == list(range(9))
    check_same(model, one, answers["a"])


def test_a_sample_takes_the_place_of_one_that_leaves_in_the_middle_of_the_prompt(
    model_of: Callable[[str], Model],
) -> None:
    model = model_of("Llama")
    params = SamplingParams(8, 1.0, 1.0, 0, seed=5, num_prompt_logprobs=1)
    one = submit("a", list(range(50)), params, num_samples=3)
    answers, _ = model.run([(0, one)], [(1, "a", 0)])
    check_same(model, one, answers["a"])
