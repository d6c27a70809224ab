"""Jobs on a cluster: executors in containers, driven from outside and from a batch app."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colchis.client.connection import read_connection
from colchis.jobs.client import Client
from colchis.jobs.futures import JobFuture
from tests.host.system.job_lab import JobLab, held, pool
from tests.support import DEADLINE, alive, wait_for

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
DRIVER = """
import colchis.jobs
with colchis.jobs.connect() as cluster:
    job = cluster.job("driven")
    groups = job.records(range(10), partitions=2).shuffle(lambda n: n % 3)
    print(sorted(groups.map(lambda g: (g[0], sum(g[1]))).result()), flush=True)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobLab]:
    running = JobLab(tmp_path_factory.mktemp("jobs"), {"n1": "r1", "n2": "r2"})
    with running:
        running.run("run", "-", given=pool(2))
        yield running


@pytest.fixture
def client(lab: JobLab) -> Iterator[Client]:
    wait_for(lab.is_ready, "the nodes")
    wait_for(lab.pool_runs, "the pool")
    client = lab.connect()
    wait_for(lambda: client.executors() == 2, "both executors")
    yield client
    client.shutdown(cancel_futures=True)


def start(
    client: Client, folder: Path, tasks: int = 2, priority: str = "batch"
) -> tuple[JobFuture[Any], Path, Path]:
    """A job of held tasks; with it the folder where its tasks note their pids, and the gate."""
    runs, gate = folder / f"{priority}-runs", folder / f"{priority}-gate"
    runs.mkdir()
    stage = client.job(priority, priority=priority).records(range(tasks), partitions=tasks)
    future = stage.apply(held(runs, gate)).submit()
    assert isinstance(future, JobFuture)
    return future, runs, gate


def pids(runs: Path) -> dict[str, list[int]]:
    """Processes in which each record's task has run."""
    return {file.name: [int(pid) for pid in file.read_text().split()] for file in runs.iterdir()}


def test_jobs_from_outside(client: Client) -> None:
    assert client.slots() == 2
    assert list(client.map(pow, [2, 3, 4], [5, 2, 1])) == [32, 9, 4]
    words = client.job("words").records(["a b a", "b c", "a"], partitions=3).flat_map(str.split)
    counts = words.shuffle(lambda word: word).map(lambda group: (group[0], len(group[1])))
    assert sorted(counts.result(DEADLINE)) == [("a", 3), ("b", 2), ("c", 1)]


def test_the_command_shows_tasks_as_they_run_are_suspended_and_cancelled(
    lab: JobLab, client: Client, tmp_path: Path
) -> None:
    low, runs, gate = start(client, tmp_path, 3)
    wait_for(lambda: lab.states(low.job) == {"running": 2, "pending": 1}, "two to run")
    high, _, opened = start(client, tmp_path, 1, "stream")
    wait_for(lambda: lab.states(low.job)["suspended"] == 1, "one to be suspended")
    listed = {job["job"]: job for job in lab.json("job", "list")["jobs"]}
    assert listed[low.job]["counts"] == {"running": 1, "suspended": 1, "pending": 1}
    status = lab.json("job", "status", high.job)
    assert (status["state"], status["priority"]) == ("running", 1)
    tasks = lab.json("job", "tasks", low.job)["tasks"]
    suspended = next(task for task in tasks if task["state"] == "suspended")
    ident = f"{low.job}/{suspended['stage']}/{suspended['index']}"
    told = [step["text"] for step in lab.json("story", ident)["story"]]
    assert [text.split()[0].rstrip(":") for text in told] == [
        "submitted",
        "launch",
        "suspend",
        "suspended",
    ]
    assert "more urgent" in told[2]
    assert "suspend" in lab.run("story", ident).stdout
    assert "nothing is known" in lab.run("story", f"{low.job}/s0/9", code=1).stderr
    opened.touch()
    assert high.result(DEADLINE) == [0]
    wait_for(lambda: lab.states(low.job) == {"running": 2, "pending": 1}, "it to be resumed")
    lab.run("job", "cancel", low.job)
    wait_for(low.done, "the job to be cancelled")
    assert low.cancelled()
    assert not gate.exists()
    assert all(len(found) == 1 for found in pids(runs).values())
    # The slots are free again.
    assert list(client.map(abs, [-1, -2, -3])) == [1, 2, 3]
    assert "no job" in lab.run("job", "status", "nothing", code=1).stderr


