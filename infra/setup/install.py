"""Installs Kvorum and its tools into the running environment, with a sign of life.

Plain pip from the standard library's venv: only pip finds the CPU wheel of the pinned torch.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Install; the exit code is pip's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools = project["dependency-groups"]["dev"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    constraints = ["--constraint", str(ROOT / "constraints-cpu.txt")]
    return _run_with_progress([*pip, *constraints, "--editable", str(ROOT), *tools])


def _run_with_progress(command: list[str]) -> int:
    """Run pip and show what it is at: one line that is rewritten, or each line without a tty."""
    start = time.monotonic()
    log: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            log.append(line)
            step = line.strip()
            if step.startswith(("Collecting", "Installing", "Successfully", "Building")):
                _show(f"[{time.monotonic() - start:4.0f} s] {step}")
    if sys.stdout.isatty():
        print()
    if pip.returncode:
        print("".join(log[-25:]), "\nThe installation failed; the last lines above say why.")
    return pip.returncode


def _show(text: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\033[K{text[:100]}", end="", flush=True)
    else:
        print(text[:100], flush=True)


if __name__ == "__main__":
    sys.exit(main())
