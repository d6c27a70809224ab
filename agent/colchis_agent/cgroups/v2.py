"""cgroup v2: one unified hierarchy; limits need the controllers enabled in every parent."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colchis_agent.cgroups.base import CgroupError, CgroupTree, Limits, Usage, checked_name
from colchis_agent.cgroups.files import (
    UnifiedFolder,
    folders_below,
    make_folder,
    pids_below,
    remove_below,
    remove_upwards,
)
from colchis_agent.cgroups.v1 import PERIOD_US, quota_us

WANTED = ("cpu", "memory", "pids")


class V2Tree(CgroupTree):
    """A tree at ``root``; the controllers are enabled on the way down from ``top``.

    ``top`` is the highest folder that is ours to configure (the mount point, or a delegated
    folder without processes of its own). With ``top`` None no controller is enabled: such groups
    can only be frozen, measured and killed, and may lie below a folder that holds processes. That
    is how a container's own sub-groups work: its limits go on covering them.
    """

    kind = "v2"

    def __init__(self, root: Path, top: Path | None) -> None:
        self._root = root
        make_folder(root)
        if top is not None:
            chain = [top]
            for part in root.relative_to(top).parts:
                chain.append(chain[-1] / part)
            for folder in chain:
                enable_controllers(UnifiedFolder(folder))
        enabled = str(UnifiedFolder(root).subtree_control).split()
        self._controllers = frozenset(enabled) & frozenset(WANTED)

    def _group(self, name: str) -> UnifiedFolder:
        return UnifiedFolder(self._root / checked_name(name))

    @contextmanager
    def _refusals(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CgroupError(f"cannot {what} group {name}: {error}") from error

    def create(self, name: str, limits: Limits) -> None:
        with self._refusals("create", name):
            self._group(name).path.mkdir(exist_ok=True)
        self.set_limits(name, limits)

    def set_limits(self, name: str, limits: Limits) -> None:
        group = self._group(name)
        with self._refusals("limit", name):
            if "cpu" in self._controllers:
                quota = quota_us(limits.cpus)
                group.cpu_max = f"{'max' if quota is None else quota} {PERIOD_US}"
            if "memory" in self._controllers:
                bound = "max" if limits.memory_bytes is None else limits.memory_bytes
                group.memory_max = bound
                if (group.path / "memory.swap.max").exists():
                    group.memory_swap_max = "max" if limits.memory_bytes is None else 0
            if "pids" in self._controllers:
                group.pids_max = "max" if limits.pids is None else limits.pids

    def procs_files(self, name: str) -> tuple[Path, ...]:
        return (self._group(name).path / "cgroup.procs",)

    def oom_file(self, name: str) -> Path | None:
        if "memory" not in self._controllers:
            return None
        return self._group(name).path / "memory.events"

    def delegate(self, name: str, uid: int, gid: int) -> None:
        folder = self._group(name).path
        with self._refusals("delegate", name):
            for path in (folder, folder / "cgroup.procs", folder / "cgroup.threads"):
                os.chown(path, uid, gid)

    def freeze(self, name: str) -> None:
        with self._refusals("freeze", name):
            self._group(name).frozen = True

    def thaw(self, name: str) -> None:
        with self._refusals("thaw", name):
            self._group(name).frozen = False

    def is_frozen(self, name: str) -> bool:
        with self._refusals("read", name):
            return bool(self._group(name).events.get("frozen", 0))

    def usage(self, name: str) -> Usage:
        group = self._group(name)
        with self._refusals("measure", name):
            stat = group.cpu_stat
            memory_bytes, oom_kills = 0, 0
            if "memory" in self._controllers:
                memory_bytes = int(group.memory_current)
                oom_kills = int(group.memory_events.get("oom_kill", 0))
            counted = "pids" in self._controllers
            return Usage(
                cpu_seconds=int(stat["usage_usec"]) / 1e6,
                memory_bytes=memory_bytes,
                pids=int(group.pids_current) if counted else len(self.pids(name)),
                oom_kills=oom_kills,
                throttled=int(stat.get("nr_throttled", 0)),
            )

    def pids(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(pids_below(self._group(name).path)))

    def kill(self, name: str) -> bool:
        group = self._group(name)
        if not pids_below(group.path):
            return True
        with self._refusals("kill", name):
            if (group.path / "cgroup.kill").exists():
                group.kill = True
            else:
                self._kill_one_by_one(group)
        return not pids_below(group.path)

    @staticmethod
    def _kill_one_by_one(group: UnifiedFolder) -> None:
        """For kernels before 5.14; a frozen process of v2 dies without being thawed."""
        group.frozen = True
        for pid in pids_below(group.path):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for folder in reversed(folders_below(group.path)):
            UnifiedFolder(folder).frozen = False

    def remove(self, name: str) -> None:
        with self._refusals("remove", name):
            remove_below(self._group(name).path)

    def names(self) -> tuple[str, ...]:
        if not self._root.is_dir():
            return ()
        return tuple(sorted(child.name for child in self._root.iterdir() if child.is_dir()))

    def exists(self, name: str) -> bool:
        return self._group(name).path.is_dir()

    def unenforced(self) -> tuple[str, ...]:
        controllers = {"cpus": "cpu", "memory": "memory", "pids": "pids"}
        return tuple(what for what, name in controllers.items() if name not in self._controllers)

    def close(self) -> None:
        if self._root.is_dir() and not self.names():
            remove_upwards(self._root)


def enable_controllers(folder: UnifiedFolder) -> None:
    """Enable each wanted controller for the children of a folder, as far as the kernel lets us.

    One at a time, since the kernel refuses a list as a whole. What is refused shows up later in
    ``unenforced``.
    """
    for controller in WANTED:
        if controller in str(folder.controllers).split():
            try:
                folder.subtree_control = f"+{controller}"
            except OSError:
                continue
