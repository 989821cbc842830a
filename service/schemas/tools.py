"""Functions that a model may call, and how a client says so."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, field

from service.body import decode
from service.errors import NotSupported
from service.schemas.json_value import JsonSchema, null

MAX_DESCRIPTION_CHARS = 16 * 1024

FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]


class FunctionDefinition(msgspec.Struct, forbid_unknown_fields=True):
    """A function by name."""

    name: FunctionName
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    parameters: JsonSchema = field(default_factory=null)
    """The JSON schema of the arguments."""
    strict: bool | None = None
    """Arguments follow the schema whenever there is a call; without it where a call is forced."""


class FunctionTool(msgspec.Struct, tag_field="type", tag="function", forbid_unknown_fields=True):
    """A function that may be called."""

    function: FunctionDefinition


class CustomTool(msgspec.Struct, tag_field="type", tag="custom"):
    """A tool with free text input; known, so that refusing it can say so."""


Tool = FunctionTool | CustomTool
Tools = Annotated[list[Tool], Meta(min_length=1)]
ToolWord = Literal["none", "auto", "required"]
ToolChoice = ToolWord | dict[str, Raw]
"""The object is a `NamedFunction` or an `AllowedChoice`, as its type says: `call_rule` reads it."""


class ChosenName(msgspec.Struct, forbid_unknown_fields=True):
    """Which function."""

    name: FunctionName


class NamedFunction(msgspec.Struct, forbid_unknown_fields=True):
    """One of the `tools`, by its name."""

    function: ChosenName
    type: Literal["function"] = "function"


class AllowedTools(msgspec.Struct, forbid_unknown_fields=True):
    """Some of the `tools`, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Meta(min_length=1)]


class AllowedChoice(msgspec.Struct, forbid_unknown_fields=True):
    """Confines calls to some of the `tools`."""

    allowed_tools: AllowedTools
    type: Literal["allowed_tools"]


class CallRule(msgspec.Struct, frozen=True):
    """Which functions an answer may call (None: any), whether it must call one, whether that one
    `is_named`, and the field that says which."""

    names: tuple[str, ...] | None
    is_forced: bool
    is_named: bool = False
    param: str = "tool_choice"


def call_rule(choice: ToolChoice | None) -> CallRule:
    """What a `tool_choice` means. Raises ValidationFault, NotSupported."""
    if not isinstance(choice, dict):
        return CallRule(None, is_forced=choice == "required")
    kind = bytes(choice.get("type", b""))
    body = msgspec.json.encode(choice)
    if kind == b'"custom"':
        raise NotSupported("Tools of type `custom` are not supported.", param="tool_choice.type")
    if kind == b'"allowed_tools"':
        allowed = decode(body, AllowedChoice, "tool_choice").allowed_tools
        names = tuple(tool.function.name for tool in allowed.tools)
        param = "tool_choice.allowed_tools.tools"
        return CallRule(names, is_forced=allowed.mode == "required", param=param)
    named = decode(body, NamedFunction, "tool_choice").function.name
    return CallRule((named,), is_forced=True, is_named=True, param="tool_choice.function.name")


def template_tools(tools: list[Tool] | None) -> list[dict[str, object]]:
    """The tools as chat templates take them: OpenAI's shape, in the order of its documentation.

    Raises:
        NotSupported: a custom tool.
        ValidationFault: `parameters` is no object.
    """
    return [_template_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools or [])]


def _template_tool(tool: Tool, at: str) -> dict[str, object]:
    if isinstance(tool, CustomTool):
        raise NotSupported("Tools of type `custom` are not supported.", param=f"{at}.type")
    definition = tool.function
    function: dict[str, object] = {"name": definition.name}
    if definition.description is not None:
        function["description"] = definition.description
    parameters = _parameters(definition.parameters, f"{at}.function.parameters")
    if parameters is not None:
        function["parameters"] = parameters
    if definition.strict is not None:
        function["strict"] = definition.strict
    return {"type": "function", "function": function}


def _parameters(raw: Raw, at: str) -> dict[str, object] | None:
    return decode(raw, dict[str, object] | None, at)  # type: ignore[arg-type]
