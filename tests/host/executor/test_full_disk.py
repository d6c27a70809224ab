"""Executors whose disk takes nothing, or loses what it took."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from colchis.wire import tasks as wire
from colchis.wire.work import Stored
from tests.host.executor.bench import bench
from tests.host.executor.local import cluster
from tests.support import wait_for

SIZE = 100_000


def large(record: int) -> bytes:
    return bytes([record]) * SIZE


def spoil(folder: Path) -> None:
    """Make the folder one that nobody, not even root, can write to or read from."""
    shutil.rmtree(folder)
    folder.touch()


def test_results_stay_in_memory_where_the_disk_takes_none(tmp_path: Path) -> None:
    with bench(tmp_path, cores=1, store_memory=2 * SIZE) as made:
        spoil(tmp_path / "work" / "spill")
        kept = []
        for number in range(5):
            task = made.call(large, number)
            kept += made.expect(wire.Finished, lambda r, t=task: r.attempt == t).results  # type: ignore[misc]  # a default binds it
        beat = made.expect(wire.Heartbeat, lambda b: b.stored >= 5 * SIZE)
        assert beat.spilled == 0
        for number, result in enumerate(kept):
            assert isinstance(result, Stored)
            assert made.result(made.launch(lambda records: max(records), result)) == number


def test_function_that_the_disk_did_not_take(tmp_path: Path) -> None:
    functions = tmp_path / "work" / "functions"
    with bench(tmp_path, cores=1) as made:
        spoil(functions)
        failure = made.failure(made.call(large, 1)).failure
        assert "the disk of its executor did not take it" in failure.message
        assert (failure.node, failure.executor) == ("n0", "e0")
        functions.unlink()
        functions.mkdir()
        assert made.result(made.call(max, 1, 2)) == 2
        made.call(large, 1)
        made.expect(wire.Finished)


def test_slots_go_without_logs_where_there_can_be_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def end(code: int) -> None:
        import os

        print("last words")
        os._exit(code)

    with bench(tmp_path, cores=1, spares=0) as made:
        assert made.failure(made.call(end, 3)).failure.log == ["last words"]
        assert made.result(made.call(pow, 2, 5)) == 32
        spoil(tmp_path / "work" / "logs")
        assert made.failure(made.call(end, 3)).failure.log == ["last words"]
        failure = made.failure(made.call(end, 4)).failure
        assert "exit code 4" in failure.message
        assert failure.log == []
        assert made.result(made.call(pow, 2, 6)) == 64
    written = "".join(capfd.readouterr())
    said = [line for line in written.splitlines() if "without a log" in line]
    assert said and all("slot-" in line and "Not a directory" in line for line in said)


@pytest.mark.parametrize("when", ["before", "between"])
def test_job_with_results_beyond_memory_on_a_spoilt_disk(tmp_path: Path, when: str) -> None:
    """The second stage reads what the first has spilled, or could not spill."""

    def read(records: Iterable[tuple[int, list[bytes]]]) -> list[tuple[int, int]]:
        import time

        (tmp_path / "reading").touch()
        while not (tmp_path / "read").exists():
            time.sleep(0.005)
        return [(data[0], len(data)) for _, group in records for data in group]

    settings = {"store_memory": 2 * SIZE}
    with cluster(cores=2, executor_settings=settings) as client:
        assert client.local is not None
        (spill,) = client.local.folder.glob("*/spill")
        if when == "before":
            spoil(spill)
        stage = client.job("large").map(large, range(8), partitions=8)
        future = stage.shuffle(lambda data: data[0], partitions=2).apply(read).submit()
        wait_for((tmp_path / "reading").exists)
        if when == "between":
            assert list(spill.iterdir())
            spoil(spill)
        (tmp_path / "read").touch()
        assert sorted(future.result(120)) == [(number, SIZE) for number in range(8)]
        # What the client fetches itself.
        assert list(client.map(large, range(8))) == [large(number) for number in range(8)]
