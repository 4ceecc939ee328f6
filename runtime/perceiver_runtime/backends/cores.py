"""How many threads an engine has when nobody says: the fewest of three numbers.

They are the cores that this process may be scheduled on, the CPU quota of its container, and `OMP_NUM_THREADS`. More threads
than a quota allows are all stopped for the rest of a period when the quota is spent, and a product waits for its slowest
thread. What `threads` or `--threads` says is taken as it is.

Quotas are of control groups, version 1 (`cpu.cfs_quota_us`) and 2 (`cpu.max`): see cgroups(7) and the kernel's
admin-guide/cgroup-v2. A group is held to the quotas of all groups above it. Inside a container the groups above its own are
not in sight, and the one at the mount's root is the container's.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_VARIABLE = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class DefaultThreads:
    """A number of threads, at least 1, and what decided it, in words."""

    count: int
    reason: str


def available_cores() -> int:
    """Threads of an engine when nobody says: see `default_threads`."""
    return default_threads().count


def default_threads(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> DefaultThreads:
    """The fewest of cores, quota (rounded up) and `OMP_NUM_THREADS`. `root` has `proc` and what its mountinfo names."""
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    found = [DefaultThreads(cores, "cores this process may use" if affinity else "cores")]
    quota = cpu_quota(root)
    if quota is not None:
        found.append(DefaultThreads(max(1, math.ceil(quota)), f"CPU quota of {quota:g} cores"))
    asked, wrong = environment.get(_VARIABLE, "").strip(), ""
    if asked:
        first = asked.partition(",")[0].strip()  # the others are of nested loops
        if re.fullmatch("[0-9]{1,9}", first) and int(first) > 0:
            found.append(DefaultThreads(int(first), f"{_VARIABLE}={first}"))
        else:
            wrong = f"; {_VARIABLE} is {asked!r}, no number of threads, and not used"
    fewest = min(found, key=lambda each: each.count)
    return DefaultThreads(fewest.count, fewest.reason + wrong)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the control groups of this process allow, the least of them; None without a limit."""
    quotas = [quota for folder in _folders(root) for quota in (_version_2(folder), _version_1(folder)) if quota is not None]
    return min(quotas, default=None)


def _folders(root: Path) -> Iterator[Path]:
    """Of the groups that this process is in and those above them, where their quotas are."""
    own: dict[str, PurePosixPath] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        if not controllers or "cpu" in controllers.split(","):
            own["cgroup" if controllers else "cgroup2"] = PurePosixPath(name)
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), [*after.split(), "", "", ""]
        if len(fields) < 5 or kind[0] not in own or (kind[0] == "cgroup" and "cpu" not in kind[2].split(",")):
            continue
        top, mounted = PurePosixPath(_unescaped(fields[3])), root / _unescaped(fields[4]).lstrip("/")
        group = own[kind[0]]
        below = group.relative_to(top).parts if group.is_relative_to(top) and ".." not in group.parts else ()
        yield from (mounted.joinpath(*below[:depth]) for depth in range(len(below) + 1))


def _version_2(folder: Path) -> float | None:
    quota, period = [*" ".join(_lines(folder / "cpu.max")).split(), "", ""][:2]
    return _share(quota, period)


def _version_1(folder: Path) -> float | None:
    return _share(*(" ".join(_lines(folder / f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period")))


def _share(quota: str, period: str) -> float | None:
    """None for `max`, -1, and what is not there."""
    numbers = quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0
    return int(quota) / int(period) if numbers else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(text: str) -> str:
    """A path of mountinfo, in which blanks are octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
