"""Calling a tool with arguments from the prompt, and answering from what it returned."""

import json
from dataclasses import dataclass
from typing import Any

from infra.embedded.chat import facts, words
from infra.embedded.chat.conversation import Answer, Conversation, Message
from infra.embedded.chat.free_tools import FreeTool, draw_free_tool, free_parameter
from infra.embedded.chat.phrasing import Speaker
from infra.embedded.chat.tool_catalog import FAMILIES, Family, Parameter, Value


@dataclass(slots=True)
class Tool:
    """One tool as a visitor defined it, and how it may be asked for."""

    schema: Message
    name: str
    keys: dict[str, Parameter]
    purpose: str
    trade: Family | FreeTool

    def request(self, speaker: Speaker) -> tuple[str, dict[str, Value]]:
        """A wording and the arguments it contains."""
        values = {key: parameter.make(speaker) for key, parameter in self.keys.items()}
        if isinstance(self.trade, FreeTool):
            return self.trade.request(speaker, values), values
        slots: dict[str, Any] = {p.slot: values[key] for key, p in self.keys.items()}
        if "text" in slots and speaker.chance(0.6):
            slots["text"] = f'"{slots["text"]}"'
        return speaker.say(f"tool.{self.trade.name}.ask", **slots), values


def known_tool(speaker: Speaker, family: Family) -> Tool:
    rng = speaker.rng
    keys: dict[str, Parameter] = {}
    for parameter in family.parameters:
        free = [key for key in parameter.keys if key not in keys]
        keys[rng.choice(free)] = parameter
    name = rng.choice(family.names)
    if speaker.chance(0.08):
        name = f"{words.invented(speaker)}_{name}"
    elif speaker.chance(0.1):
        name = f"{words.invented(speaker)}{rng.choice(('', '_tool', '_api'))}"
    about = speaker.line(f"tool.{family.name}.about")
    return Tool(_schema(speaker, name, about, keys), name, keys, family.name, family)


def free_tool(speaker: Speaker) -> Tool:
    free = draw_free_tool(speaker)
    schema = _schema(speaker, free.name, free.about, free.keys)
    return Tool(schema, free.name, free.keys, free.purpose, free)


def _schema(speaker: Speaker, name: str, about: str, keys: dict[str, Parameter]) -> Message:
    described = speaker.chance(0.4)
    properties: dict[str, Message] = {}
    for key, parameter in keys.items():
        properties[key] = {"type": parameter.type}
        if parameter.options and speaker.chance(0.8):
            properties[key]["enum"] = list(parameter.options)
        if described:
            properties[key]["description"] = _sentence(speaker, speaker.rng.choice(parameter.about))
    required = list(keys)
    if speaker.chance(0.12):
        optional = free_parameter(speaker)
        if optional.slot not in properties:
            properties[optional.slot] = {"type": optional.type}
    parameters: Message = {"type": "object", "properties": properties}
    if required or speaker.chance(0.5):
        parameters["required"] = required
    if speaker.chance(0.1):
        parameters["additionalProperties"] = False
    function: Message = {"name": name}
    if speaker.chance(0.93):
        function["description"] = _sentence(speaker, about)
    function["parameters"] = parameters
    if speaker.chance(0.06):
        function["strict"] = True
    return {"type": "function", "function": function}


def _sentence(speaker: Speaker, text: str) -> str:
    text = text[0].upper() + text[1:] if speaker.chance(0.75) else text
    return text + ("." if speaker.chance(0.5) else "")


def draw_tool(speaker: Speaker) -> Tool:
    if speaker.chance(0.42):
        return free_tool(speaker)
    return known_tool(speaker, speaker.rng.choice(FAMILIES))


def draw_tools(speaker: Speaker) -> list[Tool]:
    """One to four tools of different purpose and name."""
    count = speaker.rng.choices((1, 2, 3, 4), weights=(45, 28, 17, 10))[0]
    tools: list[Tool] = []
    taken: set[str] = set()
    while len(tools) < count:
        tool = draw_tool(speaker)
        purpose = ALIKE.get(tool.purpose, tool.purpose)
        if purpose not in taken and tool.name not in taken:
            taken |= {purpose, tool.name}
            tools.append(tool)
    return tools


