"""Executors and the job service are killed in turn; results are right and come once."""

import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from colchis.jobs.client import Client
from tests.host.executor.local import cluster, shows, start, states
from tests.support import wait_for


def kill_executor(client: Client, name: str = "e0", *, restart: bool = True) -> None:
    assert client.local is not None
    process = client.local.executors[name]
    process.kill()
    process.wait()
    if restart:
        config = next(c for c in client.local.executor_configs if c["executor"] == name)
        client.local.start_executor(config)


def kill_service(client: Client) -> None:
    assert client.local is not None and client.local.service is not None
    client.local.service.kill()
    client.local.service.wait()
    client.local.start_service()


def durable(tmp_path: Path, patience: float = 600.0) -> dict[str, Any]:
    """Who is silent is lost after the patience, however busy the machine that it is on."""
    return {
        "service_settings": {"journal": str(tmp_path / "jobs.sqlite"), "patience": patience},
        "executor_settings": {"spares": 1, "grace": 600.0},
    }


State = Callable[[Client, Path], "Future[Any]"]


def pending(client: Client, folder: Path) -> "Future[Any]":
    """Two tasks run, two wait."""
    low = start(client, 4, folder / "low", priority="batch")
    shows(client, low, running=2, pending=2)
    return low


def running(client: Client, folder: Path) -> "Future[Any]":
    low = start(client, 2, folder / "low", priority="batch")
    shows(client, low, running=2)
    return low


def suspending(client: Client, folder: Path) -> "Future[Any]":
    """The tasks are told to yield, and cannot before a file exists."""

    def hold(records: Any) -> Any:
        import time

        for record in records:
            while not (folder / "low").exists():
                time.sleep(0.005)
            yield record

    low = client.job("low").records([0, 1], partitions=2).apply(hold).submit()
    shows(client, low, running=2)
    start(client, 2, folder / "low", priority="stream")
    shows(client, low, suspending=2)
    return low


def suspended(client: Client, folder: Path) -> "Future[Any]":
    low = running(client, folder)
    start(client, 2, folder / "low", priority="stream")
    shows(client, low, suspended=2)
    return low


def resuming(client: Client, folder: Path) -> "Future[Any]":
    low = running(client, folder)
    high = start(client, 2, folder / "high", priority="stream")
    shows(client, low, suspended=2)
    (folder / "high").touch()
    high.result(60)
    return low


STATES = [pending, running, suspending, suspended, resuming]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("victim", [kill_executor, kill_service])
def test_no_result_is_lost_or_doubled(
    tmp_path: Path, state: State, victim: Callable[[Client], None]
) -> None:
    with cluster(cores=2, **durable(tmp_path)) as client:
        low = state(client, tmp_path)
        victim(client)
        (tmp_path / "low").touch()
        assert low.result(60) == list(range(4 if state is pending else 2))


def test_tasks_go_to_another_executor_when_theirs_does_not_come_back(tmp_path: Path) -> None:
    with cluster(executors=2, cores=1, **durable(tmp_path, 2.0)) as client:
        low = start(client, 2, tmp_path / "low", priority="batch")
        shows(client, low, running=2)
        kill_executor(client, "e1", restart=False)
        wait_for(lambda: states(client, low) == {"running": 1, "pending": 1})
        (tmp_path / "low").touch()
        assert low.result(60) == [0, 1]


def test_sleeping_executor_does_no_harm_when_it_wakes(tmp_path: Path) -> None:
    with cluster(executors=2, cores=1, **durable(tmp_path, 2.0)) as client:
        assert client.local is not None
        low = start(client, 2, tmp_path / "low", priority="batch")
        shows(client, low, running=2)
        sleeper = client.local.executors["e1"]
        sleeper.send_signal(signal.SIGSTOP)
        wait_for(lambda: states(client, low)["pending"] == 1)
        sleeper.send_signal(signal.SIGCONT)
        wait_for(lambda: states(client, low)["running"] == 2)
        (tmp_path / "low").touch()
        assert low.result(60) == [0, 1]


def test_lost_results_are_made_anew(tmp_path: Path) -> None:
    """The first stage's large results die with their executor, before the second has read them."""

    def big(record: int) -> bytes:
        with (tmp_path / f"made-{record}").open("a") as file:
            file.write("x")
        return bytes([record]) * 100_000

    def wait_then_measure(records: Any) -> Any:
        import time

        (tmp_path / "reading").touch()
        while not (tmp_path / "read").exists():
            time.sleep(0.005)
        return [(data[0], len(data)) for _, group in records for data in group]

    with cluster(cores=1, **durable(tmp_path)) as client:
        stage = client.job("lineage").map(big, [1, 2, 3], partitions=3)
        second = stage.shuffle(lambda data: 0, partitions=1).apply(wait_then_measure)
        future = second.submit()
        wait_for((tmp_path / "reading").exists)
        kill_executor(client)
        (tmp_path / "read").touch()
        assert sorted(future.result(60)) == [(1, 100_000), (2, 100_000), (3, 100_000)]
        assert [(tmp_path / f"made-{n}").read_text() for n in (1, 2, 3)] == ["xx"] * 3


def test_task_is_tried_again_up_to_its_limit(tmp_path: Path) -> None:
    def third_time(record: int) -> int:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        if len((tmp_path / "tries").read_text()) < 3:
            raise OSError("not yet")
        return record

    with cluster(cores=1) as client:
        assert client.job("patient", retries=2).map(third_time, [5]).result(60) == [5]
        (tmp_path / "tries").unlink()
        with pytest.raises(OSError, match="not yet") as caught:
            client.job("hasty", retries=1).map(third_time, [5]).result(60)
        assert "on executor e0, node n0" in caught.value.__notes__
