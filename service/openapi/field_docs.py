"""The docstrings under the fields of Structs. Python keeps them in the source only."""

from __future__ import annotations

import ast
import inspect
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import msgspec

FieldDocs = dict[str, str]


def field_docs(structs: Iterable[type[msgspec.Struct]]) -> dict[type[msgspec.Struct], FieldDocs]:
    """What is said of each Struct's fields, by their names; nothing where there is no source."""
    modules: dict[str, dict[str, FieldDocs]] = {}
    found = {}
    for struct in structs:
        docs: FieldDocs = {}
        for parent in reversed(struct.__mro__):
            name = parent.__module__
            if name not in modules:
                modules[name] = _docs_in(name) if name.startswith("service.") else {}
            docs |= modules[name].get(parent.__name__, {})
        found[struct] = docs
    return found


def plain(docstring: str) -> str:
    """A docstring's paragraphs, each in one line."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _docs_in(module: str) -> dict[str, FieldDocs]:
    try:
        source = inspect.getsource(sys.modules[module])
    except OSError:
        return {}
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return {each.name: _docs_of(each) for each in classes}


def _docs_of(struct: ast.ClassDef) -> FieldDocs:
    docs = {}
    for statement, following in zip(struct.body, struct.body[1:], strict=False):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = plain(text)
    return docs
