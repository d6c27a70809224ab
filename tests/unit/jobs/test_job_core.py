"""Jobs against a world of executors that fail, lose things and come back."""

import random
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import Failure, Input, Stored
from colchis_master.jobs.books import ToClient, ToExecutor
from colchis_master.jobs.core import JobCore
from colchis_master.jobs.state import TRANSITIONS, IllegalTurnError, Task, TaskState, Turn
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler

FUNCTION = "0" * 32
BIG = 10**6


class World:
    """Executors that work through their orders in any order; results name what they came of."""

    def __init__(self, executors: int, cores: int, rng: random.Random) -> None:
        scheduler = TaskScheduler("lma", Options(), random.Random(0))
        self.core = JobCore(scheduler, epoch=1, patience=1e9, client_patience=1e9)
        self.rng = rng
        self.now = 0.0
        self.lives: Counter[str] = Counter()
        self.running: dict[str, dict[int, wire.Launch]] = {}
        self.parked: dict[str, set[int]] = {}
        self.stored: dict[str, dict[str, str]] = {}
        self.orders: dict[str, deque[wire.ToExecutor]] = {}
        self.to_client: list[ask.ToClient] = []
        self.attempts: list[int] = []
        self.cores = cores
        for number in range(executors):
            self.join(f"e{number}")
        self.core.clients.hello(ask.Hello("c"), 0.0)
        self.core.clients.add_function("c", wire.Function(FUNCTION, b"f"))
        self.take()

    def join(self, name: str) -> None:
        self.lives[name] += 1
        self.running[name], self.stored[name], self.parked[name] = {}, {}, set()
        self.orders[name] = deque()
        life = f"{name}-{self.lives[name]}"
        register = wire.Register(name, life, name, self.cores, 2**30, f"ipc://{life}")
        self.core.executors.register(register, self.now)
        self.take()

    def take(self) -> None:
        self.now += 0.001
        for output in self.core.take(self.now):
            if isinstance(output, ToExecutor):
                if output.executor in self.orders:
                    self.orders[output.executor].append(output.message)
            elif isinstance(output, ToClient):
                self.to_client.append(output.message)

    def submit(self, job: ask.Submit) -> None:
        self.core.jobs.submit("c", job, self.now)
        self.take()

    def report(self, name: str, message: wire.FromExecutor) -> None:
        if name in self.core.books.executors:
            self.core.executors.report(name, message, self.now)
        self.take()

    def crash(self, name: str) -> None:
        self.core.executors.lost(name)
        self.take()
        self.join(name)

    def address(self, name: str) -> str:
        return f"ipc://{name}-{self.lives[name]}"

    def step(self) -> bool:
        """One thing happens somewhere; False when nothing can."""
        choices = [(name, "order") for name, orders in self.orders.items() if orders]
        choices += [(name, "end") for name, running in self.running.items() if running]
        if not choices:
            return False
        name, what = self.rng.choice(choices)
        if what == "order":
            self.obey(name, self.orders[name].popleft())
        else:
            free = [a for a in self.running[name] if a not in self.parked[name]]
            if free:
                self.finish(name, self.rng.choice(free))
        return True

    def obey(self, name: str, order: wire.ToExecutor) -> None:
        if isinstance(order, wire.Launch):
            assert order.attempt not in self.attempts, "attempts never share a number"
            self.attempts.append(order.attempt)
            self.running[name][order.attempt] = order
            busy = len(self.running[name]) - len(self.parked[name])
            assert busy <= self.cores, "a slot is given out once"
        elif isinstance(order, wire.Cancel) and order.attempt in self.running[name]:
            del self.running[name][order.attempt]
            self.parked[name].discard(order.attempt)
            self.report(name, wire.Cancelled(order.attempt))
        elif isinstance(order, wire.Suspend) and order.attempt in self.running[name]:
            self.parked[name].add(order.attempt)
            self.report(name, wire.Suspended(order.attempt, "cooperative", 10))
        elif isinstance(order, wire.Resume):
            self.parked[name].discard(order.attempt)
        elif isinstance(order, wire.DropResults):
            for key in order.keys:
                self.stored[name].pop(key, None)

    def read(self, item: Input) -> str | None:
        if isinstance(item, bytes):
            return item.decode()
        for name, kept in self.stored.items():
            if self.address(name) == item.address:
                return kept.get(item.key)
        return None

    def finish(self, name: str, attempt: int) -> None:
        order = self.running[name].pop(attempt)
        values = []
        for item in order.work.inputs:
            value = self.read(item)
            if value is None:
                assert isinstance(item, Stored)
                self.report(name, wire.InputLost(attempt, item.key))
                return
            values.append(value)
        results: list[Input] = []
        for bucket in range(order.work.buckets or 1):
            value = f"({','.join(values)})" + (f"[{bucket}]" if order.work.buckets else "")
            if self.rng.random() < 0.5:
                key = f"{attempt}.{bucket}"
                self.stored[name][key] = value
                results.append(Stored(key, BIG, self.address(name)))
            else:
                results.append(value.encode())
        self.report(name, wire.Finished(attempt, results))

    def settle(self) -> None:
        for _ in range(20_000):
            if not self.step():
                return
        raise AssertionError("it never ends")


