"""Waiting for what is to come about, without a verdict from the time that it takes."""

import asyncio
import linecache
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
DEADLINE = 120.0
"""Seconds after which it will not come any more, however slow the machine."""

PAUSE = 0.05


def wait_for(condition: Callable[[], T], what: str = "") -> T:
    """The first true value of the condition; fails after the deadline, saying what it was.

    That is ``what``, or else the line that waits.
    """
    what = what or calling_line()
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {DEADLINE:.0f} s in vain for {what}"
        time.sleep(PAUSE)
    return value


async def wait_meanwhile(condition: Callable[[], T], what: str = "") -> T:
    """As ``wait_for``, while the loop goes on."""
    what = what or calling_line()
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {DEADLINE:.0f} s in vain for {what}"
        await asyncio.sleep(PAUSE)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs that is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def opened(file: Path) -> int:
    """How often this process has a file open."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += descriptor.readlink() == file
    return found


def calling_line() -> str:
    """Where the function was called that calls this."""
    caller = sys._getframe(2)
    line = linecache.getline(caller.f_code.co_filename, caller.f_lineno)
    return f"{line.strip()} ({Path(caller.f_code.co_filename).name}:{caller.f_lineno})"
