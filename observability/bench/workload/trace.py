"""`Trace`: what a real service was asked and when, without anybody's words.

Public traces hold no text. Mooncake's say which blocks of 512 tokens are equal (`hash_ids`), so
prompts can be made that share exactly what the real ones shared. Azure's give lengths only: its
prompts here share nothing.
"""

from __future__ import annotations

import csv
from datetime import datetime
from hashlib import shake_128
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from observability.bench.errors import WrongOption

if TYPE_CHECKING:
    from pathlib import Path

NS_PER_S = 1_000_000_000
TRACE_BLOCK_TOKENS = 512
"""Tokens of a trace block at full scale, in Mooncake's traces."""

_TOKEN_BYTES = 4


class TraceRequest(msgspec.Struct, frozen=True, gc=False):
    """One request. Equal `block_ids` stand for equal tokens; the last block may be cut short.

    `arrived_ns` counts from the trace's begin.
    """

    arrived_ns: int
    num_prompt_tokens: int
    num_output_tokens: int
    block_ids: tuple[int, ...]


class Trace(msgspec.Struct, frozen=True):
    """Requests in order of arrival. One token of it stands for `scale` tokens of the original.

    `has_content` says whether the original tells which prompts have a beginning in common.
    """

    name: str
    has_content: bool
    requests: list[TraceRequest]
    scale: int = 1

    @property
    def block_tokens(self) -> int:
        """Tokens that a block id stands for."""
        return TRACE_BLOCK_TOKENS // self.scale

    @property
    def num_prompt_tokens(self) -> int:
        return sum(request.num_prompt_tokens for request in self.requests)

    @property
    def num_output_tokens(self) -> int:
        return sum(request.num_output_tokens for request in self.requests)

    @property
    def max_len(self) -> int:
        """Prompt and answer of the longest request, in tokens."""
        return max(r.num_prompt_tokens + r.num_output_tokens for r in self.requests)

    def prompt(self, request: TraceRequest) -> bytes:
        """Its token ids as uint32 bytes: the same for the same block ids, on every machine."""
        size = self.block_tokens * _TOKEN_BYTES
        blocks = (shake_128(b"%d" % block_id).digest(size) for block_id in request.block_ids)
        return b"".join(blocks)[: request.num_prompt_tokens * _TOKEN_BYTES]

    def scaled(self, scale: int) -> Trace:
        """The same trace with one token for every `scale`. Block ids stay; what is cut short is
        rounded up."""
        if self.scale != 1 or TRACE_BLOCK_TOKENS % scale:
            raise ValueError(
                f"a trace block of {TRACE_BLOCK_TOKENS} tokens cannot be cut by {scale}"
            )
        requests = [
            msgspec.structs.replace(
                request,
                # A trace block is a multiple of the scale, so whole blocks stay whole.
                num_prompt_tokens=-(-request.num_prompt_tokens // scale),
                num_output_tokens=-(-request.num_output_tokens // scale),
            )
            for request in self.requests
        ]
        return msgspec.structs.replace(self, requests=requests, scale=scale)


class _MooncakeRow(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]


def read_trace(path: Path, num_requests: int | None = None) -> Trace:
    """The first requests of a Mooncake (.jsonl) or Azure (.csv) trace; all if None.

    Raises `WrongOption` with the file and the line that are wrong.
    """
    reader = {".jsonl": _read_mooncake, ".csv": _read_azure}.get(path.suffix)
    if reader is None:
        raise WrongOption(f"{path.name} is neither a .jsonl of Mooncake nor a .csv of Azure")
    try:
        trace = reader(path)
    except OSError as error:
        raise WrongOption(f"{path} cannot be read: {error.strerror}") from None
    if not trace.requests:
        raise WrongOption(f"{path} holds no requests")
    requests = sorted(trace.requests, key=lambda request: request.arrived_ns)
    return msgspec.structs.replace(trace, requests=requests[:num_requests])


def _read_mooncake(path: Path) -> Trace:
    decoder = msgspec.json.Decoder(_MooncakeRow)
    requests = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise WrongOption(f"{path}, line {number} is none of Mooncake's: {error}") from None
        # Ids for less than the prompt would make it shorter than it was.
        if row.input_length > len(row.hash_ids) * TRACE_BLOCK_TOKENS:
            raise WrongOption(
                f"{path}, line {number}: {row.input_length} tokens need more hash_ids"
            )
        requests.append(
            TraceRequest(
                round(row.timestamp * 1_000_000),
                row.input_length,
                max(row.output_length, 1),
                row.hash_ids,
            )
        )
    return Trace("Mooncake conversation", True, requests)


def _read_azure(path: Path) -> Trace:
    begin: datetime | None = None
    fresh_ids = count()
    requests = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                # Python's microseconds are as fine as is needed; the file has a digit more.
                arrived = datetime.fromisoformat(row["TIMESTAMP"][:26])
                num_prompt_tokens = int(row["ContextTokens"])
                num_output_tokens = int(row["GeneratedTokens"])
            except (KeyError, TypeError, ValueError) as error:
                raise WrongOption(f"{path}, line {number} is none of Azure's: {error!r}") from None
            begin = begin or arrived
            num_blocks = -(-num_prompt_tokens // TRACE_BLOCK_TOKENS)
            requests.append(
                TraceRequest(
                    round((arrived - begin).total_seconds() * NS_PER_S),
                    num_prompt_tokens,
                    max(num_output_tokens, 1),
                    tuple(next(fresh_ids) for _ in range(num_blocks)),
                )
            )
    return Trace("Azure 2023 conversation", False, requests)