def stage(name: str, tasks: int, *after: ask.After, buckets: int = 0) -> ask.StageSpec:
    payloads = [] if after else [f"{name}{i}".encode() for i in range(tasks)]
    return ask.StageSpec(name, "records", FUNCTION, tasks, payloads, list(after), buckets)


def diamond(job: str, priority: int = 2, retries: int = 3) -> ask.Submit:
    """Two first stages, a shuffle of one, a narrow one of the other, and one that reads both."""
    stages = [
        stage("a", 3, buckets=2),
        stage("b", 2),
        stage("c", 2, ask.After(0, "bucket")),
        stage("d", 2, ask.After(1, "each")),
        stage("e", 1, ask.After(2, "all"), ask.After(3, "all")),
    ]
    return ask.Submit(job, job, priority, stages, [4], retries)


EXPECTED = "(((a0)[0],(a1)[0],(a2)[0]),((a0)[1],(a1)[1],(a2)[1]),((b0)),((b1)))"


def results(world: World, job: str) -> list[ask.TaskDone]:
    return [m for m in world.to_client if isinstance(m, ask.TaskDone) and m.job == job]


def ends(world: World, job: str) -> list[str]:
    return [m.state for m in world.to_client if isinstance(m, ask.JobEnded) and m.job == job]


@given(seed=st.integers(0, 10**6), executors=st.integers(1, 3), cores=st.integers(1, 2))
def test_results_are_right_and_come_once_whatever_fails(
    seed: int, executors: int, cores: int
) -> None:
    rng = random.Random(seed)
    world = World(executors, cores, rng)
    submitted = 0
    for _ in range(150):
        choice = rng.random()
        if choice < 0.05 and submitted < 4:
            submitted += 1
            world.submit(diamond(f"j{submitted}", rng.choice([1, 2])))
        elif choice < 0.08:
            world.crash(rng.choice(sorted(world.orders)))
        elif choice < 0.12:
            name = rng.choice(sorted(world.orders))
            if world.running[name]:
                attempt = rng.choice(sorted(world.running[name]))
                del world.running[name][attempt]
                world.parked[name].discard(attempt)
                world.report(name, wire.Lost(attempt))
        elif choice < 0.14:
            name = rng.choice(sorted(world.orders))
            if world.attempts:
                world.report(name, wire.Finished(rng.choice(world.attempts) + 10**6, [b"?"]))
        else:
            world.step()
    world.settle()
    for number in range(1, submitted + 1):
        (done,) = results(world, f"j{number}")
        value = world.read(done.results[0])
        assert value is None or value == EXPECTED
        assert ends(world, f"j{number}") == ["finished"]
        world.core.jobs.release(f"j{number}")
    world.take()
    world.settle()
    books = world.core.books
    assert not books.jobs and not books.tasks and not books.attempts
    assert not any(world.running.values())
    assert FUNCTION in books.functions
    world.core.clients.left("c")
    assert FUNCTION not in books.functions


