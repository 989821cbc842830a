"""`Ledger`: what each request was promised and what it has been told, judged event by event."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from engine.errors import (
    CONTEXT_LENGTH_EXCEEDED,
    DEADLINE_UNREACHABLE,
    ENGINE_ERROR,
    ENGINE_UNAVAILABLE,
    INVALID_REQUEST,
    MODEL_NOT_LOADED,
)
from engine.protocol import (
    Failed,
    Finished,
    PromptLogprobs,
    RequestEvent,
    SampleFinished,
    Started,
    Tokens,
)
from tests.sim.failure import claim
from tests.sim.hash_model import Reference, logprob_of, slots_of
from tests.sim.scenario import VOCABULARY

if TYPE_CHECKING:
    from random import Random

    from engine.protocol import Abort, Submit, TokenLogprobs
    from tests.sim.scenario import ModelShape


class Told:
    """One request that the engine has taken, and the events it has been sent."""

    def __init__(self, submit: Submit, shape: ModelShape, *, is_loaded: bool) -> None:
        self.submit = submit
        self.shape = shape
        self.prompt = submit.prompt_token_ids
        self.events: list[RequestEvent] = []
        self.started: Started | None = None
        self.ended: dict[int, str] = {}
        self.is_over = False
        self.is_excused = False
        """A step that held it has raised, or it has been told that it drew None."""
        self.was_refused = not is_loaded
        self.num_stopped = 0
        """Samples that have drawn a stop token, which counts and is not sent."""
        self.num_tokens = [0] * submit.num_samples
        self.most = min(submit.params.max_tokens, shape.max_model_len - len(self.prompt))
        self._references: dict[int, Reference] = {}
        self._aborts: set[tuple[int | None, str]] = set()

    @property
    def _fits(self) -> bool:
        return 0 < len(self.prompt) < self.shape.max_model_len

    @property
    def _is_possible(self) -> bool:
        knows = max(self.prompt, default=0) < VOCABULARY
        few = self.submit.num_samples <= self.shape.config.max_samples
        return knows and few and self.submit.params.max_tokens > 0

    @property
    def num_drawn(self) -> int:
        return sum(self.num_tokens) + self.num_stopped

    @property
    def most_steps(self) -> int:
        """Steps that it can cost at most from its beginning on, preemptions included: each is paid
        for by a token, and computes all of a sample again."""
        again = self.shape.max_model_len // self.shape.config.max_batch_tokens + 2
        return (self.submit.num_samples * max(self.most, 0) + 1) * again

    def holds(self, prefix: list[int]) -> bool:
        """Whether it has computed, or drawn, these first tokens."""
        length = len(prefix)
        if self.prompt[:length] != prefix[: len(self.prompt)]:
            return False
        drawn = prefix[len(self.prompt) :]
        return not drawn or any(
            reference.tokens[: len(drawn)] == drawn for reference in self._references.values()
        )

    @property
    def is_aborted(self) -> bool:
        return (None, "abort") in self._aborts

    def note_abort(self, abort: Abort) -> None:
        self._aborts.add((abort.sample, abort.reason))

    def take(self, event: RequestEvent, *, is_loaded: bool, is_ending: bool) -> None:
        claim(not self.is_over, "nothing comes after the end")
        match event:
            case Started():
                self._take_started(event)
            case PromptLogprobs():
                self._take_prompt_logprobs(event)
            case Tokens():
                self._take_tokens(event)
            case SampleFinished(sample, reason):
                self._take_end_of_sample(sample, reason)
            case Finished():
                self._take_end(event)
            case Failed(code):
                claim(
                    code != DEADLINE_UNREACHABLE or not event.timings.prefill_start_ns,
                    "a deadline ends nobody who runs",
                )
                self._take_failure(code, is_loaded=is_loaded, is_ending=is_ending)
        self.events.append(event)

    def _reference(self, sample: int) -> Reference:
        if sample not in self._references:
            self._references[sample] = Reference(self.prompt, self.shape, sample)
        return self._references[sample]

    def _take_started(self, event: Started) -> None:
        claim(self.started is None, "a request starts once")
        claim(self._fits and self._is_possible, "what cannot be answered does not start")
        claim(
            all(isinstance(e, SampleFinished) for e in self.events),
            "nothing comes before the start",
        )
        claim(event.num_prompt_tokens == len(self.prompt), "the prompt's length is told")
        self._claim_cached(event.num_cached_tokens)
        self.started = event

    def _claim_cached(self, num_cached_tokens: int) -> None:
        most = max(len(self.prompt) - 1, 0)
        claim(num_cached_tokens <= most, "the prompt's last token is computed")
        claim(num_cached_tokens % self.shape.block_size == 0, "whole blocks are found in the cache")
        if self.submit.params.num_prompt_logprobs is not None:
            claim(not num_cached_tokens, "who wants the prompt's scores computes all of it")

    @property
    def _owes_prompt_logprobs(self) -> bool:
        wants = self.submit.params.num_prompt_logprobs is not None
        return wants and not any(isinstance(e, PromptLogprobs) for e in self.events)

    def _take_prompt_logprobs(self, event: PromptLogprobs) -> None:
        claim(self._owes_prompt_logprobs, "the prompt's scores come once, to who wants them")
        claim(isinstance(self.events[-1], Started), "the prompt's scores follow the start")
        window = self.shape.windows[0]
        slots = slots_of(self.prompt)
        expected: list[TokenLogprobs | None] = [None]
        told = list(event.logprobs)
        claim(len(told) == len(self.prompt), "each token of the prompt has a score")
        for position, token in enumerate(self.prompt[1:], 1):
            first = 0 if window is None else max(position - window, 0)
            score, given = logprob_of(slots[first * 4 : position * 4]), told[position]
            claim(given and given.token_id == token, "a score is of the prompt's own token")
            claim(given and given.logprob == score, "a score is that of its history")
        claim(told[:1] == expected, "nothing precedes the first token")

    def _take_tokens(self, event: Tokens) -> None:
        sample, params = event.sample, self.submit.params
        claim(self.started, "tokens come after the start")
        claim(not self._owes_prompt_logprobs, "tokens come after the prompt's scores")
        claim(sample not in self.ended, "no token comes after the end of its sample")
        claim(0 <= sample < self.submit.num_samples, "a sample has a number that was asked for")
        for token in event.token_ids:
            index = self.num_tokens[sample]
            claim(index < self.most, "a sample keeps to its length")
            claim(token not in params.stop_token_ids, "a stop token is not sent")
            expected = self._reference(sample).token(index)
            claim(token == expected, f"token {index} of sample {sample} is {expected}, not {token}")
            self.num_tokens[sample] += 1
        scores = [score.logprob for score in event.logprobs]
        wanted = [-float(token) for token in event.token_ids if params.num_logprobs is not None]
        claim(scores == wanted, "each token has its own score if that was asked for")

    def _stops_now(self, sample: int) -> bool:
        index = self.num_tokens[sample]
        if not self.started or index >= self.most:
            return False
        return self._reference(sample).token(index) in self.submit.params.stop_token_ids

    def _claim_reason(self, sample: int, reason: str, abort_of: int | None) -> bool:
        """Whether the sample has ended by itself."""
        is_ordered = (abort_of, reason) in self._aborts
        if reason == "length":
            claim(self.num_tokens[sample] == self.most, "a sample ends at its length, not before")
            return True
        if reason == "stop" and self._stops_now(sample):
            # An order to stop that has crossed with it looks the same.
            self.num_stopped += not is_ordered
            return not is_ordered
        claim(is_ordered, f"a sample ends with {reason!r} if that was ordered")
        return False

    def _take_end_of_sample(self, sample: int, reason: str) -> None:
        claim(sample not in self.ended, "a sample ends once")
        self._claim_reason(sample, reason, sample)
        self.ended[sample] = reason
        claim(len(self.ended) < self.submit.num_samples, "the last sample's end is the request's")

    def _take_end(self, event: Finished) -> None:
        left = [s for s in range(self.submit.num_samples) if s not in self.ended]
        if (None, event.reason) not in self._aborts:
            claim(len(left) == 1, "a request ends with its last sample")
            self._claim_reason(left[0], event.reason, left[0])
        if not self.started:
            claim(event.reason in ("abort", "timeout", "stop"), "who never started was ended")
        self.is_over = True
        claim(event.num_prompt_tokens == len(self.prompt), "the prompt's tokens are counted")
        self._claim_cached(event.num_cached_tokens)
        if self.started:
            same = event.num_cached_tokens == self.started.num_cached_tokens
            claim(same, "what the cache gave is told twice alike")
        claim(self._is_count(event.num_output_tokens), "the tokens drawn are counted")
        self._claim_timings(event)

    def _is_count(self, num_output_tokens: int) -> bool:
        """Unless orders to stop have crossed with stops, exactly what was drawn."""
        slack = sum(
            self._stops_now(sample) and bool({(sample, "stop"), (None, "stop")} & self._aborts)
            for sample in range(self.submit.num_samples)
        )
        return self.num_drawn <= num_output_tokens <= self.num_drawn + slack

    def _claim_timings(self, event: Finished) -> None:
        timings = event.timings
        claim(all(start <= end for start, end in timings.queues), "a wait ends after it begins")
        if timings.prefill_start_ns and self.submit.deadline_ns:
            in_time = timings.prefill_start_ns <= self.submit.deadline_ns
            claim(in_time, "nobody starts after his deadline")
        if self.started:
            claim(
                timings.prefill_start_ns <= timings.first_token_ns <= timings.last_token_ns,
                "a start, a first token, a last one: in this order",
            )
        if self.submit.num_samples == 1 and timings.prefill_start_ns:
            num_waits = len(timings.queues) - timings.num_preemptions
            claim(num_waits in (0, 1), "each preemption is one more wait")

    def _take_failure(self, code: str, *, is_loaded: bool, is_ending: bool) -> None:
        """Each code has its own ground."""
        self.is_over = True
        if code == CONTEXT_LENGTH_EXCEEDED:
            claim(not self._fits, "a prompt that fits is not refused")
        elif code == INVALID_REQUEST:
            claim(not self._is_possible, "what can be answered is not refused")
        elif code == DEADLINE_UNREACHABLE:
            claim(self.submit.deadline_ns, "only who has a deadline misses it")
            claim(not self.started, "a deadline ends nobody who has started")
        elif code == ENGINE_ERROR:
            claim(self.is_excused, "who has met no fault does not fail")
        elif code == MODEL_NOT_LOADED:
            claim(self.was_refused or not is_loaded, "the model is not there")
        else:
            claim(code == ENGINE_UNAVAILABLE, f"no request fails with {code}")
            claim(is_ending, "an engine that goes on fails nobody")


class Ledger:
    """All requests that an engine has taken in its life."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}
        self.ends: Counter[str] = Counter()

    def __getitem__(self, name: str) -> Told:
        claim(name in self.told, f"nobody has asked for {name!r}")
        return self.told[name]

    def check_source(self, told: Told) -> None:
        """What the cache gave to a request comes from its own tenant."""
        assert told.started
        prefix = told.prompt[: told.started.num_cached_tokens]
        own = told.submit.tenant, told.submit.cache_salt, told.shape
        claim(
            not prefix
            or any(
                other is not told
                and (other.submit.tenant, other.submit.cache_salt, other.shape) == own
                and other.holds(prefix)
                for other in self.told.values()
            ),
            "tenants share nothing, and the cache holds what somebody has computed",
        )

    def draw(self, rng: Random) -> Told:
        """One of the last who came; rather one who has not got his end."""
        late = list(self.told.values())[-30:]
        alive = [told for told in late if not told.is_over]
        return rng.choice(alive if alive and rng.random() < 0.8 else late)

    def note(self, told: Told, event: RequestEvent) -> None:
        """What concerns more than one request."""
        if isinstance(event, Started):
            self.check_source(told)
        elif isinstance(event, Finished):
            self.ends[event.reason] += 1
        elif isinstance(event, Failed):
            self.ends["error"] += 1

    def check_all_over(self) -> None:
        for name, told in self.told.items():
            claim(told.is_over, f"{name!r} has been taken and never got its end")
