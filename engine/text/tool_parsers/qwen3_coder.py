"""Tool calls as Qwen3-Coder writes them.

``<tool_call>\\n<function=f>\\n<parameter=a>\\n1\\n</parameter>\\n</function>\\n</tool_call>``
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.text.tool_parsers.tagged import TaggedForm, TaggedToolParser

if TYPE_CHECKING:
    from engine.text.tool_parsers.argument_types import Tools

_FORM = TaggedForm(
    "<tool_call>",
    name=re.compile(r"\s*<function=([^\s<>]+)>"),
    argument=re.compile(r"\s*<parameter=([^\s<>]+)>"),
    begun=None,
    # Without its own closing tag a function ends with the call.
    end=re.compile(r"\s*</(?:function|tool_call)>"),
    value_end="</parameter>",
    has_newlines=True,
    closings=("</tool_call>",),
)


class Qwen3CoderToolParser(TaggedToolParser):
    """As `TaggedToolParser` says."""

    def __init__(self, tools: Tools = ()) -> None:
        super().__init__(_FORM, tools)
