"""The version of Kvorum that is installed, for the document."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """As the package says; "0" where the sources run without being installed."""
    try:
        return version("kvorum")
    except PackageNotFoundError:
        return "0"
