"""What the journal keeps through ends of every kind."""

import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colchis_master.core.records import ContainerRecord, Forgotten, Record
from colchis_master.journal import journal as module
from colchis_master.journal.journal import Journal, JournalError
from tests.support import opened


def record(number: int, node: str = "n1") -> ContainerRecord:
    return ContainerRecord(f"a/g/{number}", 1, number, "placed", node)


def filled(path: Path, count: int = 5) -> None:
    journal = Journal(path)
    for number in range(count):
        journal.write([record(number)], [{"seq": number + 1, "text": f"event {number}"}])
    journal.close()


def change_record(path: Path, seq: int) -> None:
    """Flip a bit of one record behind the journal's back."""
    db = sqlite3.connect(path)
    (data,) = db.execute("SELECT data FROM records WHERE seq=?", (seq,)).fetchone()
    db.execute("UPDATE records SET data=? WHERE seq=?", (bytes([data[0] ^ 1]) + data[1:], seq))
    db.commit()
    db.close()


def tidy_up(journal: Journal) -> None:
    while journal.untidy:
        journal.tidy()


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.db"
    filled(path)
    journal = Journal(path)
    assert journal.contents.records == {record(i).key: record(i) for i in range(5)}
    assert journal.contents.damaged == ()
    assert journal.next_event == 6
    assert [event["text"] for event in journal.events(2)] == ["event 3", "event 4"]
    journal.write([Forgotten(record(0).key), record(1, "n9")])
    journal.close()
    again = Journal(path)
    assert record(0).key not in again.contents.records
    assert again.contents.records[record(1).key] == record(1, "n9")
    again.close()


@pytest.mark.parametrize("count", [1, 3, 31, 200, 391])
def test_a_write_keeps_all_of_its_records_and_events_in_order(tmp_path: Path, count: int) -> None:
    journal = Journal(tmp_path / "journal.db")
    records = [record(number) for number in range(count)]
    journal.write(records, [{"seq": n + 1, "text": f"event {n}"} for n in range(count)])
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert list(again.contents.records.values()) == records
    assert [event["text"] for event in again.events(1000)] == [f"event {n}" for n in range(count)]
    assert again.next_event == count + 1
    again.close()


def test_every_life_has_a_higher_epoch(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        journal = Journal(tmp_path / "journal.db")
        epochs.append(journal.epoch)
        journal.close()
    assert epochs == [1, 2, 3]


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    filled(tmp_path / "journal.db")
    assert (tmp_path / "journal.db").stat().st_mode & 0o077 == 0


def test_a_snapshot_takes_the_place_of_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPACT_AFTER", 10)
    path = tmp_path / "journal.db"
    journal = Journal(path)
    for number in range(100):
        journal.write([record(0, f"n{number}"), record(1)])
        tidy_up(journal)
    journal.close()
    db = sqlite3.connect(path)
    (left,) = db.execute("SELECT count(*) FROM records").fetchone()
    db.close()
    assert left < 40
    again = Journal(path)
    assert again.contents.records == {record(0).key: record(0, "n99"), record(1).key: record(1)}
    again.close()


def test_a_write_only_writes_and_a_snapshot_is_made_a_little_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPACT_AFTER", 300)
    monkeypatch.setattr(module, "COMPACT_KEYS", 5)
    monkeypatch.setattr(module, "COMPACT_RECORDS", 10)
    journal = Journal(tmp_path / "journal.db")
    most = 0
    for number in range(1500):
        before = journal._db.total_changes
        journal.write([record(number % 100, f"n{number}")])
        assert journal._db.total_changes == before + 1
        if journal.untidy:
            journal.tidy()
            most = max(most, journal._db.total_changes - before - 1)
    (left,) = journal._db.execute("SELECT count(*) FROM records").fetchone()
    assert left < 600
    assert most == 10
    journal.close()


@given(st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_a_journal_opened_again_at_any_step_of_a_compaction_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, rng: random.Random
) -> None:
    path = tmp_path_factory.mktemp("state") / "journal.db"
    expected: dict[str, Record] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COMPACT_AFTER", 3)
        patch.setattr(module, "COMPACT_KEYS", 1)
        patch.setattr(module, "COMPACT_RECORDS", 2)
        patch.setattr(module, "CHECKPOINT_AFTER", 7)
        journal = Journal(path)
        for number in range(150):
            records: list[Record] = []
            for _ in range(rng.randrange(4)):
                one = record(int(10 * rng.random() ** 4), rng.choice(["n1", "n2"]))
                forgotten = rng.random() < 0.3
                records.append(Forgotten(one.key) if forgotten else one)
                expected.pop(one.key, None)
                expected |= {} if forgotten else {one.key: one}
            journal.write(records, [{"seq": number + 1}])
            if journal.untidy and rng.random() < 0.9:
                journal.tidy()
            if number == 149 or rng.random() < 0.03:
                journal.close()
                journal = Journal(path)
            assert journal.contents.records == expected
        journal.close()


def test_a_torn_last_record_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    change_record(path, 5)
    journal = Journal(path)
    assert set(journal.contents.records) == {record(i).key for i in range(4)}
    assert "the last record" in journal.contents.damaged[0]
    assert not journal.spare_unknown
    journal.close()
    clean = Journal(path)
    assert clean.contents.damaged == ()
    clean.close()


def test_a_damaged_record_sets_the_file_aside_and_loses_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    change_record(path, 2)
    journal = Journal(path)
    assert set(journal.contents.records) == {record(i).key for i in (0, 2, 3, 4)}
    assert "damaged" in journal.contents.damaged[0]
    assert journal.spare_unknown
    assert journal.epoch == 2
    assert list(tmp_path.glob("journal.db.damaged-*"))
    journal.write([record(7)])
    journal.close()
    again = Journal(path)
    assert record(7).key in again.contents.records
    assert again.spare_unknown
    again.close()


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"this is no database at all" * 100)
    journal = Journal(path)
    assert journal.contents.records == {}
    assert journal.spare_unknown
    assert journal.epoch > 1_000_000, "higher than any number of restarts"
    assert len(list(tmp_path.glob("journal.db.damaged-*"))) == 1
    journal.close()


