"""The ``process`` driver: containers are plain processes in a cgroup, each below a shim.

Nothing about a container lives in this object. It can be dropped at any moment and made anew over
the same folder and tree; ``launch`` is written so that this is true in the middle of it as well:
the intent is on disk before the first effect, and a second shim finds the first one's lock or
record and does nothing.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from colchis_agent.cgroups import CgroupError, CgroupTree, Limits, Usage
from colchis_agent.driver import shim
from colchis_agent.driver.folder import Identity, Intent, StateFolder, folder_name, ref_of
from colchis_agent.driver.model import (
    ContainerRef,
    ContainerState,
    DriverError,
    Gone,
    LaunchSpec,
    NeverStarted,
    Running,
)
from colchis_agent.driver.shims import Shims

T = TypeVar("T")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHIM_GROUP = "_shims"
LOCK_PAUSE = 0.01
TRASH = ".discarded-"


class ProcessDriver:
    """Starts, watches and ends containers whose state is kept in folders below ``root``.

    Methods block for milliseconds and raise DriverError. They may be called from any thread, for
    one container from one at a time.
    """

    def __init__(self, root: Path, tree: CgroupTree) -> None:
        self._root = root
        self._tree = tree
        self._shims = Shims(self._make_shim_group)
        root.mkdir(mode=0o711, parents=True, exist_ok=True)

    def close(self) -> None:
        """Let go of what stands ready to start containers; they themselves go on."""
        self._shims.close()

    def _folder(self, ref: ContainerRef) -> StateFolder:
        return StateFolder(self._root / folder_name(ref))

    def group(self, ref: ContainerRef) -> str:
        """Name of the container's group in the cgroup tree."""
        return folder_name(ref)

    def launch(self, spec: LaunchSpec) -> None:
        """Start the container unless it was started before.

        Returns once its main process exists, or is known not to start (``inspect`` then says
        ``failed``). After an error, or the death of the caller at any point, the same call may be
        made again, and never starts the container twice.
        """
        if not spec.command:
            raise DriverError(f"{spec.ref} has no command")
        folder = self._folder(spec.ref)
        if not isinstance(folder.state(), Gone | NeverStarted):
            return
        with _told(f"cannot launch {spec.ref}"):
            folder.path.mkdir(mode=0o711, exist_ok=True)
            self._tree.create(self.group(spec.ref), spec.limits)
            if spec.delegate and spec.uid is not None:
                self._tree.delegate(self.group(spec.ref), spec.uid, _gid(spec))
            cwd = spec.cwd or self._work_folder(folder, spec)
            # Whoever launches after a crash of the host writes both anew: they need no sync, and
            # secrets need not reach the disk.
            env = {"PATH": DEFAULT_PATH, **spec.env}
            shim.write_json(folder.env_file, env, durable=False)
            intent = msgspec.to_builtins(self._intent(spec, cwd))
            shim.write_json(folder.intent_file, intent, durable=False)
            self._shims.start(folder.path)
            if not _needs_environment(folder.state()):
                # A shim of an earlier, interrupted call may have won, and removed another copy.
                folder.env_file.unlink(missing_ok=True)

    def _work_folder(self, folder: StateFolder, spec: LaunchSpec) -> Path:
        work = folder.path / "work"
        work.mkdir(mode=0o700, exist_ok=True)
        if spec.uid is not None:
            os.chown(work, spec.uid, _gid(spec))
        return work

    def _intent(self, spec: LaunchSpec, cwd: Path) -> Intent:
        name = self.group(spec.ref)
        oom_file = self._tree.oom_file(name)
        return Intent(
            container=spec.ref.container,
            incarnation=spec.ref.incarnation,
            command=spec.command,
            cwd=str(cwd),
            uid=spec.uid,
            gid=None if spec.uid is None and spec.gid is None else _gid(spec),
            join=tuple(map(str, self._tree.procs_files(name))),
            shim_join=self._shim_group(),
            oom_file=str(oom_file) if oom_file else None,
            log_bytes=spec.log_bytes,
            log_files=spec.log_files,
        )

    def _shim_group(self) -> tuple[str, ...]:
        """Shims leave the agent's own cgroup, so that stopping its service spares them."""
        if self._tree.kind == "none":
            return ()
        return tuple(map(str, self._tree.procs_files(SHIM_GROUP)))

    def _make_shim_group(self) -> tuple[str, ...]:
        files = self._shim_group()
        if files:
            self._tree.create(SHIM_GROUP, Limits())
        return files

    def inspect(self, ref: ContainerRef) -> ContainerState:
        """What the container is doing, from its files, its lock and the process table."""
        return self._folder(ref).state()

    def adopt_all(self) -> dict[ContainerRef, ContainerState]:
        """Every container this driver ever launched and did not discard, with its state."""
        found: dict[ContainerRef, ContainerState] = {}
        for doomed in self._root.glob(f"{TRASH}*"):
            shutil.rmtree(doomed, ignore_errors=True)
        for path in sorted(self._root.iterdir()):
            ref = ref_of(path.name) if path.is_dir() else None
            if ref is not None:
                found[ref] = StateFolder(path).state()
        return found

    def exit_descriptor(self, ref: ContainerRef) -> int | None:
        """A pidfd, readable once the container has ended; None if it runs no more.

        The caller closes it. It spares an event loop the polling of ``inspect``.
        """
        record = self._folder(ref).shim()
        return _open(record.shim) if record else None

    def terminate(self, ref: ContainerRef) -> bool:
        """Ask the main process to end (SIGTERM), thawing it so that it can.

        False if there is nobody to ask.
        """
        with _told(f"cannot terminate {ref}"):
            if not isinstance(self.inspect(ref), Running):
                return False
            record = self._folder(ref).shim()
            if record is None or record.child is None:
                return False
            sent = send(record.child, signal.SIGTERM)
            self._tree.thaw(self.group(ref))
            return sent

    def kill(self, ref: ContainerRef) -> bool:
        """One round of SIGKILL for all of the container, frozen or not.

        True once none of its processes is left; call it again until then.
        """
        name = self.group(ref)
        with _told(f"cannot kill {ref}"):
            return not self._tree.exists(name) or self._tree.kill(name)

    def suspend(self, refs: Iterable[ContainerRef]) -> dict[ContainerRef, bool | DriverError]:
        """Take all of these containers off the cpu, memory kept.

        Says of each whether all of its processes are off by now, else to be called again, or why
        it cannot be.
        """
        return self._for_all(refs, "suspend", self._tree.freeze_all)

    def resume(self, refs: Iterable[ContainerRef]) -> dict[ContainerRef, DriverError | None]:
        """Give these containers their cpus back: None, or why it cannot be, for each."""
        return self._for_all(refs, "resume", self._tree.thaw_all)

    def _for_all(
        self,
        refs: Iterable[ContainerRef],
        what: str,
        do: Callable[[Iterable[str]], Mapping[str, T | CgroupError]],
    ) -> dict[ContainerRef, T | DriverError]:
        names = {self.group(ref): ref for ref in refs}
        with _told(f"cannot {what} containers"):
            outcomes = do(names)
        return {
            ref: DriverError(f"cannot {what} {ref}: {outcome}")
            if isinstance(outcome := outcomes[name], CgroupError)
            else outcome
            for name, ref in names.items()
        }

    def is_suspended(self, ref: ContainerRef) -> bool:
        """Whether every process of the container is off the cpu."""
        with _told(f"cannot inspect {ref}"):
            return self._tree.is_frozen(self.group(ref))

    def usages(self, refs: Iterable[ContainerRef]) -> dict[ContainerRef, Usage]:
        """What each has used so far, zero once it is discarded.

        Those that cannot be measured are left out.
        """
        names = {ref: self.group(ref) for ref in refs}
        there = {name for name in names.values() if self._tree.exists(name)}
        measured = self._tree.usages(there)
        return {
            ref: measured.get(name, Usage())
            for ref, name in names.items()
            if name in measured or name not in there
        }

    def set_limits(self, ref: ContainerRef, limits: Limits) -> None:
        """Replace the limits of a container that runs."""
        with _told(f"cannot limit {ref}"):
            self._tree.set_limits(self.group(ref), limits)

    def read_logs(self, ref: ContainerRef, offset: int, limit: int) -> tuple[bytes, int]:
        """Output from a logical offset on, and the next offset; see StateFolder.read_logs."""
        return self._folder(ref).read_logs(offset, limit)

    @staticmethod
    def _lock_ended(folder: StateFolder, timeout: float) -> int:
        """Take the lock; a shim that has written how it ended is about to let go of it."""
        deadline = time.monotonic() + timeout
        while (lock := shim.take_lock(folder.lock_file)) is None:
            if not folder.exit_file.exists() or time.monotonic() > deadline:
                raise DriverError("it still runs")
            time.sleep(LOCK_PAUSE)
        return lock

    def discard(self, ref: ContainerRef, timeout: float = 10.0) -> None:
        """Forget a container that is over or never started: processes, cgroup, files.

        Raises DriverError, and keeps the record, while its shim lives or its processes will not
        die within ``timeout`` seconds.
        """
        folder = self._folder(ref)
        if isinstance(folder.state(), Gone):
            return
        with _told(f"cannot discard {ref}"):
            # With the lock ours, a shim that is late (its agent died) finds it has lost.
            lock = self._lock_ended(folder, timeout)
            try:
                name = self.group(ref)
                if self._tree.exists(name):
                    if not self._tree.kill_all(name, timeout):
                        raise DriverError("some of its processes will not die")
                    self._tree.remove(name)
                # A late shim either shares the lock we hold or finds no folder; never half of one.
                doomed = self._root / f"{TRASH}{folder.path.name}"
                folder.path.rename(doomed)
                shutil.rmtree(doomed)
            finally:
                os.close(lock)


def _needs_environment(state: ContainerState) -> bool:
    """Whether some shim may still have to read the container's environment."""
    return isinstance(state, NeverStarted) or state == Running(pid=None)


def _gid(spec: LaunchSpec) -> int:
    """The group to run as: as given, else the one numbered like the user."""
    gid = spec.gid if spec.gid is not None else spec.uid
    return -1 if gid is None else gid


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (CgroupError, DriverError, OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"{what}: {error}") from error


def _open(identity: Identity) -> int | None:
    """A pidfd of exactly this process; None if it is gone, whoever has its pid now."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    # The descriptor holds one process for good, so checking after opening leaves no gap.
    if identity.alive():
        return descriptor
    os.close(descriptor)
    return None


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal this process and never one that merely has its pid; False if it is gone."""
    descriptor = _open(identity)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
