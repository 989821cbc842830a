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
import anyio.to_thread

from engine import protocol
from engine.errors import EngineError
from engine.text.tool_parsers.leading_calls import LeadingCallParser
from service.choice_text import ChoiceText
from service.deltas import AnswerEvent, ChoiceEnd, End, FinishReason, Started
from service.errors import ApiError, EngineFault, Timeout, of_engine_error, of_failed
from service.generation_record import record_of
from service.held_scores import HeldScores
from service.prompt import Prepared, check_fields, encode, fit, is_reasoning_open, sampling_params
from service.structure import Held
from service.structure_vetter import StructureVetter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from engine.client import Conversation, EngineClient
    from observability.record import GenerationRecord
    from service.prompt import GenerationRequest
    from service.served_model import ServedModel

MAX_INLINE_BYTES = 4096
"""A request above this is rendered and tokenized in a thread: it would hold up every stream."""

MAX_SETTLE_S = 1.0
"""How long to wait for the engine's end of a request that we have ended, for its timings."""


class Generator:
    """Runs generations on the engine behind `get_client`, which may raise an `EngineError`."""

    def __init__(
        self,
        get_client: Callable[[], EngineClient],
        *,
        max_load_wait_s: float = 10.0,
        num_threads: int = 2,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._get_client = get_client
        self._max_load_wait_s = max_load_wait_s
        self._threads = anyio.CapacityLimiter(num_threads)
        self._clock_ns = clock_ns
        self._random_bytes = random_bytes
        self._vetter = StructureVetter()

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
        # Who gives up while the model loads shall hear that it loads, and when to come again.
        left_s = request.start_deadline_s - anyio.current_time()
        try:
            ready = await self._get_client().wait_ready(min(self._max_load_wait_s, left_s))
        except EngineError as error:
            raise of_engine_error(error) from None
        with anyio.CancelScope(deadline=request.start_deadline_s):
            return await self._prepare(served, request, ready, start_ns)
        raise _too_late()

    async def _prepare(
        self, served: ServedModel, request: GenerationRequest, ready: protocol.Ready, start_ns: int
    ) -> Prepared:
        check_fields(request, served, ready.max_model_len)
        if request.structure is not None:
            await self._vetter.check(request.structure, served.vocabulary)
        tokenize_start_ns = self._clock_ns()
        if request.num_bytes <= MAX_INLINE_BYTES:
            token_ids = encode(served, request, ready.max_model_len)
        else:
            token_ids = await anyio.to_thread.run_sync(
                encode, served, request, ready.max_model_len, limiter=self._threads
            )
        tokenize_end_ns = self._clock_ns()
        submit = protocol.Submit(
            request_id=self._new_id(),
            prompt=protocol.pack_token_ids(token_ids),
            params=sampling_params(
                request,
                served,
                max_tokens=fit(len(token_ids), request.max_tokens, ready.max_model_len),
                seed=self._draw_seed() if request.seed is None else request.seed,
            ),
            arrived_ns=tokenize_end_ns,
            tenant=request.tenant,
            traceparent=request.traceparent,
            num_samples=request.num_choices,
            priority=request.priority,
            deadline_ns=tokenize_end_ns + _ns_until(request.start_deadline_s),
            cache_salt=request.cache_salt,
        )
        return Prepared(
            request=request,
            served=served,
            submit=submit,
            num_prompt_tokens=len(token_ids),
            is_reasoning_open=is_reasoning_open(served, request, token_ids),
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
            client = self._get_client()
            with client.generate(prepared.submit) as conversation:
                # One timer for the whole answer: one for each wait would cost 6 us a token.
                scope = anyio.CancelScope(deadline=prepared.request.start_deadline_s)
                generation = Generation(prepared, conversation, client, self._new_id, scope)
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
    ) -> None:
        """`scope` ends the reader's work at the deadline of the start, which is then moved on."""
        self.is_over = False
        self.timings: protocol.RequestTimings | None = None
        self.num_cached_tokens = 0
        self._num_prompt_tokens = prepared.num_prompt_tokens
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
                return [Started()]
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

    def _take(
        self,
        choice: int,
        token_ids: tuple[int, ...],
        logprobs: tuple[protocol.TokenLogprobs, ...],
    ) -> list[AnswerEvent]:
        if choice in self._reasons:
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
        self._num_stop_tokens += len(ended) if reason == "stop" else 0
        return [event for choice in ended for event in self._end(choice, reason)]

    def _end(self, choice: int, reason: FinishReason) -> list[AnswerEvent]:
        text = self._choices[choice]
        events: list[AnswerEvent] = [*text.finish()]
        if text.is_stopped:  # perhaps only by what had been held back
            reason = "stop"
        if text.has_tool_calls and reason == "stop":
            reason = "tool_calls"
        self._reasons[choice] = reason
        events.append(ChoiceEnd(choice, reason))
        if len(self._reasons) == len(self._choices):
            self.is_over = True
            events.append(
                End(
                    self._num_prompt_tokens,
                    self.num_cached_tokens,
                    self.num_output_tokens,
                    sum(each.num_reasoning_tokens for each in self._choices),
                )
            )
        return events


def choice_text(prepared: Prepared, index: int, new_id: Callable[[], str]) -> ChoiceText:
    """The text of one choice, with the parsers that the model and the request call for."""
    served, request = prepared.served, prepared.request
    held = request.structure.held if request.structure else Held.CALLS_IN_TEXT
    tool_format = served.tool_format if request.tools and held is not Held.ANSWER else None
    reasoning = served.reasoning if held is Held.CALLS_IN_TEXT else None
    tool_parser = tool_format(request.tools) if tool_format else None
    if tool_format and tool_parser and held is Held.CALLS_OR_ANSWER:
        shape = tool_format.shape(served.encoder.template.source)
        tool_parser = LeadingCallParser(tool_parser, shape.mark)
    return ChoiceText(
        index,
        served.tokenizer,
        lambda: f"call_{new_id()}",
        stop=request.stop,
        # Marks are special tokens in some formats: the parsers take them out again.
        skip_special_tokens=request.skip_special_tokens
        and not (tool_format and tool_format.keeps_special_tokens)
        and not (reasoning and reasoning.keeps_special_tokens),
        reasoning_parser=(
            reasoning.new(prepared.is_reasoning_open, keeps_calls=tool_format is not None)
            if reasoning
            else None
        ),
        tool_parser=tool_parser,
        is_one_call=request.is_one_call,
        scores=None if request.num_logprobs is None else HeldScores(served.tokenizer),
    )


def _too_late() -> Timeout:
    return Timeout("The answer was not complete within the request's time.")


def _reasons_of(prepared: Prepared, generation: Generation | None, outcome: str) -> tuple[str, ...]:
    """One for each choice: its own, or for those that were not over how all ended."""
    reasons = generation.finish_reasons if generation else ()
    return (*reasons, *[outcome] * (prepared.submit.num_samples - len(reasons)))


def _ns_until(deadline_s: float) -> int:
    return max(int((deadline_s - anyio.current_time()) * 1e9), 1)
