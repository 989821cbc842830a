"""The envelope, its headers, and what the engine's errors become."""

from __future__ import annotations

import json

import pytest

from engine.errors import (
    CONTEXT_LENGTH_EXCEEDED,
    ENGINE_ERROR,
    ENGINE_UNAVAILABLE,
    EngineError,
    EngineLoading,
    EngineOverloaded,
    EngineUnavailable,
)
from service import errors
from service.errors import ApiError, of_engine_error, of_failed
from tests.requirements import requirement


def all_kinds(kind: type[ApiError] = ApiError) -> list[type[ApiError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in all_kinds(child))]


@pytest.mark.parametrize("kind", all_kinds())
def test_every_kind_is_in_the_drawing_with_its_status_and_code(kind: type[ApiError]) -> None:
    drawing = (errors.__doc__ or "").splitlines()
    (line,) = [row for row in drawing if f" {kind.__name__} " in f" {row} "]
    if kind is not ApiError:
        assert str(kind.status) in line
        assert kind.type in line
        assert kind.default_code is None or kind.default_code in line
        assert ("never retried" in line) == ("x-should-retry" in kind.default_headers)
        assert ("Retry-After" in line) == ("retry-after" in kind.default_headers)


@requirement("headers.retry_after")
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineOverloaded("full"), 429, "overloaded"),
        (EngineLoading("loading"), 503, "model_loading"),
        (EngineUnavailable("dead"), 503, "engine_unavailable"),
    ],
)
def test_what_will_pass_says_when_to_come_back(error: EngineError, status: int, code: str) -> None:
    seen = of_engine_error(error)
    assert (seen.status, seen.code) == (status, code)
    assert seen.headers["retry-after"] == str(error.retry_after_s)


def test_an_unforeseen_error_of_the_engine_keeps_its_text_to_itself() -> None:
    seen = of_engine_error(EngineError("/some/path at 0x7f"))
    assert seen.status == 500
    assert "0x7f" not in seen.message


@pytest.mark.parametrize(
    ("code", "status"),
    [(ENGINE_ERROR, 500), (ENGINE_UNAVAILABLE, 503), (CONTEXT_LENGTH_EXCEEDED, 400), ("new", 500)],
)
def test_a_failed_event_has_a_status(code: str, status: int) -> None:
    seen = of_failed(code, "It failed.")
    assert (seen.status, seen.code) == (status, code)


@requirement("errors.shape")
def test_the_envelope_is_short_whatever_was_sent() -> None:
    error = errors.ValidationFault("x" * 10_000, param="y" * 10_000)
    response = errors.error_response(error)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/json"
    assert len(response.body) < 1000
    assert set(json.loads(bytes(response.body))["error"]) == {"message", "type", "param", "code"}


def test_quoted_text_is_printable_and_short() -> None:
    assert errors.quoted("a\n\x1b[31m\u202eb") == "`a??[31m?b`"
    assert len(errors.quoted("x" * 1000)) == 66
