"""The slot processes of an executor, as the supervisor handles them."""

import math
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from colchis.jobs.urgency import die_with_parent
from colchis_agent.executor.board import ORDER_CANCEL, ORDER_NONE, ORDER_SUSPEND, Board, Line
from colchis_agent.executor.channel import SupervisorEnd, ToSlot
from colchis_agent.executor.freezer import Freezer
from colchis_agent.executor.slot import Results
from colchis_agent.executor.zygote import Zygote

log = structlog.get_logger("executor")

PAGE = os.sysconf("SC_PAGE_SIZE")
LOG_KEPT = 2**20
"""Bytes; a slot's log longer than this is emptied before its next task."""
LOG_TAIL = 64 * 2**10
FORKS_AT_ONCE = 4
"""Orders that the zygote has not answered yet; so few always fit into its socket."""
CLOSE_PATIENCE = 5.0
"""Seconds that the zygote has to end before it is killed."""


class ZygoteGoneError(Exception):
    """Nothing can be forked any more; the executor has to be started anew."""


@dataclass(slots=True)
class Handle:
    """One slot process."""

    number: int
    line_number: int
    line: Line
    end: SupervisorEnd
    aside: SupervisorEnd
    log: int
    pid: int = 0
    pidfd: int = -1
    kill_wanted: bool = False
    log_start: int = 0
    base_memory: int = 0
    gc_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Fork:
    """An order to the zygote, with the ends that the new process is to have."""

    order: bytes
    channel: socket.socket
    aside: socket.socket
    log: int

    def close(self) -> None:
        """Let go of our copies of the sockets; the log is the handle's."""
        self.channel.close()
        self.aside.close()


