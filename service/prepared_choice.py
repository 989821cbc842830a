"""From a prepared request to the text of one of its choices, with all that shall be found in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.text.tool_parsers.leading_calls import LeadingCallParser
from service.choice_text import ChoiceText
from service.held_scores import HeldScores
from service.structure import Held

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.prompt import Prepared
    from service.prompt_source import ChatPrompt


def choice_text(prepared: Prepared, index: int, new_id: Callable[[], str]) -> ChoiceText:
    """The text of one choice, with the parsers that the model and the request call for."""
    chat = prepared.request.chat
    if chat is None:
        return _continuation(prepared, index, new_id)
    return _answer(prepared, chat, index, new_id)


def _continuation(prepared: Prepared, index: int, new_id: Callable[[], str]) -> ChoiceText:
    """Of a text that is gone on with: nothing is looked for in it."""
    served, request = prepared.served, prepared.request
    return ChoiceText(
        index,
        served.tokenizer,
        new_id,
        stop=request.sampling.stop,
        skip_special_tokens=request.sampling.skip_special_tokens,
        scores=_scores(prepared),
        prompt_ids=prepared.submit.prompt_token_ids,
        stop_token_ids=(
            request.stop_token_ids(served) if request.takes_stop_token else frozenset()
        ),
    )


def _answer(
    prepared: Prepared, chat: ChatPrompt, index: int, new_id: Callable[[], str]
) -> ChoiceText:
    served, request = prepared.served, prepared.request
    held = request.structure.held if request.structure else Held.CALLS_IN_TEXT
    tool_format = served.tool_format if chat.tools and held is not Held.ANSWER else None
    reasoning = served.reasoning if held is Held.CALLS_IN_TEXT else None
    tool_parser = tool_format(chat.tools) if tool_format else None
    if tool_format and tool_parser and held is Held.CALLS_OR_ANSWER:
        shape = tool_format.shape(served.encoder.template.source)
        tool_parser = LeadingCallParser(tool_parser, shape.mark)
    return ChoiceText(
        index,
        served.tokenizer,
        lambda: f"call_{new_id()}",
        stop=request.sampling.stop,
        # Marks are special tokens in some formats: the parsers take them out again.
        skip_special_tokens=request.sampling.skip_special_tokens
        and not (tool_format and tool_format.keeps_special_tokens)
        and not (reasoning and reasoning.keeps_special_tokens),
        reasoning_parser=(
            reasoning.new(prepared.is_reasoning_open, keeps_calls=tool_format is not None)
            if reasoning
            else None
        ),
        tool_parser=tool_parser,
        is_one_call=request.is_one_call,
        is_calls_only=tool_format is not None and held is Held.CALLS,
        scores=_scores(prepared),
    )


def _scores(prepared: Prepared) -> HeldScores | None:
    request = prepared.request
    if request.sampling.num_logprobs is None:
        return None
    return HeldScores(prepared.served.tokenizer, len(prepared.echo))
