"""Results in memory, and on disk where memory is short; a disk that fails costs results at most."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
import zict

from colchis.errors import ColchisError

log = structlog.get_logger("executor")

DISK_AGAIN = 10.0
"""Seconds for which nothing is written to a disk that has failed."""
TRIES = 2


class Shelf:
    """Keeps up to ``memory`` bytes in memory, the rest in files in ``folder``, which it empties.

    While the disk takes nothing, everything stays in memory, beyond its limit. A result whose file
    cannot be read is forgotten: it counts as lost. ``clock`` gives monotonic seconds.
    Raises ColchisError where the folder cannot be made.
    """

    def __init__(
        self, folder: Path, memory: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._clock = clock
        self.spilled = 0
        """Bytes written to the disk so far."""
        self.held = 0
        """Bytes kept at present, in memory and on the disk."""
        # What is there was left by an executor that was killed; nobody asks us for it.
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ColchisError(f"results cannot be spilled to {folder}: {error.strerror}") from None
        self._files = zict.File(folder)
        self._kept: Any = zict.Buffer(
            {},
            self._files,
            n=memory,
            weight=lambda _key, data: len(data),
            fast_to_slow_callbacks=[self._count],
        )
        self._sizes: dict[str, int] = {}
        self._disk_from = self._clock()

    def names(self) -> list[str]:
        """The names of all results that are kept."""
        return list(self._sizes)

    def keep(self, key: str, data: bytes) -> None:
        """Keep a result; it takes the place of an earlier one of its name."""
        self.forget(key)
        self._sizes[key] = len(data)
        self.held += len(data)
        try:
            if self._clock() < self._disk_from:
                self._kept.set_noevict(key, data)
            else:
                self._kept[key] = data
        except OSError as error:
            # The result itself is in memory: it is there before others are written to make room.
            self._failed("results stay in memory, the disk takes none", error)

    def find(self, key: str) -> bytes | None:
        """A result, or None where there is none of that name, or none any more."""
        size = self._sizes.get(key)
        if size is None:
            return None
        for _ in range(TRIES):
            try:
                data: bytes = self._kept[key]
            except (OSError, KeyError) as error:
                # Also where it was read, and another one was then to make room for it.
                self._failed("a result cannot be read from the disk, or another not written", error)
            else:
                if len(data) == size:
                    return data
        log.error("a result is lost", key=key, bytes=size)
        self.forget(key)
        return None

    def forget(self, key: str) -> None:
        """Let a result go, if it is there."""
        size = self._sizes.pop(key, None)
        if size is not None:
            self.held -= size
            with suppress(OSError, KeyError):  # a file that cannot be removed is known no more
                del self._kept[key]

    def clear(self) -> None:
        """Let everything go."""
        for key in self.names():
            self.forget(key)

    def _count(self, _key: str, data: bytes) -> None:
        self.spilled += len(data)

    def _failed(self, what: str, error: Exception) -> None:
        self._disk_from = self._clock() + DISK_AGAIN
        log.error(what, folder=str(self._folder), why=str(error))
        # What was written of a result before the disk was full would keep it so.
        known = set(self._files.filenames.values())
        with suppress(OSError):
            for file in self._folder.iterdir():
                if file.name not in known:
                    file.unlink()