class Pool:
    """Forks, signals and measures slot processes; knows nothing of tasks."""

    def __init__(
        self,
        *,
        work: Path,
        lines: int,
        freezer: Freezer,
        results: Callable[[], Results],
        preload: Sequence[str] = (),
        patience: float = 30.0,
        look: float = 1.0,
    ) -> None:
        """Fork the zygote: to be called before the process has any thread or ZeroMQ context.

        One that is stopped is waited for ``patience`` seconds, looked at every ``look`` seconds.
        """
        self._logs = work / "logs"
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self.functions = work / "functions"
        self.functions.mkdir(mode=0o700, exist_ok=True)
        self._unwritten: dict[str, bytes] = {}
        self.board = Board(lines)
        self.freezer = freezer
        self.handles: dict[int, Handle] = {}
        self._free_lines = list(range(lines))[::-1]
        self._forks: deque[Fork] = deque()
        self._forking = 0
        self._patience = patience
        self._look = look
        self._looked = math.inf
        """When a stopped zygote was last seen to be needed; infinity where it was not, then."""
        self._waited = 0.0
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        groups = freezer.groups()
        parent = os.getpid()
        self.zygote = os.fork()
        if self.zygote == 0:
            status = 1
            try:
                die_with_parent(parent)
                self.control.close()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                Zygote(theirs, self.board, self.functions, results, groups).run(preload)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def spawn(self, number: int) -> Handle:
        """Order a slot process; it says Ready on its channel."""
        line_number = self._free_lines.pop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        aside, their_aside = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        log_file = open_log(self._logs / f"slot-{line_number}.log")
        line = self.board.line(line_number)
        line.reset()
        handle = Handle(
            number, line_number, line, SupervisorEnd(ours), SupervisorEnd(aside), log_file
        )
        self.handles[number] = handle
        self._forks.append(Fork(b"f %d %d" % (number, line_number), theirs, their_aside, log_file))
        self._order_forks()
        return handle

    def _order_forks(self) -> None:
        """Send what the zygote can take now; the rest follows when it has answered."""
        while self._forks and self._forking < FORKS_AT_ONCE:
            fork = self._forks[0]
            descriptors = [fork.channel.fileno(), fork.aside.fileno(), fork.log]
            try:
                socket.send_fds(self.control, [fork.order], descriptors)
            except BlockingIOError:
                return
            except OSError as error:
                raise ZygoteGoneError(str(error)) from None
            self._forking += 1
            self._forks.popleft().close()

    def news(self) -> tuple[Handle, int] | None:
        """Read one message of the zygote: a process and its exit status, where it ended."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, 256, 1)
        except BlockingIOError:
            return None
        if not data:
            raise ZygoteGoneError("the zygote has ended")
        kind, number, value = data.split()
        handle = self.handles[int(number)]
        if kind == b"x":
            return handle, int(value)
        self._forking -= 1
        self._order_forks()
        handle.pid, handle.pidfd = int(value), descriptors[0]
        if handle.kill_wanted:
            self.kill(handle)
        return None

    def look_at_zygote(self, now: float) -> None:
        """Kill a zygote that stays stopped although it is needed, and all that it has forked.

        ``now`` is monotonic, in seconds. One that is only slow is waited for, however long. Where
        the last look was long ago we may have been stopped ourselves, together with the zygote.
        Raises ZygoteGoneError.
        """
        if not (is_stopped(self.zygote) and (self._forking or any(map(ended, self._forked())))):
            self._looked, self._waited = math.inf, 0.0
            return
        self._waited += min(max(0.0, now - self._looked), self._look)
        self._looked = now
        if self._waited >= self._patience:
            os.kill(self.zygote, signal.SIGKILL)
            raise ZygoteGoneError(f"the zygote was stopped for {self._patience:g} s")

    def _forked(self) -> list[Handle]:
        return [handle for handle in self.handles.values() if handle.pidfd >= 0]

    def remove(self, handle: Handle) -> None:
        """Forget a process that has ended."""
        del self.handles[handle.number]
        handle.end.close()
        handle.aside.close()
        os.close(handle.log)
        if handle.pidfd >= 0:
            os.close(handle.pidfd)
        if self.freezer.groups():
            self.freezer.thaw(handle.line_number, handle.pid)
        self._free_lines.append(handle.line_number)

    def keep_function(self, digest: str, data: bytes) -> None:
        """Write a function to where slots look for it; later, where the disk does not take it."""
        file = self.functions / digest
        try:
            file.write_bytes(data)
        except OSError as error:
            log.error("a function cannot be written", file=str(file), why=str(error))
            self._unwritten[digest] = data
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def drop_function(self, digest: str) -> None:
        """Remove a function that no task will name."""
        self._unwritten.pop(digest, None)
        with suppress(OSError):
            (self.functions / digest).unlink(missing_ok=True)

    def order(self, handle: Handle, message: ToSlot) -> None:
        """Clear the flag, then send an order to a process that waits for one."""
        handle.line.order = ORDER_NONE
        handle.end.send(message)

    def flag(self, handle: Handle, *, cancel: bool) -> None:
        """Set the flag that the record iterators test."""
        handle.line.order = ORDER_CANCEL if cancel else ORDER_SUSPEND

    def thaw(self, handle: Handle, *, clear: bool) -> None:
        """Let a frozen process go on."""
        if clear:
            handle.line.order = ORDER_NONE
        self.freezer.thaw(handle.line_number, handle.pid)

    def kill(self, handle: Handle) -> None:
        """Kill the process and its session; one that is still being forked, as soon as it is."""
        handle.kill_wanted = True
        if handle.pidfd < 0:
            return
        with suppress(ProcessLookupError, PermissionError):
            # Not yet reaped as far as we know; the pidfd makes sure that it is the same process.
            signal.pidfd_send_signal(handle.pidfd, signal.SIGKILL)
            os.killpg(handle.pid, signal.SIGKILL)
        self.freezer.thaw(handle.line_number, handle.pid)

    def begin_task(self, handle: Handle) -> None:
        """Note where the task's own output begins, and see that its function is there."""
        for digest in list(self._unwritten):
            self.keep_function(digest, self._unwritten.pop(digest))
        size = os.fstat(handle.log).st_size
        if size > LOG_KEPT:
            os.ftruncate(handle.log, 0)
            size = 0
        handle.log_start = size

    def log_lines(self, handle: Handle, most: int = 20) -> list[str]:
        """The last lines that the process wrote since its task began."""
        size = os.fstat(handle.log).st_size
        start = max(handle.log_start, size - LOG_TAIL)
        text = os.pread(handle.log, max(0, size - start), start).decode(errors="replace")
        return [line[:2000] for line in text.splitlines()[-most:]]

    def memory(self, handle: Handle) -> int:
        """Bytes that the process holds for itself alone, shared pages of the zygote not counted."""
        try:
            fields = Path(f"/proc/{handle.pid}/statm").read_bytes().split()
        except OSError:
            return 0
        return (int(fields[1]) - int(fields[2])) * PAGE

    def _end_zygote(self) -> None:
        """Wait for the zygote to end; one that is stopped or busy is killed with all it forked."""
        with suppress(ChildProcessError, ProcessLookupError):
            pidfd = os.pidfd_open(self.zygote)
            try:
                poller = select.poll()
                poller.register(pidfd, select.POLLIN)
                if not poller.poll(round(CLOSE_PATIENCE * 1000)):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)
            os.waitpid(self.zygote, 0)

    def close(self) -> None:
        """Kill every slot process and the zygote, and wait for the zygote."""
        for handle in list(self.handles.values()):
            self.kill(handle)
        self.control.close()
        while self._forks:
            self._forks.popleft().close()
        self._end_zygote()
        for handle in list(self.handles.values()):
            self.remove(handle)
        self.freezer.close()
        self.board.close()


def open_log(file: Path) -> int:
    """Open what a slot process writes to: an empty file, or nothing where there can be none."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(file, flags, 0o600)
    except OSError as error:
        log.error("a slot goes without a log", file=str(file), why=str(error))
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] == b"T"
    except OSError:
        return False


def ended(handle: Handle) -> bool:
    """Whether a process has ended, reaped or not."""
    poller = select.poll()
    poller.register(handle.pidfd, select.POLLIN)
    return bool(poller.poll(0))
