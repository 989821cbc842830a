"""The whole of the doctor: nothing hides anything else, and nothing is ever a traceback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from service import cli
from service.doctor.examination import examine, guarded
from service.doctor.finding import Finding, of_error, ok
from service.doctor.report import lines_of, report_of, summary
from service.doctor.torch_facts import Placement, ProbeFailed, TorchFacts, TorchQuery
from service.settings_load import flag_parser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBJECTS = {
    "settings", "python", "packages", "kvorum", "cores", "huge pages", "open files", "model", "torch", "cpu",
    "cuda", "transformers", "memory", "hub", "port", "access", "tls", "telemetry",
}  # fmt: skip


def answer(query: TorchQuery) -> TorchFacts:
    """A torch that finds room for every model."""
    place = Placement(device="cpu", dtype="float32", weight_bytes=1, free_bytes=2**40)
    return TorchFacts(
        torch_version="2.13.0+cpu",
        num_threads=2,
        vector_kernels="AVX2",
        transformers_version="5.23.0",
        placements=tuple(place for _ in query.models),
    )


def look(*argv: str, **environ: str) -> list[Finding]:
    """All findings, with port 0 and without the real torch."""
    parser = flag_parser("kvorum doctor", "", "")
    return list(examine(["--port", "0", *argv], environ, parser, ask_torch=answer))


def problems(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.state == "problem"]


def test_everything_is_looked_at_and_is_well() -> None:
    findings = look()
    assert {finding.subject for finding in findings} == SUBJECTS
    assert problems(findings) == []


def test_settings_come_with_their_sources() -> None:
    [found] = [each for each in look(KVORUM_DTYPE="float32") if each.subject == "settings"]
    assert "server.port (--port), " not in found.text
    assert "model.dtype (KVORUM_DTYPE)" in found.text


def test_wrong_settings_are_told_all_at_once_in_the_words_of_serve(tmp_path: Path) -> None:
    file = tmp_path / "kvorum.toml"
    file.write_text("[server]\nprot = 1\n")
    findings = look("--config", str(file), KVORUM_PROT="1", KVORUM_DTYPE="floot32", KVORUM_SEED="")
    first, second, third, fourth = problems(findings)
    assert first == f"{file}: unknown setting server.prot; did you mean server.port?"
    assert second == "unknown environment variable KVORUM_PROT; did you mean KVORUM_PORT?"
    assert third.startswith("unknown environment variable KVORUM_SEED")
    assert fourth.startswith("KVORUM_DTYPE (model.dtype): must be one of")
    assert "port" not in {finding.subject for finding in findings}
    assert "torch" in {finding.subject for finding in findings}


def test_a_missing_model_hides_nothing_else() -> None:
    findings = look("/no/such/folder")
    assert problems(findings) == ["there is no folder /no/such/folder"]
    assert {each.subject for each in findings} == SUBJECTS - {"memory"}


def test_a_model_that_is_not_downloaded_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    findings = look("some/model")
    [note] = [each.text for each in findings if each.state == "note" and each.subject == "model"]
    assert "`kvorum serve` downloads it" in note


def test_further_models_are_looked_at_too() -> None:
    findings = look("--more-models", "kvorum-mini /no/such/folder")
    assert problems(findings) == [
        "there is no folder /no/such/folder",
        "two models are named kvorum-mini",
    ]
    assert len([each for each in findings if each.subject == "memory"]) == 2


def test_a_torch_that_tells_nothing_is_a_problem() -> None:
    def dying(_: TorchQuery) -> TorchFacts:
        raise ProbeFailed("ended by SIGILL")

    parser = flag_parser("kvorum doctor", "", "")
    findings = list(examine(["--port", "0"], {}, parser, ask_torch=dying))
    assert problems(findings) == ["torch and transformers: ended by SIGILL"]


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), ImportError("x"), OSError("x"), KeyError("x")]
)
def test_a_check_that_fails_is_a_finding_after_those_that_it_made(error: Exception) -> None:
    def check() -> Iterator[Finding]:
        yield ok("thing", "first")
        raise error

    first, second = guarded("thing", check)
    assert first.text == "first"
    assert second.state == "problem"
    assert "cannot be looked at" in second.text
    assert second.remedy


def test_a_finding_is_one_line_whatever_is_in_it() -> None:
    found = ok("x", "a\nb\x1b[31m\udcff")
    assert found.text.isprintable()
    assert msgspec.json.encode(found)


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("port 1 is taken.\nStop it, or else.", "port 1 is taken.", "Stop it, or else."),
        ("no folder x; name y", "no folder x", "name y"),
        ("No 2.5 here. Use 3.", "No 2.5 here", "Use 3."),
        ("no advice", "no advice", "fallback"),
    ],
)
def test_the_advice_of_an_error_becomes_the_remedy(text: str, what: str, remedy: str) -> None:
    found = of_error("x", ValueError(text), "fallback")
    assert (found.text, found.remedy) == (what, remedy)


def test_the_report_counts_and_every_remedy_stands_below_its_line() -> None:
    findings = [ok("a", "fine"), of_error("b", ValueError("bad; mend it"))]
    report = report_of(findings, "1.0")
    assert summary(report) == "1 problem, no notes, 1 ok. Mend the problems first."
    assert summary(report_of(findings[:1], "1.0")) == "no problems, no notes, 1 ok. Ready to serve."
    assert lines_of(findings[0]) == "  ok       a            fine"
    assert lines_of(findings[1]).splitlines()[1].strip() == "-> mend it"


@pytest.mark.slow
def test_the_command_prints_lines_or_json_and_ends_with_0_or_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.doctor.torch_facts.ask", lambda query, _: answer(query))
    assert cli.main(["doctor", "--port", "0"]) == 0
    text = capsys.readouterr().out
    assert "ok       model        kvorum-mini: " in text
    assert text.endswith(" ok. Ready to serve.\n")
    assert cli.main(["doctor", "/no/such/folder", "--port", "0", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["num_problems"] == 1
    assert {"subject", "state", "text", "remedy"} == set(report["findings"][0])


def test_wrong_usage_is_a_finding_too(capsys: pytest.CaptureFixture[str]) -> None:
    [first, *_] = look("--prot", "1")
    assert first.text == "unknown argument --prot; did you mean --port?"
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--help"])
    assert "--json" in capsys.readouterr().out
