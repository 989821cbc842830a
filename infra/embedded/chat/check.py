"""Whether a reply to a visitor prompt is right; one function per kind of check.

The prompts were written by somebody who saw nothing of the training data, so the checks look at what
the reply says and not at its exact words.
"""

import json
import re
from collections.abc import Callable
from typing import Any

CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
REFUSALS = ("don't know", "do not know", "unknown", "can't", "cannot", "not able", "unable")


def contains(reply: str, part: str) -> bool:
    """Whether `part` is in `reply` as whole words, whatever the case."""
    pattern = rf"(?<!\w){re.escape(part.strip())}(?!\w)"
    return re.search(pattern, reply, re.IGNORECASE) is not None


def is_json(reply: str) -> bool:
    try:
        json.loads(reply)
    except ValueError:
        return False
    return True


def letters(reply: str) -> str:
    return "".join(c for c in reply if c.isalpha())


def calls(reply: str, expected: dict[str, Any]) -> bool:
    """Whether the first tool call has the expected name and arguments."""
    found = CALL.search(reply)
    if not found or not is_json(found[1]):
        return False
    call = json.loads(found[1])
    return call.get("name") == expected["name"] and _same(
        call.get("arguments"), expected.get("arguments", {})
    )


def _same(given: Any, expected: dict[str, Any]) -> bool:
    if not isinstance(given, dict) or given.keys() != expected.keys():
        return False
    return all(_plain(given[key]) == _plain(value) for key, value in expected.items())


def _plain(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def bare(text: str) -> str:
    return text.strip().rstrip(".!?").strip()


CHECKS: dict[str, Callable[[str, Any], bool]] = {
    "contains_all": lambda reply, parts: all(contains(reply, str(part)) for part in parts),
    "contains_any": lambda reply, parts: any(contains(reply, str(part)) for part in parts),
    "not_contains": lambda reply, parts: not any(contains(reply, str(part)) for part in parts),
    "equals": lambda reply, text: bare(reply) == bare(str(text)),
    "is_upper": lambda reply, wanted: letters(reply).isupper() == wanted,
    "is_lower": lambda reply, wanted: letters(reply).islower() == wanted,
    "is_json": lambda reply, wanted: is_json(reply) == wanted,
    "one_word": lambda reply, wanted: (len(reply.split()) == 1) == wanted,
    "tool_call": lambda reply, call: calls(reply, call),
    "no_tool_call": lambda reply, wanted: ("<tool_call>" not in reply) == wanted,
    "refuses": lambda reply, wanted: any(r in reply.lower() for r in REFUSALS) == wanted,
}


def passes(reply: str, check: dict[str, Any]) -> bool:
    """Whether `reply` meets every condition of `check`."""
    return all(CHECKS[kind](reply, wanted) for kind, wanted in check.items())
