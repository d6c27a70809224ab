"""Executor, agent and master are killed in turn, with a task in each state that it can be in.

There is one slot, so that every task that is not there is somewhere else: waiting or suspended.
States are held by gates, which are files that tasks wait for, and by stopped processes.
"""

import os
import pickle
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from colchis.client.connection import read_connection
from colchis.errors import ColchisError
from colchis.jobs.bounds import priority_of
from colchis.jobs.client import Client
from colchis.jobs.connection import Connection
from colchis.jobs.secure import sockets_for
from colchis.wire.jobs import StageSpec, Submit
from colchis.wire.work import Failure
from tests.host.executor.bench import descendants
from tests.host.system.job_lab import JobLab, held, pool
from tests.support import alive, wait_for

NODE = "n1"
HELD = 8 * 2**20
"""Bytes that each task holds."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobLab]:
    running = JobLab(tmp_path_factory.mktemp("jobs"), {NODE: "r1"})
    # One task is suspended at a time: nobody is if memory is charged for one that is no more.
    running.settings["master"]["tasks"] = {"max_suspended_memory": "1MiB"}
    with running:
        yield running


@pytest.fixture
def client(lab: JobLab) -> Iterator[Client]:
    wait_for(lab.is_ready, "the node")
    if any(restarts for _, restarts, _, _ in lives(lab).values()):
        # A container that is killed again and again waits longer each time.
        lab.stop("pool")
    if not lives(lab):
        lab.run("run", "-", given=pool(1))
    wait_for(lab.pool_runs, "the pool")
    client = lab.connect()
    wait_for(lambda: client.executors() == 1, "the executor")
    yield client
    client.shutdown(cancel_futures=True)


def lives(lab: JobLab) -> dict[str, tuple[Any, ...]]:
    try:
        return lab.lives("pool")
    except ColchisError:
        return {}


class Deliveries:
    """A job's listener that keeps whatever it is told, also what comes twice."""

    def __init__(self) -> None:
        self.results: defaultdict[int, list[Any]] = defaultdict(list)
        self.ends: list[str] = []

    def accepted(self) -> None:
        pass

    def result(self, stage: int, index: int, data: bytes) -> None:
        assert stage == 0
        self.results[index].append(pickle.loads(data))

    def broken(self, stage: int, index: int, failure: Failure) -> None:
        self.ends.append(f"{index} is broken: {failure.message}")

    def ended(self, state: str, failure: Failure | None) -> None:
        self.ends.append(state)

    def refused(self, reason: str, *, lost: bool) -> None:
        self.ends.append(f"refused: {reason}")


class Held:
    """A job of so many held tasks and what came of it."""

    def __init__(self, scene: "Scene", priority: str, tasks: int) -> None:
        self.name = f"{scene.folder.name}-{priority}"
        self.runs, self.gate = scene.folder / f"{priority}-runs", scene.folder / f"{priority}-gate"
        self.runs.mkdir()
        self.told = Deliveries()
        self.tasks = tasks
        self._lab = scene.lab
        digest, function = scene.client.pickle_function(held(self.runs, self.gate, HELD))
        payloads = [pickle.dumps([number]) for number in range(tasks)]
        stage = StageSpec("s0", "records", digest, tasks, payloads)
        job = Submit(self.name, self.name, priority_of(priority), [stage], [0])
        scene.connection.submit(job, {digest: function}, self.told)

    def shows(self, **wanted: int) -> None:
        """Wait until its tasks are in these states."""
        wait_for(lambda: self._lab.states(self.name) == wanted, f"{self.name} to be {wanted}")

    def processes(self) -> list[int]:
        """Processes in which its tasks have begun, as often as they have."""
        files = [self.runs / str(number) for number in range(self.tasks)]
        return [int(pid) for file in files if file.exists() for pid in file.read_text().split()]

    def begins(self) -> int:
        """Wait until one of its tasks has begun; the process."""
        return wait_for(self.processes, f"{self.name} to begin")[0]

    def finish(self) -> None:
        """Let it end: every result is right and was delivered once, and so was the end."""
        self.gate.touch()
        wait_for(lambda: self.told.ends, f"{self.name} to end")
        assert self.told.ends == ["finished"]
        assert self.told.results == {number: [[2 * number]] for number in range(self.tasks)}


