"""`jsonl:FILE`: the user's own requests, one a line, sent as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observability.bench.errors import WrongOption
from observability.bench.turn import Session, Turn
from observability.bench.workload.workload import check_available

if TYPE_CHECKING:
    from observability.bench.workload.prompt_maker import PromptMaker
    from observability.bench.workload.workload import Order

_FORM = '{"prompt": ...} or {"messages": [...]}, and perhaps "output_tokens" or "max_tokens"'
_NUM_OUTPUT = 128


class _Line(msgspec.Struct):
    """A request; what else stands in it is passed over."""

    prompt: str | list[int] | None = None
    messages: list[dict[str, object]] | None = None
    output_tokens: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None

    def turn(self) -> Turn:
        """Raises `ValueError`."""
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("it has neither a prompt nor messages, or both")
        if not (self.prompt or self.messages):
            raise ValueError("it asks nothing")
        given = (self.output_tokens, self.max_completion_tokens, self.max_tokens)
        num_output = next((number for number in given if number is not None), _NUM_OUTPUT)
        if num_output < 1:
            raise ValueError("the number of output tokens is at least 1")
        return Turn(
            text=self.prompt if isinstance(self.prompt, str) else None,
            token_ids=self.prompt if isinstance(self.prompt, list) else None,
            messages=self.messages,
            num_prompt_tokens=len(self.prompt) if isinstance(self.prompt, list) else None,
            num_output_tokens=num_output,
        )


class JsonlWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """The first lines in their order. Warm-up sends some of them too."""

    path: Path
    turns: list[Turn]
    line_numbers: list[int]
    needs_maker: bool = False
    usual_arrival: str = "closed"

    @property
    def num_available(self) -> int | None:
        return len(self.turns)

    @classmethod
    def of(cls, words: str) -> JsonlWorkload:
        """From `FILE`. Raises `WrongOption`."""
        path = Path(words).expanduser()
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise WrongOption(f"{path} cannot be read: {error.strerror}") from None
        decoder = msgspec.json.Decoder(_Line)
        turns, line_numbers = [], []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                turns.append(decoder.decode(line).turn())
            except (msgspec.DecodeError, ValueError) as error:
                raise WrongOption(f"{path}, line {number}: {error}; a line is {_FORM}") from None
            line_numbers.append(number)
        if not turns:
            raise WrongOption(f"{path} holds no requests; a line is {_FORM}")
        return cls(path=path, turns=turns, line_numbers=line_numbers)

    def sessions(self, order: Order, maker: PromptMaker | None) -> list[Session]:
        check_available(order, len(self.turns), str(self.path))
        chosen = self.turns[: order.num_sessions]
        for turn, number in zip(chosen, self.line_numbers, strict=False):
            if order.endpoint == "completions" and turn.messages is not None:
                raise WrongOption(
                    f"{self.path}, line {number} has messages; measure --endpoint chat"
                )
            if order.endpoint == "chat" and turn.token_ids is not None:
                raise WrongOption(
                    f"{self.path}, line {number} has token ids; measure --endpoint completions"
                )
        return [Session(index=index, turns=[turn]) for index, turn in enumerate(chosen)]
