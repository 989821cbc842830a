"""Whether a grammar can be had: compiled and tried where it can do no harm, in a worker process
that is killed when it takes too long. Nothing here is called in a process that others need."""

from __future__ import annotations

import functools
import resource
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from engine.structured.compiler import ALLOWANCE_PER_TOKEN_S, STACK_BYTES, one_thread
from engine.structured.fault_place import with_place

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from engine.structured.vocabulary import OpenVocabulary, Vocabulary

MAX_MEMORY_BYTES = 3 << 30
VETTED_STACK_BYTES = STACK_BYTES // 4
"""What compiles on this compiles for certain on the whole of it."""

MAX_STEPS = 512
LEAST_STEPS = 48
ENOUGH_S = 0.1
"""What a usual grammar is looked at for; all times are this thread's own, whatever the machine does."""

MAX_STEP_S = 0.1
"""Longer than that no token may take, and in the mean no longer than the engine allows."""


def fault_in_worker(grammar: str, vocabulary: Vocabulary) -> str:
    """`fault_of`, in a process that has this as its only work: its memory is limited for good."""
    with suppress(ValueError, OSError):  # lower already
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    # A long chain of rules overflows the stack, which ends a process: here, before the engine's.
    with one_thread("vetting", VETTED_STACK_BYTES) as thread:
        return thread.submit(fault_of, grammar, vocabulary).result()


def fault_of(grammar: str, vocabulary: Vocabulary) -> str:
    """Why answers cannot be made to follow the grammar; "" if they can.

    Some grammars compile at once and cost seconds later, so an answer is drawn by a fixed seed that
    goes on for as long as it may. One that is dear already is looked at for longer.
    """
    opened = _opened(vocabulary)
    matcher = opened.matcher(grammar)
    fault = _fault_in_answer(opened, matcher)
    if not matcher.is_error():
        return fault
    return with_place(matcher.get_error(), grammar, lambda text: opened.matcher(text).get_error())


def _fault_in_answer(opened: OpenVocabulary, matcher: LLMatcher) -> str:
    """Draw an answer; "" also where the matcher fails, which it tells itself."""
    draw = np.random.default_rng(0)
    spent_s, num_tokens = 0.0, 0
    while num_tokens < MAX_STEPS and not matcher.is_error():
        begun_s = time.thread_time()
        allowed = opened.allowed_by(matcher)
        if matcher.is_error():
            break
        if not allowed.any():
            return "nothing may follow at some point"
        allowed[opened.ends] = False
        if matcher.is_stopped() or not allowed.any():
            break
        matcher.consume_token(int(draw.choice(np.flatnonzero(allowed))))
        forced = [token_id for token_id in opened.forced(matcher) if token_id not in opened.ends]
        matcher.consume_tokens(forced)
        took_s = time.thread_time() - begun_s
        spent_s, num_tokens = spent_s + took_s, num_tokens + 1 + len(forced)
        is_dear = spent_s > num_tokens * ALLOWANCE_PER_TOKEN_S
        if took_s > MAX_STEP_S * (1 + len(forced)) or (is_dear and spent_s > 10 * ENOUGH_S):
            return "it takes too long to follow"
        if num_tokens > LEAST_STEPS and spent_s > ENOUGH_S and not is_dear:
            break
    return ""


@functools.lru_cache(maxsize=4)
def _opened(vocabulary: Vocabulary) -> OpenVocabulary:
    """For the next ones: opening it costs more than a thousand grammars. Of a few models: each may
    take 180 MB of the worker's share."""
    return vocabulary.open()
