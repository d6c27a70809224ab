"""Helpers for tests with real processes and cgroups."""

import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

from colchis_agent.cgroups import CgroupTree
from tests.support import alive

FIRST_PORT, PORTS_EACH, NODES = 22_000, 100, 10
"""Ports for tests' containers lie between those of ``colchis up`` and those that the kernel gives
to whoever wants any."""

BURN = "while True: pass"
SLEEP = "import time; time.sleep(3600)"


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


def fork_servers(agent: int) -> list[int]:
    """Live processes that a process keeps to fork shims for it."""
    parent = f"PPid:\t{agent}\n"
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"--serve" in words and parent in (path / "status").read_text():
                found.append(int(path.name))
        except OSError:
            continue
    return [pid for pid in found if alive(pid)]


def cgroups_named(text: str) -> list[str]:
    """Cgroups of any hierarchy with the text in their own names."""
    found = (Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup"))
    return [str(folder) for folder in found if text in folder.name]


def container_ports(number: int) -> list[int]:
    """First and last port for the containers of one of this test run's agents, numbered from 0.

    No other run on this machine has them for its agents; one after another may use them.
    """
    first = FIRST_PORT + PORTS_EACH * (NODES * _share()[0] + number)
    return [first, first + PORTS_EACH - 1]


@cache
def _share() -> tuple[int, socket.socket]:
    """Which part of the ports is ours, and what keeps it so until this process ends."""
    for part in range(10):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0colchis-test-ports-{part}")
        except OSError:
            claim.close()
            continue
        return part, claim
    raise AssertionError("ten test runs have all ports")
