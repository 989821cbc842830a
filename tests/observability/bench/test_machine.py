"""What a run says of where and by what it was measured."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import subprocess
from typing import TYPE_CHECKING

import msgspec

from observability.bench.machine import gpus_of, machine_here
from observability.bench.versions import client_versions, commit

if TYPE_CHECKING:
    from pathlib import Path


def test_a_machine_is_told_without_names_and_paths() -> None:
    machine = machine_here()
    assert machine.num_cores == len(os.sched_getaffinity(0))
    assert machine.memory_gb > 0
    assert machine.python == platform.python_version()
    assert machine.cpu
    text = msgspec.json.encode(machine).decode()
    assert os.getcwd() not in text
    assert socket.gethostname() not in text
    assert len(getpass.getuser()) < 4 or getpass.getuser() not in text


def test_gpus_are_told_by_name_memory_and_driver() -> None:
    table = "NVIDIA H200, 143771, 570.86.15\nNVIDIA H200, [N/A], 570.86.15\n\nodd\n"
    assert gpus_of(table) == ["NVIDIA H200, 140 GiB, driver 570.86.15"]


def test_a_commit_is_told_with_its_changes_and_only_of_a_checkout(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert commit(tmp_path) == ""
    git("init")
    assert commit(tmp_path) == ""
    (tmp_path / "a.py").write_text("")
    git("add", "a.py")
    git("commit", "-m", "a")
    assert len(commit(tmp_path)) == 12
    (tmp_path / "b.py").write_text("")
    assert commit(tmp_path).endswith(" and uncommitted changes")
    inside = tmp_path / "inside"
    inside.mkdir()
    assert commit(inside) == ""


def test_the_client_tells_its_version() -> None:
    assert client_versions()["kvorum"]
