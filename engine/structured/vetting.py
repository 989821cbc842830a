"""Whether a grammar can be had: compiled and tried where it can do no harm, in a worker process
that is killed when it takes too long. Nothing here is called in a process that others need."""

from __future__ import annotations

import functools
import resource
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import llguidance
import llguidance.numpy
import numpy as np

from engine.structured.vocabulary import Vocabulary, limits

if TYPE_CHECKING:
    from llguidance import LLTokenizer

MAX_MEMORY_BYTES = 3 << 30
NUM_STEPS = 48
MAX_STEP_S = 0.1
"""Longer than that a step's other requests must not wait for one mask."""


def fault_in_worker(grammar: str, vocabulary: Vocabulary) -> str:
    """`fault_of`, in a process that has this as its only work: its memory is limited for good."""
    with suppress(ValueError, OSError):  # lower already
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    return fault_of(grammar, vocabulary)


def fault_of(grammar: str, vocabulary: Vocabulary) -> str:
    """Why answers cannot be made to follow the grammar; "" if they can.

    Some grammars compile at once and cost seconds at the third token, so a few are drawn.
    """
    tokenizer = _opened(vocabulary)
    matcher = llguidance.LLMatcher(tokenizer, grammar, limits=limits(), log_level=0)
    if matcher.is_error():
        return str(matcher.get_error())
    return _fault_of_steps(matcher, vocabulary.vocab_size)


@functools.cache
def _opened(vocabulary: Vocabulary) -> LLTokenizer:
    """One for the life of the worker: opening it costs more than a thousand grammars."""
    return vocabulary.open()


def _fault_of_steps(matcher: llguidance.LLMatcher, vocab_size: int) -> str:
    """Draw tokens by a fixed seed until the end, an error, or `NUM_STEPS`."""
    draw = np.random.default_rng(0)
    words = np.zeros((1, (vocab_size + 31) // 32), np.int32)
    for _ in range(NUM_STEPS):
        started_s = time.monotonic()
        llguidance.numpy.fill_next_token_bitmask(matcher, words, 0)
        if matcher.is_error():
            return str(matcher.get_error())
        if time.monotonic() - started_s > MAX_STEP_S:
            return "it takes too long to follow"
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")[:vocab_size]
        allowed = np.flatnonzero(bits)
        if not len(allowed):
            return "nothing can follow it at some point"
        if not matcher.consume_token(int(draw.choice(allowed))):
            return str(matcher.get_error())
        if matcher.is_stopped():
            break
    return ""
