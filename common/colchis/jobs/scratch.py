"""Temporary folders that are removed at the latest by the user's next one.

Who makes a folder holds a lock in it. The kernel lets go of that when the process ends, whatever
ends it: a folder whose lock is free is nobody's any more.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = "owner.lock"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Scratch:
    """A new folder, for as long as this process lives, whose name begins with ``prefix``.

    Removes those of the same user and prefix whose processes have ended, those forked included.
    """

    def __init__(self, prefix: str) -> None:
        for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            with suppress(OSError), _deserted(folder):
                shutil.rmtree(folder, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        new = self.folder / f"{LOCK}.new"
        # A bare descriptor: it stays open though nobody keeps this object.
        self._lock = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Where a file system has no locks, what a killed process leaves stays.
        with suppress(OSError):
            os.write(self._lock, _mark(self.folder))
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Nobody sees the lock before it is held.
            new.rename(self.folder / LOCK)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


@contextmanager
def _deserted(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of ours that nobody else holds. Raises OSError if it is not so."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not ours")
    lock = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.read(lock, 4096) != _mark(folder):
            raise PermissionError(f"{folder} was not made as such a folder")
        yield
    finally:
        os.close(lock)


def _mark(folder: Path) -> bytes:
    """Tells the folder from a copy, and from one of another host, whose lock may not show here."""
    return _BOOT.read_bytes() + os.fsencode(folder)
