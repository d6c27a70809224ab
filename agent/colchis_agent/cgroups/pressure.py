"""Pressure stall information (PSI): the share of time in which work waited for a resource.

Source: Documentation/accounting/psi.rst of the Linux kernel.
"""

from dataclasses import dataclass
from pathlib import Path

RESOURCES = ("cpu", "memory", "io")


@dataclass(frozen=True, slots=True)
class Stall:
    """Shares (0..1) of the last 10, 60 and 300 seconds, and all stalled seconds so far."""

    avg10: float
    avg60: float
    avg300: float
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Pressure:
    """``some``: at least one task waited; ``full``: all of them did (None for cpu before 5.13)."""

    some: Stall
    full: Stall | None


def parse_pressure(text: str) -> Pressure | None:
    """Read the text of one pressure file; None if it is not in the kernel's form."""
    stalls: dict[str, Stall] = {}
    try:
        for line in text.splitlines():
            kind, *pairs = line.split()
            values = dict(pair.split("=", 1) for pair in pairs)
            stalls[kind] = Stall(
                avg10=float(values["avg10"]) / 100,
                avg60=float(values["avg60"]) / 100,
                avg300=float(values["avg300"]) / 100,
                total_seconds=int(values["total"]) / 1e6,
            )
        return Pressure(stalls["some"], stalls.get("full"))
    except (KeyError, ValueError):
        return None


def read_pressure(folder: Path = Path("/proc/pressure")) -> dict[str, Pressure | None]:
    """Pressure of the host by resource; None where the kernel does not measure it."""
    found: dict[str, Pressure | None] = {}
    for resource in RESOURCES:
        try:
            found[resource] = parse_pressure((folder / resource).read_text())
        except OSError:
            found[resource] = None
    return found
