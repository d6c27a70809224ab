"""The supervisor of one container: ``python -I -S shim.py STATE_FOLDER``.

It survives the agent, so that a container does, and so that somebody is there to learn how the
container ended. It uses the standard library only and is started without site packages, so that
it is small. What is ready to be one is quicker still: ``python -I -S shim.py --serve GROUP...``
forks supervisors on request, see ``serve``.

What it promises:
 * It starts the container at most once: it holds a lock on ``lock`` as long as it lives, and a
   folder with a ``shim.json`` was started before.
 * The container is in its cgroup before its first instruction, without new privileges, and its
   main process dies with the shim.
 * ``exit.json`` is written after the last byte of output, and after every descendant was killed.
 * The kernel hands it every orphan among its descendants (it is a subreaper), so nobody escapes.
"""

import ctypes
import errno
import fcntl
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Container, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
CHUNK = 65536
LEFTOVER_ROUNDS, LEFTOVER_PAUSE = 250, 0.02
STARTED = b"started"
LONGEST_PATH = 4096


def boot_id() -> str:
    """The kernel's id of this boot; pids mean nothing across boots."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; empty if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid, it names the process."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """Replace a file by a JSON document that is whole, or raise OSError.

    What is ``durable`` is on disk then; anything else may be lost or cut off if the host goes down.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(value).encode())
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(path)
    if not durable:
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# A lock of an open file description: unlike flock it can be asked about without taking it.
def _flock_request(kind: int) -> bytes:
    return struct.pack("@hhqqi", kind, os.SEEK_SET, 0, 0, 0)


def take_lock(path: Path) -> int | None:
    """Lock the file as long as the returned descriptor is open; None if somebody else has it.

    A file that was moved away since it was opened is no lock any more.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock_request(fcntl.F_WRLCK))
        if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
            return descriptor
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            os.close(descriptor)
            raise
    os.close(descriptor)
    return None


def is_locked(path: Path) -> bool:
    """Whether somebody holds ``take_lock`` on the file. Looking disturbs nobody."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        reply = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _flock_request(fcntl.F_WRLCK))
    finally:
        os.close(descriptor)
    kind: int = struct.unpack("@hhqqi", reply)[0]
    return kind != fcntl.F_UNLCK


class LogWriter:
    """Output in files named by the offset of their first byte, ``log.00000000000000000000``.

    A byte keeps its offset for ever, whatever was rotated away. When the disk refuses output, that
    output is lost and the container goes on.
    """

    def __init__(self, folder: Path, file_bytes: int, files: int) -> None:
        self._folder, self._file_bytes, self._files = folder, file_bytes, files
        self._names: list[str] = []
        self._offset = self._size = 0
        self._descriptor = -1

    def write(self, data: bytes) -> None:
        """Append, in a new file whenever the present one is full."""
        try:
            while data:
                if self._descriptor < 0 or self._size >= self._file_bytes:
                    self._rotate()
                written = os.write(self._descriptor, data[: self._file_bytes - self._size])
                self._offset += written
                self._size += written
                data = data[written:]
        except OSError:
            return

    def close(self) -> None:
        """Close the present file; nothing is written after that."""
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _rotate(self) -> None:
        name = f"log.{self._offset:020d}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fresh = os.open(self._folder / name, flags, 0o600)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._size = fresh, 0
        self._names.append(name)
        while len(self._names) > self._files:
            (self._folder / self._names.pop(0)).unlink(missing_ok=True)


def run_child(intent: dict[str, Any], env: dict[str, str], libc: ctypes.CDLL) -> NoReturn:
    """In the forked child: become the container. Raises OSError where that is not possible."""
    parent = os.getppid()
    line = f"{os.getpid()}\n".encode()
    for file in intent["join"]:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.write(descriptor, line)
        os.close(descriptor)
    os.setsid()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    uid, gid = intent["uid"], intent["gid"]
    if gid is not None:
        if os.geteuid() == 0:
            os.setgroups([gid])
        os.setresgid(gid, gid, gid)
    if uid is not None:
        os.setresuid(uid, uid, uid)
    os.umask(0o022)
    os.chdir(intent["cwd"])
    # A change of credentials clears the death signal, so it comes after them.
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL):
        raise OSError("prctl failed")
    if os.getppid() != parent:
        os._exit(1)
    os.execvpe(intent["command"][0], intent["command"], env)  # noqa: S606 - no shell is meant