def test_failure_past_the_limit_ends_the_job_and_its_other_tasks() -> None:
    world = World(1, 2, random.Random(0))
    world.submit(diamond("j", retries=1))
    failure = Failure("ValueError: no", node="n", executor="e0", log=["last words"])
    for _ in range(2):
        while world.orders["e0"]:
            world.obey("e0", world.orders["e0"].popleft())
        first = min(a for a in world.running["e0"])
        task = world.core.books.attempts[first].task.id
        del world.running["e0"][first]
        world.report("e0", wire.Failed(first, failure))
        if not ends(world, "j"):
            # Have the same task tried again first.
            while world.core.books.tasks[task][1].attempt is None:
                assert world.step()
            again = world.core.books.tasks[task][1].attempt
            assert again is not None
            while again not in world.running["e0"]:
                world.obey("e0", world.orders["e0"].popleft())
            world.running["e0"] = {again: world.running["e0"].pop(again), **world.running["e0"]}
            del world.running["e0"][again]
            world.report("e0", wire.Failed(again, failure))
            break
    assert ends(world, "j") == ["failed"]
    (ended,) = [m for m in world.to_client if isinstance(m, ask.JobEnded)]
    assert ended.failure == failure
    world.settle()
    assert not world.running["e0"]
    assert not results(world, "j")


def test_independent_tasks_fail_alone() -> None:
    world = World(1, 2, random.Random(0))
    world.submit(ask.Submit("j", "j", 2, [stage("a", 2)], [0], 0, independent=True))
    while world.orders["e0"]:
        world.obey("e0", world.orders["e0"].popleft())
    first, second = sorted(world.running["e0"])
    failure = Failure("no")
    del world.running["e0"][first]
    world.report("e0", wire.Failed(first, failure))
    assert ask.TaskBroken("j", 0, 0, failure) in world.to_client
    assert not ends(world, "j")
    world.finish("e0", second)
    assert [done.index for done in results(world, "j")] == [1]
    assert ends(world, "j") == ["finished"]
    world.to_client.clear()
    world.core.clients.hello(ask.Hello("c", jobs=["j"]), world.now)
    world.take()
    assert ask.TaskBroken("j", 0, 0, failure) in world.to_client


def test_cancelled_job_leaves_nothing_running() -> None:
    world = World(2, 2, random.Random(3))
    world.submit(diamond("j"))
    for _ in range(6):
        world.step()
    world.core.jobs.cancel("j")
    world.take()
    world.settle()
    assert ends(world, "j") == ["cancelled"]
    assert not any(world.running.values())


def test_results_are_fetched_early_to_where_most_of_them_are() -> None:
    world = World(2, 2, random.Random(0))
    world.submit(ask.Submit("j", "j", 2, [stage("a", 4), stage("b", 1, ask.After(0, "all"))], [1]))
    for name in world.orders:
        while world.orders[name]:
            world.obey(name, world.orders[name].popleft())
    there = list(world.running["e0"]), list(world.running["e1"])
    assert len(there[0]) == len(there[1]) == 2
    for name, attempt in (("e0", there[0][0]), ("e0", there[0][1]), ("e1", there[1][0])):
        del world.running[name][attempt]
        kept = Stored(f"{attempt}.0", BIG, world.address(name))
        world.report(name, wire.Finished(attempt, [kept]))
    (early,) = [order for order in world.orders["e0"] if isinstance(order, wire.Prefetch)]
    assert early.inputs == [kept]
    last = there[1][1]
    del world.running["e1"][last]
    world.report("e1", wire.Finished(last, [b"small"]))
    assert any(isinstance(order, wire.Launch) for order in world.orders["e0"])


