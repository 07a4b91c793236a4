"""What of the processor this process may use, and what it can do."""

import os
from pathlib import Path, PurePosixPath
from typing import Final

_CPU_INFO: Final = Path("/proc/cpuinfo")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return how many cores' worth of time this process may use: its affinity, and its container's quota.

    A part of a core is not counted, as a thread on it would hold up the others at every layer of a network.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(_OWN_CGROUP, _CGROUPS)
    return cores if quota is None else max(1, min(cores, int(quota)))


def has_amx_bf16() -> bool:
    """Say whether the processor multiplies bfloat16 matrices in hardware (AMX); False where that is not known."""
    return "amx_bf16" in _flags(_CPU_INFO)


def _flags(cpu_info: Path) -> frozenset[str]:
    lines = [line for line in _lines(cpu_info) if line.startswith("flags")]
    return frozenset(lines[0].partition(":")[2].split()) if lines else frozenset()


def _cgroup_quota(own: Path, root: Path) -> float | None:
    """Return the smallest quota of the process's control groups in cores; None where there is none.

    Source: the Linux kernel's documentation of cgroup v2 (``cpu.max``) and v1 (``cpu.cfs_quota_us``). A container
    sees its own group at the root; without a namespace of its own it is below, at the path that ``own`` gives.
    """
    quotas = []
    for line in _lines(own):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Some kernels name the controllers in another order than their mount; a link "cpu" leads there.
        mounts = (root / controllers, root / "cpu") if controllers else (root,)
        groups = PurePosixPath(path).relative_to("/")
        for group in (groups, *groups.parents):
            quotas += [quota for mount in mounts for quota in _quotas(mount / group)]
    return min(quotas, default=None)


def _quotas(group: Path) -> list[float]:
    version_2 = " ".join(_lines(group / "cpu.max")).split()
    version_1 = _lines(group / "cpu.cfs_quota_us") + _lines(group / "cpu.cfs_period_us")
    return [int(pair[0]) / int(pair[1]) for pair in (version_2, version_1) if len(pair) == 2 and pair[0].isdecimal()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
