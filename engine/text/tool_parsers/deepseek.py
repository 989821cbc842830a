"""Tool calls as DeepSeek's models write them, V3 and R1 in one way and V3.1 in another.

``<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\\n```json\\n{...}\\n```
<｜tool▁call▁end｜><｜tool▁calls▁end｜>`` and, with the same marks around it, ``f<｜tool▁sep｜>{...}``.
"""

from __future__ import annotations

import re

from engine.text.tool_parsers.headed import HeadedForm, HeadedToolParser

_FORM = HeadedForm(
    # The two opening marks begin alike; the outer one stands before the first call only.
    "<｜tool▁call",
    re.compile(
        r"(?:s▁begin｜>\s*<｜tool▁call)?▁begin｜>\s*(?:function\s*<｜tool▁sep｜>\s*)?"
        r"([^\s<>{}\"`]+)\s*(?:<｜tool▁sep｜>\s*)?(?:```(?:json)?\s*)?"
    ),
    closings=("```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
)


class DeepSeekToolParser(HeadedToolParser):
    """As `HeadedToolParser` says."""

    def __init__(self) -> None:
        super().__init__(_FORM)
