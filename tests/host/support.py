"""Helpers for tests with real processes and cgroups."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from colchis_agent.cgroups import CgroupTree

T = TypeVar("T")
DEADLINE = 90.0
PAUSE = 0.02

BURN = "while True: pass"
SLEEP = "import time; time.sleep(3600)"


def wait_for(condition: Callable[[], T], what: str = "condition") -> T:
    """The first true value of the condition; fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(PAUSE)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs that is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def python(code: str) -> list[str]:
    """A command that runs Python code with a quick start."""
    return [sys.executable, "-I", "-S", "-c", code]


def run_in(tree: CgroupTree, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a command as a member of the group from its first instruction on.

    The shell waits for a line, so that it can be moved before it becomes the command.
    """
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'read line; exec "$@"', "sh", *command],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    tree.add(name, process.pid)
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.close()
    return process
