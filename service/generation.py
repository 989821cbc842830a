"""The use case behind every API: from messages to token ids, through the engine, to deltas.

It knows no JSON shapes and nothing of HTTP; faults are `ApiError`s because every API speaks them.
Read `Generator.prepare`, then `Generator.run`, then `Generation.receive`.
"""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from engine import protocol
from engine.errors import EngineError
from service.deltas import (
    AnswerEvent,
    ChoiceDelta,
    ChoiceEnd,
    ContentDelta,
    End,
    FinishReason,
    Started,
)
from service.echo import echo_scores
from service.errors import ApiError, EngineFault, Timeout, of_engine_error, of_failed
from service.generation_record import record_of
from service.prepared_choice import choice_text
from service.prompt import (
    Prepared,
    begins_in_reasoning,
    check_fields,
    encode_for,
    fit,
    sampling_params,
)
from service.side_threads import SideThreads
from service.structure_vetter import StructureVetter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from engine.client import Conversation, EngineClient
    from observability.record import GenerationRecord
    from service.deltas import TokenScore
    from service.models.manager import ModelManager, ReadyModel
    from service.prompt import GenerationRequest
    from service.served_model import ServedModel

MAX_INLINE_BYTES = 4096
"""A request above this is rendered and tokenized in a thread: it would hold up every stream."""

MAX_INLINE_SCORES = 256
"""An echoed prompt of more tokens has its scores put together in a thread."""

MAX_SETTLE_S = 1.0
"""How long to wait for the engine's end of a request that we have ended, for its timings."""


