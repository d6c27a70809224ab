"""Processes as /proc shows them, as far as a group without cgroups needs them."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


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


def processes() -> dict[int, Process]:
    """Every process there is, by pid; one that ends meanwhile is left out."""
    booted = boot_time()
    found: dict[int, Process] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The command name may hold blanks and parentheses; the fields start after the last one.
        fields = text[text.rindex(")") + 2 :].split()
        pid = int(entry.name)
        found[pid] = Process(
            pid=pid,
            state=fields[0],
            parent=int(fields[1]),
            session=int(fields[3]),
            cpu_ticks=int(fields[11]) + int(fields[12]),
            threads=int(fields[17]),
            started_at=booted + int(fields[19]) / TICKS,
            resident_pages=max(0, int(fields[21])),
        )
    return found
