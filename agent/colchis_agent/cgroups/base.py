"""What a cgroup tree offers, whatever the kernel interface below it.

A *tree* is one folder of cgroups that belongs to one agent (or, inside a container, to one
executor). It holds *groups*, one per container, named by a single path component. Everything is a
single step that does not wait, except ``kill_all``.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from colchis.errors import ColchisError

T = TypeVar("T")
KILL_PAUSE = 0.02


class CgroupError(ColchisError):
    """The kernel refused an operation on a group."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one group; None leaves that resource unbounded.

    ``cpus`` is a number of cores, ``memory_bytes`` counts page cache and kernel memory too,
    ``pids`` counts threads.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group has used: cpu seconds and oom kills since its creation, the rest right now.

    ``throttled`` counts the scheduling periods in which the cpu limit held the group back.
    """

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    pids: int = 0
    oom_kills: int = 0
    throttled: int = 0


def checked_name(name: str) -> str:
    """The name itself; raises CgroupError unless it is a single path component."""
    if not name or name in {".", ".."} or "/" in name or "\0" in name or len(name.encode()) > 255:
        raise CgroupError(f"{name!r} cannot name a cgroup")
    return name


def tried(function: Callable[[str], T], name: str) -> T | CgroupError:
    """What the function gives for this group, or why it cannot."""
    try:
        return function(name)
    except CgroupError as error:
        return error
    except OSError as error:
        return CgroupError(str(error))


class CgroupTree(ABC):
    """Groups of processes that are limited, measured, frozen and killed together.

    Unless said otherwise every method raises CgroupError where the kernel refuses, and a group
    that does not exist is reported the same way.
    """

    kind: str
    """``v1``, ``v2`` or ``none``."""

    @abstractmethod
    def create(self, name: str, limits: Limits) -> None:
        """Make the group, or take the existing one over, and set its limits."""

    @abstractmethod
    def set_limits(self, name: str, limits: Limits) -> None:
        """Replace all limits of the group."""

    @abstractmethod
    def procs_files(self, name: str) -> tuple[Path, ...]:
        """The files to which a process writes its pid to join the group; see ``join``."""

    @abstractmethod
    def oom_file(self, name: str) -> Path | None:
        """A file with an ``oom_kill N`` line for the group, where there is one."""

    @abstractmethod
    def delegate(self, name: str, uid: int, gid: int) -> None:
        """Let a user make groups of its own below this one and freeze them; not raise limits."""

    @abstractmethod
    def freeze(self, name: str) -> None:
        """Order every process of the group off the cpu; ``is_frozen`` tells when it is done."""

    @abstractmethod
    def thaw(self, name: str) -> None:
        """Give the group its cpus back. A group that is not frozen stays as it is."""

    @abstractmethod
    def is_frozen(self, name: str) -> bool:
        """Whether every process of the group is off the cpu by our order."""

    def freeze_all(self, names: Iterable[str]) -> dict[str, bool | CgroupError]:
        """Freeze several groups: whether each is frozen by now, or why it cannot be.

        Those that are not may have to be frozen once more.
        """

        def freeze(name: str) -> bool:
            self.freeze(name)
            return self.is_frozen(name)

        return {name: tried(freeze, name) for name in names}

    def thaw_all(self, names: Iterable[str]) -> dict[str, CgroupError | None]:
        """Thaw several groups: None, or why it cannot be, for each."""
        return {name: tried(self.thaw, name) for name in names}

    @abstractmethod
    def usage(self, name: str) -> Usage:
        """Present usage; what the host does not measure is 0."""

    def usages(self, names: Iterable[str]) -> dict[str, Usage]:
        """Present usage of several groups; without those that cannot be measured."""
        found = {}
        for name in names:
            with suppress(CgroupError, OSError):
                found[name] = self.usage(name)
        return found

    @abstractmethod
    def pids(self, name: str) -> tuple[int, ...]:
        """Live processes of the group and of the groups below it, in ascending order."""

    @abstractmethod
    def kill(self, name: str) -> bool:
        """One round of SIGKILL for the group, frozen or not; True once the group is empty."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove an empty group and the groups below it; nothing happens if it is gone."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the groups of this tree, sorted."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the tree has this group, or what is left of it."""

    @abstractmethod
    def unenforced(self) -> tuple[str, ...]:
        """What this host cannot enforce, of ``cpus``, ``memory``, ``pids``, ``freezer``."""

    @abstractmethod
    def close(self) -> None:
        """Remove the tree itself if it holds no group, and what is above and empty without it."""

    def add(self, name: str, pid: int) -> None:
        """Move a process, with all its threads, into the group."""
        try:
            join(self.procs_files(name), pid)
        except OSError as error:
            raise CgroupError(f"process {pid} cannot join group {name}: {error}") from error

    def kill_all(self, name: str, timeout: float = 10.0) -> bool:
        """Kill until the group is empty; False if something is left after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not self.kill(name):
            if time.monotonic() > deadline:
                return False
            time.sleep(KILL_PAUSE)
        return True


def join(files: Iterable[Path], pid: int | None = None) -> None:
    """Put a process (default: the caller) into a group given by its ``procs_files``.

    A freshly forked child calls this before exec, so that nothing it does escapes the group.
    """
    line = f"{os.getpid() if pid is None else pid}\n".encode()
    for file in files:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
