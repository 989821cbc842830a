"""Python, distributions, and packages of ours that are somebody else's."""

from __future__ import annotations

from pathlib import Path

from service.doctor.packages import distributions, look_at_packages, ownership, python

ROOT = Path("/opt/kvorum")


def test_this_environment_is_well() -> None:
    assert {finding.state for finding in look_at_packages()} == {"ok"}


def test_an_old_python_is_a_problem_and_a_new_one_a_note() -> None:
    assert python((3, 10, 2), "/bin/python").state == "problem"
    assert python((3, 12, 0), "/bin/python").state == "ok"
    assert python((3, 14, 0), "/bin/python").state == "note"


def test_what_is_missing_or_out_of_range_is_named_with_the_command_that_mends_it() -> None:
    needed = ["anyio<5,>=4.9", "torch<2.14,>=2.11", "h2>=4"]
    missing, wrong, rest = distributions(needed, {"anyio": None, "torch": "2.9.0", "h2": "4.1"})
    assert missing.state == wrong.state == "problem"
    assert "anyio >=4.9,<5, and it is not installed" in missing.text
    assert missing.remedy == "pip install 'anyio>=4.9,<5'"
    assert "torch >=2.11,<2.14, and 2.9.0 is installed" in wrong.text
    assert (rest.state, rest.text) == ("ok", "1 of 3 needed ones are there, in range")


def test_what_only_an_extra_needs_may_be_missing() -> None:
    [finding] = distributions(['uvloop>=1; extra == "fast"'], {"uvloop": None})
    assert finding.state == "ok"


def test_a_version_that_is_none_is_a_note() -> None:
    first, _ = distributions(["torch>=2.11"], {"torch": "nightly"})
    assert first.state == "note"


def test_kvorum_that_is_not_installed_is_a_note() -> None:
    [finding] = distributions(None, {})
    assert finding.state == "note"


def test_our_own_package_is_well() -> None:
    assert list(ownership("service", ["kvorum"], ROOT, ROOT)) == []


def test_a_distribution_with_files_in_our_package_is_named() -> None:
    [finding] = ownership("service", ["kvorum", "service"], ROOT, ROOT)
    assert finding.state == "problem"
    assert finding.remedy.startswith("pip uninstall service, then ")


def test_a_package_from_elsewhere_is_a_problem() -> None:
    [finding] = ownership("engine", [], Path("/home/me"), ROOT)
    assert finding.state == "problem"
    assert "/home/me" in finding.text
    [absent] = ownership("engine", [], None, ROOT)
    assert absent.state == "problem"