def test_a_driver_script_is_an_app(lab: JobLab, client: Client, tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    group = {
        "jobs": True,
        "resources": {"cpus": 0.1, "memory": "128MiB"},
        "command": [sys.executable, str(script)],
    }
    lab.run("run", "-", given={"app": "driver", "kind": "batch", "groups": {"main": group}})
    wait_for(
        lambda: {c["state"] for c in lab.containers("driver").values()} == {"ended"},
        "the driver to end",
    )
    assert lab.run("logs", "driver/main/0").stdout == "[(0, 18), (1, 12), (2, 15)]\n"
    lab.stop("driver")
    assert client.status().jobs == []


def test_an_example_finds_the_cluster_by_the_connection_file(
    lab: JobLab, client: Client, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("the cat and the hat\n")
    found = subprocess.run(
        [sys.executable, EXAMPLES / "wordcount/wordcount.py", "--cluster", "--top=1", text],
        env=lab.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert (found.returncode, found.stdout.split()) == (0, ["2", "the"]), found.stderr


class Middle:
    """A batch job of which one task runs, one is suspended and one waits, and the stream's job.

    ``finish`` lets both end: each result is right and delivered once, and the cluster is good
    for more.
    """

    def __init__(self, lab: JobLab, client: Client, folder: Path) -> None:
        self.client = client
        self.low, self.runs, self.gate = start(client, folder, 3)
        wait_for(lambda: lab.states(self.low.job)["running"] == 2, "two to run")
        self.high, self.high_runs, self.opened = start(client, folder, 1, "stream")
        wanted = {"running": 1, "suspended": 1, "pending": 1}
        wait_for(lambda: lab.states(self.low.job) == wanted, "one to be suspended")
        wait_for(lambda: self.runs_of_high() == 1, "the stream to run")
        self.delivered: list[Any] = []
        for future in (self.low, self.high):
            future.add_done_callback(self.delivered.append)

    def runs_of_low(self) -> int:
        """How often a task of the batch has begun."""
        return sum(len(found) for found in pids(self.runs).values())

    def runs_of_high(self) -> int:
        return sum(len(found) for found in pids(self.high_runs).values())

    def finish(self) -> None:
        self.opened.touch()
        assert self.high.result(DEADLINE) == [0]
        self.gate.touch()
        assert self.low.result(DEADLINE) == [0, 2, 4]
        assert self.delivered == [self.high, self.low]
        assert list(self.client.map(abs, [-1, -2])) == [1, 2]


def test_master_killed_in_the_middle_of_jobs(lab: JobLab, client: Client, tmp_path: Path) -> None:
    middle = Middle(lab, client, tmp_path)
    lab.kill("master")
    lab.start("master")
    wait_for(lab.is_ready, "the nodes to be back")
    wait_for(lambda: client.executors() == 2, "both executors to be back")
    middle.finish()


def test_a_master_that_is_told_to_stop_spares_executors(lab: JobLab, client: Client) -> None:
    before = lab.lives("pool")
    with client as jobs:
        assert jobs.submit(abs, -1).result(DEADLINE) == 1
    lab.end("master")
    lab.start("master")
    wait_for(lab.is_ready, "the nodes to be back")
    with lab.connect() as jobs:
        wait_for(lambda: jobs.executors() == 2, "both executors to be back")
        assert jobs.submit(abs, -2).result(DEADLINE) == 2
    assert lab.lives("pool") == before


def welcomes(lab: JobLab, node: str) -> int:
    """How often the master has welcomed the node's agent."""
    return lab.log(node).read_text().count("welcomed by the master")


def test_agents_killed_in_the_middle_of_jobs(lab: JobLab, client: Client, tmp_path: Path) -> None:
    middle = Middle(lab, client, tmp_path)
    lives = lab.lives("pool")
    welcomed = {node: welcomes(lab, node) for node in lab.nodes}
    for node in lab.nodes:
        lab.kill(node)
        lab.start(node)
    for node, before in welcomed.items():
        wait_for(lambda: welcomes(lab, node) > before, "the agent to be back")  # noqa: B023
    wait_for(lab.pool_runs, "the pool to be confirmed")
    assert lab.lives("pool") == lives
    middle.finish()
    assert (middle.runs_of_low(), middle.runs_of_high()) == (3, 1)


@pytest.mark.parametrize("which", [0, 1])
def test_executor_killed_in_the_middle_of_jobs(
    lab: JobLab, client: Client, tmp_path: Path, which: int
) -> None:
    middle = Middle(lab, client, tmp_path)
    name, (_, restarts, pid, _) = sorted(lab.lives("pool").items())[which]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: lab.lives("pool")[name][1] > restarts, "the container to start again")
    wait_for(lambda: client.executors() == 2, "the executor to be back")
    assert not alive(pid)
    middle.finish()
    assert middle.runs_of_low() + middle.runs_of_high() > 4


CLIENT = """
import sys, time, colchis.jobs
address, key, runs = sys.argv[1:]
def work(number):
    import os, pathlib
    (pathlib.Path(runs) / str(number)).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)
with colchis.jobs.connect(address, key=key) as cluster:
    print(list(cluster.map(work, [0, 1])))
"""


def test_interrupted_client_leaves_nothing_running(
    lab: JobLab, client: Client, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    found = read_connection(lab.connection)
    script = subprocess.Popen(
        [sys.executable, "-c", CLIENT, found.jobs, found.jobs_key, str(runs)],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: [file for file in runs.iterdir() if file.read_text()][1:], "both to run")
    script.send_signal(signal.SIGINT)
    _, errors = script.communicate(timeout=DEADLINE)
    assert b"KeyboardInterrupt" in errors
    assert script.returncode != 0
    wait_for(lambda: not client.status().jobs, "the job to be gone")
    wait_for(lambda: not any(alive(pid) for found in pids(runs).values() for pid in found))
    assert lab.json("job", "list") == {"jobs": []}
    assert list(client.map(abs, [-1, -2, -3])) == [1, 2, 3]
