"""The machine: cores, quotas of containers, huge pages, open files."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from service.doctor.control_group import cpu_quota, memory_room
from service.doctor.machine import cores, huge_pages, look_at_machine, open_files

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, files: dict[str, str]) -> Path:
    """A machine's files below `root`."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_this_machine_can_be_looked_at(tmp_path: Path) -> None:
    assert len(list(look_at_machine(tmp_path, 0))) == 3


def test_cores_are_what_the_quota_leaves() -> None:
    assert cores(8, None, 0).text == "8 usable"
    assert cores(8, 8.0, 0).state == "ok"
    finding = cores(8, 2.5, 0)
    assert (finding.state, finding.remedy) == ("note", "--num-threads 2")
    assert cores(8, 2.5, 2).state == "ok"
    assert cores(8, 0.5, 0).remedy == "--num-threads 1"


def test_one_core_and_too_many_threads_are_notes() -> None:
    assert cores(1, None, 0).state == "note"
    assert cores(4, None, 8).remedy.startswith("--num-threads 4")


@pytest.mark.parametrize(
    ("enabled", "state"),
    [
        ("[always] madvise never", "ok"),
        ("always [madvise] never", "ok"),
        ("always madvise [never]", "note"),
        (None, "ok"),
    ],
)
def test_huge_pages_that_are_off_are_a_note(enabled: str | None, state: str) -> None:
    assert huge_pages(enabled).state == state


def test_a_low_limit_of_open_files_is_a_note_that_knows_how_far_it_can_be_raised() -> None:
    endless = resource.RLIM_INFINITY
    assert open_files(endless, endless).state == "ok"
    assert open_files(65536, 65536).state == "ok"
    assert open_files(1024, endless).remedy.startswith("ulimit -n 65536")
    assert open_files(1024, 8192).remedy.startswith("ulimit -n 8192")
    finding = open_files(1024, 1024)
    assert finding.state == "note"
    assert "LimitNOFILE" in finding.remedy


def test_bounds_of_version_2_hold_from_the_group_and_from_those_around_it(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/app\n",
            "sys/fs/cgroup/pod/app/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/app/memory.max": "1000\n",
            "sys/fs/cgroup/pod/app/memory.current": "900\n",
            "sys/fs/cgroup/pod/app/memory.stat": "anon 5\ninactive_file 300\n",
        },
    )
    assert cpu_quota(root) == 1.5
    assert memory_room(root) == 400


def test_bounds_of_version_1_are_read_too(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "100\n",
        },
    )
    assert cpu_quota(root) == 2.0
    assert memory_room(root) == 900


def test_without_bounds_there_are_none(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n3:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "100\n",
        },
    )
    assert cpu_quota(root) is None
    assert memory_room(root) is None
