"""The prompt of a chat request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.prompt_source import ChatPrompt

if TYPE_CHECKING:
    from service.schemas.chat import ChatCompletionRequest


def chat_prompt(chat: ChatCompletionRequest) -> ChatPrompt:
    """What the model's template shall make a prompt of.

    Raises:
        ValidationFault, NotSupported: a message or a tool holds what no template can show.
    """
    return ChatPrompt(
        messages=chat.template_messages(),
        tools=chat.template_tools(),
        reasoning_effort=chat.reasoning_effort,
        template_kwargs=chat.template_kwargs(),
        add_generation_prompt=chat.add_generation_prompt is not False,
        continue_final_message=bool(chat.continue_final_message),
    )
