"""What `POST /tokenize` and `POST /detokenize` take and answer: vLLM's shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from service.body import decode
from service.errors import ValidationFault
from service.prompt_source import TextPrompt, TokenPrompt
from service.schemas.chat import JsonObject, TokenId
from service.schemas.chat_checks import parse_chat
from service.schemas.chat_prompt import chat_prompt
from service.schemas.messages import Messages
from service.schemas.tools import Tools

if TYPE_CHECKING:
    from service.prompt_source import PromptSource
    from service.request_limits import RequestLimits

Name = Annotated[str, Meta(min_length=1, max_length=256)]

_OF_CHATS: Final = (
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
)


class TokenizeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A text, or a conversation, whose token ids are asked for."""

    model: Name | None = None
    """A name of `/v1/models`, or an alias; the first model if absent."""
    prompt: str | None = None
    """A text; a control token that it names is that token."""
    add_special_tokens: bool | None = None
    """`false` leaves out what the tokenizer puts around a text: a BOS, mostly."""
    messages: Messages | None = None
    """Instead of `prompt`: a conversation, as in a chat."""
    tools: Tools | None = None
    """With `messages`: functions that the model may call."""
    add_generation_prompt: bool | None = None
    """With `messages`. `false`: the prompt ends with the last message."""
    continue_final_message: bool | None = None
    """With `messages`: the answer would go on with the last message."""
    chat_template_kwargs: JsonObject | None = None
    """With `messages`: variables of the model's chat template."""
    return_token_strs: bool | None = None
    """Whether each token is told as its vocabulary writes it, too."""

    def source(self, model: str, limits: RequestLimits) -> PromptSource:
        """What is to be encoded. A conversation is checked as a chat with the model is.

        Raises:
            ApiError: the chat would be refused.
        """
        if self.prompt is not None:
            return TextPrompt(self.prompt, "prompt", self.add_special_tokens is not False)
        fields = {name: getattr(self, name) for name in _OF_CHATS}
        return chat_prompt(parse_chat(msgspec.json.encode(fields | {"model": model}), limits))


class Tokenized(msgspec.Struct, frozen=True, kw_only=True):
    """The token ids of a prompt."""

    count: int
    max_model_len: int
    """How many tokens prompt and answer may have together."""
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Token ids whose text is asked for."""

    model: Name | None = None
    """A name of `/v1/models`, or an alias; the first model if absent."""
    tokens: list[TokenId]
    """At most as many as the model's context holds."""

    def source(self) -> TokenPrompt:
        """The ids, as a prompt."""
        return TokenPrompt(self.tokens, "tokens")


class Detokenized(msgspec.Struct, frozen=True):
    """The text of token ids; special tokens are told by their names."""

    prompt: str


def parse_tokenize(body: bytes) -> TokenizeRequest:
    """The request in a JSON body.

    Raises:
        BadRequest: it is not JSON.
        ValidationFault: a field is wrong, or several do not go together.
    """
    request = decode(body, TokenizeRequest)
    if request.prompt is None:
        if request.messages is None:
            raise ValidationFault(
                "Give `prompt` or `messages`.", param="prompt", code="missing_field"
            )
        if request.add_special_tokens:
            raise ValidationFault(
                "`add_special_tokens` does not go with `messages`: their template writes its own.",
                param="add_special_tokens",
            )
        return request
    for name in _OF_CHATS:
        if getattr(request, name) is not None:
            raise ValidationFault(f"`{name}` does not go with `prompt`.", param=name)
    return request


def parse_detokenize(body: bytes) -> DetokenizeRequest:
    """The request in a JSON body. Raises `BadRequest`, `ValidationFault`."""
    return decode(body, DetokenizeRequest)
