"""Whether a grammar can be had: compiled and tried where it can do no harm, in a worker process
that is killed when it takes too long. Nothing here is called in a process that others need."""

from __future__ import annotations

import functools
import resource
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from engine.structured.compiler import STACK_BYTES, one_thread
from engine.structured.fault_place import with_place

if TYPE_CHECKING:
    from engine.structured.vocabulary import OpenVocabulary, Vocabulary

MAX_MEMORY_BYTES = 3 << 30
VETTED_STACK_BYTES = STACK_BYTES // 4
"""What compiles on this compiles for certain on the whole of it."""

NUM_STEPS = 48
MAX_STEP_S = 0.1
"""Longer than that a step's other requests must not wait for one mask."""


def fault_in_worker(grammar: str, vocabulary: Vocabulary) -> str:
    """`fault_of`, in a process that has this as its only work: its memory is limited for good."""
    with suppress(ValueError, OSError):  # lower already
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    # A long chain of rules overflows the stack, which ends a process: here, before the engine's.
    with one_thread("vetting", VETTED_STACK_BYTES) as thread:
        return thread.submit(fault_of, grammar, vocabulary).result()


def fault_of(grammar: str, vocabulary: Vocabulary) -> str:
    """Why answers cannot be made to follow the grammar; "" if they can.

    Some grammars compile at once and cost seconds at the third token, so a few are drawn by a fixed
    seed: until the end, an error, or `NUM_STEPS`.
    """
    opened = _opened(vocabulary)
    matcher = opened.matcher(grammar)
    draw = np.random.default_rng(0)
    for _ in range(NUM_STEPS):
        if matcher.is_error():
            break
        started_s = time.monotonic()
        (allowed,) = opened.allowed([matcher])
        if time.monotonic() - started_s > MAX_STEP_S:
            return "it takes too long to follow"
        if matcher.is_stopped() or matcher.is_error():
            break
        if not allowed.any():
            return "nothing may follow at some point"
        matcher.consume_token(int(draw.choice(np.flatnonzero(allowed))))
    if not matcher.is_error():
        return ""
    return with_place(matcher.get_error(), grammar, lambda text: opened.matcher(text).get_error())


@functools.cache
def _opened(vocabulary: Vocabulary) -> OpenVocabulary:
    """One for the life of the worker: opening it costs more than a thousand grammars."""
    return vocabulary.open()
