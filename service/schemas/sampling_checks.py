"""What requests for generated text are checked for alike, beyond the types and bounds of fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import ValidationFault, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.request_limits import RequestLimits
    from service.schemas.chat import ChatCompletionRequest
    from service.schemas.completions import CompletionRequest

    Asked = ChatCompletionRequest | CompletionRequest


def check_counts(counts: Iterable[tuple[str, int, int]]) -> None:
    """Each is the path of what is counted, how much there is, and how much there may be."""
    for param, count, limit in counts:
        if count > limit:
            raise ValidationFault(
                f"Invalid {param}: {count} is more than the {limit} that are allowed.", param=param
            )


def stop_counts(asked: Asked, limits: RequestLimits) -> Iterator[tuple[str, int, int]]:
    """Those of the stop strings."""
    yield "stop", len(asked.stop_strings), limits.max_stop_strings
    for index, stop in enumerate(asked.stop_strings):
        param = "stop" if isinstance(asked.stop, str) else f"stop[{index}]"
        yield param, len(stop), limits.max_stop_chars


def check_stream_options(asked: Asked) -> None:
    """They are for streams."""
    if asked.stream_options is not None and not asked.stream:
        raise ValidationFault(
            "`stream_options` is only allowed when `stream` is true.", param="stream_options"
        )


def check_biases(asked: Asked) -> None:
    """Only decimal digits: `int` would take "+1", " 1" and "१" too."""
    for key in asked.logit_bias or ():
        if not (key.isascii() and key.isdecimal()) or len(key) > 10:
            raise ValidationFault(
                f"The keys of `logit_bias` are token ids; {quoted(key)} is none.",
                param=f"logit_bias.{key}",
            )
