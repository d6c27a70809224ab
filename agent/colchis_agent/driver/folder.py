"""The folder that holds all an agent must know of a container after its own death.

==============  =================================================================
``intent.json`` what to start, written by the agent before anything is started
``env.json``    its environment, removed once it runs
``lock``        held by the shim as long as it lives
``shim.json``   who the shim and the main process are, written by the shim
``exit.json``   how it ended, written by the shim
``log.N``       output from byte N on
``work/``       the container's working folder, unless it has another
==============  =================================================================
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

import msgspec

from colchis_agent.driver.model import (
    ContainerRef,
    ContainerState,
    DriverError,
    Ended,
    Exit,
    ExitKind,
    Gone,
    NeverStarted,
    Running,
)
from colchis_agent.driver.shim import boot_id, is_locked, start_time

T = TypeVar("T")
KILLED = 9
SHELL_KILLED = 128 + KILLED
LONGEST_NAME = 235
"""What is put before or behind a name makes it a file's, which may have 255 bytes."""


class Intent(msgspec.Struct, frozen=True):
    """The contents of ``intent.json``, as the shim reads them."""

    container: str
    incarnation: int
    command: tuple[str, ...]
    cwd: str
    uid: int | None
    gid: int | None
    join: tuple[str, ...]
    shim_join: tuple[str, ...]
    oom_file: str | None
    log_bytes: int
    log_files: int
    version: int = 1


class Identity(msgspec.Struct, frozen=True):
    """A process, told apart from every other that has, had or will have its pid."""

    pid: int
    start: int
    boot: str

    def alive(self) -> bool:
        """Whether this very process still exists (as a zombie at least)."""
        return self.boot == boot_id() and start_time(self.pid) == self.start


class ShimRecord(msgspec.Struct, frozen=True):
    """The contents of ``shim.json``."""

    shim: Identity
    child: Identity | None


class ExitRecord(msgspec.Struct, frozen=True):
    """The contents of ``exit.json``; ``value`` is the exit code or the signal."""

    kind: ExitKind
    value: int
    message: str
    oom_kills: int
    ended_at: float

    def exit(self) -> Exit:
        """The reason in full: a SIGKILL with a counted out-of-memory kill was one.

        A shell passes its child's death on as code 137.
        """
        kind = self.kind
        code = self.value if kind is ExitKind.EXITED else None
        number = self.value if kind is ExitKind.SIGNALED else None
        if self.oom_kills and (number == KILLED or code == SHELL_KILLED):
            kind = ExitKind.OOM
        return Exit(kind, code, number, self.message, self.ended_at, self.oom_kills)


def folder_name(ref: ContainerRef) -> str:
    """A name for files and cgroups, one to one: ``shop/web/0`` life 2 is ``shop+web+0.2``.

    It begins neither with ``.`` nor ``_``, which are kept for folders and cgroups of our own.
    Raises DriverError for an empty or too long one.
    """
    name = quote(ref.container, safe="/").replace("/", "+") + f".{ref.incarnation}"
    if ref.container.startswith((".", "_")):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > LONGEST_NAME or not ref.container:
        raise DriverError(f"{ref} cannot name a container")
    return name


def ref_of(name: str) -> ContainerRef | None:
    """The inverse of ``folder_name``; None for a foreign folder."""
    container, dot, incarnation = name.rpartition(".")
    if not dot or not incarnation.isdigit() or not container or name.startswith("."):
        return None
    return ContainerRef(unquote(container.replace("+", "/")), int(incarnation))


def _read(path: Path, kind: Callable[[bytes], T]) -> T | None:
    """The decoded file, None if it is missing; raises DriverError if it is damaged."""
    try:
        return kind(path.read_bytes())
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise DriverError(f"{path}: unreadable: {error}") from error


class StateFolder:
    """Reads one container's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.intent_file = path / "intent.json"
        self.env_file = path / "env.json"
        self.lock_file = path / "lock"
        self.shim_file = path / "shim.json"
        self.exit_file = path / "exit.json"

    def shim(self) -> ShimRecord | None:
        """Who runs it."""
        return _read(self.shim_file, msgspec.json.Decoder(ShimRecord).decode)

    def _exit(self) -> Exit | None:
        record = _read(self.exit_file, msgspec.json.Decoder(ExitRecord).decode)
        return record.exit() if record else None

    def state(self) -> ContainerState:
        """What became of the container. A damaged file makes it lost, with the reason."""
        if not self.path.is_dir():
            return Gone()
        try:
            # In this order: a shim takes the lock before it writes its record, and writes how it
            # ended before it lets go. A record without a lock or an end is that of a dead one.
            record = self.shim()
            running = is_locked(self.lock_file)
            ended = self._exit()
            if ended is not None:
                return Ended(ended)
            if running:
                record = self.shim()
        except DriverError as error:
            return Ended(Exit(ExitKind.LOST, message=str(error)))
        if running:
            return Running(record.child.pid if record and record.child else None)
        if record is None:
            return NeverStarted()
        rebooted = record.shim.boot != boot_id()
        reason = "the host was restarted" if rebooted else "its supervisor was killed"
        return Ended(Exit(ExitKind.LOST, message=reason))

    def log_files(self) -> list[tuple[int, Path]]:
        """Log files by the offset of their first byte, ascending."""
        try:
            found = list(self.path.glob("log.*"))
        except FileNotFoundError:
            return []
        return sorted((int(path.name[4:]), path) for path in found if path.name[4:].isdigit())

    def read_logs(self, offset: int, limit: int) -> tuple[bytes, int]:
        """Up to ``limit`` bytes of output from ``offset`` on, and the offset after them.

        Offsets count from the first byte ever written. What was rotated away is skipped: the
        result then starts at the oldest byte kept. Nothing new gives ``b""`` and the same offset.
        """
        parts: list[bytes] = []
        files = self.log_files()
        position = max(offset, files[0][0]) if files else offset
        for index, (start, path) in enumerate(files):
            end = files[index + 1][0] if index + 1 < len(files) else None
            if limit <= 0 or (end is not None and end <= position) or start > position:
                continue
            try:
                with path.open("rb") as file:
                    file.seek(position - start)
                    part = file.read(limit)
            except FileNotFoundError:
                # Rotated away while we looked; the reader gets the rest with its next call.
                position = end if end is not None and not parts else position
                continue
            parts.append(part)
            position += len(part)
            limit -= len(part)
        return b"".join(parts), position
