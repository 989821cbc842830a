"""The bench against the real server: it counts tokens as the server does, and it disturbs nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from service import cli

if TYPE_CHECKING:
    from pathlib import Path


RANDOM, SHARED = ("random:70,9", 70), ("shared:48+40,9", 88)


@pytest.mark.parametrize(
    ("endpoint", "protocol", "workload", "num_prompt"),
    [
        ("chat", "http/1.1", *RANDOM),
        ("chat", "h2", *SHARED),
        ("completions", "http/1.1", *SHARED),
        ("completions", "h2", *RANDOM),
    ],
)
def test_prompts_and_answers_are_exactly_as_long_as_was_asked(
    url: str,
    workload: str,
    num_prompt: int,
    endpoint: str,
    protocol: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = ["--db", str(tmp_path / "bench.sqlite")]
    target = ["--url", url, "--endpoint", endpoint, "--protocol", protocol]
    load = ["--workload", workload, "--requests", "6", "--concurrency", "3"]
    assert cli.main(["bench", "serve", *target, *load, *database]) == 0
    capsys.readouterr()
    assert cli.main(["bench", "show", "last", "--json", *database]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert [one["error"] for one in run["results"]] == [""] * 6
    assert {one["num_prompt_tokens"] for one in run["results"]} == {num_prompt}
    assert {one["num_output_tokens"] for one in run["results"]} == {9}
    assert any(name.startswith("kvorum_") for _, name, _ in run["samples"])
    if workload.startswith("shared"):
        assert any(one["num_cached_tokens"] for one in run["results"])