class Generator:
    """Runs generations of the models that `models` looks after."""

    def __init__(
        self,
        models: ModelManager,
        *,
        max_load_wait_s: float = 10.0,
        num_threads: int = 2,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._models = models
        self._max_load_wait_s = max_load_wait_s
        self.threads = SideThreads(num_threads)
        """For large prompts, also of routes that generate nothing."""
        self._clock_ns = clock_ns
        self._random_bytes = random_bytes
        self._vetter = StructureVetter()

    async def find(self, name: str, start_deadline_s: float) -> ServedModel:
        """The model of that name or alias, once it is loaded.

        Raises:
            ModelNotFound: there is none.
            ModelLoading, ModelLoadFailed, Unavailable: it is not there in time, or cannot be.
        """
        return (await self._ready(self._models.registry.find(name).name, start_deadline_s)).served

    async def prepare(self, served: ServedModel, request: GenerationRequest) -> Prepared:
        """Render, tokenize, and fit the request into the model's context.

        Raises:
            ContextExceeded: the prompt leaves no room for an answer.
            BadRequest: the template refuses the messages, or no answer can have the form.
            ValidationFault: `max_tokens` is above the context, or a stop id is no token.
            ModelLoading, Unavailable, Overloaded: the engine, or what looks at forms, cannot take it.
            Timeout: the deadline has passed.
        """
        start_ns = self._clock_ns()
        model = await self._ready(served.name, request.start_deadline_s)
        with anyio.CancelScope(deadline=request.start_deadline_s):
            return await self._prepare(served, request, model.ready, start_ns)
        raise _too_late()

    async def _ready(self, name: str, start_deadline_s: float) -> ReadyModel:
        """Who gives up while the model loads shall hear that it loads, and when to come again."""
        deadline_s = min(anyio.current_time() + self._max_load_wait_s, start_deadline_s)
        try:
            return await self._models.ready(name, deadline_s)
        except EngineError as error:
            raise of_engine_error(error) from None

    async def _prepare(
        self, served: ServedModel, request: GenerationRequest, ready: protocol.Ready, start_ns: int
    ) -> Prepared:
        check_fields(request, served, ready.max_model_len)
        if request.structure is not None:
            await self._vetter.check(request.structure, served.vocabulary)
        tokenize_start_ns = self._clock_ns()
        is_large = request.num_bytes > MAX_INLINE_BYTES
        token_ids, echo = await self.threads.run(
            is_large, encode_for, request, served, ready.max_model_len
        )
        tokenize_end_ns = self._clock_ns()
        sampling = request.sampling
        submit = protocol.Submit(
            request_id=self._new_id(),
            prompt=protocol.pack_token_ids(token_ids),
            params=sampling_params(
                request,
                served,
                max_tokens=fit(request, len(token_ids), ready.max_model_len),
                seed=self._draw_seed() if sampling.seed is None else sampling.seed,
            ),
            arrived_ns=tokenize_end_ns,
            tenant=request.tenant,
            traceparent=request.traceparent,
            num_samples=sampling.num_choices,
            priority=request.priority,
            deadline_ns=tokenize_end_ns + _ns_until(request.start_deadline_s),
            cache_salt=request.cache_salt,
            model=served.name,
        )
        return Prepared(
            request=request,
            served=served,
            submit=submit,
            num_prompt_tokens=len(token_ids),
            echo=echo,
            is_reasoning_open=begins_in_reasoning(request, served, token_ids),
            start_ns=start_ns,
            tokenize_start_ns=tokenize_start_ns,
            tokenize_end_ns=tokenize_end_ns,
        )

    def _draw_seed(self) -> int:
        return int.from_bytes(self._random_bytes(8), "little") >> 1  # what fits into an int64

    def _new_id(self) -> str:
        return self._random_bytes(12).hex()

    @asynccontextmanager
    async def run(
        self, prepared: Prepared, report: Callable[[GenerationRecord], None]
    ) -> AsyncIterator[Generation]:
        """The generation; leaving the block before its end aborts it. `report` is called once.

        Raises:
            Overloaded, Unavailable: the engine takes no more, or nothing any more.
            Timeout: the deadline has passed, which cancels what runs inside the block.
        """
        generation = None
        outcome, error_type = "abort", None
        try:
            name = prepared.served.name
            await self._ready(name, prepared.request.start_deadline_s)  # it may have gone meanwhile
            client = self._models.client()
            with self._models.in_flight(name), client.generate(prepared.submit) as conversation:
                # One timer for the whole answer: one for each wait would cost 6 us a token.
                scope = anyio.CancelScope(deadline=prepared.request.start_deadline_s)
                generation = Generation(
                    prepared, conversation, client, self._new_id, scope, self.threads
                )
                with scope:
                    yield generation
                is_late = scope.cancelled_caught and not generation.is_over
                if is_late:
                    generation.abort("timeout")
                await generation.settle()
                if is_late:
                    raise _too_late()
            outcome = "" if generation.is_over else "abort"
        except EngineError as error:
            outcome, error_type = "error", error.code
            raise of_engine_error(error) from None
        except ApiError as error:
            outcome, error_type = "error", error.code
            raise
        finally:  # nothing waits in here: the task may be cancelled
            report(
                record_of(
                    prepared,
                    generation.timings if generation else None,
                    num_cached_tokens=generation.num_cached_tokens if generation else 0,
                    num_output_tokens=generation.num_output_tokens if generation else 0,
                    finish_reasons=_reasons_of(prepared, generation, outcome),
                    error_type=error_type,
                    end_ns=self._clock_ns(),
                )
            )


class Generation:
    """One running answer of one or more choices; made by `Generator.run`.

    It is over when the `End` has been given out. A choice that ends at a stop string ends here: the
    engine is told, and whatever it still says of that choice is swallowed.
    """

    def __init__(
        self,
        prepared: Prepared,
        conversation: Conversation,
        client: EngineClient,
        new_id: Callable[[], str],
        scope: anyio.CancelScope,
        threads: SideThreads,
    ) -> None:
        """`scope` ends the reader's work at the deadline of the start, which is then moved on."""
        self.is_over = False
        self.timings: protocol.RequestTimings | None = None
        self.num_cached_tokens = 0
        self._prepared = prepared
        self._is_prompt_only = prepared.request.is_prompt_only
        self._threads = threads
        self._num_stop_tokens = 0
        self._conversation = conversation
        self._client = client
        self._scope = scope
        self._deadline_s = prepared.request.deadline_s
        self._fault: ApiError | None = None
        self._is_aborted = False
        self._choices = [
            choice_text(prepared, index, new_id) for index in range(prepared.submit.num_samples)
        ]
        self._reasons: dict[int, FinishReason] = {}

    @property
    def finish_reasons(self) -> tuple[FinishReason, ...]:
        """Of the choices that are over, in their order."""
        return tuple(reason for _, reason in sorted(self._reasons.items()))

    @property
    def num_output_tokens(self) -> int:
        """Over all choices, each up to the match of a stop string, or with its stop token."""
        return sum(choice.num_tokens for choice in self._choices) + self._num_stop_tokens

    async def receive(self) -> list[AnswerEvent]:
        """Wait for events and take along all that have come with them; never empty.

        Raises:
            ApiError: the engine failed at it. What came before has been given out.
        """
        events: list[AnswerEvent] = []
        while not events:
            if self._fault is not None:
                raise self._fault
            for event in await self._conversation.receive():
                if isinstance(event, protocol.PromptLogprobs):
                    events += self._echoes(await self._prompt_scores(event))
                else:
                    events += self._events_of(event)
        return events

    def abort(self, reason: protocol.AbortReason, choice: int | None = None) -> None:
        """End it, or a choice of it, in the engine, unless the engine has ended it."""
        if not self._conversation.is_over:
            self._is_aborted |= choice is None
            self._client.abort(self._conversation.request_id, reason, choice)

    async def settle(self) -> None:
        """Wait a moment for the engine's own end, which brings the timings: after an abort, or
        where the last choice ended by itself while the abort of another was on its way."""
        if self._is_aborted or self.is_over:
            with anyio.move_on_after(MAX_SETTLE_S):
                while not self._conversation.is_over:
                    for event in await self._conversation.receive():
                        self._events_of(event)

    def _events_of(self, event: protocol.RequestEvent) -> list[AnswerEvent]:
        """What an event means for the reader; nothing once the answer is over."""
        match event:
            case protocol.Started(num_cached_tokens=num_cached_tokens):
                self.num_cached_tokens = num_cached_tokens
                self._scope.deadline = self._deadline_s
                has_scores = self._prepared.submit.params.num_prompt_logprobs is not None
                return [Started(), *([] if has_scores else self._echoes())]
            case protocol.Tokens(token_ids, choice, logprobs):
                return self._take(choice, token_ids, logprobs)
            case protocol.SampleFinished(choice, reason):
                return self._end_choices([choice], reason)
            case protocol.Finished():
                self.timings = event.timings
                return self._end_choices(range(len(self._choices)), event.reason)
            case protocol.Failed(code, message):
                self.timings = event.timings
                self._fault = of_failed(code, message)
        return []

    async def _prompt_scores(self, event: protocol.PromptLogprobs) -> tuple[TokenScore, ...]:
        prepared, logprobs = self._prepared, event.logprobs
        # Whoever gives up waiting here for a moment must not lose what has come already.
        with anyio.CancelScope(shield=True):
            scores = await self._threads.run(
                len(logprobs) > MAX_INLINE_SCORES,
                echo_scores,
                prepared.served.tokenizer,
                prepared.echo,
                prepared.submit.prompt_token_ids,
                logprobs,
            )
        return scores

    def _echoes(self, scores: tuple[TokenScore, ...] = ()) -> list[AnswerEvent]:
        """The prompt as the beginning of each choice, if that was asked for."""
        if not self._prepared.request.is_echoed:
            return []
        echo = ContentDelta(self._prepared.echo)
        return [ChoiceDelta(index, echo, scores) for index in range(len(self._choices))]

    def _take(
        self,
        choice: int,
        token_ids: tuple[int, ...],
        logprobs: tuple[protocol.TokenLogprobs, ...],
    ) -> list[AnswerEvent]:
        if choice in self._reasons or self._is_prompt_only:
            return []
        text = self._choices[choice]
        events: list[AnswerEvent] = [*text.push(token_ids, logprobs)]
        if text.is_stopped:
            is_last = len(self._reasons) + 1 == len(self._choices)
            self.abort("stop", None if is_last else choice)
            events += self._end(choice, "stop")
        return events

    def _end_choices(
        self, choices: Iterable[int], reason: protocol.FinishReason
    ) -> list[AnswerEvent]:
        """The engine has ended these, as far as they were not over."""
        ended = [choice for choice in choices if choice not in self._reasons]
        if not ended or self._is_aborted:
            return []
        if reason not in ("stop", "length"):
            self._fault = EngineFault(
                "The engine ended this request before its answer was complete."
            )
            return []
        if self._is_prompt_only:
            reason = "length"
        self._num_stop_tokens += len(ended) if reason == "stop" else 0
        return [event for choice in ended for event in self._end(choice, reason)]

    def _end(self, choice: int, reason: FinishReason) -> list[AnswerEvent]:
        text = self._choices[choice]
        events: list[AnswerEvent] = [*text.finish()]
        if text.is_stopped or text.has_stop_token:  # perhaps only by what had been held back
            reason = "stop"
        if text.has_tool_calls and reason == "stop":
            reason = "tool_calls"
        self._reasons[choice] = reason
        events.append(ChoiceEnd(choice, reason))
        if len(self._reasons) == len(self._choices):
            self.is_over = True
            events.append(
                End(
                    self._prepared.num_prompt_tokens,
                    self.num_cached_tokens,
                    self.num_output_tokens,
                    sum(each.num_reasoning_tokens for each in self._choices),
                )
            )
        return events


def _too_late() -> Timeout:
    return Timeout("The answer was not complete within the request's time.")


def _reasons_of(prepared: Prepared, generation: Generation | None, outcome: str) -> tuple[str, ...]:
    """One for each choice: its own, or for those that were not over how all ended."""
    reasons = generation.finish_reasons if generation else ()
    return (*reasons, *[outcome] * (prepared.submit.num_samples - len(reasons)))


def _ns_until(deadline_s: float) -> int:
    return max(int((deadline_s - anyio.current_time()) * 1e9), 1)
