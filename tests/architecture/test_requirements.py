"""Every promise of the API that is due has a test that names it, and every name is a promise.

Tests are read, not imported: a test that needs a device or a model counts on every machine.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import pytest

from tests.requirements import REQUIREMENTS, requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
ROWS = {row.id: row for row in REQUIREMENTS}


class Use(NamedTuple):
    """One name of a requirement in the tests; `is_on_test` tells a mark from a stray call."""

    id: str
    place: str
    is_on_test: bool = True


def uses_in(source: str, place: str) -> Iterator[Use]:
    """Every use of `requirement("…")` in a module."""
    tree = ast.parse(source)
    marks = set(marks_of(tree))
    for node in ast.walk(tree):
        if not is_requirement(node):
            continue
        for argument in node.args:
            match argument:
                case ast.Constant(value=str(name)):
                    pass
                case _:  # computed: it cannot be read here, and what is written is no row's name
                    name = ast.unparse(argument)
            yield Use(name, f"{place}:{node.lineno}", node in marks)


def marks_of(tree: ast.Module) -> Iterator[ast.AST]:
    """The calls that pytest takes as marks of a test, a class of tests or a module of tests."""
    for node in ast.walk(tree):
        if is_test(node):
            yield from node.decorator_list
        elif isinstance(node, ast.Assign) and "pytestmark" in map(ast.unparse, node.targets):
            yield from ast.walk(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.param":
            for keyword in node.keywords:
                if keyword.arg == "marks":
                    yield from ast.walk(keyword.value)


def is_test(node: ast.AST) -> TypeGuard[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    match node:
        case ast.ClassDef(name=name):
            return name.startswith("Test")
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name.startswith("test_")
    return False


def is_requirement(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "requirement"


def uses() -> list[Use]:
    return [
        use
        for path in sorted(TESTS.rglob("test_*.py"))
        if path != Path(__file__)
        for use in uses_in(path.read_text(), str(path.relative_to(TESTS.parent)))
    ]


def listed(ids: list[str]) -> str:
    return "\n".join(f"{each}: {ROWS[each].text}" for each in ids)


def test_every_requirement_that_is_due_has_a_test() -> None:
    named = {use.id for use in uses() if use.is_on_test}
    missing = [row.id for row in REQUIREMENTS if row.pending is None and row.id not in named]
    assert not missing, f"{len(missing)} requirements have no test:\n{listed(missing)}"


def test_every_name_on_a_test_is_a_requirement() -> None:
    unknown = [f"{use.place}: {use.id}" for use in uses() if use.id not in ROWS]
    assert not unknown, "There are no such requirements:\n" + "\n".join(unknown)


def test_what_has_a_test_is_no_longer_pending() -> None:
    tested = {use.id for use in uses()}
    early = [row.id for row in REQUIREMENTS if row.pending is not None and row.id in tested]
    assert not early, f"These have a test, so they are not pending:\n{listed(early)}"


def test_requirements_are_named_on_tests_only() -> None:
    stray = [f"{use.place}: {use.id}" for use in uses() if not use.is_on_test]
    assert not stray, "A requirement is named where nothing is tested:\n" + "\n".join(stray)


def test_no_two_requirements_have_one_name() -> None:
    assert [
        name for name, times in Counter(row.id for row in REQUIREMENTS).items() if times > 1
    ] == []


def test_a_requirement_is_one_sentence_from_a_source() -> None:
    for row in REQUIREMENTS:
        assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", row.id)
        assert re.fullmatch(r"[A-Z`][^.]*(\.[^ ][^.]*)*\.", row.text), row.text
        assert row.source, row.id


def test_a_name_that_is_no_requirement_fails_at_import() -> None:
    with pytest.raises(ValueError, match=r"chat\.request\.tempo"):
        requirement("chat.request.tempo")
    with pytest.raises(ValueError, match="without a name"):
        requirement()
    assert requirement("errors.422", "errors.shape").args == ("errors.422", "errors.shape")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('@requirement("a.b", "c.d")\ndef test_x(): ...', [("a.b", True), ("c.d", True)]),
        ('@pytest.mark.slow\n@requirement("a.b")\nasync def test_x(): ...', [("a.b", True)]),
        ('@requirements.requirement("a.b")\ndef test_x(): ...', [("a.b", True)]),
        ('@requirement("a.b")\nclass TestX: ...', [("a.b", True)]),
        ('class TestX:\n  @requirement("a.b")\n  def test_x(self): ...', [("a.b", True)]),
        ('pytestmark = requirement("a.b")', [("a.b", True)]),
        ('pytestmark = [pytest.mark.slow, requirement("a.b")]', [("a.b", True)]),
        ('CASES = [pytest.param(1, marks=requirement("a.b"))]', [("a.b", True)]),
        ('@requirement("a.b")\ndef helper(): ...', [("a.b", False)]),
        ('requirement("a.b")', [("a.b", False)]),
        ("@requirement(*NAMES)\ndef test_x(): ...", [("*NAMES", True)]),
        ('# @requirement("a.b")\ndef test_x(): "@requirement()"', []),
    ],
)
def test_marks_are_found_in_every_form_and_nowhere_else(
    source: str, found: list[tuple[str, bool]]
) -> None:
    assert [(use.id, use.is_on_test) for use in uses_in(source, "x.py")] == found