class Scene:
    """One case: its jobs, its own line to the job service, and processes that it has stopped."""

    def __init__(self, lab: JobLab, client: Client, connection: Connection, folder: Path) -> None:
        self.lab, self.client, self.connection, self.folder = lab, client, connection, folder
        self.jobs: list[Held] = []
        self._stopped: set[int] = set()

    def start(self, priority: str = "batch", tasks: int = 1) -> Held:
        self.jobs.append(Held(self, priority, tasks))
        return self.jobs[-1]

    def stop(self, pid: int) -> None:
        """Have a process stand still until the end of the scene.

        Told again until it does: a process that was frozen by a stop goes on by a thaw.
        """
        self._stopped.add(pid)

        def stands_still() -> bool:
            os.kill(pid, signal.SIGSTOP)
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

        wait_for(stands_still)

    def go_on(self) -> None:
        while self._stopped:
            with suppress(ProcessLookupError):
                os.kill(self._stopped.pop(), signal.SIGCONT)

    def executor(self) -> int:
        """The executor's main process."""
        (life,) = self.lab.lives("pool").values()
        return int(life[2])


def pending(scene: Scene) -> None:
    """One task has the slot, the other waits."""
    scene.start(tasks=2).shows(running=1, pending=1)


def running(scene: Scene) -> None:
    scene.start().begins()


def suspending(scene: Scene) -> None:
    """The order to suspend the task is on its way to an executor that stands still."""
    low = scene.start()
    low.begins()
    scene.stop(scene.executor())
    scene.start("stream").shows(pending=1)
    low.shows(suspending=1)


def suspended(scene: Scene) -> None:
    low = scene.start()
    low.begins()
    scene.start("stream").begins()
    low.shows(suspended=1)


def resuming(scene: Scene) -> None:
    """The task is told to go on, and its process stands still."""
    suspended(scene)
    low, high = scene.jobs
    process = low.begins()
    scene.stop(process)
    high.finish()
    low.shows(running=1)
    scene.stop(process)


def executor(scene: Scene) -> None:
    ((name, life),) = scene.lab.lives("pool").items()
    os.kill(life[2], signal.SIGKILL)
    wait_for(lambda: scene.lab.lives("pool")[name][1] > life[1], "the container to start again")


def agent(scene: Scene) -> None:
    before = scene.lab.lives("pool")
    welcomes = scene.lab.log(NODE).read_text().count("welcomed by the master")
    scene.lab.kill(NODE)
    scene.lab.start(NODE)
    scene.go_on()
    log = scene.lab.log(NODE)
    wait_for(
        lambda: log.read_text().count("welcomed by the master") > welcomes, "the agent to be back"
    )
    wait_for(scene.lab.pool_runs, "the pool to be confirmed")
    assert scene.lab.lives("pool") == before


def master(scene: Scene) -> None:
    before = scene.lab.lives("pool")
    scene.lab.kill("master")
    scene.lab.start("master")
    scene.go_on()
    wait_for(scene.lab.is_ready, "the node to be back")
    wait_for(scene.lab.pool_runs, "the pool to be confirmed")
    assert scene.lab.lives("pool") == before


STATES = [pending, running, suspending, suspended, resuming]
VICTIMS = [executor, agent, master]


@pytest.fixture
def scene(lab: JobLab, client: Client, tmp_path: Path) -> Iterator[Scene]:
    found = read_connection(lab.connection)
    connection = Connection(found.jobs, tmp_path.name, sockets_for(found.jobs_key))
    scene = Scene(lab, client, connection, tmp_path)
    yield scene
    scene.go_on()
    connection.close()


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("state", STATES)
def test_results_are_right_and_come_once(
    scene: Scene, state: Callable[[Scene], None], victim: Callable[[Scene], None]
) -> None:
    state(scene)
    victim(scene)
    scene.go_on()
    for job in scene.jobs:
        job.gate.touch()
    for job in scene.jobs:
        job.finish()
    if victim is not executor:
        # Whoever has a task goes on with it.
        assert [len(job.processes()) for job in scene.jobs] == [job.tasks for job in scene.jobs]
    nothing_is_left_of(scene)


def nothing_is_left_of(scene: Scene) -> None:
    lab, client = scene.lab, scene.client
    wait_for(lambda: client.executors() == 1, "the executor to be back")
    wait_for(lambda: not client.status().jobs, "the jobs to be gone")

    def idle() -> bool:
        (it,) = client.status().executors
        return not (it.running or it.suspending or it.suspended or it.suspended_memory)

    wait_for(idle)
    present = {scene.executor()} | descendants(scene.executor())
    used = {pid for job in scene.jobs for pid in job.processes()}
    wait_for(lambda: not any(alive(pid) for pid in used - present))
    wait_for(lambda: not strays(lab, scene.executor()), "other processes to end")
    # Memory that is charged would keep this task from being suspended.
    after = Scene(lab, client, scene.connection, scene.folder / "after")
    after.folder.mkdir()
    suspended(after)
    for job in after.jobs[::-1]:
        job.finish()


def strays(lab: JobLab, executor: int) -> set[int]:
    """Processes of the pool that are no part of the executor."""
    return lab.processes("pool") - {executor} - descendants(executor)
