"""Starts shims: forked from one process that is ready to be one, or else by a command each.

Most of what a shim takes to start is Python's own start and its imports. The fork server is
started with the first shim, holds nothing of the agent but one end of a socket, and ends when the
other end is closed, however the agent ends. See docs/decisions/0035-shims-are-forked.md.
"""

import os
import select
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from colchis_agent.driver import shim
from colchis_agent.driver.model import DriverError

START_SECONDS = 60.0
COMMAND = (sys.executable, "-I", "-S", shim.__file__)


class Shims:
    """May be used from any thread.

    ``groups`` makes the cgroups that shims are in and returns the files by which they are joined.
    """

    def __init__(self, groups: Callable[[], Sequence[str]]) -> None:
        self._groups = groups
        self._lock = threading.Lock()
        self._server: socket.socket | None = None
        self._end: Callable[[], object] = lambda: None

    def start(self, folder: Path) -> None:
        """Start the shim of a state folder; returns once it has the container in hand.

        Raises DriverError, or what ``groups`` does, where that does not come about.
        """
        # Whether a fork server that died had forked or not: of two shims only one does anything.
        answer = self._answer(self._ask, folder) or self._answer(self._execute, folder)
        if not answer.endswith(shim.STARTED):
            raise DriverError(answer.decode(errors="replace").strip() or "the supervisor died")

    def close(self) -> None:
        """End the fork server; another ``start`` would start it again."""
        with self._lock:
            self._server = None
            self._end()

    def _answer(self, begin: Callable[[Path, int], None], folder: Path) -> bytes:
        """What a shim that was begun so reports; nothing if there is none."""
        deadline = time.monotonic() + START_SECONDS
        waiting, report = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                begin(folder, report)
            finally:
                os.close(report)
            poll = select.poll()
            poll.register(waiting, select.POLLIN)
            answer = b""
            while not answer.endswith(shim.STARTED):
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    self.close()
                    raise DriverError(f"no answer from its supervisor in {START_SECONDS:.0f} s")
                chunk = os.read(waiting, 4096)
                if not chunk:
                    break
                answer += chunk
            return answer
        finally:
            os.close(waiting)

    def _ask(self, folder: Path, report: int) -> None:
        """Have the fork server start it, if there is one."""
        with self._lock:
            try:
                server = self._server or self._start_server()
                socket.send_fds(server, [os.fsencode(folder)], [report])
            except OSError:
                self._server = None
                self._end()

    def _start_server(self) -> socket.socket:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(START_SECONDS)
        try:
            with its:
                process = subprocess.Popen(
                    [*COMMAND, "--serve", *self._groups()],
                    stdin=its.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={},
                    # What is sent to all processes of a terminal, or of the agent's group, is not
                    # meant for the shims.
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self._server = ours
        self._end = weakref.finalize(self, _end, process, ours)
        return ours

    def _execute(self, folder: Path, report: int) -> None:
        """Start it by a command."""
        self._groups()
        subprocess.run(
            [*COMMAND, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=report,
            stderr=report,
            cwd="/",
            env={},
            timeout=START_SECONDS,
            check=False,
        )


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    process.kill()
    process.wait()
