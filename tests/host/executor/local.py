"""Local clusters for tests, and tasks that go no further than the test lets them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import colchis.jobs
from colchis.jobs.client import Client
from colchis.wire.jobs import JobStatus
from tests.host.executor.bench import descendants
from tests.support import alive, wait_for


@contextmanager
def cluster(*, executors: int = 1, cores: int = 2, **settings: Any) -> Iterator[Client]:
    """A cluster until the end of the block, after which nothing of it runs."""
    settings.setdefault("executor_settings", {}).setdefault("heartbeat", 0.2)
    client = colchis.jobs.connect("local", executors=executors, cores=cores, **settings)
    assert client.local is not None
    folder = client.local.folder
    pids: set[int] = set()
    try:
        yield client
        for process in client.local.executors.values():
            pids |= {process.pid} | descendants(process.pid)
    except BaseException:
        print(client.local.logs())
        raise
    finally:
        client.shutdown(cancel_futures=True)
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert not folder.exists()


def until(file: Path) -> Callable[[Iterator[int]], Iterator[int]]:
    """A task that goes from record to record until a file exists, then gives its first record."""

    def work(records: Iterator[int]) -> Iterator[int]:
        first = None
        for record in records:
            first = record if first is None else first
            if file.exists():
                break
            time.sleep(0.002)
        yield first or 0

    return work


def start(
    client: Client, tasks: int, file: Path, *, priority: str, prefer: list[str] | None = None
) -> "Future[Any]":
    """A job of so many tasks that run until a file exists."""
    job = client.job(priority, priority=priority)
    # range objects would be cut into lists; one long record list per task is shared by its bytes.
    records = job.records(range(tasks), partitions=tasks, prefer=prefer or [])
    return records.flat_map(lambda record: [record] * 1_000_000).apply(until(file)).submit()


def job_status(client: Client, future: "Future[Any]") -> JobStatus:
    """How the job stands, with its tasks."""
    return client.status(future.job).jobs[0]  # type: ignore[attr-defined]  # a JobFuture


def states(client: Client, future: "Future[Any]") -> Counter[str]:
    """Number of the job's tasks in each state."""
    return Counter(job_status(client, future).counts)


def shows(client: Client, future: "Future[Any]", **wanted: int) -> None:
    """Wait until the job's tasks are in these states, and see that they stay so."""
    wait_for(lambda: states(client, future) == Counter(wanted))
    time.sleep(0.1)
    assert states(client, future) == Counter(wanted)
