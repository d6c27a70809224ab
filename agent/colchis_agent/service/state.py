"""The agent's folder: who owns it, and what a later agent must know.

==================  ==================================================================
``lock``            held by the agent that runs
``master.json``     the highest epoch obeyed, and the address of the API
``records/``        one file per container
``containers/``     the driver's folders, see ``colchis_agent.driver.folder``
``private/``        files that only one container's user may read, such as its token
==================  ==================================================================

A file is a line with the checksum and the version, then JSON; it is replaced as a whole and is on
disk when ``save`` returns. A damaged one is set aside under another name and said.
"""

import fcntl
import glob
import os
import zlib
from pathlib import Path
from typing import TypeVar

import msgspec

from colchis.errors import ColchisError
from colchis_agent.core.record import Record
from colchis_agent.driver.folder import folder_name
from colchis_agent.driver.model import ContainerRef

T = TypeVar("T")
VERSION = 1


class StateError(ColchisError):
    """The state folder cannot be used, or what was to be kept cannot be written."""


class MasterFile(msgspec.Struct):
    """The contents of ``master.json``."""

    epoch: int = 0
    api: str = ""


class State:
    """Raises StateError where another agent runs on this folder, or nothing can be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []
        self.containers = root / "containers"
        self._records = root / "records"
        self._private = root / "private"
        self._master = root / "master.json"
        try:
            root.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._records.mkdir(mode=0o700, exist_ok=True)
            self._private.mkdir(mode=0o711, exist_ok=True)
            self._lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"the state folder {root} cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StateError(f"another agent runs on the state folder {root}") from None

    def close(self) -> None:
        """Let another agent have the folder."""
        os.close(self._lock)

    def load(self) -> tuple[tuple[Record, ...], MasterFile]:
        """What former agents kept; what was damaged is in ``problems``."""
        records = []
        for path in sorted(self._records.glob("*.json")):
            record = self._read(path, Record)
            if record is not None:
                records.append(record)
        master = self._read(self._master, MasterFile) if self._master.exists() else None
        return tuple(records), master or MasterFile()

    def save_record(self, record: Record) -> None:
        """Keep a record."""
        self._write(self._file(record.container), record)

    def save_master(self, epoch: int, api: str) -> None:
        """Keep what the master told of itself."""
        self._write(self._master, MasterFile(epoch, api))

    def forget(self, container: str) -> None:
        """Remove a record."""
        try:
            self._file(container).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"the record of {container} cannot be removed: {error}") from error

    def write_private(self, ref: ContainerRef, kind: str, text: str, uid: int | None) -> Path:
        """A file for a life, such as its token, that only the container's user can read."""
        path = self._private / f"{folder_name(ref)}.{kind}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            if uid is not None:
                os.chown(path, uid, -1)
        except OSError as error:
            raise StateError(f"the {kind} of {ref} cannot be written: {error}") from error
        return path

    def remove_private(self, ref: ContainerRef) -> None:
        """Remove the files that ``write_private`` made for a life."""
        for path in self._private.glob(f"{glob.escape(folder_name(ref))}.*"):
            path.unlink(missing_ok=True)

    def _file(self, container: str) -> Path:
        return self._records / f"{folder_name(ContainerRef(container))}.json"

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            head, _, body = path.read_bytes().partition(b"\n")
            checksum, version = head.split()
            if int(version) > VERSION:
                raise StateError(
                    f"{path} was written by a newer agent (version {int(version)}); "
                    f"this one reads up to {VERSION}"
                )
            if int(checksum, 16) != zlib.crc32(body):
                raise ValueError("the checksum does not fit")
            return msgspec.json.decode(body, type=kind)
        except (ValueError, msgspec.DecodeError) as error:
            aside = path.with_name(f"{path.name}.damaged")
            path.replace(aside)
            self.problems.append(f"{path} is damaged ({error}) and set aside as {aside.name}")
            return None

    def _write(self, path: Path, value: object) -> None:
        body = msgspec.json.encode(value)
        data = b"%08x %d\n" % (zlib.crc32(body), VERSION) + body
        fresh = path.with_name(f".{path.name}.new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            fresh.replace(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StateError(f"{path} cannot be written: {error}") from error
