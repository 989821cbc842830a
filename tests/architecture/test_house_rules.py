"""Rules of the house that a machine can check. The import contracts run in `make check`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.schemas.chat import ChatCompletionRequest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for package in ("service", "engine", "observability")
    for path in (ROOT / package).rglob("*.py")
)
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_module_fits_its_reader(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_module_has_a_name_of_its_own(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


@pytest.mark.parametrize(
    ("pattern", "allowed", "reason"),
    [
        (r"\bcreate_task\(|ensure_future\(", set(), "a task group owns every task"),
        (r"os\.environ|os\.getenv", {"service/cli.py"}, "settings come from one place"),
        (r"\bBaseHTTPMiddleware\b", set(), "it costs 47 us a streamed chunk"),
        (r"\bpickle\b|\bmarshal\b|\btorch\.load\(", set(), "they run code from files"),
        (r"trust_remote_code=True", set(), "code from the hub is never run"),
        (r"\btime\.sleep\(", set(), "nothing blocks the loop"),
        (r"\bTODO\b|\bFIXME\b", set(), "an issue remembers better"),
    ],
)
def test_what_is_banned_is_nowhere(pattern: str, allowed: set[str], reason: str) -> None:
    found = [
        name(path)
        for path in SOURCES
        if re.search(pattern, path.read_text()) and name(path) not in allowed
    ]
    assert not found, reason


def test_the_http_side_needs_neither_torch_nor_transformers() -> None:
    program = (
        "import service.app, service.cli, service.server, engine.client, engine.models.registry, sys;"
        "sys.exit(', '.join({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_field_of_a_chat_request_is_explained() -> None:
    text = (ROOT / "docs/chat.md").read_text()
    missing = [f for f in ChatCompletionRequest.__struct_fields__ if f"`{f}" not in text]
    assert not missing


def test_no_listening_socket_but_http_is_opened() -> None:
    """Only the service binds; the engine is reached through memory or an inherited pair."""
    found = [
        name(path)
        for path in SOURCES
        if re.search(r"\.listen\(|start_server\(|create_tcp_listener", path.read_text())
        and not name(path).startswith("service/")
    ]
    assert not found
