"""All rules, and the Structs that nobody may send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from service.openapi.chat_rules import chat_rules
from service.openapi.text_rules import text_rules
from service.schemas.content import MediaPart
from service.schemas.tools import CustomTool

if TYPE_CHECKING:
    from service.openapi.rule import Rules
    from service.request_limits import RequestLimits

REFUSED_STRUCTS: Final = (*get_args(MediaPart), CustomTool)
"""Known only so that a refusal can say what they are."""


def rules_of(limits: RequestLimits) -> Rules:
    """What is checked of all Structs beyond their types."""
    return chat_rules(limits) | text_rules(limits)
