"""Which form of tool calls fits a model: its chat template shows the one it was trained on."""

from __future__ import annotations

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
        marks=("<tool_call>", "arguments"),
        # The same tag around another form.
        foreign_marks=("<function=", "<arg_key>"),
    ),
    ToolFormat(
        "mistral",
        lambda tools: MistralToolParser(),
        marks=("[TOOL_CALLS]",),
        keeps_special_tokens=True,
    ),
    ToolFormat("qwen3_coder", Qwen3CoderToolParser, marks=("<tool_call>", "<function=")),
    ToolFormat("glm45", Glm45ToolParser, marks=("<tool_call>", "<arg_key>")),
    ToolFormat(
        "deepseek_v3",
        lambda tools: DeepSeekToolParser(),
        marks=("<｜tool▁call▁begin｜>",),
        keeps_special_tokens=True,  # they are plain in most tokenizers, but not in all conversions
    ),
    ToolFormat(
        "openai",
        lambda tools: HarmonyToolParser(),
        marks=("<|channel|>", "<|message|>", "functions."),
        keeps_special_tokens=True,
    ),
    ToolFormat(
        "llama3_json",
        lambda tools: LlamaToolParser(),
        # Templates of Llama 4 ask for the same JSON, of smaller models for lists in Python's form.
        marks=('"name": function name, "parameters": dictionary of argument name',),
    ),
)
_ALIASES = {
    "kvorum": "hermes",
    "llama4_json": "llama3_json",
    "qwen3_xml": "qwen3_coder",
    "glm47": "glm45",
    "deepseek_v31": "deepseek_v3",
    "harmony": "openai",
}


def tool_parser_for(template_source: str) -> ToolFormat | None:
    """The format of the calls, or None: the model's calls, if any, stay content."""
    return next((form for form in FORMATS if form.is_used_by(template_source)), None)


def tool_parser_named(name: str) -> ToolFormat:
    """The format that vLLM knows by this name. Raises ValueError, with the names there are."""
    wanted = _ALIASES.get(name, name)
    for form in FORMATS:
        if form.name == wanted:
            return form
    known = sorted([*_ALIASES, *(form.name for form in FORMATS)])
    raise ValueError(f"no tool parser is named {name!r}; there are {', '.join(known)}")
