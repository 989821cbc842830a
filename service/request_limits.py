"""`RequestLimits`: how much of everything one request may hold."""

from __future__ import annotations

import msgspec


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Counts beyond these are 422, sizes 413; each is a setting of the same name."""

    max_messages: int = 2048
    max_choices: int = 16
    max_stop_strings: int = 16
    max_stop_chars: int = 256
    max_logit_bias: int = 1024
    max_top_logprobs: int = 20
    max_metadata: int = 16
    max_tools: int = 128
    max_tool_schema_bytes: int = 64 * 1024
