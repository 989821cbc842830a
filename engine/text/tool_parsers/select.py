"""Which tool parser fits a model: its chat template shows the form it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.text.tool_parsers.hermes import HermesToolParser

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.text.tool_parsers.base import ToolParser

# The same tag around another form: Qwen3-Coder's XML, GLM's key and value pairs.
_NOT_HERMES = ("<function=", "<arg_key>")


def tool_parser_for(template_source: str) -> Callable[[], ToolParser] | None:
    """What makes a parser for one message, or None: the model's calls, if any, stay content."""
    is_hermes = "<tool_call>" in template_source and "arguments" in template_source
    if is_hermes and not any(mark in template_source for mark in _NOT_HERMES):
        return HermesToolParser
    return None