def test_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(JournalError, match="version 99; this master reads up to 1") as error:
        Journal(path)
    assert error.tb and not opened(path), "closed though the error is kept"
    assert not list(tmp_path.glob("*.damaged-*"))


def test_two_masters_cannot_share_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    with pytest.raises(JournalError, match="locked"):
        Journal(tmp_path / "journal.db")
    journal.close()


def test_a_full_disk_stops_with_a_message(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal._db.execute("PRAGMA max_page_count=20")
    with pytest.raises(JournalError, match=r"journal\.db: the journal cannot be written: .*full"):
        for number in range(10_000):
            journal.write([record(number) for _ in range(100)])
    journal.close()


def test_after_a_failure_in_tidying_nothing_is_written_any_more(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.write([record(0)])
    journal._db.execute("PRAGMA query_only=1")
    with pytest.raises(JournalError, match="cannot be written"):
        tidy_up(journal)
    journal._db.execute("PRAGMA query_only=0")
    with pytest.raises(JournalError, match="could not be written before"):
        journal.write([record(1)])
    journal.close()
    again = Journal(path)
    assert again.contents.records == {record(0).key: record(0)}
    again.close()


def test_events_are_trimmed_also_where_each_life_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_EVENTS", 10)
    for life in range(5):
        journal = Journal(tmp_path / "journal.db")
        for number in range(8):
            journal.write([record(number)], [{"seq": 8 * life + number + 1, "text": "e"}])
            tidy_up(journal)
        assert len(journal.events(1000)) <= 10 + 8
        journal.close()


def test_a_compaction_has_its_own_log_brought_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_AFTER", 5)
    monkeypatch.setattr(module, "COMPACT_AFTER", 100_000)
    monkeypatch.setattr(module, "COMPACT_KEYS", 1)
    path = tmp_path / "journal.db"
    journal = Journal(path)
    for number in range(10):
        journal.write([record(number) for number in range(50 * number, 50 * number + 50)])
        tidy_up(journal)
    log = path.with_name("journal.db-wal")
    before = log.stat().st_size
    monkeypatch.setattr(module, "COMPACT_AFTER", -1_000)
    steps = 0
    while journal.untidy and steps < 500:
        journal.tidy()
        steps += 1
    assert log.stat().st_size < 2 * before
    journal.close()
