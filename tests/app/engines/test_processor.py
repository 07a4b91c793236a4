"""How many cores a process may use, from the files in which the kernel says so."""

import os
from pathlib import Path

import pytest

from app.engines import processor
from app.engines.processor import has_amx_bf16, usable_cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 cores, without control groups."""
    monkeypatch.setattr(processor, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(processor, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def groups(machine: Path, own: str, files: dict[str, str] | None = None) -> None:
    """Write which groups the process is in, and files by their path below the mount."""
    (machine / "own").write_text(own)
    for name, content in (files or {}).items():
        path = machine / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def quota_files(group: str, quota: str) -> dict[str, str]:
    """Of version 1."""
    return {f"{group}/cpu.cfs_quota_us": quota, f"{group}/cpu.cfs_period_us": "100000"}


def test_without_control_groups_all_cores_of_the_affinity_count(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5}, raising=False)
    assert usable_cores() == 2


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 8),
        ("400000 100000", 4),
        ("200000 50000", 4),
        ("350000 100000", 3),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("", 8),
        ("nonsense", 8),
    ],
)
def test_version_2_as_a_container_sees_it(machine: Path, quota: str, cores: int) -> None:
    groups(machine, "0::/\n", {"cpu.max": quota})
    assert usable_cores() == cores


def test_version_2_without_a_namespace_takes_the_smallest_on_the_way_up(machine: Path) -> None:
    quotas = {"a/cpu.max": "300000 100000", "a/b/cpu.max": "600000 100000", "a/b/c/cpu.max": "max 100000"}
    groups(machine, "0::/a/b/c\n", quotas)
    assert usable_cores() == 3


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("250000", 2), ("10000", 1)])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_version_1(machine: Path, controllers: str, quota: str, cores: int) -> None:
    own = f"9:memory:/x\n4:{controllers}:/docker/0a1b\n3:cpuset:/\n1:name=systemd:/\n"
    groups(machine, own, quota_files(controllers, quota))
    assert usable_cores() == cores


def test_version_1_whose_controllers_are_mounted_in_another_order(machine: Path) -> None:
    """As CentOS 7 has it: ``cpuacct,cpu`` in the one file, ``/sys/fs/cgroup/cpu,cpuacct`` and a link ``cpu`` to it."""
    groups(machine, "4:cpuacct,cpu:/\n", quota_files("cpu,cpuacct", "250000"))
    (machine / "cgroup" / "cpu").symlink_to("cpu,cpuacct")
    assert usable_cores() == 2


def test_both_versions_beside_each_other(machine: Path) -> None:
    groups(machine, "4:cpu:/\n0::/user.slice\n", quota_files("cpu", "500000"))
    assert usable_cores() == 5


def test_another_controllers_group_does_not_count(machine: Path) -> None:
    groups(machine, "3:cpuset:/\n", {"cpuset/cpu.max": "100000 100000"})
    assert usable_cores() == 8


def test_this_machine_has_cores() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("cpu_info", "has"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n\nprocessor\t: 1\nflags\t\t: fpu\n", True),
        ("flags\t\t: fpu avx512_bf16 amx_tile amx_bf16x\n", False),
        ("model name\t: amx_bf16\nFeatures\t: fp asimd\n", False),
        ("", False),
    ],
)
def test_amx_is_read_from_the_flags(machine: Path, cpu_info: str, has: bool) -> None:
    (machine / "cpuinfo").write_text(cpu_info)
    assert has_amx_bf16() is has


def test_amx_is_not_there_where_nothing_tells(machine: Path) -> None:
    assert not has_amx_bf16()