ALIKE = {
    "forecast": "weather", "news": "search", "dictionary": "search", "translate": "search",
    "calculate": "math", "addition": "math", "product": "math", "currency": "units",
    "remove": "file", "cancel": "order", "recipe": "search", "user": "search", "contact": "search",
    "list": "search", "timer": "alarm", "email": "message", "note": "message", "ride": "flight",
    "distance": "flight", "time": "weather", "register": "user",
}  # fmt: skip

RESULT_KEYS: dict[str, Any] = {
    "temperature": lambda s: s.rng.randint(-15, 40),
    "condition": lambda s: s.rng.choice(("sunny", "rainy", "cloudy", "windy", "foggy", "snow")),
    "status": lambda s: s.rng.choice(
        ("ok", "sent", "done", "confirmed", "shipped", "open", "success")
    ),
    "price": lambda s: s.rng.choice((s.rng.randint(1, 900), s.rng.randint(10, 9000) / 100)),
    "id": lambda s: s.rng.randint(1, 99999),
    "name": words.name,
    "city": words.place,
    "result": lambda s: s.rng.choice((s.rng.randint(0, 99999), words.list_word(s))),
    "time": lambda s: f"{s.rng.randint(0, 23)}:{s.rng.randint(0, 59):02d}",
    "date": lambda s: f"{words.real(s, 'month')} {s.rng.randint(1, 30)}",
    "count": lambda s: s.rng.randint(0, 500),
    "distance": lambda s: s.rng.randint(1, 9000),
    "unit": lambda s: s.rng.choice(("C", "F", "km", "miles", "EUR", "USD")),
    "message": facts.filler,
    "code": lambda s: f"{s.rng.choice('ABCDEFXYZ')}{s.rng.randint(10, 9999)}",
    "translation": words.list_word,
    "value": lambda s: s.rng.randint(0, 9999),
    "humidity": lambda s: s.rng.randint(5, 100),
    "number": lambda s: s.rng.randint(0, 9999),
    "owner": words.name,
    "color": lambda s: words.real(s, "color"),
    "title": lambda s: words.list_word(s),
    "total": lambda s: s.rng.randint(1, 5000),
}


def draw_result(speaker: Speaker) -> tuple[str, Answer]:
    """What a tool returns, and the answer that passes it on."""
    rng = speaker.rng
    dice = rng.random()
    if dice < 0.08:
        problem = rng.choice(("not found", "timeout", "access denied", facts.filler(speaker)))
        return json.dumps({"error": problem}), Answer(f"The tool failed: {problem}.")
    if dice < 0.6:
        keys = rng.sample(tuple(RESULT_KEYS), rng.choice((1, 1, 2, 2, 3)))
        if speaker.chance(0.2):
            keys[0] = words.invented(speaker)
        makers = {key: RESULT_KEYS.get(key, words.list_word) for key in keys}
        values = {key: make(speaker) for key, make in makers.items()}
        shown = ", ".join(f"{key} {value}" for key, value in values.items())
        spaces = None if speaker.chance(0.75) else (",", ":")
        text = json.dumps(values, ensure_ascii=False, separators=spaces)
        return text, Answer(f"The result is: {shown}.")
    if dice < 0.8:
        value = str(RESULT_KEYS[rng.choice(tuple(RESULT_KEYS))](speaker))
        unit = rng.choice(("", "", "", " degrees", " C", " km", " EUR", "%", "°C"))
        text = value + (unit if value.lstrip("-").isdigit() else "")
    else:
        text = facts.filler(speaker)
        if speaker.chance(0.4):
            text = facts.stated(speaker, facts.distinct_facts(speaker, facts.draw(speaker), 1), 0)
        text = text[0].upper() + text[1:]
    text = text.rstrip(".")
    ending = "." if speaker.chance(0.4) else ""
    return text + ending, Answer(f"The result is: {text}.")


def add_call(
    speaker: Speaker, conversation: Conversation, tool: Tool, tools: list[Tool], style: Any = None
) -> None:
    """A request, the call, and mostly the result with the answer made from it."""
    text, arguments = tool.request(speaker)
    messages, skills = conversation.messages, conversation.skills
    call = {"type": "function", "function": {"name": tool.name, "arguments": arguments}}
    messages.append({"role": "user", "content": text})
    messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    skills.append("tool_choice" if len(tools) > 1 else "tool_call")
    if speaker.chance(0.6):
        content, answer = draw_result(speaker)
        messages.append({"role": "tool", "content": content})
        styled = style.apply(answer) if style else answer.full
        messages.append({"role": "assistant", "content": styled or answer.full})
        skills.append("tool_result")
