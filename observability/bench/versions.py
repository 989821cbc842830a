"""Which Kvorum measured: the version of the package, and the commit where it runs from its source."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 20.0


def client_versions() -> dict[str, str]:
    """For `Run.versions`. Blocks a little."""
    return {name: text for name, text in (("kvorum", _kvorum()), ("commit", commit())) if text}


def commit(root: Path = _ROOT) -> str:
    """Twelve digits, and whether there are changes beside it; "" if this is no checkout."""
    # Else git would look for one in the folders above: an installed package may lie in another's.
    if not (root / ".git").exists():
        return ""
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", "*.py") if head else ""
    return head + (" and uncommitted changes" if changed else "")


def _kvorum() -> str:
    try:
        return version("kvorum")
    except PackageNotFoundError:
        return ""


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
