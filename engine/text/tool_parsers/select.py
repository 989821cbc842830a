"""Which form of tool calls fits a model: its chat template shows the one it was trained on."""

from __future__ import annotations

from engine.text.harmony import CHANNEL, CONSTRAIN, ENDS, MESSAGE, START
from engine.text.tool_parsers import call_shapes
from engine.text.tool_parsers.deepseek import DeepSeekToolParser
from engine.text.tool_parsers.glm45 import Glm45ToolParser
from engine.text.tool_parsers.harmony import HarmonyToolParser
from engine.text.tool_parsers.hermes import HermesToolParser
from engine.text.tool_parsers.llama import LlamaToolParser
from engine.text.tool_parsers.mistral import MistralToolParser
from engine.text.tool_parsers.qwen3_coder import Qwen3CoderToolParser
from engine.text.tool_parsers.tool_format import ToolFormat

# The first one that a template uses is it.
FORMATS = (
    ToolFormat(
        "hermes",
        lambda tools: HermesToolParser(),
        call_shapes.hermes,
        marks=("<tool_call>", "arguments"),
        # The same tag around another form.
        foreign_marks=("<function=", "<arg_key>"),
    ),
    ToolFormat(
        "mistral",
        lambda tools: MistralToolParser(),
        call_shapes.mistral,
        marks=("[TOOL_CALLS]",),
        special_marks=("[TOOL_CALLS]", "[ARGS]"),
    ),
    ToolFormat(
        "qwen3_coder",
        Qwen3CoderToolParser,
        call_shapes.qwen3_coder,
        marks=("<tool_call>", "<function="),
    ),
    ToolFormat("glm45", Glm45ToolParser, call_shapes.glm45, marks=("<tool_call>", "<arg_key>")),
    ToolFormat(
        "deepseek_v3",
        lambda tools: DeepSeekToolParser(),
        call_shapes.deepseek_v3,
        marks=("<｜tool▁call▁begin｜>",),
        # They are plain in most tokenizers, but not in all conversions.
        special_marks=(
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
        ),
    ),
    ToolFormat(
        "openai",
        lambda tools: HarmonyToolParser(),
        call_shapes.openai,
        marks=("<|channel|>", "<|message|>", "functions."),
        special_marks=(START, CHANNEL, CONSTRAIN, MESSAGE, *ENDS),
    ),
    ToolFormat(
        "llama3_json",
        lambda tools: LlamaToolParser(),
        call_shapes.llama3_json,
        # Templates of Llama 4 ask for the same JSON, of smaller models for lists in Python's form.
        marks=('"name": function name, "parameters": dictionary of argument name',),
    ),
)
SPECIAL_MARKS = frozenset(mark for form in FORMATS for mark in form.special_marks)
_ALIASES = {
    "json": "llama3_json",
    "kvorum": "hermes",
    "llama4_json": "llama3_json",
    "qwen3_xml": "qwen3_coder",
    "glm47": "glm45",
    "deepseek_v31": "deepseek_v3",
    "harmony": "openai",
    "mimo": "qwen3_coder",
}
TOOL_PARSER_NAMES = tuple(sorted([*_ALIASES, *(form.name for form in FORMATS)]))


def tool_parser_for(template_source: str) -> ToolFormat | None:
    """The format of the calls, or None: the model's calls, if any, stay content."""
    return next((form for form in FORMATS if form.is_used_by(template_source)), None)


def tool_parser_named(name: str) -> ToolFormat:
    """The format that vLLM knows by this name. Raises ValueError, with the names there are."""
    wanted = _ALIASES.get(name, name)
    for form in FORMATS:
        if form.name == wanted:
            return form
    known = ", ".join(TOOL_PARSER_NAMES)
    raise ValueError(f"no tool parser is named {name!r}; there are {known}")
