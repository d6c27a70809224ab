"""Many short tasks on real executors, where they travel in lots."""

import os
import time
from pathlib import Path

import pytest

import colchis.jobs
from colchis.jobs.failures import TaskFailedError
from tests.host.executor.local import cluster
from tests.support import wait_for


def marks(folder: Path) -> list[int]:
    file = folder / "marks"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def mark(folder: Path, number: int) -> None:
    with (folder / "marks").open("a") as file:
        file.write(f"{number}\n")


def test_each_of_many_short_tasks_runs_once(tmp_path: Path) -> None:
    def work(number: int) -> int:
        mark(tmp_path, number)
        return -number

    with cluster() as client:
        assert list(client.map(work, range(1000))) == [-n for n in range(1000)]
        told = {one.reason for one in client.history()}
    assert sorted(marks(tmp_path)) == list(range(1000))
    assert any("goes along with" in reason for reason in told)


def test_short_tasks_do_not_wait_behind_a_long_one(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"

    def work(number: int) -> int:
        while number == 400 and not go_on.exists():
            time.sleep(0.01)
        mark(tmp_path, number)
        return number

    with cluster() as client:
        results = client.map(work, range(1000))
        wait_for(lambda: len(marks(tmp_path)) == 999)
        go_on.touch()
        assert list(results) == list(range(1000))
    assert sorted(marks(tmp_path)) == list(range(1000))


def test_tasks_that_fail_and_die_break_no_others(tmp_path: Path) -> None:
    def work(number: int) -> int:
        if number == 300:
            raise ValueError("no luck")
        if number == 500:
            os._exit(3)
        return number

    with cluster() as client:
        futures = client.map(lambda n: work(n), range(300)), client.map(work, range(301, 500))
        assert [list(one) for one in futures] == [list(range(300)), list(range(301, 500))]
        failing, dying = client.map(work, range(100, 400)), client.map(work, range(400, 600))
        assert [next(failing) for _ in range(200)] == list(range(100, 300))
        with pytest.raises(ValueError, match="no luck"):
            next(failing)
        assert [next(dying) for _ in range(100)] == list(range(400, 500))
        with pytest.raises(TaskFailedError, match="exit code 3"):
            next(dying)


def test_urgent_tasks_among_short_ones(tmp_path: Path) -> None:
    def work(number: int) -> int:
        mark(tmp_path, number)
        for _ in colchis.jobs.task.records(range(3)):
            time.sleep(0.0002)
        return number

    with cluster(options={"max_suspensions": 1000}) as client:
        batch = client.map(work, range(1500))
        wait_for(lambda: len(marks(tmp_path)) > 100)
        for turn in range(10):
            urgent = client.job("urgent", priority="stream").records([turn]).submit()
            assert urgent.result(60) == [turn]
        assert list(batch) == list(range(1500))
    assert sorted(marks(tmp_path)) == list(range(1500))


def test_tasks_submitted_one_by_one_run_once_each_and_travel_together(tmp_path: Path) -> None:
    def work(number: int) -> int:
        mark(tmp_path, number)
        return -number

    with cluster() as client:
        futures = [client.submit(work, number) for number in range(1000)]
        assert [future.result(60) for future in futures] == [-n for n in range(1000)]
        told = {one.reason for one in client.history()}
    assert sorted(marks(tmp_path)) == list(range(1000))
    assert any("goes along with" in reason for reason in told)


def test_cancelled_task_that_took_long_among_short_ones_leaves_its_slot(tmp_path: Path) -> None:
    def work(number: int) -> int:
        mark(tmp_path, number)
        for _ in colchis.jobs.task.records(iter(int, number == 600)):
            time.sleep(0.01)
        return number

    def meet(number: int) -> None:
        (tmp_path / f"here{number}").touch()
        while not (tmp_path / f"here{1 - number}").exists():
            time.sleep(0.01)

    with cluster() as client:
        futures = [client.submit(work, number) for number in range(1000)]
        wait_for(lambda: len(marks(tmp_path)) == 1000)
        assert futures[600].cancel()
        assert [one.result(60) for one in futures if one is not futures[600]]
        # Both slots are needed at once.
        both = [client.submit(meet, number) for number in (0, 1)]
        assert [one.result(60) for one in both] == [None, None]
