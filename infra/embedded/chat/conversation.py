"""What one conversation of the training data is, and its text.

`segments` is the template `chat_template.jinja` once more, in Python, because training must know
which characters are answers. A test keeps the two equal.
"""

import json
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """An answer before an instruction about its style changes it.

    `short` is the same answer in one word, where the model could give it without hidden work.
    `steps` is the working that comes before `text`.
    """

    text: str
    short: str | None = None
    steps: str = ""

    @property
    def full(self) -> str:
        return f"{self.steps}{self.text}"


@dataclass(slots=True)
class Turn:
    """What the visitor writes, the answer, and the skill it counts for."""

    user: str
    answer: Answer
    skill: str


@dataclass(slots=True)
class Conversation:
    """Messages as the API has them; `skills` names each assistant message that counts."""

    messages: list[Message] = field(default_factory=list)
    tools: list[Message] = field(default_factory=list)
    skills: list[str] = field(default_factory=list)

    def add_turn(self, user: str, answer: str, skill: str) -> None:
        self.messages.append({"role": "user", "content": user})
        self.messages.append({"role": "assistant", "content": answer})
        self.skills.append(skill)


def call_text(name: str, arguments: dict[str, Any]) -> str:
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>{body}</tool_call>"


def answer_text(message: Message) -> str:
    """What the model must write for an assistant message."""
    functions = [call["function"] for call in message.get("tool_calls", [])]
    parts = [message.get("content") or ""]
    parts += [call_text(function["name"], function["arguments"]) for function in functions]
    return "\n".join(part for part in parts if part)


def system_text(message: Message | None, tools: list[Message]) -> str:
    text = message["content"] if message else ""
    if tools:
        lines = "".join(json.dumps(tool, ensure_ascii=False) + "\n" for tool in tools)
        text += ("\n" if text else "") + f"<tools>\n{lines}</tools>"
    return text


def segments(conversation: Conversation) -> list[tuple[str, bool]]:
    """The text of a conversation in pieces, each with whether the model has to write it."""
    messages = conversation.messages
    lead = messages[0] if messages[0]["role"] == "system" else None
    pieces: list[tuple[str, bool]] = []
    text = ""
    if lead or conversation.tools:
        text = f"<|im_start|>system\n{system_text(lead, conversation.tools)}<|im_end|>\n"
    for message in messages[1:] if lead else messages:
        text += f"<|im_start|>{message['role']}\n"
        if message["role"] == "assistant":
            pieces += [(text, False), (answer_text(message) + "<|im_end|>", True)]
            text = "\n"
        else:
            text += f"{message['content']}<|im_end|>\n"
    return pieces
