"""No cgroups: groups are lists of processes, found again through /proc, stopped by SIGSTOP.

A group is a plain file to which processes write their pid. It stands for those processes, all
their descendants and everyone in the sessions they lead. A process that leaves both its parents
and its session escapes; nothing is limited.
"""

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from colchis_agent.cgroups.base import CgroupError, CgroupTree, Limits, Usage, checked_name, tried
from colchis_agent.cgroups.proc import Process, Processes, processes

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class NoCgroups(CgroupTree):
    """The degraded tree of an agent without root and without delegated cgroups."""

    kind = "none"

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _file(self, name: str) -> Path:
        return self._root / checked_name(name)

    def create(self, name: str, limits: Limits) -> None:
        self._file(name).touch(mode=0o600)

    def set_limits(self, name: str, limits: Limits) -> None:
        self._existing(name)

    def _existing(self, name: str) -> Path:
        file = self._file(name)
        if not file.is_file():
            raise CgroupError(f"there is no group {name}")
        return file

    def procs_files(self, name: str) -> tuple[Path, ...]:
        return (self._file(name),)

    def oom_file(self, name: str) -> Path | None:
        return None

    def delegate(self, name: str, uid: int, gid: int) -> None:
        self._existing(name)

    def _members(self, name: str, everyone: Processes | None = None) -> dict[int, Process]:
        """Live members, of now or among ``everyone``; a pid reused since it joined is no member.

        A process joins after it started, so one that started later than the last join recorded in
        the file carries a reused pid. ``btime`` has whole seconds, hence the slack of one.
        """
        file = self._existing(name)
        joined_at = file.stat().st_mtime + 1.0
        everyone = everyone or processes()
        there = everyone.by_pid
        roots = {
            pid
            for pid in map(int, file.read_text().split())
            if pid in there and there[pid].started_at <= joined_at
        }
        members = everyone.below(roots)
        return {pid: process for pid, process in members.items() if process.state != "Z"}

    def _signal(
        self, name: str, number: signal.Signals, everyone: Processes | None = None
    ) -> dict[int, Process]:
        """Signal every member; who was one."""
        members = self._members(name, everyone)
        for pid in members:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            except PermissionError as error:
                raise CgroupError(f"cannot signal process {pid} of {name}: {error}") from error
        return members

    def _signal_all(
        self, names: Iterable[str], number: signal.Signals
    ) -> dict[str, dict[int, Process] | CgroupError]:
        """Signal the members of several groups as of one look at all processes."""
        everyone = processes()
        return {
            name: tried(lambda one: self._signal(one, number, everyone), name) for name in names
        }

    def freeze(self, name: str) -> None:
        _check(self.freeze_all([name]))

    def freeze_all(self, names: Iterable[str]) -> dict[str, bool | CgroupError]:
        names = list(names)
        # What was forked between the look and the signal is a member that nobody has stopped.
        self._signal_all(names, signal.SIGSTOP)
        return {
            name: those if isinstance(those, CgroupError) else _are_stopped(those)
            for name, those in self._signal_all(names, signal.SIGSTOP).items()
        }

    def thaw(self, name: str) -> None:
        _check(self.thaw_all([name]))

    def thaw_all(self, names: Iterable[str]) -> dict[str, CgroupError | None]:
        return {
            name: those if isinstance(those, CgroupError) else None
            for name, those in self._signal_all(names, signal.SIGCONT).items()
        }

    def is_frozen(self, name: str) -> bool:
        return _are_stopped(self._members(name))

    def usage(self, name: str) -> Usage:
        return _used(self._members(name))

    def usages(self, names: Iterable[str]) -> dict[str, Usage]:
        found: dict[str, Usage] = {}
        everyone: Processes | None = None
        for name in names:
            everyone = everyone or processes()
            with suppress(CgroupError, OSError):
                found[name] = _used(self._members(name, everyone))
        return found

    def pids(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(self._members(name))) if self.exists(name) else ()

    def kill(self, name: str) -> bool:
        if not self.exists(name):
            return True
        self._signal(name, signal.SIGSTOP)
        self._signal(name, signal.SIGKILL)
        return not self._members(name)

    def remove(self, name: str) -> None:
        if self.exists(name):
            if self._members(name):
                raise CgroupError(f"cannot remove group {name}: it still holds processes")
            self._file(name).unlink()

    def names(self) -> tuple[str, ...]:
        if not self._root.is_dir():
            return ()
        return tuple(sorted(file.name for file in self._root.iterdir() if file.is_file()))

    def exists(self, name: str) -> bool:
        return self._file(name).is_file()

    def unenforced(self) -> tuple[str, ...]:
        return ("cpus", "memory", "pids", "freezer")

    def close(self) -> None:
        if self._root.is_dir() and not self.names():
            self._root.rmdir()


def _check(outcome: Mapping[str, object]) -> None:
    for error in outcome.values():
        if isinstance(error, CgroupError):
            raise error


def _are_stopped(members: Mapping[int, Process]) -> bool:
    return bool(members) and all(process.state in "Tt" for process in members.values())


def _used(members: Mapping[int, Process]) -> Usage:
    return Usage(
        cpu_seconds=sum(process.cpu_ticks for process in members.values()) / TICKS,
        memory_bytes=sum(process.resident_pages for process in members.values()) * PAGE,
        pids=sum(process.threads for process in members.values()),
    )
