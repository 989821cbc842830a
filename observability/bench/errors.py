"""What a bench can fail with.

BenchError             the text says what is wrong and what to do next
├── WrongOption        of the command line: a workload, an arrival, an objective that is not one
├── CannotAsk          a server does not answer a plain question
├── CannotMeasure      a measurement cannot be made, or what it gave is worth nothing
└── CannotKeep         the database cannot be read or written
"""

from __future__ import annotations


class BenchError(Exception):
    """Its text is for the user."""


class WrongOption(BenchError):
    """Names the option and what it may be."""


class CannotAsk(BenchError):
    """Names the address."""


class CannotMeasure(BenchError):
    """Says why."""


class CannotKeep(BenchError):
    """Says where."""
