"""The shapes of the formats' calls. Where a family has several, the chat template tells which."""

from __future__ import annotations

from engine.text.harmony import CHANNEL, CONSTRAIN, ENDS, MESSAGE, START
from engine.text.tool_parsers.call_shape import ArgumentShape, CallShape, MessageShape

_OPENING, _CLOSING = "<tool_call>", "</tool_call>"
_DEEPSEEK_BEGIN = "<｜tool▁calls▁begin｜>"


def hermes(template_source: str) -> CallShape:
    """An object of name and arguments between tags, on a line of its own or not."""
    gap = "\n" if _has_line(template_source, _OPENING) else ""
    return CallShape(
        mark=_OPENING,
        unsaid=(_OPENING,),
        head=f'{_OPENING}{gap}{{"name": "',
        named='", "arguments": ',
        tail=f"}}{gap}{_CLOSING}",
        between="\n",
    )


def mistral(template_source: str) -> CallShape:
    """The newer form where the template has its second mark, else a list of objects."""
    mark = "[TOOL_CALLS]"
    if "[ARGS]" in template_source:
        return CallShape(mark=mark, unsaid=(mark,), head=mark, named="[ARGS]")
    gap = " " if f"{mark} [" in template_source else ""
    return CallShape(
        mark=mark,
        unsaid=(mark,),
        begin=f"{mark}{gap}[",
        head='{"name": "',
        named='", "arguments": ',
        tail="}",
        between=", ",
        end="]",
    )


def llama3_json(template_source: str) -> CallShape:
    """Bare objects."""
    return CallShape(
        head='{"name": "',
        named='", "parameters": ',
        tail="}",
        between="; ",
        unsaid=("<|python_tag|>",),
    )


def qwen3_coder(template_source: str) -> CallShape:
    """Tags, each on its line."""
    return CallShape(
        mark=_OPENING,
        unsaid=(_OPENING,),
        head=f"{_OPENING}\n<function=",
        named=">\n",
        tail=f"</function>\n{_CLOSING}",
        between="\n",
        argument=ArgumentShape("<parameter=", ">\n", "\n</parameter>\n", "</parameter>"),
    )


def glm45(template_source: str) -> CallShape:
    """Pairs of tags, each on its line; GLM-4.7 leaves the line breaks out."""
    gap = "" if "</arg_key><arg_value>" in template_source else "\n"
    return CallShape(
        mark=_OPENING,
        unsaid=(_OPENING,),
        head=_OPENING,
        named=gap,
        tail=_CLOSING,
        between=gap,
        argument=ArgumentShape(
            "<arg_key>", f"</arg_key>{gap}<arg_value>", f"</arg_value>{gap}", "</arg_value>"
        ),
    )


def deepseek_v3(template_source: str) -> CallShape:
    """The name and a block of JSON; V3.1 has left out what stands around these."""
    has_block = "```json" in template_source
    begin, separator, end = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
    return CallShape(
        mark=_DEEPSEEK_BEGIN,
        unsaid=("<｜tool▁call",),
        begin=_DEEPSEEK_BEGIN,
        head=f"{begin}function{separator}" if has_block else begin,
        named="\n```json\n" if has_block else separator,
        tail=f"\n```{end}" if has_block else end,
        between="\n" if has_block else "",
        end="<｜tool▁calls▁end｜>",
    )


def openai(template_source: str) -> CallShape:
    """A message to the function; the token that ends it ends the answer."""
    channels = ("analysis", "commentary", "final")
    return CallShape(
        mark=CHANNEL,
        unsaid=(START, CHANNEL, CONSTRAIN, MESSAGE, *ENDS),
        head=f"{CHANNEL}commentary to=functions.",
        named=f" {CONSTRAIN}json{MESSAGE}",
        is_single=True,
        message=MessageShape(
            tuple(f"{CHANNEL}{channel}{MESSAGE}" for channel in channels),
            f"<|end|>{START}assistant",
        ),
    )


def _has_line(template_source: str, tag: str) -> bool:
    """Whether the tag ends its line, be it in the template's own text or in a string of it."""
    return f"{tag}\n" in template_source or f"{tag}\\n" in template_source
