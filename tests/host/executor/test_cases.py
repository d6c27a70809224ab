"""The paper's behaviour in numbers, on real executors. L is batch, H is stream."""

from pathlib import Path

import pytest

from tests.host.executor.local import cluster, job_status, shows, start, states
from tests.support import wait_for

LEAN = {"spares": 1}


def test_as_many_are_suspended_as_slots_are_missing(tmp_path: Path) -> None:
    """1x4, 4 L running, H of 2: exactly 2 suspended; 2 L and 2 H run."""
    with cluster(cores=4, executor_settings={**LEAN}) as client:
        low = start(client, 4, tmp_path / "low", priority="batch")
        shows(client, low, running=4)
        high = start(client, 2, tmp_path / "high", priority="stream")
        shows(client, high, running=2)
        shows(client, low, running=2, suspended=2)
        reasons = [t.reason for t in job_status(client, low).tasks if t.state == "suspended"]
        assert all(reasons)
        story = client.story(f"{low.job}/s0/0")  # type: ignore[attr-defined]  # a JobFuture
        assert story and "launch" in " ".join(story)
        (tmp_path / "low").touch()
        (tmp_path / "high").touch()
        assert high.result(60) == [0, 1]
        assert low.result(60) == [0, 1, 2, 3]


def test_all_are_suspended_where_all_slots_are_wanted(tmp_path: Path) -> None:
    """1x4, 2 L running, H of 4: both suspended, 4 H run."""
    with cluster(cores=4, executor_settings={**LEAN}) as client:
        low = start(client, 2, tmp_path / "low", priority="batch")
        shows(client, low, running=2)
        high = start(client, 4, tmp_path / "high", priority="stream")
        shows(client, high, running=4)
        shows(client, low, suspended=2)


@pytest.mark.parametrize(
    ("executors", "low_tasks", "suspended"),
    [(2, 7, 3), (4, 12, 0)],
    ids=["2x4, 7 L running, H of 4: 3 suspended", "4x4, 12 L running, H of 4: none suspended"],
)
def test_free_slots_anywhere_come_first(
    tmp_path: Path, executors: int, low_tasks: int, suspended: int
) -> None:
    settings = {"policy": "lb", "executor_settings": {**LEAN}}
    with cluster(executors=executors, cores=4, **settings) as client:
        low = start(client, low_tasks, tmp_path / "low", priority="batch")
        shows(client, low, running=low_tasks)
        high = start(client, 4, tmp_path / "high", priority="stream")
        shows(client, high, running=4)
        assert states(client, low)["suspended"] == suspended
        assert states(client, low)["running"] == low_tasks - suspended


def test_suspended_tasks_resume_before_new_ones_start(tmp_path: Path) -> None:
    """1x4, 12 L submitted, H of 4 while 4 L run: after H the same 4 L resume."""
    with cluster(cores=4, executor_settings={**LEAN}) as client:
        low = start(client, 12, tmp_path / "low", priority="batch")
        shows(client, low, running=4, pending=8)
        first = {t.index for t in job_status(client, low).tasks if t.state == "running"}
        high = start(client, 4, tmp_path / "high", priority="stream")
        shows(client, low, suspended=4, pending=8)
        (tmp_path / "high").touch()
        high.result(60)
        shows(client, low, running=4, pending=8)
        tasks = job_status(client, low).tasks
        assert {t.index for t in tasks if t.state == "running"} == first
        assert all(t.attempts == (t.index in first) for t in tasks)
        (tmp_path / "low").touch()
        assert low.result(60) == list(range(12))
        assert max(t.attempts for t in tasks) == 1


def test_resuming_launches_nothing_new(tmp_path: Path) -> None:
    """One L on one core; H arrives and ends: L is resumed."""
    with cluster(cores=1) as client:
        low = start(client, 1, tmp_path / "low", priority="batch")
        shows(client, low, running=1)
        high = start(client, 1, tmp_path / "high", priority="stream")
        shows(client, low, suspended=1)
        (tmp_path / "high").touch()
        high.result(60)
        wait_for(lambda: states(client, low) == {"running": 1})
        assert job_status(client, low).tasks[0].attempts == 1
        (tmp_path / "low").touch()
        assert low.result(60) == [0]
