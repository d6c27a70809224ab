"""Names, exit reasons and logs as they are kept in a container's folder."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis_agent.driver import ContainerRef, DriverError, Exit, ExitKind, folder_name, ref_of
from colchis_agent.driver.folder import ExitRecord, StateFolder
from colchis_agent.driver.shim import LogWriter, is_locked, take_lock

words = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=8)


@given(st.tuples(words, words, words), st.integers(0, 10**6))
def test_folder_names_are_one_to_one(parts: tuple[str, str, str], incarnation: int) -> None:
    ref = ContainerRef("/".join(parts), incarnation)
    try:
        name = folder_name(ref)
    except DriverError:
        assert len("/".join(parts).encode()) > 60
        return
    assert "/" not in name
    assert not name.startswith((".", "_"))
    assert len(name.encode()) <= 255
    assert ref_of(name) == ref


def test_a_folder_name_can_be_read_by_people() -> None:
    assert folder_name(ContainerRef("shop/web/0", 2)) == "shop+web+0.2"


@pytest.mark.parametrize("container", ["", "x" * 300])
def test_some_names_are_refused(container: str) -> None:
    with pytest.raises(DriverError, match="cannot name"):
        folder_name(ContainerRef(container))


@pytest.mark.parametrize("container", ["../x", "_shims", "_/_/0", f"{'a' * 100}/{'b' * 100}/99999"])
def test_every_name_that_a_spec_may_have_names_a_folder(container: str) -> None:
    ref = ContainerRef(container, 10**12)
    name = folder_name(ref)
    assert name[0] not in "._"
    assert ref_of(name) == ref


@pytest.mark.parametrize("name", ["groups", ".discarded-a.1", "a.b", ".1"])
def test_foreign_folders_are_no_containers(name: str) -> None:
    assert ref_of(name) is None


@pytest.mark.parametrize(
    ("kind", "value", "oom_kills", "expected"),
    [
        ("exited", 0, 0, Exit(ExitKind.EXITED, code=0)),
        ("exited", 3, 2, Exit(ExitKind.EXITED, code=3, oom_kills=2)),
        ("exited", 137, 0, Exit(ExitKind.EXITED, code=137)),
        ("exited", 137, 1, Exit(ExitKind.OOM, code=137, oom_kills=1)),
        ("signaled", 9, 0, Exit(ExitKind.SIGNALED, signal=9)),
        ("signaled", 9, 1, Exit(ExitKind.OOM, signal=9, oom_kills=1)),
        ("signaled", 15, 1, Exit(ExitKind.SIGNALED, signal=15, oom_kills=1)),
    ],
)
def test_exit_reasons(kind: str, value: int, oom_kills: int, expected: Exit) -> None:
    found = ExitRecord(ExitKind(kind), value, "", oom_kills, 5.0).exit()
    assert found == Exit(expected.kind, expected.code, expected.signal, "", 5.0, expected.oom_kills)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=20),
    file_bytes=st.integers(1, 50),
    files=st.integers(1, 4),
    limit=st.integers(1, 30),
    start=st.integers(0, 500),
)
def test_reading_on_gives_every_byte_that_was_kept(
    chunks: list[bytes], file_bytes: int, files: int, limit: int, start: int
) -> None:
    whole = b"".join(chunks)
    with tempfile.TemporaryDirectory() as name:
        writer = LogWriter(Path(name), file_bytes, files)
        for chunk in chunks:
            writer.write(chunk)
        writer.close()
        folder = StateFolder(Path(name))
        kept = folder.log_files()
        assert len(kept) <= files
        oldest = kept[0][0] if kept else 0
        # All but the newest file are full, so this much is there at least.
        assert len(whole) - oldest >= min(len(whole), (files - 1) * file_bytes)
        offset, parts = start, [b""]
        while True:
            part, offset = folder.read_logs(offset, limit)
            assert len(part) <= limit
            if not part:
                break
            parts.append(part)
        assert b"".join(parts) == whole[max(start, oldest) :]
        assert offset == max(start, len(whole), oldest)


def test_a_full_disk_loses_output_and_nothing_else(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "nowhere", 10, 2)
    writer.write(b"lost")
    (tmp_path / "nowhere").mkdir()
    writer.write(b"kept")
    writer.close()
    assert StateFolder(tmp_path / "nowhere").read_logs(0, 100) == (b"kept", 4)


def test_a_lock_is_seen_and_exclusive(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    held = take_lock(lock)
    assert held is not None
    assert is_locked(lock)
    assert take_lock(lock) is None
    os.close(held)
    assert not is_locked(lock)


def test_a_lock_on_a_folder_that_was_moved_away_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    held = take_lock(folder / "lock")
    assert held is not None
    folder.rename(tmp_path / "b")
    folder.mkdir()
    fresh = take_lock(folder / "lock")
    assert fresh is not None
    assert take_lock(tmp_path / "b" / "lock") is None
    os.close(held)
    os.close(fresh)
