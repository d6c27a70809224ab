"""An append-only journal in SQLite (WAL), beside a snapshot of what it comes to.

When there are many records the snapshot takes up, a few at a time, what has changed since it last
did; then the records it has go. Until then they say the same once more, and later than the
snapshot: the last of a key counts, so that it does not matter how far it has come. This, and what
SQLite has to bring from its log into the database, is done apart from the writes, when there is
time.

Each record carries a checksum. A damaged last record is dropped, as one whose write was cut off;
other damage sets the file aside and goes on with what can still be read. Every write is synced
before it returns.
"""

import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import structlog

from colchis.errors import ColchisError
from colchis_master.core.records import Forgotten, Record

log = structlog.get_logger(__name__)

VERSION = 1
COMPACT_AFTER = 5_000
"""Records beyond those that hold after which the snapshot takes their place."""
COMPACT_KEYS = 32
"""Keys that it takes up at a time, so that none takes long."""
COMPACT_RECORDS = 320
"""Records that go at a time then."""
CHECKPOINT_AFTER = 50
"""Writes after which SQLite's log is to be brought into the database."""
LONGEST_LOG = 20_000
"""Pages after which SQLite does so by itself."""

KEPT_EVENTS = 20_000
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE records (seq INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL,
                      crc INTEGER NOT NULL);
