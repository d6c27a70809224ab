"""Accepted jobs on the disk."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from colchis.wire.jobs import StageSpec, Submit
from colchis_master.jobs.journal import Journal, JournalError
from tests.support import opened

JOB = Submit("j", "name", 1, [StageSpec("s", "call", "0" * 32, 1, [b"x"])], [0])


def test_jobs_and_functions_survive_and_epochs_grow(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite"
    first = Journal(file)
    assert first.next_epoch() == 1
    first.write([("c", JOB, 7)], {"0" * 32: b"f", "1" * 32: b"g"}, [])
    # Not closed: as if the process had been killed.
    second = Journal(file)
    assert second.next_epoch() == 2
    assert list(second.jobs()) == [("c", JOB, 7)]
    second.drop_functions_but({"0" * 32})
    assert list(second.functions()) == [("0" * 32, b"f")]
    second.write([], {}, ["j"])
    assert list(second.jobs()) == []
    first.close()
    second.close()
    assert file.stat().st_mode & 0o077 == 0


def test_unreadable_job_is_dropped_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite"
    journal = Journal(file)
    journal.write([("c", JOB, 7)], {}, [])
    with sqlite3.connect(file) as database:
        database.execute("INSERT INTO jobs VALUES ('bad', 'c', x'ff', 8)")
    database.close()
    assert list(journal.jobs()) == [("c", JOB, 7)]
    assert list(journal.jobs()) == [("c", JOB, 7)]
    journal.close()


def test_file_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite"
    file.write_bytes(b"not a database at all" * 100)
    with pytest.raises(JournalError, match="not a database") as not_one:
        Journal(file)
    file.unlink()
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version=9")
    database.close()
    with pytest.raises(JournalError, match="version 9; this program reads 2") as later:
        Journal(file)
    assert not_one.tb and later.tb and not opened(file), "closed though the error is kept"


def test_file_of_the_version_before_is_read(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite"
    with sqlite3.connect(file) as database:
        database.executescript(
            "CREATE TABLE jobs (job TEXT PRIMARY KEY, client TEXT, spec BLOB);"
            "PRAGMA user_version=1;"
        )
        data = msgspec.msgpack.encode(JOB)
        database.execute("INSERT INTO jobs VALUES ('j', 'c', ?)", (data,))
    database.close()
    for _ in range(2):
        journal = Journal(file)
        assert list(journal.jobs()) == [("c", JOB, 0)]
        journal.close()
