"""The files of one cgroup as typed attributes.

cgroupspy's file-interface descriptors do the conversion. Its own controllers serve for v1 cpu,
cpuacct and memory; the freezer, pids and v2 controllers, which it lacks, are declared here. The
``max`` of v2 is no integer, so those files are plain strings.
"""

import os
from pathlib import Path
from typing import Any

from cgroupspy.controllers import CpuAcctController, CpuController, MemoryController
from cgroupspy.interfaces import (
    BaseFileInterface,
    DictFile,
    FlagFile,
    IntegerFile,
    MultiLineIntegerFile,
)

ATTEMPTS = 20


class Folder:
    """One cgroup folder: the object that cgroupspy's descriptors read and write through."""

    procs = MultiLineIntegerFile("cgroup.procs")

    def __init__(self, path: Path) -> None:
        self.path = path

    def get_property(self, filename: bytes) -> str:
        """Text of a file of this cgroup, stripped."""
        return (self.path / filename.decode()).read_text().strip()

    def set_property(self, filename: bytes, value: object) -> None:
        """Write one value to a file of this cgroup."""
        (self.path / filename.decode()).write_text(str(value))


class FreezerV1(Folder):
    """``freezer`` of v1."""

    state = BaseFileInterface("freezer.state")
    parent_freezing = FlagFile("freezer.parent_freezing", readonly=True)


class PidsV1(Folder):
    """``pids`` of v1."""

    limit = BaseFileInterface("pids.max")
    current = IntegerFile("pids.current", readonly=True)


class UnifiedFolder(Folder):
    """A cgroup of v2 with every file that Colchis uses."""

    controllers = BaseFileInterface("cgroup.controllers", readonly=True)
    subtree_control = BaseFileInterface("cgroup.subtree_control")
    events = DictFile("cgroup.events", readonly=True)
    frozen = FlagFile("cgroup.freeze")
    kill = FlagFile("cgroup.kill", writeonly=True)
    cpu_max = BaseFileInterface("cpu.max")
    cpu_stat = DictFile("cpu.stat", readonly=True)
    memory_max = BaseFileInterface("memory.max")
    memory_swap_max = BaseFileInterface("memory.swap.max")
    memory_current = IntegerFile("memory.current", readonly=True)
    memory_events = DictFile("memory.events", readonly=True)
    pids_max = BaseFileInterface("pids.max")
    pids_current = IntegerFile("pids.current", readonly=True)


class _Node:
    """What cgroupspy's controllers want to know of a cgroup: its path in bytes."""

    def __init__(self, path: Path) -> None:
        self.full_path = str(path).encode()


def cpu_v1(path: Path) -> Any:
    """cgroupspy's controller for ``cpu`` of v1 at this folder."""
    return CpuController(_Node(path))


def cpuacct_v1(path: Path) -> Any:
    """cgroupspy's controller for ``cpuacct`` of v1 at this folder."""
    return CpuAcctController(_Node(path))


def memory_v1(path: Path) -> Any:
    """cgroupspy's controller for ``memory`` of v1 at this folder."""
    return MemoryController(_Node(path))


def folders_below(path: Path) -> list[Path]:
    """The folder and every cgroup below it, deepest first; empty if it is gone."""
    found: list[Path] = []
    try:
        children = sorted(child for child in path.iterdir() if child.is_dir())
    except FileNotFoundError:
        return found
    for child in children:
        found += folders_below(child)
    return [*found, path]


def pids_below(path: Path) -> set[int]:
    """Processes of the cgroup and of all below it; one that vanishes meanwhile holds none."""
    found: set[int] = set()
    for folder in folders_below(path):
        try:
            found.update(Folder(folder).procs)
        except (FileNotFoundError, OSError):
            continue
    return found


def remove_below(path: Path) -> None:
    """Remove a cgroup and all below it; raises OSError if one still holds processes."""
    for folder in folders_below(path):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue


def make_folder(path: Path) -> None:
    """Make a cgroup and those above it, while other agents may be removing their empty ones."""
    for _ in range(ATTEMPTS):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:
            continue
        return
    path.mkdir(parents=True, exist_ok=True)


def remove_upwards(path: Path) -> None:
    """Remove an empty cgroup, then those above it that are empty without it.

    Raises OSError where the first is not empty.
    """
    path.rmdir()
    for folder in path.parents:
        if os.path.ismount(folder):  # unlike Path.is_mount, at ease with one that is gone
            return
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
