"""Tool calls as GLM-4.5 and its successors write them.

``<tool_call>f\\n<arg_key>a</arg_key>\\n<arg_value>1</arg_value>\\n</tool_call>``; newer ones leave
the newlines out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.text.tool_parsers.tagged import TaggedForm, TaggedToolParser

if TYPE_CHECKING:
    from engine.text.tool_parsers.argument_types import Tools

_FORM = TaggedForm(
    "<tool_call>",
    name=re.compile(r"\s*([^\s<>{}\"]+)\s*(<arg_key>|</tool_call>)"),
    argument=re.compile(r"\s*<arg_key>\s*([^\s<>]+)\s*</arg_key>\s*<arg_value>"),
    begun=re.compile(r"\s*<arg_key>(?:[^<>]*</arg_key>)?"),
    end=re.compile(r"\s*</tool_call>"),
    value_end="</arg_value>",
    has_newlines=False,
)


class Glm45ToolParser(TaggedToolParser):
    """As `TaggedToolParser` says."""

    def __init__(self, tools: Tools = ()) -> None:
        super().__init__(_FORM, tools)
