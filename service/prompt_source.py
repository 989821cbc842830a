"""What a prompt is made from - a chat, a text or token ids - and the token ids that come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.text.errors import PromptTooLong, PromptUnencodable, TemplateRejected, TextError
from service.errors import BadRequest, ContextExceeded, InternalFault, ValidationFault

if TYPE_CHECKING:
    from service.served_model import ServedModel

JsonObject = dict[str, object]

_NUM_TAIL_TOKENS = 16


class ChatPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation. `messages` and `tools` are as chat templates take them; tools that the model
    may not call are not among them. What users wrote never becomes a control token."""

    messages: list[JsonObject]
    tools: list[JsonObject] = []
    reasoning_effort: str | None = None
    template_kwargs: dict[str, bool | int | str] = {}
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    @property
    def param(self) -> str:
        """The field it came from, for faults."""
        return "messages"

    def variables(self) -> dict[str, bool | int | str]:
        """The template's variables. Templates that think read the effort, or one of two switches."""
        variables: dict[str, bool | int | str] = {}
        if (effort := self.reasoning_effort) is not None:
            variables = {
                "reasoning_effort": effort,
                "enable_thinking": effort != "none",
                "thinking": effort != "none",
            }
        return variables | self.template_kwargs


class TextPrompt(msgspec.Struct, frozen=True):
    """A text to go on with, a template already filled perhaps: control tokens in it are control
    tokens. `add_special_tokens` adds what the tokenizer puts around a bare text."""

    text: str
    param: str = "prompt"
    add_special_tokens: bool = True


class TokenPrompt(msgspec.Struct, frozen=True):
    """Token ids to go on with, of any kind."""

    token_ids: list[int]
    param: str = "prompt"


PromptSource = ChatPrompt | TextPrompt | TokenPrompt


def encode(served: ServedModel, source: PromptSource, max_model_len: int) -> list[int]:
    """The prompt's token ids. Slow for long prompts.

    Raises:
        ContextExceeded: the prompt is so long that it cannot fit, whatever its tokens.
        BadRequest: the template refuses the messages, or they cannot be encoded.
        ValidationFault: an id in the prompt is no token.
        InternalFault: the template is broken.
    """
    match source:
        case ChatPrompt():
            token_ids = _encode_chat(served, source, max_model_len)
        case TextPrompt():
            token_ids = _encode_text(served, source, max_model_len)
        case TokenPrompt(token_ids):
            _check_ids(served, source, max_model_len)
    if token_ids and max(token_ids) >= served.card.vocab_size:
        # Tokenizers with more ids than the weights have rows exist; one such id breaks a step.
        raise BadRequest(
            "The prompt holds a token that this model does not have.", param=source.param
        )
    return token_ids


def _encode_chat(served: ServedModel, chat: ChatPrompt, max_model_len: int) -> list[int]:
    try:
        return served.encoder.encode(
            chat.messages,
            chat.tools or None,
            add_generation_prompt=chat.add_generation_prompt and not chat.continue_final_message,
            continue_final_message=chat.continue_final_message,
            max_chars=max_model_len * served.tokenizer.longest_token_chars,
            **chat.variables(),
        )
    except TemplateRejected as error:  # the model's own words
        raise BadRequest(
            f"The model's chat template refuses these messages: {error}", param=chat.param
        ) from None
    except PromptTooLong as error:
        num_least = error.num_chars // served.tokenizer.longest_token_chars
        raise too_long(chat, max_model_len, f"at least {num_least}") from None
    except PromptUnencodable as error:
        raise BadRequest(str(error), param=chat.param) from None
    except TextError as error:
        raise InternalFault from error


def _encode_text(served: ServedModel, prompt: TextPrompt, max_model_len: int) -> list[int]:
    tokenizer = served.tokenizer
    if len(prompt.text) > max_model_len * tokenizer.longest_token_chars:
        num_least = len(prompt.text) // tokenizer.longest_token_chars
        raise too_long(prompt, max_model_len, f"at least {num_least}")
    return tokenizer.encode(prompt.text, prompt.add_special_tokens)


def _check_ids(served: ServedModel, prompt: TokenPrompt, max_model_len: int) -> None:
    if len(prompt.token_ids) > max_model_len:
        raise too_long(prompt, max_model_len, str(len(prompt.token_ids)))
    vocab_size = served.card.vocab_size
    for place, token_id in enumerate(prompt.token_ids):
        if not 0 <= token_id < vocab_size:
            raise ValidationFault(
                f"Token ids must be below the vocabulary's {vocab_size}.",
                param=f"{prompt.param}[{place}]",
            )


def too_long(source: PromptSource, max_model_len: int, num_tokens: str) -> ContextExceeded:
    """OpenAI's words: agents look for them to know that they must compact their history."""
    what = "messages" if isinstance(source, ChatPrompt) else "prompt"
    return ContextExceeded(
        f"This model's maximum context length is {max_model_len} tokens. However, your {what} "
        f"resulted in {num_tokens} tokens. Please reduce the length of the {what}.",
        param=source.param,
    )


def text_of(served: ServedModel, source: PromptSource, token_ids: list[int]) -> str:
    """The prompt as text: as it was sent, or what its tokens say. Slow for long prompts."""
    if isinstance(source, TextPrompt):
        return source.text
    return served.tokenizer.decode(token_ids, skip_special_tokens=False)


def without_effect(source: PromptSource, served: ServedModel) -> list[str]:
    """Fields that were asked for and that this model's template does not read."""
    if not isinstance(source, ChatPrompt):
        return []
    read = served.encoder.template.variables
    ignored = [f"chat_template_kwargs.{n}" for n in source.template_kwargs if n not in read]
    asks_for_change = source.reasoning_effort not in (
        (None, "none") if served.reasoning is None else (None,)
    )
    if asks_for_change and read.isdisjoint(("reasoning_effort", "enable_thinking", "thinking")):
        ignored.append("reasoning_effort")
    if source.tools and "tools" not in read:
        ignored.append("tools")
    if not source.add_generation_prompt and "add_generation_prompt" not in read:
        ignored.append("add_generation_prompt")
    return ignored


def is_reasoning_open(served: ServedModel, source: ChatPrompt, token_ids: list[int]) -> bool:
    """Whether the prompt ends within the reasoning: some templates write its opening tag, and a
    message that is gone on with may have got no further."""
    if served.reasoning is None:
        return False
    if source.continue_final_message:
        parser = served.reasoning.new(is_open=False)
        parser.push(str(source.messages[-1]["content"]))
        return parser.is_reasoning
    tail = served.tokenizer.decode(token_ids[-_NUM_TAIL_TOKENS:], skip_special_tokens=False)
    return served.reasoning.is_opened_by(tail)
