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
from service.answer_text import AnswerText
from service.deltas import Delta, End, FinishReason, Started
from service.errors import ApiError, EngineFault, Timeout, of_engine_error, of_failed
from service.generation_record import record_of
from service.prompt import Prepared, check_fields, encode, fit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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

    async def prepare(self, served: ServedModel, request: GenerationRequest) -> Prepared:
        """Render, tokenize, and fit the request into the model's context.

        Raises:
            ContextExceeded: the prompt leaves no room for an answer.
            BadRequest: the template refuses the messages.
            ValidationFault: `max_tokens` is above the context, or a stop id is no token.
            ModelLoading, Unavailable: the engine cannot take requests.
            Timeout: the deadline has passed.
        """
        start_ns = self._clock_ns()
        # Who gives up while the model loads shall hear that it loads, and when to come again.
        left_s = request.deadline_s - anyio.current_time()
        try:
            ready = await self._get_client().wait_ready(min(self._max_load_wait_s, left_s))
        except EngineError as error:
            raise of_engine_error(error) from None
        with anyio.CancelScope(deadline=request.deadline_s):
            return await self._prepare(served, request, ready, start_ns)
        raise _too_late()

    async def _prepare(
        self, served: ServedModel, request: GenerationRequest, ready: protocol.Ready, start_ns: int
    ) -> Prepared:
        check_fields(request, served, ready.max_model_len)
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
            params=protocol.SamplingParams(
                max_tokens=fit(len(token_ids), request.max_tokens, ready.max_model_len),
                temperature=request.temperature,
                top_p=request.top_p,
                top_k=request.top_k,
                seed=self._draw_seed() if request.seed is None else request.seed,
                stop_token_ids=tuple({*served.card.eos_token_ids, *request.stop_token_ids}),
            ),
            arrived_ns=tokenize_end_ns,
            tenant=request.tenant,
            traceparent=request.traceparent,
            deadline_ns=tokenize_end_ns + _ns_until(request.deadline_s),
        )
        return Prepared(
            request=request,
            served=served,
            submit=submit,
            num_prompt_tokens=len(token_ids),
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
        finish_reason, error_type = "abort", None
        try:
            client = self._get_client()
            with client.generate(prepared.submit) as conversation:
                generation = Generation(prepared, conversation, client, self._new_id)
                # One timer for the whole answer: one for each wait would cost 6 us a token.
                with anyio.CancelScope(deadline=prepared.request.deadline_s) as scope:
                    yield generation
                is_late = scope.cancelled_caught and not generation.is_over
                if is_late:
                    generation.abort("timeout")
                await generation.settle()
                if is_late:
                    raise _too_late()
            finish_reason = generation.finish_reason or "abort"
        except EngineError as error:
            finish_reason, error_type = "error", error.code
            raise of_engine_error(error) from None
        except ApiError as error:
            finish_reason, error_type = "error", error.code
            raise
        finally:  # nothing waits in here: the task may be cancelled
            report(
                record_of(
                    prepared,
                    generation.timings if generation else None,
                    num_cached_tokens=generation.num_cached_tokens if generation else 0,
                    num_output_tokens=generation.num_output_tokens if generation else 0,
                    finish_reason=finish_reason,
                    error_type=error_type,
                    end_ns=self._clock_ns(),
                )
            )


class Generation:
    """One running answer; made by `Generator.run`.

    `finish_reason` is None until the `End` has been given out. `num_output_tokens` counts up to
    the match of a stop string, and otherwise with the stop token.
    """

    def __init__(
        self,
        prepared: Prepared,
        conversation: Conversation,
        client: EngineClient,
        new_id: Callable[[], str],
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.timings: protocol.RequestTimings | None = None
        self.num_cached_tokens = 0
        self.num_output_tokens = 0
        self._num_prompt_tokens = prepared.num_prompt_tokens
        self._conversation = conversation
        self._client = client
        self._fault: ApiError | None = None
        self._is_aborted = False
        new_parser = prepared.served.new_tool_parser if prepared.request.tools else None
        self._text = AnswerText(
            prepared.served.tokenizer,
            prepared.request.stop,
            None if new_parser is None else new_parser(),
            lambda: f"call_{new_id()}",
        )

    @property
    def is_over(self) -> bool:
        return self.finish_reason is not None

    async def receive(self) -> list[Delta]:
        """Wait for deltas and take along all that have come with them; never empty.

        Raises:
            ApiError: the engine failed at it. What came before has been given out.
        """
        deltas: list[Delta] = []
        while not deltas:
            if self._fault is not None:
                raise self._fault
            for event in await self._conversation.receive():
                deltas += self._deltas_of(event)
        return deltas

    def abort(self, reason: protocol.AbortReason) -> None:
        """End it in the engine, unless the engine has ended it."""
        if not self._conversation.is_over:
            self._is_aborted = True
            self._client.abort(self._conversation.request_id, reason)

    async def settle(self) -> None:
        """After an abort, wait a moment for the engine's own end: it brings the timings."""
        if self._is_aborted:
            with anyio.move_on_after(MAX_SETTLE_S):
                while not self._conversation.is_over:
                    for event in await self._conversation.receive():
                        self._deltas_of(event)

    def _deltas_of(self, event: protocol.RequestEvent) -> list[Delta]:
        """What an event means for the reader; nothing once the answer is over."""
        match event:
            case protocol.Started(num_cached_tokens=num_cached_tokens):
                self.num_cached_tokens = num_cached_tokens
                return [Started()]
            case protocol.Tokens(token_ids) if not self.is_over:
                deltas: list[Delta] = [*self._text.push(token_ids)]
                self.num_output_tokens = self._text.num_tokens
                if self._text.is_stopped:
                    self.abort("stop")
                    deltas += self._end("stop")
                return deltas
            case protocol.Finished():
                self.timings = event.timings
                return [] if self.is_over or self._is_aborted else self._finish(event)
            case protocol.Failed(code, message):
                self.timings = event.timings
                self._fault = of_failed(code, message)
        return []

    def _finish(self, event: protocol.Finished) -> list[Delta]:
        self.num_output_tokens = event.num_output_tokens
        if event.reason == "stop" or event.reason == "length":
            return self._end(event.reason)
        self._fault = EngineFault("The engine ended this request before its answer was complete.")
        return []

    def _end(self, reason: FinishReason) -> list[Delta]:
        deltas: list[Delta] = [*self._text.finish()]
        if self._text.is_stopped:  # perhaps only by what had been held back
            reason = "stop"
        if self._text.has_tool_calls and reason == "stop":
            reason = "tool_calls"
        self.finish_reason = reason
        end = End(reason, self._num_prompt_tokens, self.num_cached_tokens, self.num_output_tokens)
        return [*deltas, end]


def _too_late() -> Timeout:
    return Timeout("The answer was not complete within the request's time.")


def _ns_until(deadline_s: float) -> int:
    return max(int((deadline_s - anyio.current_time()) * 1e9), 1)
