"""Hooks for Schemathesis: generated requests are made ones that the embedded model can answer soon.

What is wrong with a request stays wrong: only good values are replaced, by other good ones.
"""

from __future__ import annotations

from typing import Any

import schemathesis  # type: ignore[import-not-found]

MODEL = "kvorum-mini"
MAX_INT = 2**31 - 1
FORMS = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "tool_choice",
)
TEXTS = {"grammar": 'start: "a"', "regex": "a+", "json": "{}"}


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(context: object, case: Any, kwargs: object) -> None:
    """Change a request before it is sent."""
    if (case.path_parameters or {}).get("model") and "path" not in _faulty(case):
        case.path_parameters["model"] = MODEL
    case.body = _with_integers(case.body)
    if isinstance(case.body, dict):
        _tame(case.body)
        if case.operation.path.startswith("/v1/") and "model" in case.body:
            _shorten(case.body)


def _faulty(case: Any) -> set[str]:
    parts = {} if case.meta is None else case.meta.components
    return {str(where.value) for where, part in parts.items() if part.mode.is_negative}


def _with_integers(value: Any) -> Any:
    """JSON Schema takes 1.0 for an integer, and Kvorum does not."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case list():
            return [_with_integers(item) for item in value]
        case dict():
            return {name: _with_integers(item) for name, item in value.items()}
    return value


def _is_count(value: object, least: int = 1) -> bool:
    return type(value) is int and least <= value <= MAX_INT


def _tame(body: dict[str, Any]) -> None:
    model = body.get("model")
    if isinstance(model, str) and 1 <= len(model) <= 256:
        body["model"] = MODEL
    for name in ("prompt", "tokens", "stop_token_ids"):
        if isinstance(body.get(name), list):
            body[name] = _known_ids(body[name])
    if isinstance(body.get("logit_bias"), dict):
        body["logit_bias"] = {_known_key(k): v for k, v in body["logit_bias"].items()}
    if body.get("continue_final_message") is True:
        body["continue_final_message"] = False
    if body.get("prompt") in ("", [""]):  # without a BOS there is nothing to begin with
        body["prompt"] = "Hi"
    if _is_count(body.get("best_of")):
        body["best_of"] = None
    _write_forms(body)
    _choose_form(body)


def _write_forms(body: dict[str, Any]) -> None:
    """Texts that should be a grammar become one."""
    outputs = body.get("structured_outputs")
    for owner, prefix in ((body, "guided_"), (outputs, "")):
        for name, text in TEXTS.items():
            if not isinstance(owner, dict):
                continue
            given = owner.get(prefix + name)
            if isinstance(given, str) and (name == "json" or 1 <= len(given) <= 16 * 1024):
                owner[prefix + name] = text


def _choose_form(body: dict[str, Any]) -> None:
    """Of several forms the first stays; none goes with `ignore_eos` or `min_tokens`."""
    forms = [name for name in FORMS if isinstance(body.get(name), dict | list | str)]
    for name in forms[1:]:
        del body[name]
    if forms or body.get("tools"):
        if body.get("ignore_eos") is True:
            body["ignore_eos"] = False
        if _is_count(body.get("min_tokens")):
            body["min_tokens"] = 0


def _shorten(body: dict[str, Any]) -> None:
    names = [name for name in ("max_tokens", "max_completion_tokens") if name in body]
    for name in names:
        if _is_count(body[name]):
            body[name] = 8
    if _is_count(body.get("min_tokens")):
        body["min_tokens"] = 2
    if not any(body[name] is not None for name in names):
        body["max_tokens"] = 8


def _known_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_known_ids(item) for item in value]
    return value % 1000 if _is_count(value, least=0) else value


def _known_key(key: str) -> str:
    is_id = key.isascii() and key.isdecimal() and len(key) <= 10
    return str(int(key) % 1000) if is_id else key