CREATE TABLE snapshot (key TEXT PRIMARY KEY, data BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE events (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()


class JournalError(ColchisError):
    """The journal cannot be written or read; the master must not go on."""


@dataclass(slots=True)
class Contents:
    """What a journal comes to; ``damaged`` says in words what was lost when it was opened."""

    records: dict[str, Record] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)
    """Keys that the snapshot may not have as they are, in order."""
    damaged: tuple[str, ...] = ()
    complete: bool = True

    def take(self, record: Record) -> None:
        """The latest record of its key."""
        self.changed[record.key] = None
        if isinstance(record, Forgotten):
            self.records.pop(record.key, None)
        else:
            self.records[record.key] = record


class Journal:
    """One master's journal; no other may open it at the same time.

    ``epoch`` is higher than in any life of the journal before, and was written before this
    returns. Raises JournalError where the file cannot be opened or is of a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.contents = Contents()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
            with _closed_on_error(self._db):
                self._lock()
                self.epoch = self._next_epoch()
                (self._count,) = self._db.execute("SELECT count(*) FROM records").fetchone()
                self._compaction: Iterator[None] | None = None
                self._writes = CHECKPOINT_AFTER
                self._broken = False
                (last,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
                self.next_event = int(last) + 1
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{path}: the journal cannot be opened: {error}") from None

    def _open(self) -> sqlite3.Connection:
        new = not self.path.exists() or self.path.stat().st_size == 0
        if new:
            self.path.touch(0o600)
        try:
            db = self._connect()
            with _closed_on_error(db):
                if new:
                    self._create(db)
                self._check_version(db)
                self.contents = _read(db)
                if self.contents.complete:
                    _drop_last(db, self.contents)
                    return db
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise
            db = None
            self.contents = Contents(damaged=(str(error),), complete=False)
        return self._start_over(db)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
        with _closed_on_error(db):
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute(f"PRAGMA wal_autocheckpoint={LONGEST_LOG}")
        return db

    def _create(self, db: sqlite3.Connection) -> None:
        db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        db.execute(f"PRAGMA user_version={VERSION}")

    def _check_version(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise JournalError(
                f"{self.path}: a journal of version {version}; this master reads up to {VERSION}"
            )

    def _start_over(self, damaged: sqlite3.Connection | None) -> sqlite3.Connection:
        """Set the file aside; a new one takes up what could be read."""
        epoch = 0
        if damaged is not None:
            try:
                row = damaged.execute("SELECT value FROM meta WHERE key='epoch'").fetchone()
                epoch = int(row[0]) if row else 0
            except sqlite3.Error:
                pass
            damaged.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
        self.path.rename(aside)
        for ending in ("-wal", "-shm"):
            other = self.path.with_name(self.path.name + ending)
            if other.exists():
                other.rename(aside.with_name(aside.name + ending))
        text = f"{self.path} was damaged and is kept as {aside.name}"
        self.contents.damaged = (text, *self.contents.damaged)
        self.path.touch(0o600)
        db = self._connect()
        with _closed_on_error(db):
            self._create(db)
            # An agent refuses a master of a lower epoch than it has obeyed; where the last one is
            # not known, the time is higher than any number of restarts.
            db.execute("INSERT INTO meta VALUES ('epoch', ?)", (epoch or int(time.time()),))
            rows = [(key, *_pack(record)) for key, record in self.contents.records.items()]
            self.contents.changed.clear()
            db.execute("BEGIN")
            db.executemany("INSERT INTO snapshot VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")
        return db

    def _lock(self) -> None:
        """Keep every other process out for as long as this one lives."""
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")

    def _next_epoch(self) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key='epoch'").fetchone()
        epoch = (int(row[0]) if row else 0) + 1
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
        if not self.contents.complete:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('spare', 1)")
        return epoch

    @property
    def spare_unknown(self) -> bool:
        """Whether records were lost, so that a container that none speaks of may be wanted."""
        return self._db.execute("SELECT 1 FROM meta WHERE key='spare'").fetchone() is not None

    def write(self, records: Iterable[Record], events: Iterable[Mapping[str, Any]] = ()) -> None:
        """Make these durable, all or none. Raises JournalError, after which nothing may go on.

        Each event has its number as ``seq``.
        """
        records, events = list(records), list(events)
        if not records and not events:
            return
        with self._transaction():
            self._db.executemany(
                "INSERT INTO records (data, crc) VALUES (?, ?)", [_pack(r) for r in records]
            )
            self._db.executemany(
                "INSERT INTO events VALUES (?, ?)",
                [(event["seq"], _ENCODER.encode(event)) for event in events],
            )
        if events:
            self.next_event = events[-1]["seq"] + 1
        for record in records:
            self.contents.take(record)
        self._count += len(records)
        self._writes += 1

    @property
    def untidy(self) -> bool:
        """Whether :meth:`tidy` has anything to do."""
        return (
            self._writes >= CHECKPOINT_AFTER
            or self._compaction is not None
            or self._count > COMPACT_AFTER + 2 * len(self.contents.records)
        )

    def tidy(self) -> None:
        """Do a little of what keeps the file short. Raises JournalError like a write."""
        if self._writes >= CHECKPOINT_AFTER:
            self._checkpoint()
            return
        self._compaction = self._compaction or self._compact()
        with self._told():
            # Nothing is lost without it, and the next write's sync is one for it too.
            self._db.execute("PRAGMA synchronous=NORMAL")
        with self._transaction():
            if next(self._compaction, self) is self:
                self._compaction = None
        self._writes += 1
        with self._told():
            self._db.execute("PRAGMA synchronous=FULL")

    def _checkpoint(self) -> None:
        self._writes = 0
        kept = self.next_event - KEPT_EVENTS
        with self._transaction():
            self._db.execute("DELETE FROM events WHERE seq < ?", (kept,))
        with self._told():
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._told():
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        if self._broken:
            raise JournalError(f"{self.path}: the journal could not be written before")
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._broken = True
            raise JournalError(f"{self.path}: the journal cannot be written: {error}") from None

    def _compact(self) -> Iterator[None]:
        """Let the snapshot take the place of all records that there are, in several steps."""
        (first, last) = self._db.execute("SELECT min(seq), max(seq) FROM records").fetchone()
        records = self.contents.records
        changed, self.contents.changed = list(self.contents.changed), {}
        for start in range(0, len(changed), COMPACT_KEYS):
            keys = changed[start : start + COMPACT_KEYS]
            self._db.executemany(
                "INSERT INTO snapshot VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET data=excluded.data, crc=excluded.crc",
                [(key, *_pack(records[key])) for key in keys if key in records],
            )
            self._db.executemany(
                "DELETE FROM snapshot WHERE key = ?", [(k,) for k in keys if k not in records]
            )
            yield
        for end in (*range(first + COMPACT_RECORDS, last + 1, COMPACT_RECORDS), last + 1):
            gone = self._db.execute("DELETE FROM records WHERE seq < ?", (end,))
            self._count -= gone.rowcount
            yield

    def events(self, limit: int) -> list[dict[str, Any]]:
        """The last events, oldest first."""
        rows = self._db.execute("SELECT data FROM events ORDER BY seq DESC LIMIT ?", (limit,))
        return [msgspec.json.decode(data) for (data,) in rows][::-1]

    def close(self) -> None:
        self._db.close()


@contextmanager
def _closed_on_error(db: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        db.close()
        raise


def _pack(record: Record) -> tuple[bytes, int]:
    data = _ENCODER.encode(record)
    return data, zlib.crc32(data)


def _read(db: sqlite3.Connection) -> Contents:
    """Everything that can be read. ``complete`` unless more than the last record is damaged."""
    contents = Contents()
    bad: list[tuple[str, int]] = []
    last = 0
    for table, seq, data, crc in _rows(db):
        if table == "records":
            last = seq
        try:
            if zlib.crc32(data) != crc:
                raise ValueError("its checksum is wrong")
            record = _DECODER.decode(data)
        except (ValueError, TypeError, msgspec.DecodeError):
            bad.append((table, seq))
            continue
        if table == "snapshot":
            contents.records[record.key] = record
        else:
            contents.take(record)
    if bad:
        contents.complete = bad == [("records", last)]
        what = "the last record" if contents.complete else f"{len(bad)} records"
        contents.damaged = (
            f"{what} could not be read and {'is' if len(bad) == 1 else 'are'} left",
        )
    return contents


def _rows(db: sqlite3.Connection) -> Iterator[tuple[str, int, bytes, int]]:
    for data, crc in db.execute("SELECT data, crc FROM snapshot ORDER BY rowid"):
        yield "snapshot", 0, data, crc
    for seq, data, crc in db.execute("SELECT seq, data, crc FROM records ORDER BY seq"):
        yield "records", seq, data, crc


def _drop_last(db: sqlite3.Connection, contents: Contents) -> None:
    if contents.damaged:
        db.execute("DELETE FROM records WHERE seq = (SELECT max(seq) FROM records)")