def test_job_of_no_tasks_ends_at_once() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(ask.Submit("j", "j", 2, [stage("a", 0)], [0]))
    assert ends(world, "j") == ["finished"]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "stages: a job has at least one"),
        ([stage("a", 1), stage("a", 1)], "stages[1].name: 'a' is taken"),
        ([stage("a", 1, ask.After(0, "all"))], "stages[0].after[0].stage: 0 does not come before"),
        ([stage("a", 2), stage("b", 3, ask.After(0, "each"))], "2 results for 3 tasks"),
        ([stage("a", 2), stage("b", 3, ask.After(0, "bucket"))], "0 buckets for 3 tasks"),
        ([stage("a", 2, buckets=2), stage("b", 1, ask.After(0, "all"))], "read it by bucket"),
        ([ask.StageSpec("a", "records", FUNCTION, 2, [b""])], "payloads: 1 for 2 tasks"),
        ([ask.StageSpec("a", "call", FUNCTION, 1)], "a call needs its arguments"),
        ([ask.StageSpec("a", "records", "1" * 32, 1)], f"function {'1' * 32} was not sent"),
    ],
)
def test_senseless_job_is_rejected_whole(stages: list[ask.StageSpec], message: str) -> None:
    world = World(1, 1, random.Random(0))
    world.submit(ask.Submit("j", "j", 2, stages, [0] if stages else []))
    (rejected,) = [m for m in world.to_client if isinstance(m, ask.Rejected)]
    assert message in rejected.reason
    assert not world.core.books.jobs
    assert not any(isinstance(order, wire.Launch) for order in world.orders["e0"])


def test_client_that_comes_back_is_told_what_it_missed() -> None:
    world = World(1, 2, random.Random(1))
    world.submit(diamond("j"))
    world.settle()
    before = results(world, "j")
    world.to_client.clear()
    world.core.clients.hello(ask.Hello("c", jobs=["j", "other"]), world.now)
    world.take()
    assert results(world, "j") == before and ends(world, "j") == ["finished"]
    (greeting,) = [m for m in world.to_client if isinstance(m, ask.Greeting)]
    assert greeting.unknown == ["other"]


def test_result_lost_before_the_client_had_it_is_made_anew() -> None:
    world = World(1, 2, random.Random(1))
    world.submit(diamond("j"))
    world.settle()
    (done,) = results(world, "j")
    lost = done.results[0]
    if isinstance(lost, bytes):
        lost = Stored("none.0", 1, "")
    world.core.jobs.result_lost(ask.ResultLost("j", 4, 0, lost.key))
    world.take()
    world.settle()
    assert ends(world, "j")[-1] == "finished"


def test_executor_of_another_protocol_is_refused() -> None:
    world = World(1, 1, random.Random(0))
    register = wire.Register("e9", "x", "n", 1, 0, "", protocol=99)
    world.core.executors.register(register, 0.0)
    (output,) = world.core.take(0.0)
    assert isinstance(output, ToExecutor) and isinstance(output.message, wire.Refused)
    assert "protocol 99; this job service speaks 1" in output.message.reason


def test_silent_executors_and_clients_are_given_up() -> None:
    scheduler = TaskScheduler("lma", Options(), random.Random(0))
    core = JobCore(scheduler, epoch=1, patience=5, client_patience=5)
    core.executors.register(wire.Register("e0", "x", "n", 1, 0, ""), 0.0)
    core.clients.hello(ask.Hello("c"), 0.0)
    core.tick(4.0)
    assert set(core.books.executors) == {"e0"} and set(core.books.clients) == {"c"}
    core.tick(6.0)
    assert not core.books.executors and not core.books.clients


def test_illegal_turn_changes_nothing() -> None:
    task = Task("t", 0, 0)
    with pytest.raises(IllegalTurnError):
        task.turn(Turn.FINISH)
    assert task.state is TaskState.WAITING
    assert {state for state, _ in TRANSITIONS} == set(TaskState)
