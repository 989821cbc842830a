"""How a model marks its reasoning: its chat template knows the tags it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.text.reasoning_parsers.harmony import HarmonyFormat
from engine.text.reasoning_parsers.think import ThinkFormat

if TYPE_CHECKING:
    from engine.text.reasoning_parsers.base import ReasoningFormat

# The first one that a template uses is it.
_FORMATS: tuple[ReasoningFormat, ...] = (
    HarmonyFormat(),
    ThinkFormat("mistral", "[THINK]", "[/THINK]", keeps_special_tokens=True),
    ThinkFormat("seed_oss", "<seed:think>", "</seed:think>", keeps_special_tokens=True),
    ThinkFormat("gemma4", "<|channel>thought", "<channel|>", keeps_special_tokens=True),
    # Granite 3.2; later ones write <think>.
    ThinkFormat("granite", "Here is my thought process:", "Here is my response:"),
    ThinkFormat(),
)
_ALIASES = {
    "deepseek_r1": "think",
    "deepseek_v3": "think",
    "glm45": "think",
    "glm47": "think",
    "harmony": "openai_gptoss",
    "mimo": "think",
    "minimax_m2": "think",
    "nemotron_v3": "think",
    "olmo3": "think",
    "qwen3": "think",
}
REASONING_PARSER_NAMES = tuple(sorted([*_ALIASES, *(form.name for form in _FORMATS)]))


def reasoning_parser_for(template_source: str) -> ReasoningFormat | None:
    """The format of the reasoning, or None: the model does not reason, or in an unknown form."""
    return next((form for form in _FORMATS if form.is_used_by(template_source)), None)


def reasoning_parser_named(name: str) -> ReasoningFormat:
    """The format that vLLM knows by this name. Raises ValueError, with the names there are."""
    wanted = _ALIASES.get(name, name)
    for form in _FORMATS:
        if form.name == wanted:
            return form
    known = ", ".join(REASONING_PARSER_NAMES)
    raise ValueError(f"no reasoning parser is named {name!r}; there are {known}")
