"""Exact answers without generation.

An answer is right when every token of it is the most likely one after the tokens before it; greedy
decoding then writes exactly this answer. One pass over the conversation checks all its answers.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from infra.embedded.chat.batch import Encoded, encode, micro_batches, padded
from infra.embedded.chat.conversation import Conversation

Logits = Callable[[Tensor], Tensor]


def right_answers(logits: Logits, rows: list[Encoded]) -> list[list[bool]]:
    """For each conversation, which of its answers greedy decoding gives exactly."""
    tokens, _ = padded(rows)
    best = logits(tokens).argmax(-1)
    return [
        [
            best[index, start - 1 : end - 1].tolist() == row.ids[start:end]
            for start, end in row.answers
        ]
        for index, row in enumerate(rows)
    ]


@torch.no_grad()
def score(
    logits: Logits, tokenizer: PreTrainedTokenizerBase, conversations: Iterable[Conversation]
) -> dict[str, tuple[int, int]]:
    """Per skill, how many answers are right and how many there are."""
    skills: dict[int, list[str]] = {}
    rows: list[Encoded] = []
    for conversation in conversations:
        row = encode(tokenizer, conversation)
        skills[id(row)] = conversation.skills
        rows.append(row)
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for batch in micro_batches(rows, 4096):
        for row, hits in zip(batch, right_answers(logits, batch), strict=True):
            for skill, hit in zip(skills[id(row)], hits, strict=True):
                total[skill] += 1
                right[skill] += hit
    return {skill: (right[skill], total[skill]) for skill in sorted(total)}
