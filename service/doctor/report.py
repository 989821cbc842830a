"""Findings as text, a line each as it is made, or as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from service.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
_INDENT = " " * 24


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    version: str
    num_problems: int
    num_notes: int
    findings: tuple[Finding, ...]


def report_of(findings: Sequence[Finding], version: str) -> Report:
    """All findings, counted."""
    counts = Counter(finding.state for finding in findings)
    return Report(
        version=version,
        num_problems=counts["problem"],
        num_notes=counts["note"],
        findings=tuple(findings),
    )


def lines_of(finding: Finding) -> str:
    """The mark, the subject and the text; the remedy below."""
    first = f"  {_MARKS[finding.state]:<8} {finding.subject:<12} {finding.text}"
    return f"{first}\n{_INDENT}-> {finding.remedy}" if finding.remedy else first


def summary(report: Report) -> str:
    """The last line."""
    num_ok = len(report.findings) - report.num_problems - report.num_notes
    counts = (
        f"{_count(report.num_problems, 'problem')}, {_count(report.num_notes, 'note')}, {num_ok} ok"
    )
    return f"{counts}. {'Mend the problems first.' if report.num_problems else 'Ready to serve.'}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
