"""An append-only journal in SQLite, beside a snapshot of it.

Each entry is a record under a key; a later one replaces an earlier one, ``Forgotten`` ends it. When
enough has been appended, the latest record of each key goes into the snapshot and the entries
before are dropped, in one transaction. SQLite's write-ahead log makes a commit whole or void; a
checksum on each row finds what was changed behind its back.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from colchis.errors import ColchisError
from colchis_master.core.records import Forgotten, Record

VERSION = 1
SNAPSHOT_EVERY = 20_000
"""Entries after which the next append folds the journal into its snapshot."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE journal (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, record BLOB NOT NULL,
                      checksum INTEGER NOT NULL);
CREATE TABLE snapshot (key TEXT PRIMARY KEY, record BLOB NOT NULL, checksum INTEGER NOT NULL)
    WITHOUT ROWID;
"""


class JournalError(ColchisError):
    """The journal can no longer be kept: a full disk, a read-only folder, an I/O error."""


class Journal:
    """The journal of one master; a second master on the same file is refused.

    ``epoch`` is one more than at the last start. ``problems`` says what was lost, if anything.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._decoder = msgspec.json.Decoder(Record)
        self._encoder = msgspec.json.Encoder()
        self.problems: list[str] = []
        self._appended = 0
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = self._open()
            self.epoch = self._next_epoch()
            self._records = self._load()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{file}: {error}") from error

    def records(self) -> Sequence[Record]:
        """What holds: the latest record of each key."""
        return tuple(self._records.values())

    def append(self, records: Iterable[Record]) -> None:
        """Keep these; they are durable when this returns. Raises JournalError if they are not."""
        rows = [(record.key, self._encoder.encode(record)) for record in records]
        if not rows:
            return
        try:
            with self._connection as transaction:
                transaction.executemany(
                    "INSERT INTO journal (key, record, checksum) VALUES (?, ?, ?)",
                    [(key, data, _checksum(key, data)) for key, data in rows],
                )
                self._appended += len(rows)
                if self._appended >= SNAPSHOT_EVERY:
                    self._fold(transaction)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{self._file}: {error}") from error

    def close(self) -> None:
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) or not self._file.exists():
                raise
            self._set_aside(str(error))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=0, check_same_thread=False)
        try:
            self._file.chmod(0o600)
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise JournalError(
                    f"{self._file} is of version {version}, written by a newer Colchis; "
                    f"this one reads up to {VERSION}"
                )
            if version == 0:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, why: str) -> None:
        number = 1
        while (aside := self._file.with_name(f"{self._file.name}.damaged-{number}")).exists():
            number += 1
        self._file.rename(aside)
        for suffix in ("-wal", "-shm"):
            beside = self._file.with_name(self._file.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
        self.problems.append(
            f"{self._file} is damaged ({why}); it is kept as {aside.name}, and this master starts "
            "without what it held"
        )

    def _next_epoch(self) -> int:
        with self._connection as transaction:
            row = transaction.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
            epoch = (row[0] if row else 0) + 1
            transaction.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
        return int(epoch)

    def _load(self) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for rows in ("snapshot ORDER BY key", "journal ORDER BY seq"):
            query = f"SELECT key, record, checksum FROM {rows}"  # noqa: S608  # one of two literals
            for key, data, checksum in self._connection.execute(query):
                record = self._read(key, data, checksum)
                if isinstance(record, Forgotten):
                    found.pop(record.key, None)
                elif record is not None:
                    found[key] = record
        (self._appended,) = self._connection.execute("SELECT count(*) FROM journal").fetchone()
        return found

    def _read(self, key: str, data: bytes, checksum: int) -> Record | None:
        try:
            if _checksum(key, data) != checksum:
                raise ValueError("its checksum does not fit")
            record: Record = self._decoder.decode(data)
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            self.problems.append(f"{self._file}: the record of {key!r} is dropped: {error}")
            return None
        return record

    def _fold(self, transaction: sqlite3.Connection) -> None:
        transaction.execute(
            "INSERT OR REPLACE INTO snapshot SELECT key, record, checksum FROM journal"
            " WHERE seq IN (SELECT max(seq) FROM journal GROUP BY key)"
        )
        for key, data in transaction.execute("SELECT key, record FROM snapshot").fetchall():
            if b'"forgotten"' in data and isinstance(self._decoder.decode(data), Forgotten):
                transaction.execute("DELETE FROM snapshot WHERE key = ?", (key,))
        transaction.execute("DELETE FROM journal")
        self._appended = 0


def _checksum(key: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(key.encode()))
