"""Processes as /proc shows them, as far as a group without cgroups needs them."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
STAT_BYTES = 4096
"""More than a /proc/PID/stat ever has."""


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat; ``started_at`` is wall-clock seconds since the epoch."""

    pid: int
    state: str
    parent: int
    session: int
    cpu_ticks: int
    threads: int
    started_at: float
    resident_pages: int


def boot_time() -> float:
    """When this system started, in wall-clock seconds since the epoch."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


class Processes:
    """Processes of one moment, by pid, parent and session."""

    def __init__(self, by_pid: dict[int, Process]) -> None:
        self.by_pid = by_pid
        self._children: defaultdict[int, list[Process]] = defaultdict(list)
        self._session: defaultdict[int, list[Process]] = defaultdict(list)
        for process in by_pid.values():
            self._children[process.parent].append(process)
            self._session[process.session].append(process)

    def below(self, roots: Iterable[int]) -> dict[int, Process]:
        """These, everyone in the sessions that they lead, and all descendants."""
        found: dict[int, Process] = {}
        new = [self.by_pid[pid] for pid in roots]
        new += [process for one in new for process in self._session[one.pid]]
        while new:
            process = new.pop()
            if process.pid not in found:
                found[process.pid] = process
                new += self._children[process.pid]
        return found


def processes() -> Processes:
    """Every process there is; one that ends meanwhile is left out."""
    booted = boot_time()
    found: dict[int, Process] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = _read(f"{entry.path}/stat")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The command name may hold blanks and parentheses; the fields start after the last one.
        fields = text[text.rindex(b")") + 2 :].split()
        pid = int(entry.name)
        found[pid] = Process(
            pid=pid,
            state=fields[0].decode(),
            parent=int(fields[1]),
            session=int(fields[3]),
            cpu_ticks=int(fields[11]) + int(fields[12]),
            threads=int(fields[17]),
            started_at=booted + int(fields[19]) / TICKS,
            resident_pages=max(0, int(fields[21])),
        )
    return Processes(found)


def _read(path: str) -> bytes:
    # Several times as quick as a file object, and there is one to read per process of the host.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, STAT_BYTES)
    finally:
        os.close(descriptor)
