"""`chat_template_kwargs`: variables of chat templates that a client may set.

A template is the operator's code and its variables are that code's arguments, so there is a list:
what models in use offer to their users, each with its type. What a template does not read is
accepted and reported in a warning (`service.prompt_source`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from service.errors import ValidationFault, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

TemplateKwargs = dict[str, bool | int | str]

ALLOWED: Final = MappingProxyType[str, type[bool] | type[int] | type[str]](
    {
        "enable_thinking": bool,  # Qwen3, GLM-4.5, SmolLM3, Hunyuan
        "thinking": bool,  # DeepSeek-V3.1, Granite, Kimi
        "thinking_mode": str,
        "thinking_budget": int,  # Seed-OSS
        "reasoning_effort": str,  # GPT-OSS, Mistral
        "preserve_thinking": bool,  # Qwen3.5
        "clear_thinking": bool,  # GLM-4.7
        "date_string": str,  # Llama 3
        "model_identity": str,  # GPT-OSS
    }
)
MAX_CHARS = 256
_MAX_RAW_BYTES = 12 * MAX_CHARS + 2
MAX_INT = 2**31 - 1
_FIELD = "chat_template_kwargs"


def template_kwargs(given: Mapping[str, msgspec.Raw] | None) -> TemplateKwargs:
    """What was given, each of the right type. Null is as good as absent.

    Raises:
        ValidationFault: a name that is not in `ALLOWED`, or a value of another type or size.
    """
    return {
        name: _checked(name, value)
        for name, value in (given or {}).items()
        if bytes(value) != b"null"
    }


def _checked(name: str, raw: msgspec.Raw) -> bool | int | str:
    at = f"{_FIELD}.{name}"
    if name not in ALLOWED:
        known = ", ".join(ALLOWED)
        raise ValidationFault(
            f"{quoted(name)} is no template variable that a client may set; there are: {known}.",
            param=at,
            code="unknown_field",
        )
    kind = ALLOWED[name]
    # Escaped, a character takes 12 bytes at most; what is longer is not made into an object.
    value = msgspec.json.decode(raw) if len(raw) <= _MAX_RAW_BYTES else "x" * (MAX_CHARS + 1)
    if type(value) is not kind:  # and not isinstance: true is an int too
        raise ValidationFault(f"Invalid {at}: expected `{kind.__name__}`.", param=at)
    is_long = isinstance(value, str) and len(value) > MAX_CHARS
    if is_long or (isinstance(value, int) and abs(value) > MAX_INT):
        raise ValidationFault(f"Invalid {at}: the value is too large.", param=at)
    assert isinstance(value, bool | int | str)
    return value
