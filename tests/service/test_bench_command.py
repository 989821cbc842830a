"""`kvorum bench`, as a user types it: against a server that is started for it, and real results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.models.registry import resolve
from service import cli

STUB = f"{sys.executable} -m tests.observability.bench.stub_server --port {{port}}"
ROOT = Path(__file__).parents[2]

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Runs a command: its exit code, stdout and stderr. Results go to a database of the test's."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("KVORUM_BENCH_DB", str(tmp_path / "bench.sqlite"))

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(["bench", *argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def load(*more: str) -> list[str]:
    """A small one."""
    return ["--workload", "random:8,10", "--tokenizer", str(resolve().path), *more]


def test_a_server_is_started_measured_and_kept(say: Say, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    start = ["--start", f"{STUB} --delay-ms 20 --gap-ms 5", "--label", "mine"]
    code, out, err = say("serve", *start, *load("--requests", "12"), "--report", str(page))
    assert (code, err) == (0, "")
    assert "12 good, 0 failed" in out
    assert page.read_text().startswith("<!doctype html>")

    (header,) = json.loads(say("list", "--json")[1])
    assert header["label"] == "mine"
    assert header["id"] in out
    assert header["id"] in say("list")[1]
    shown = json.loads(say("show", "last", "--json")[1])
    figures = shown["figures"]
    assert figures == header["figures"]
    assert 20 <= figures["p50_ttft_ms"] < 200
    assert 4 <= figures["p50_itl_ms"] < 50  # timers fire late, and then two come close together
    assert {one["num_output_tokens"] for one in shown["run"]["results"]} == {10}
    assert "12 good, 0 failed" in say("show", header["id"][:16])[1]
    assert header["id"] in say("delete", header["id"])[1]
    assert "nothing is kept" in say("list")[1]


def test_values_beyond_a_limit_and_failures_end_with_1(say: Say) -> None:
    slow = ["--start", f"{STUB} --delay-ms 20", *load("--requests", "4")]
    assert say("serve", *slow, "--fail-if", "p50_ttft>10000")[0] == 0
    code, out, _ = say("serve", *slow, "--fail-if", "p50_ttft>10")
    assert code == 1
    assert "FAILED  p50_ttft>10" in out
    code, _, err = say("serve", "--start", f"{STUB} --status 500", *load())
    assert code == 1
    assert "500" in err
    cut = [f"{STUB} --cut-after 3", *load(), "--may-end-early"]
    code, _, err = say("serve", "--start", *cut)
    assert code == 1
    assert "no request of the warm-up was answered well" in err
    code, out, _ = say("serve", "--start", *cut, "--warmup", "0")
    assert code == 1
    assert "cut" in out


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["sreve"], "sreve"),
        (["serve"], "--url or --start"),
        (["serve", "--url", "http://127.0.0.1:1", "--workload", "nothing"], "random:IN,OUT"),
        (["serve", "--url", "http://127.0.0.1:1", "--arrival", "often"], "poisson:RATE"),
        (["serve", "--url", "http://127.0.0.1:1", "--requests", "0"], "--requests"),
        (["serve", "--url", "http://127.0.0.1:1", "--body", "[1]"], "--body"),
        (["serve", "--url", "http://127.0.0.1:1", "--fail-if", "p99_ttft>+10%"], "compare"),
        (["serve", "--start", "kvorum serve"], "{port}"),
        (["compare", "--url-a", "http://127.0.0.1:1"], "--start-b"),
        (["compare", "one"], "two"),
    ],
)
def test_wrong_usage_is_2_and_says_what_may_be_said(say: Say, argv: list[str], word: str) -> None:
    code, out, err = say(*argv)
    assert (code, out) == (2, "")
    assert word in err
    assert err.count("\n") == 1


def test_what_cannot_be_measured_is_1_with_the_reason(say: Say, tmp_path: Path) -> None:
    code, _, err = say("serve", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert "http://127.0.0.1:1 does not answer" in err
    dying = f"{sys.executable} -c \"import sys; sys.exit('no port {{port}}, said the server')\""
    code, _, err = say("serve", "--start", dying)
    assert code == 1
    assert "said the server" in err
    assert say("show", "20990101")[0] == 1
    assert say("list", "--db", str(tmp_path))[0] == 1


@pytest.mark.timeout(120)
def test_a_slowdown_is_found_and_the_same_is_not(say: Say, tmp_path: Path) -> None:
    page = tmp_path / "both.html"
    base = f"{STUB} --delay-ms 40 --gap-ms 10"
    slower = f"{STUB} --delay-ms 48 --gap-ms 12"
    turns = ["--keep-running", *load("--requests", "8", "--concurrency", "4"), "--warmup", "0"]
    limit = ["--fail-if", "p50_e2e>+10%"]
    code, out, _ = say(
        *("compare", "--start-a", base, "--start-b", slower, *turns, *limit),
        *("--label-a", "main", "--label-b", "new", "--report", str(page)),
    )
    assert code == 1
    assert "FAILED  p50_e2e>+10%" in out
    assert page.read_text().startswith("<!doctype html>")
    code, out, _ = say("compare", "main", "new", "--json")
    assert code == 0
    found = {one["name"]: one for one in json.loads(out)["differences"]}
    assert found["p50_e2e_ms"]["verdict"] == "slower"
    code, out, _ = say("compare", "--start-a", base, "--start-b", base, *turns, *limit)
    assert code == 0
    assert "passed  p50_e2e>+10%" in out
