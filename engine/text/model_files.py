"""The small text files of a model folder, read with their faults turned into plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.text.errors import TextError

if TYPE_CHECKING:
    from pathlib import Path

_NAMED_SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


def read_text(path: Path) -> str:
    """A UTF-8 file, line ends untouched. Raises TextError that names it."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"{path.name} cannot be read: {error}") from error


def read_json_object(path: Path) -> dict[str, object]:
    """A JSON file that holds an object; an absent file is an empty one. Raises TextError."""
    if not path.is_file():
        return {}
    try:
        value = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TextError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise TextError(f"{path.name} holds no JSON object")
    return value


def special_token_texts(path: Path) -> dict[str, str]:
    """`bos_token`, `eos_token`, ... of a model folder, as templates see them.

    tokenizer_config.json goes before special_tokens_map.json. Raises TextError.
    """
    config = read_json_object(path / "special_tokens_map.json")
    config |= read_json_object(path / "tokenizer_config.json")
    found = {name: token_text(config.get(name)) for name in _NAMED_SPECIAL_TOKENS}
    return {name: text for name, text in found.items() if text is not None}


def token_text(token: object) -> str | None:
    """The text of a token that is written as a string or as {"content": ...}."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None