def spawn(intent: dict[str, Any], env: dict[str, str], output: int) -> int:
    """Start the container with its output on the descriptor; raises OSError if it cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    failure, report = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(output, 1)
            os.dup2(output, 2)
            run_child(intent, env, libc)
        except BaseException as error:
            os.write(report, (str(error) or repr(error)).encode()[:4000])
            os._exit(127)
    os.close(report)
    message = b""
    while chunk := os.read(failure, 4096):
        message += chunk
    os.close(failure)
    if message:
        os.waitpid(pid, 0)
        raise OSError(message.decode(errors="replace"))
    return pid


def descendants() -> set[int]:
    """All processes below this one."""
    parents = {
        int(entry.name): int(fields[1])
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name)))
    }
    found: set[int] = set()
    grown = {os.getpid()}
    while grown:
        grown = {pid for pid, parent in parents.items() if parent in grown} - found
        found |= grown
    return found


class Supervisor:
    """Carries output to the log and waits for the container's main process."""

    def __init__(self, child: int, output: int, log: LogWriter) -> None:
        self._child, self._output, self._log = child, output, log
        self._status: int | None = None
        os.set_blocking(output, False)

    def run(self) -> int:
        """The wait status of the main process, once nothing else of the container is left."""
        wake, bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._pass_on)
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._output, select.POLLIN)
        self._reap()
        while self._status is None:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._output in ready and not self._carry():
                poll.unregister(self._output)
            if wake in ready:
                os.read(wake, CHUNK)
                self._reap()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._clear()
        while self._carry():
            pass
        return self._status

    def _pass_on(self, number: int, _: object) -> None:
        if self._status is None:
            # It may have been reaped a moment ago; how it ended is still to be told.
            with suppress(ProcessLookupError):
                os.kill(self._child, number)

    def _carry(self) -> bool:
        """Move one chunk; False at the end of the output, or when there is none to be had."""
        try:
            data = os.read(self._output, CHUNK)
        except BlockingIOError:
            return self._status is None
        self._log.write(data)
        return bool(data)

    def _reap(self) -> bool:
        """Take in who has ended; False where nobody is left below this process.

        Orphans among its descendants become its children at once, so without a child it has none.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._child:
                self._status = status

    def _clear(self) -> None:
        """Kill what the main process left behind.

        Stopped first, so that nobody forks away. The rounds are bounded since a frozen process
        cannot die; the agent, which can thaw, clears the cgroup afterwards.
        """
        for _ in range(LEFTOVER_ROUNDS):
            if not self._reap():
                return
            left = descendants()
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
            self._carry()
            time.sleep(LEFTOVER_PAUSE)


def oom_kills(file: str | None) -> int:
    """The ``oom_kill`` counter of a cgroup; 0 where there is none."""
    try:
        lines = Path(file).read_text().splitlines() if file else []
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def tell(report: int, message: bytes) -> None:
    """Say how the start went, to an agent that may be gone by now."""
    with suppress(OSError):
        os.write(report, message)


def join(groups: Sequence[str], joined: Container[str] = ()) -> None:
    """Enter the groups of these files, but those that this process is in."""
    for file in groups:
        if file not in joined:
            Path(file).write_text(str(os.getpid()))


def supervise(folder: Path, report: int, joined: Container[str]) -> None:
    """Run the container of a state folder to its end, unless that was done before."""
    intent = json.loads((folder / "intent.json").read_text())
    join(intent["shim_join"], joined)
    lock = take_lock(folder / "lock")
    if lock is None or (folder / "shim.json").exists():
        tell(report, STARTED)
        return
    own = {"pid": os.getpid(), "start": start_time(os.getpid()), "boot": boot_id()}
    write_json(folder / "shim.json", {"shim": own, "child": None})
    env = json.loads((folder / "env.json").read_text())
    output, writing = os.pipe2(os.O_CLOEXEC)
    ending: dict[str, Any] = {"kind": "failed", "value": 0, "message": "", "oom_kills": 0}
    try:
        child = spawn(intent, env, writing)
    except OSError as error:
        ending["message"] = f"cannot start {intent['command'][0]}: {error}"
    else:
        named = {"pid": child, "start": start_time(child), "boot": own["boot"]}
        # After a crash of the host the first record, and even a damaged one, says as much.
        write_json(folder / "shim.json", {"shim": own, "child": named}, durable=False)
        (folder / "env.json").unlink(missing_ok=True)
        tell(report, STARTED)
        os.close(report)
        os.close(writing)
        log = LogWriter(folder, intent["log_bytes"], intent["log_files"])
        status = Supervisor(child, output, log).run()
        log.close()
        code = os.waitstatus_to_exitcode(status)
        ending["kind"] = "signaled" if code < 0 else "exited"
        ending["value"] = abs(code)
        ending["oom_kills"] = oom_kills(intent["oom_file"])
    (folder / "env.json").unlink(missing_ok=True)
    write_json(folder / "exit.json", {**ending, "ended_at": time.time()})
    if ending["kind"] == "failed":
        # Only now, so that whoever hears it finds that it was not started.
        tell(report, STARTED)


def call_itself(folder: Path) -> None:
    """Show, in 15 characters, whose supervisor this is; its command line may be another's."""
    container = folder.name.rpartition(".")[0].replace("+", "/")
    with suppress(OSError):
        Path("/proc/self/comm").write_text(f"shim {container[-10:]}")


def detach(folder: Path, report: int, joined: Container[str] = ()) -> None:
    """Fork the supervisor off, in a session of its own; ``joined`` are groups that it is in.

    On ``report`` it writes ``STARTED`` once it has the container in hand, or else why not.
    """
    if os.fork():
        return
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        call_itself(folder)
        supervise(folder, report, joined)
    except BaseException as error:
        tell(report, (str(error) or repr(error)).encode()[:4000])
        os._exit(1)
    os._exit(0)


def serve(control: socket.socket, groups: Sequence[str]) -> None:
    """Detach a supervisor for each state folder named on the socket, until its other end is closed.

    With the name comes the descriptor for the report. The supervisors are in the groups from the
    beginning, and are nobody's children, as if each had been started by a command of its own.
    """
    join(groups)
    gc.collect()
    gc.freeze()
    # Peeking tells the end from a request, and waits for either.
    while control.recv(1, socket.MSG_PEEK):
        name, [report], _, _ = socket.recv_fds(control, LONGEST_PATH, 1)
        os.set_inheritable(report, False)
        between = os.fork()
        if between == 0:
            try:
                detach(Path(os.fsdecode(name)), report, groups)
            finally:
                os._exit(0)
        os.close(report)
        os.waitpid(between, 0)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(socket.socket(fileno=0), sys.argv[2:])
    else:
        detach(Path(sys.argv[1]), os.dup(1))
