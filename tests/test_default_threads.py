"""The default number of threads, on trees of control groups as containers have them."""

import os
from pathlib import Path

import pytest

from perceiver_runtime.backends.cores import DefaultThreads, cpu_quota, default_threads

V1 = "31 23 0:29 {top} {at} rw - cgroup cgroup rw,cpu,cpuacct"
V2 = "41 31 0:38 {top} {at} rw - cgroup2 cgroup2 rw"


def tree(root: Path, own: str, mounts: list[str], files: dict[str, str]) -> Path:
    whole = {"proc/self/cgroup": own, "proc/self/mountinfo": "\n".join(mounts) + "\n", **files}
    for name, text in whole.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({}, None),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ({"a/b/cpu.max": "200000 100000\n", "a/cpu.max": "300000 100000\n"}, 2.0),
        ({"a/other/cpu.max": "10000 100000\n"}, None),  # not a group of this process
        ({"cpu.max": "nonsense\n"}, None),
        ({"cpu.max": "100000 0\n"}, None),
    ],
)
def test_version_2(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    inside = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    mounts = [V2.format(top="/", at="/sys/fs/cgroup")]
    assert cpu_quota(tree(tmp_path, "0::/a/b\n", mounts, inside)) == quota


@pytest.mark.parametrize(("micros", "quota"), [("250000", 2.5), ("-1", None), ("0", None)])
def test_version_1(tmp_path: Path, micros: str, quota: float | None) -> None:
    """Docker's mount shows the container's own group at its root; the process names it from the host's."""
    own = "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n0::/docker/x\n"
    folder = "sys/fs/cgroup/cpu dir"
    files = {f"{folder}/cpu.cfs_quota_us": f"{micros}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}
    mounts = [
        "30 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
        V1.format(top="/docker/x", at=r"/sys/fs/cgroup/cpu\040dir"),
    ]
    assert cpu_quota(tree(tmp_path, own, mounts, files)) == quota


@pytest.mark.parametrize("own", ["0::/../../elsewhere\n", "0::/host/side\n"])
def test_group_out_of_sight(tmp_path: Path, own: str) -> None:
    """A group that the mount does not show: the mount's root is what there is."""
    mounts, files = [V2.format(top="/container", at="/cg")], {"cg/cpu.max": "70000 100000\n", "elsewhere/cpu.max": "1 100000\n"}
    assert cpu_quota(tree(tmp_path, own, mounts, files)) == 0.7


def test_both_versions(tmp_path: Path) -> None:
    mounts = [V1.format(top="/", at="/one"), V2.format(top="/", at="/two")]
    files = {
        "one/cpu.cfs_quota_us": "300000",
        "one/cpu.cfs_period_us": "100000",
        "two/cpu.max": "120000 100000",
    }
    assert cpu_quota(tree(tmp_path, "1:cpu:/\n0::/\n", mounts, files)) == 1.2


@pytest.mark.parametrize(
    ("quota", "variable", "expected"),
    [
        ("max", None, DefaultThreads(8, "cores this process may use")),
        ("250000", None, DefaultThreads(3, "CPU quota of 2.5 cores")),
        ("20000", None, DefaultThreads(1, "CPU quota of 0.2 cores")),
        ("1600000", None, DefaultThreads(8, "cores this process may use")),
        ("250000", "2,4", DefaultThreads(2, "OMP_NUM_THREADS=2")),
        ("250000", "64", DefaultThreads(3, "CPU quota of 2.5 cores")),
        (
            "max",
            "0",
            DefaultThreads(8, "cores this process may use; OMP_NUM_THREADS is '0', no number of threads, and not used"),
        ),
        ("max", "", DefaultThreads(8, "cores this process may use")),
    ],
)
def test_the_fewest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, variable: str | None, expected: DefaultThreads
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    root = tree(tmp_path, "0::/\n", [V2.format(top="/", at="/cg")], {"cg/cpu.max": f"{quota} 100000\n"})
    assert default_threads(root, {} if variable is None else {"OMP_NUM_THREADS": variable}) == expected


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
