"""Taking a whole slot process off the cpu, whatever its code is doing."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from colchis_agent.cgroups import CgroupError, CgroupTree, Limits

CLOSE_PATIENCE = 2.0


class Freezer(Protocol):
    """Halts slot processes; ``line`` is the slot's line on the board, ``pid`` its process."""

    kind: str

    def groups(self) -> Sequence[Sequence[Path]]:
        """Per line the files to which a new slot process writes its pid; empty where none."""

    def freeze(self, line: int, pid: int) -> None:
        """Order the process and what it started off the cpu."""

    def is_frozen(self, line: int, pid: int) -> bool:
        """Whether that has happened."""

    def thaw(self, line: int, pid: int) -> None:
        """Let it go on."""

    def close(self) -> None:
        """Remove what was made."""


class GroupFreezer:
    """One cgroup per line of the board, made at once: making one takes milliseconds."""

    def __init__(self, tree: CgroupTree, lines: int, prefix: str = "slot") -> None:
        self._tree = tree
        self.kind = tree.kind
        self._names = [f"{prefix}-{line}" for line in range(lines)]
        for name in self._names:
            tree.create(name, Limits())

    def groups(self) -> Sequence[Sequence[Path]]:
        return [self._tree.procs_files(name) for name in self._names]

    def freeze(self, line: int, pid: int) -> None:
        self._tree.freeze(self._names[line])

    def is_frozen(self, line: int, pid: int) -> bool:
        return self._tree.is_frozen(self._names[line])

    def thaw(self, line: int, pid: int) -> None:
        self._tree.thaw(self._names[line])

    def close(self) -> None:
        for name in self._names:
            # Whatever a task left there goes with it; what is dying still holds the group.
            with suppress(CgroupError):
                self._tree.kill_all(name, CLOSE_PATIENCE)
                self._tree.remove(name)


class SignalFreezer:
    """SIGSTOP to the slot's session: where no cgroup is ours. A task's daemons escape it."""

    kind = "none"

    def groups(self) -> Sequence[Sequence[Path]]:
        return ()

    def freeze(self, line: int, pid: int) -> None:
        _signal_group(pid, signal.SIGSTOP)

    def is_frozen(self, line: int, pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return False
        return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] in b"Tt"

    def thaw(self, line: int, pid: int) -> None:
        _signal_group(pid, signal.SIGCONT)

    def close(self) -> None:
        return


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def open_freezer(tree: CgroupTree, lines: int) -> Freezer:
    """Cgroups where the tree has them, else signals."""
    if tree.kind == "none":
        return SignalFreezer()
    try:
        return GroupFreezer(tree, lines)
    except CgroupError:
        return SignalFreezer()
