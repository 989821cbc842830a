"""How a model marks its reasoning: its chat template knows the tags it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.text.reasoning_parsers.think import ThinkFormat

if TYPE_CHECKING:
    from engine.text.reasoning_parsers.base import ReasoningFormat

_FORMATS: tuple[ReasoningFormat, ...] = (ThinkFormat(),)


def reasoning_parser_for(template_source: str) -> ReasoningFormat | None:
    """The format of the reasoning, or None: the model does not reason, or in an unknown form."""
    return next((form for form in _FORMATS if form.is_used_by(template_source)), None)
