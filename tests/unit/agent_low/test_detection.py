"""What a host offers is read from the kernel's own tables."""

from pathlib import Path

import pytest

from colchis_agent.cgroups.detect import Mounts, parse_membership, parse_mounts
from colchis_agent.cgroups.pressure import Pressure, Stall, parse_pressure, read_pressure
from colchis_agent.cgroups.v1 import quota_us

V1 = """\
25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
31 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:10 - cgroup cgroup rw,cpu,cpuacct
32 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 25 0:28 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
34 25 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 25 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup rw\n"


def test_v1_controllers_may_share_a_mount() -> None:
    base = Path("/sys/fs/cgroup")
    assert parse_mounts(V1) == Mounts(
        {
            "cpu": base / "cpu,cpuacct",
            "cpuacct": base / "cpu,cpuacct",
            "memory": base / "memory",
            "freezer": base / "freezer",
        },
        base / "unified",
    )


def test_v2_is_one_mount() -> None:
    assert parse_mounts(V2) == Mounts({}, Path("/sys/fs/cgroup"))


def test_blanks_in_a_mount_point() -> None:
    text = r"33 25 0:28 / /mnt/my\040groups rw - cgroup cgroup rw,freezer"
    assert parse_mounts(text).v1 == {"freezer": Path("/mnt/my groups")}


def test_a_host_without_cgroups() -> None:
    assert parse_mounts("25 30 0:23 / /sys rw - sysfs sysfs rw\n\n") == Mounts({}, None)


def test_membership() -> None:
    text = "4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/x:y\n0::/user.slice\n"
    assert parse_membership(text) == {
        "memory": "/a/b",
        "cpu": "/",
        "cpuacct": "/",
        "name=systemd": "/x:y",
        "": "/user.slice",
    }


def test_pressure() -> None:
    text = (
        "some avg10=1.50 avg60=0.54 avg300=0.22 total=1974216\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    assert parse_pressure(text) == Pressure(
        Stall(0.015, 0.0054, 0.0022, 1.974216), Stall(0.0, 0.0, 0.0, 0.0)
    )


@pytest.mark.parametrize("text", ["", "some\n", "some avg10=x\n", "full avg10=0.00 total=0\n"])
def test_pressure_in_another_form_is_none(text: str) -> None:
    assert parse_pressure(text) is None


def test_pressure_where_the_kernel_has_none(tmp_path: Path) -> None:
    assert read_pressure(tmp_path) == {"cpu": None, "memory": None, "io": None}


@pytest.mark.parametrize(
    ("cpus", "microseconds"), [(None, None), (1.0, 100_000), (0.25, 25_000), (0.001, 1_000)]
)
def test_quota(cpus: float | None, microseconds: int | None) -> None:
    assert quota_us(cpus) == microseconds
