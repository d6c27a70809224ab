"""The process that forks slot processes, so that a warm one costs a millisecond or two.

It is forked from the supervisor before that has any thread or socket, has imported what every
task needs, and then only forks and reaps. Orders and news travel over a SEQPACKET socket pair:

* ``f NUMBER LINE`` with three descriptors (the slot's channel, aside, log): fork a slot process;
* ``p NUMBER PID`` with a pidfd: it is forked;
* ``x NUMBER STATUS``: it ended, with an exit code or minus a signal.
"""

import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from colchis.jobs.urgency import die_with_parent
from colchis_agent.cgroups import join
from colchis_agent.executor.board import Board
from colchis_agent.executor.channel import ChannelError, Ready, SlotEnd
from colchis_agent.executor.slot import Hub, Results, watch_garbage_collection

OOM_SCORE = b"500"
"""The kernel takes a slot rather than the supervisor where the container's memory is full."""


class Zygote:
    """Forks on order until the supervisor goes; then it kills what it forked."""

    def __init__(
        self,
        control: socket.socket,
        board: Board,
        functions: Path,
        results: Callable[[], Results],
        groups: Sequence[Sequence[Path]],
    ) -> None:
        self._control = control
        self._board = board
        self._functions = functions
        self._results = results
        self._groups = groups
        self._numbers: dict[int, int] = {}

    def run(self, preload: Sequence[str]) -> None:
        """Serve; returns when the supervisor is gone."""
        for name in preload:
            with suppress(ImportError):
                importlib.import_module(name)
        gc.collect()
        gc.freeze()
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        poller.register(self._control, select.POLLIN)
        while True:
            for descriptor, _ in poller.poll():
                if descriptor == wake:
                    with suppress(BlockingIOError):
                        os.read(wake, 4096)
                    self._reap()
                elif not self._serve():
                    for pid in self._numbers:
                        with suppress(ProcessLookupError):
                            os.killpg(pid, signal.SIGKILL)
                    return

    def _serve(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, 256, 3)
        if not data:
            return False
        _, number, line = data.split()
        channel, aside, log = descriptors
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._be_slot(int(line), channel, aside, log)
                status = 0
            finally:
                os._exit(status)
        for descriptor in descriptors:
            os.close(descriptor)
        self._numbers[pid] = int(number)
        # The child cannot be reaped before the next turn, so the pid is surely its own.
        pidfd = os.pidfd_open(pid)
        socket.send_fds(self._control, [b"p %d %d" % (int(number), pid)], [pidfd])
        os.close(pidfd)
        return True

    def _reap(self) -> None:
        while self._numbers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._numbers.pop(pid, None)
            if number is not None:
                code = os.waitstatus_to_exitcode(status)
                # What the task started in its session ends with it.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                self._control.send(b"x %d %d" % (number, code))

    def _be_slot(self, line: int, channel: int, aside: int, log: int) -> None:
        parent = os.getppid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._control.close()
        os.setsid()
        die_with_parent(parent)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_bytes(OOM_SCORE)
        if self._groups:
            join(self._groups[line])
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        faulthandler.enable(sys.stderr)
        end = SlotEnd(socket.socket(fileno=channel), socket.socket(fileno=aside))
        os.register_at_fork(after_in_child=end.close)
        own = self._board.line(line)
        watch_garbage_collection(own)
        hub = Hub(end, own, self._functions, self._results())
        end.send(Ready())
        try:
            hub.run()
        except (ChannelError, OSError):
            return
