"""cgroup v1: every controller has a hierarchy, and so a folder per group, of its own."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from colchis_agent.cgroups.base import CgroupError, CgroupTree, Limits, Usage, checked_name
from colchis_agent.cgroups.files import (
    FreezerV1,
    PidsV1,
    cpu_v1,
    cpuacct_v1,
    folders_below,
    make_folder,
    memory_v1,
    pids_below,
    remove_below,
    remove_upwards,
)

CONTROLLERS = ("freezer", "cpu", "cpuacct", "memory", "pids")
PERIOD_US = 100_000
LEAST_QUOTA_US = 1_000


class V1Tree(CgroupTree):
    """A tree over the v1 hierarchies given as ``controller -> folder of the tree``.

    The freezer hierarchy is needed, the others may be missing. Sub-groups made by a container
    itself exist in the freezer hierarchy only: the container's limits go on covering them.
    """

    kind = "v1"

    def __init__(self, roots: Mapping[str, Path]) -> None:
        if "freezer" not in roots:
            raise CgroupError("cgroup v1 without its freezer cannot suspend anything")
        self._roots = {name: roots[name] for name in CONTROLLERS if name in roots}
        for root in self._roots.values():
            make_folder(root)

    def _path(self, controller: str, name: str) -> Path:
        return self._roots[controller] / checked_name(name)

    @contextmanager
    def _refusals(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CgroupError(f"cannot {what} group {name}: {error}") from error

    def create(self, name: str, limits: Limits) -> None:
        with self._refusals("create", name):
            for controller in self._roots:
                self._path(controller, name).mkdir(exist_ok=True)
        self.set_limits(name, limits)

    def set_limits(self, name: str, limits: Limits) -> None:
        with self._refusals("limit", name):
            if "cpu" in self._roots:
                cpu = cpu_v1(self._path("cpu", name))
                cpu.cfs_period_us = PERIOD_US
                cpu.cfs_quota_us = quota_us(limits.cpus)
            if "memory" in self._roots:
                self._limit_memory(name, limits.memory_bytes)
            if "pids" in self._roots:
                pids = PidsV1(self._path("pids", name))
                pids.limit = "max" if limits.pids is None else limits.pids

    def _limit_memory(self, name: str, limit: int | None) -> None:
        """Bound memory, and memory plus swap where the kernel counts swap.

        The kernel keeps memory <= memory+swap at every moment, so the latter is lifted first.
        """
        path = self._path("memory", name)
        memory = memory_v1(path)
        counts_swap = (path / "memory.memsw.limit_in_bytes").exists()
        if counts_swap:
            memory.memsw_limit_in_bytes = None
        memory.limit_in_bytes = limit
        if counts_swap and limit is not None:
            memory.memsw_limit_in_bytes = limit

    def procs_files(self, name: str) -> tuple[Path, ...]:
        folders = dict.fromkeys(self._path(controller, name) for controller in self._roots)
        return tuple(folder / "cgroup.procs" for folder in folders)

    def oom_file(self, name: str) -> Path | None:
        if "memory" not in self._roots:
            return None
        return self._path("memory", name) / "memory.oom_control"

    def delegate(self, name: str, uid: int, gid: int) -> None:
        folder = self._path("freezer", name)
        with self._refusals("delegate", name):
            for path in (folder, folder / "cgroup.procs", folder / "tasks"):
                os.chown(path, uid, gid)

    def freeze(self, name: str) -> None:
        with self._refusals("freeze", name):
            FreezerV1(self._path("freezer", name)).state = "FROZEN"

    def thaw(self, name: str) -> None:
        with self._refusals("thaw", name):
            FreezerV1(self._path("freezer", name)).state = "THAWED"

    def is_frozen(self, name: str) -> bool:
        with self._refusals("read", name):
            return bool(FreezerV1(self._path("freezer", name)).state == "FROZEN")

    def usage(self, name: str) -> Usage:
        with self._refusals("measure", name):
            cpu_seconds, memory_bytes, oom_kills, throttled = 0.0, 0, 0, 0
            if "cpuacct" in self._roots:
                cpu_seconds = cpuacct_v1(self._path("cpuacct", name)).usage / 1e9
            if "cpu" in self._roots:
                throttled = int(cpu_v1(self._path("cpu", name)).stat.get("nr_throttled", 0))
            if "memory" in self._roots:
                memory = memory_v1(self._path("memory", name))
                memory_bytes = int(memory.usage_in_bytes)
                oom_kills = int(memory.oom_control.get("oom_kill", 0))
            if "pids" in self._roots:
                pids = int(PidsV1(self._path("pids", name)).current)
            else:
                pids = len(self.pids(name))
            return Usage(cpu_seconds, memory_bytes, pids, oom_kills, throttled)

    def pids(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(pids_below(self._path("freezer", name))))

    def kill(self, name: str) -> bool:
        """Freeze, kill, thaw: what is frozen cannot fork away, and dies once it is thawed.

        The freeze need not be complete: a later round catches what slipped through.
        """
        top = self._path("freezer", name)
        if not pids_below(top):
            return True
        with self._refusals("kill", name):
            FreezerV1(top).state = "FROZEN"
            for pid in pids_below(top):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            for folder in reversed(folders_below(top)):
                FreezerV1(folder).state = "THAWED"
        return not pids_below(top)

    def remove(self, name: str) -> None:
        with self._refusals("remove", name):
            for controller in self._roots:
                remove_below(self._path(controller, name))

    def names(self) -> tuple[str, ...]:
        found = {
            child.name
            for root in self._roots.values()
            if root.is_dir()
            for child in root.iterdir()
            if child.is_dir()
        }
        return tuple(sorted(found))

    def exists(self, name: str) -> bool:
        return any(self._path(controller, name).is_dir() for controller in self._roots)

    def unenforced(self) -> tuple[str, ...]:
        controllers = {"cpus": "cpu", "memory": "memory", "pids": "pids"}
        return tuple(what for what, name in controllers.items() if name not in self._roots)

    def close(self) -> None:
        if not self.names():
            for root in self._roots.values():
                if root.is_dir():
                    remove_upwards(root)


def quota_us(cpus: float | None) -> int | None:
    """Microseconds of cpu per period for a number of cores; the kernel's least is 1 ms."""
    return None if cpus is None else max(LEAST_QUOTA_US, round(cpus * PERIOD_US))
