"""Conversations as padded batches of tokens with the weight that each token has in the loss."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from infra.embedded.chat.conversation import Conversation, segments
from infra.embedded.chat.mixture import draw_conversation, long_conversation
from infra.embedded.chat.phrasing import Speaker

MULTIPLE = 16
MICRO_TOKENS, POOL_TOKENS = 1024, 60_000


@dataclass(slots=True)
class Encoded:
    """Token ids, and for each answer where it starts and ends."""

    ids: list[int]
    answers: list[tuple[int, int]]


def encode(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> Encoded:
    encoded = Encoded([], [])
    for text, is_answer in segments(conversation):
        start = len(encoded.ids)
        encoded.ids += tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        if is_answer:
            encoded.answers.append((start, len(encoded.ids)))
    return encoded


def padded(rows: list[Encoded], prompt_weight: float = 0.0) -> tuple[Tensor, Tensor]:
    """Tokens and loss weights [batch, length] of conversations of similar length."""
    length = -(-max(len(row.ids) for row in rows) // MULTIPLE) * MULTIPLE
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    weights = torch.zeros(len(rows), length)
    for index, row in enumerate(rows):
        tokens[index, : len(row.ids)] = torch.tensor(row.ids)
        weights[index, : len(row.ids)] = prompt_weight
        for start, end in row.answers:
            weights[index, start:end] = 1.0
    return tokens, weights


def micro_batches(rows: list[Encoded], most_tokens: int) -> Iterator[list[Encoded]]:
    """Rows sorted by length, cut where a padded batch would exceed `most_tokens`."""
    batch: list[Encoded] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if batch and (len(batch) + 1) * len(row.ids) > most_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


class Stream:
    """An endless source of training batches.

    Batches are cut from a large pool, so that a batch holds conversations of nearly one length, and
    then shuffled: cut from the conversations of one step alone, a third would be padding.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self.tokenizer = tokenizer
        self.speaker = Speaker(Random(seed))
        self.ready: list[list[Encoded]] = []

    def draw(self, num_tokens: int, longest: int, long_share: float) -> list[list[Encoded]]:
        """Batches of about `num_tokens` tokens in all, no conversation longer than `longest`."""
        drawn: list[list[Encoded]] = []
        while num_tokens > 0:
            if not self.ready:
                rows = self._pool(longest, long_share)
                self.ready = list(micro_batches(rows, MICRO_TOKENS))
                self.speaker.rng.shuffle(self.ready)
            drawn.append(self.ready.pop())
            num_tokens -= sum(len(row.ids) for row in drawn[-1])
        return drawn

    def _pool(self, longest: int, long_share: float) -> list[Encoded]:
        rows: list[Encoded] = []
        num_tokens = POOL_TOKENS
        while num_tokens > 0:
            long = self.speaker.chance(long_share)
            conversation = (long_conversation if long else draw_conversation)(self.speaker)
            row = encode(self.tokenizer, conversation)
            if len(row.ids) <= longest:
                rows.append(row)
                num_tokens -= len(row.ids)
        return rows
