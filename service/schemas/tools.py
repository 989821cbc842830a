"""Functions that a model may call, and how a client says so."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from service.body import decode
from service.errors import NotSupported

MAX_DESCRIPTION_CHARS = 16 * 1024

FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]


class FunctionDefinition(msgspec.Struct, forbid_unknown_fields=True):
    """A function by name. `parameters` is a JSON schema, kept as it was written.

    `strict` is accepted: a call that is forced follows the schema, another is parsed.
    """

    name: FunctionName
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    parameters: Raw = Raw(b"null")
    strict: bool | None = None


class FunctionTool(msgspec.Struct, tag_field="type", tag="function", forbid_unknown_fields=True):
    """What `tools` holds for a function."""

    function: FunctionDefinition


class CustomTool(msgspec.Struct, tag_field="type", tag="custom"):
    """A tool with free text input; known, so that refusing it can say so."""


Tool = FunctionTool | CustomTool
Tools = Annotated[list[Tool], Meta(min_length=1)]
ToolChoice = Literal["none", "auto", "required"] | dict[str, Raw]


class _FunctionName(msgspec.Struct, forbid_unknown_fields=True):
    name: FunctionName


class _NamedFunction(msgspec.Struct, forbid_unknown_fields=True):
    function: _FunctionName
    type: Literal["function"] = "function"


def forced_name(choice: dict[str, Raw]) -> str:
    """The function that a `tool_choice` names. Raises ValidationFault, NotSupported."""
    if bytes(choice.get("type", b"")) in (b'"allowed_tools"', b'"custom"'):
        raise NotSupported(
            "This kind of `tool_choice` is not supported yet.", param="tool_choice.type"
        )
    return decode(msgspec.json.encode(choice), _NamedFunction, "tool_choice").function.name


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
