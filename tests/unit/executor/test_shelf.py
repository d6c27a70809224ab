"""Results in memory and on a disk that is full, read only, or gone."""

import errno
import shutil
from pathlib import Path

import pytest
import zict

from colchis.errors import ColchisError
from colchis_agent.executor.shelf import DISK_AGAIN, Shelf

SIZE = 100
MEMORY = 2 * SIZE


class Disk:
    """The file layer's answers; ``part`` bytes are written before it says that it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.readable = True
        self.tries = 0
        write, read = zict.File.__setitem__, zict.File.__getitem__

        def put(files: zict.File, key: str, value: bytes) -> None:
            self.tries += 1
            if self.full:
                (Path(files.directory) / f"{key}#part").write_bytes(bytes(value)[:10])
                raise OSError(errno.ENOSPC, "No space left on device")
            write(files, key, value)

        def get(files: zict.File, key: str) -> bytes | bytearray | memoryview:
            if not self.readable:
                raise OSError(errno.EIO, "Input/output error")
            return read(files, key)

        monkeypatch.setattr(zict.File, "__setitem__", put)
        monkeypatch.setattr(zict.File, "__getitem__", get)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf(tmp_path: Path, disk: Disk, clock: Clock) -> Shelf:
    return Shelf(tmp_path / "spill", MEMORY, clock)


def data(number: int) -> bytes:
    return bytes([number]) * SIZE


def fill(shelf: Shelf, *numbers: int) -> None:
    for number in numbers:
        shelf.keep(f"{number}.0", data(number))


def found(shelf: Shelf, *numbers: int) -> list[bytes | None]:
    values = [shelf.find(f"{number}.0") for number in numbers]
    return [None if value is None else bytes(value) for value in values]


def test_memory_then_disk(shelf: Shelf, tmp_path: Path) -> None:
    fill(shelf, 1, 2, 3, 4)
    assert shelf.held == 4 * SIZE
    assert shelf.spilled == 2 * SIZE
    assert sum(file.stat().st_size for file in (tmp_path / "spill").iterdir()) == 2 * SIZE
    assert found(shelf, 1, 2, 3, 4) == [data(number) for number in (1, 2, 3, 4)]


def test_full_disk_leaves_results_in_memory(shelf: Shelf, disk: Disk, tmp_path: Path) -> None:
    disk.full = True
    fill(shelf, 1, 2, 3, 4, 5)
    assert found(shelf, 1, 2, 3, 4, 5) == [data(number) for number in (1, 2, 3, 4, 5)]
    assert shelf.held == 5 * SIZE
    assert shelf.spilled == 0
    assert list((tmp_path / "spill").iterdir()) == []


def test_result_heavier_than_memory_on_a_full_disk(shelf: Shelf, disk: Disk) -> None:
    disk.full = True
    shelf.keep("1.0", bytes(3 * MEMORY))
    fill(shelf, 2)
    assert shelf.find("1.0") == bytes(3 * MEMORY)
    assert found(shelf, 2) == [data(2)]


def test_disk_is_left_alone_for_a_while_and_used_again(
    shelf: Shelf, disk: Disk, clock: Clock
) -> None:
    disk.full = True
    fill(shelf, 1, 2, 3)
    tries = disk.tries
    fill(shelf, 4, 5)
    assert disk.tries == tries
    disk.full, clock.now = False, DISK_AGAIN
    fill(shelf, 6)
    assert shelf.spilled == 4 * SIZE
    assert found(shelf, *range(1, 7)) == [data(number) for number in range(1, 7)]


def test_spilled_result_is_read_while_the_disk_is_full(shelf: Shelf, disk: Disk) -> None:
    """It comes into memory, and what is to make room for it cannot."""
    fill(shelf, 1, 2, 3)
    disk.full = True
    assert found(shelf, 1, 2, 3) == [data(number) for number in (1, 2, 3)]


def test_result_that_cannot_be_read_is_lost_alone(shelf: Shelf, disk: Disk) -> None:
    fill(shelf, 1, 2, 3)
    disk.readable = False
    assert found(shelf, 1, 2, 3) == [None, data(2), data(3)]
    assert shelf.held == 2 * SIZE
    assert shelf.names() == ["2.0", "3.0"]
    disk.readable = True
    fill(shelf, 1)
    assert found(shelf, 1) == [data(1)]


def test_file_that_is_cut_short_is_no_result(shelf: Shelf, tmp_path: Path) -> None:
    fill(shelf, 1, 2, 3)
    (file,) = (tmp_path / "spill").iterdir()
    file.write_bytes(data(1)[:-1])
    assert found(shelf, 1, 2, 3) == [None, data(2), data(3)]


@pytest.mark.parametrize("file_instead", [False, True])
def test_folder_that_is_gone(shelf: Shelf, tmp_path: Path, file_instead: bool) -> None:
    fill(shelf, 1, 2, 3)
    shutil.rmtree(tmp_path / "spill")
    if file_instead:
        (tmp_path / "spill").touch()
    shelf.forget("1.0")
    assert shelf.held == 2 * SIZE
    fill(shelf, 4, 5)
    assert found(shelf, 1, 2, 3, 4, 5) == [None, *(data(number) for number in (2, 3, 4, 5))]
    shelf.clear()
    assert shelf.held == 0
    assert shelf.names() == []


def test_result_put_twice_counts_once(shelf: Shelf) -> None:
    fill(shelf, 1, 2, 3, 1)
    shelf.keep("2.0", bytes(5))
    assert shelf.held == 2 * SIZE + 5
    assert shelf.find("2.0") == bytes(5)
    shelf.clear()
    assert shelf.held == 0


def test_what_another_left_is_removed(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    (spill / "1.0#0").write_bytes(data(1))
    shelf = Shelf(spill, MEMORY)
    assert shelf.find("1.0") is None
    assert list(spill.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "spill").touch()
    with pytest.raises(ColchisError, match=r"results cannot be spilled to .*spill: File exists"):
        Shelf(tmp_path / "spill", MEMORY)
