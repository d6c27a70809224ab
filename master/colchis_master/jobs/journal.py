"""Accepted jobs on the disk, so that they outlive the job service.

One transaction per turn of the service's loop: whatever was accepted in it is written together,
before the clients are told. WAL without a sync per commit survives the end of the process at any
moment; a power cut may cost the last moments' jobs, never the file.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from colchis.errors import ColchisError
from colchis.wire.jobs import Submit

VERSION = 2


class JournalError(ColchisError):
    """The file cannot be used."""


class Journal:
    """Jobs that were accepted and not yet released, and the epoch."""

    def __init__(self, file: Path) -> None:
        """Open or make the file, readable by its owner alone. Raises JournalError."""
        file.touch(mode=0o600, exist_ok=True)
        self._encode = msgspec.msgpack.encode
        try:
            self._db = sqlite3.connect(file, isolation_level=None)
            try:
                self._prepare(file)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise JournalError(f"{file}: {error}") from error

    def _prepare(self, file: Path) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 1:
            self._db.executescript(
                "BEGIN; ALTER TABLE jobs ADD COLUMN born INTEGER NOT NULL DEFAULT 0;"
                f"PRAGMA user_version={VERSION}; COMMIT;"
            )
        elif version not in (0, VERSION):
            raise JournalError(f"{file}: version {version}; this program reads {VERSION}")
        self._db.executescript(
            "CREATE TABLE IF NOT EXISTS jobs (job TEXT PRIMARY KEY, client TEXT, spec BLOB,"
            " born INTEGER NOT NULL DEFAULT 0);"
            "CREATE TABLE IF NOT EXISTS functions (digest TEXT PRIMARY KEY, data BLOB);"
            "CREATE TABLE IF NOT EXISTS epoch (number INTEGER);"
            f"PRAGMA user_version={VERSION};"
        )

    def next_epoch(self) -> int:
        """A number greater than any before."""
        found = self._db.execute("SELECT max(number) FROM epoch").fetchone()[0]
        number = (found or 0) + 1
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM epoch")
        self._db.execute("INSERT INTO epoch VALUES (?)", (number,))
        self._db.execute("COMMIT")
        return int(number)

    def jobs(self) -> Iterator[tuple[str, Submit, int]]:
        """Client, submission and birth of every job kept, oldest first.

        Unreadable ones are dropped.
        """
        rows = self._db.execute("SELECT * FROM jobs ORDER BY rowid").fetchall()
        for job, client, data, born in rows:
            try:
                yield str(client), msgspec.msgpack.decode(data, type=Submit), int(born)
            except (msgspec.DecodeError, msgspec.ValidationError):
                self._db.execute("DELETE FROM jobs WHERE job = ?", (job,))

    def functions(self) -> Iterator[tuple[str, bytes]]:
        """Every function that a kept job uses."""
        yield from self._db.execute("SELECT digest, data FROM functions").fetchall()

    def write(
        self,
        added: list[tuple[str, Submit, int]],
        functions: dict[str, bytes],
        dropped: list[str],
    ) -> None:
        """Add and drop jobs in one transaction. Raises JournalError, with nothing written.

        A job is added with the number of its birth, after which all its attempts come.
        """
        try:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT OR IGNORE INTO functions VALUES (?, ?)", list(functions.items())
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?)",
                [(spec.job, client, self._encode(spec), born) for client, spec, born in added],
            )
            self._db.executemany("DELETE FROM jobs WHERE job = ?", [(job,) for job in dropped])
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._db.execute("ROLLBACK")
            raise JournalError(str(error)) from error

    def drop_functions_but(self, kept: set[str]) -> None:
        """Drop every function not in ``kept``."""
        self._db.execute("BEGIN")
        for digest, _ in self.functions():
            if digest not in kept:
                self._db.execute("DELETE FROM functions WHERE digest = ?", (digest,))
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
