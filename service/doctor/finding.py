"""`Finding`: what one check has to say, in one line, and below it what to do."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["ok", "note", "problem"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A note is worth reading; a problem keeps the server from starting or from its work."""

    subject: str
    state: State
    text: str
    remedy: str = ""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return _finding(subject, "ok", text, "")


def note(subject: str, text: str, remedy: str = "") -> Finding:
    """The server works, but could be better off."""
    return _finding(subject, "note", text, remedy)


def problem(subject: str, text: str, remedy: str = "") -> Finding:
    """Something does not work."""
    return _finding(subject, "problem", text, remedy)


def of_error(subject: str, error: Exception, remedy: str = "") -> Finding:
    """A problem in the words of an error of ours. Most end with what to do, after a line break, a
    semicolon or a full stop; `remedy` is for the others."""
    text = str(error)
    for divider in ("\n", "; ", ". "):
        what, _, advice = text.partition(divider)
        if advice:
            return problem(subject, what, advice)
    return problem(subject, text, remedy)


def _finding(subject: str, state: State, text: str, remedy: str) -> Finding:
    return Finding(subject=subject, state=state, text=_line(text), remedy=_line(remedy))


def _line(text: str) -> str:
    """One line that can be printed, whatever a library or a file name has put into it."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() else " " for char in " ".join(clean.split()))
