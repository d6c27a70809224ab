"""Jobs against a world of executors that fail, lose things and come back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import PROTOCOL, Failure, Stored
from colchis_master.jobs.books import Keep, ToClient, ToExecutor
from colchis_master.jobs.core import JobCore
from colchis_master.jobs.graph import PIECE
from colchis_master.jobs.state import TRANSITIONS, IllegalTurnError, Task, TaskState, Turn
from colchis_master.tasks import events as sched
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler
from tests.unit.jobs.world import BIG, EXPECTED, FUNCTION, World, diamond, ends, results, stage


@given(
    seed=st.integers(0, 10**6),
    executors=st.integers(1, 3),
    cores=st.integers(1, 2),
    piece=st.sampled_from([1, 2, PIECE]),
)
def test_results_are_right_and_come_once_whatever_fails(
    seed: int, executors: int, cores: int, piece: int
) -> None:
    rng = random.Random(seed)
    world = World(executors, cores, rng, piece)
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
                world.leave(name, attempt)
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
    world.core.register(register, 0.0)
    (output,) = world.core.take(0.0)
    assert isinstance(output, ToExecutor) and isinstance(output.message, wire.Refused)
    assert f"protocol 99; this job service speaks {PROTOCOL}" in output.message.reason


def test_silent_executors_and_clients_are_given_up() -> None:
    scheduler = TaskScheduler("lma", Options(), random.Random(0))
    core = JobCore(scheduler, epoch=1, patience=5, client_patience=5)
    core.register(wire.Register("e0", "x", "n", 1, 0, ""), 0.0)
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


def test_results_are_sent_before_slots_are_given_out_anew() -> None:
    world = World(1, 1, random.Random(0))
    for name in ("j", "k"):
        world.submit(ask.Submit(name, name, 2, [stage("a", 1)], [0], 3))
    launch = world.orders["e0"].pop()
    assert isinstance(launch, wire.Launch)
    world.core.executors.report("e0", wire.Finished(launch.attempt, [b"done"]), 1.0)
    told = [type(one.message) for one in world.core.results() if isinstance(one, ToClient)]
    assert told == [ask.TaskDone, ask.JobEnded]
    follows = [one.message for one in world.core.take(1.0) if isinstance(one, ToExecutor)]
    assert [type(one) for one in follows] == [wire.Launch]


def test_what_has_to_be_written_first_is_not_sent_early() -> None:
    world = World(1, 1, random.Random(0))
    world.core.jobs.submit("c", ask.Submit("j", "j", 2, [stage("a", 1)], [0], 3), 1.0)
    assert world.core.results() == []
    assert any(isinstance(one, Keep) for one in world.core.take(1.0))


def test_job_keeps_its_slot_from_stage_to_stage() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(ask.Submit("batch", "batch", 2, [stage("a", 1)], [0], 3))
    stages = [stage("a", 1), stage("b", 1, ask.After(0, "all"))]
    while world.orders["e0"]:
        world.obey("e0", world.orders["e0"].popleft())
    world.submit(ask.Submit("stream", "stream", 1, stages, [1], 3))
    suspend = world.orders["e0"].popleft()
    assert isinstance(suspend, wire.Suspend)
    world.obey("e0", suspend)
    world.park("e0", suspend.attempt)
    launch = world.orders["e0"].popleft()
    world.obey("e0", launch)
    orders = [type(launch).__name__]
    while world.running["e0"].keys() - world.parked["e0"]:
        (attempt,) = world.running["e0"].keys() - world.parked["e0"]
        world.finish("e0", attempt)
        orders += [type(order).__name__ for order in world.orders["e0"]]
        while world.orders["e0"]:
            world.obey("e0", world.orders["e0"].popleft())
    assert orders == ["Launch", "Launch", "Resume"]
    assert ends(world, "stream") == ends(world, "batch") == ["finished"]


def test_task_goes_to_its_preference_though_another_slot_came_free_by_the_same() -> None:
    core = TaskScheduler("lma", Options(), random.Random(0))
    for name in ("e0", "e1"):
        core.handle(0, sched.ExecutorJoined(name, name, name, 1, 2**30))
    first = sched.StageSubmitted("1", "j", "a", 2, (sched.TaskSpec("a0", 0, "e0"),))
    core.handle(1, first)
    second = sched.StageSubmitted("2", "j", "b", 2, (sched.TaskSpec("b0", 0, "e1"),))
    (launch,) = core.handle(2, sched.TaskFinished("3", "a0", 1), [second])
    assert isinstance(launch, sched.Launch) and launch.executor == "e1"


def test_urgent_job_need_not_wait_for_the_whole_of_a_large_one() -> None:
    world = World(1, 1, random.Random(0))
    many = 5000
    world.submit(ask.Submit("many", "many", 2, [stage("a", many)], [0], 3))
    for _ in range(2):
        world.core.go_on()
        world.take()
    launch = world.orders["e0"][-1]
    while world.orders["e0"]:
        world.obey("e0", world.orders["e0"].popleft())
    world.submit(ask.Submit("urgent", "urgent", 1, [stage("a", 1)], [0], 3))
    *_, suspend = world.orders["e0"]
    assert isinstance(launch, wire.Launch) and isinstance(suspend, wire.Suspend)
    assert suspend.attempt == launch.attempt
    tasks = world.core.books.jobs["many"].stages[0].tasks
    assert sum(task.state is TaskState.READY for task in tasks) == 3 * PIECE
    world.settle()
    ended = [message.job for message in world.to_client if isinstance(message, ask.JobEnded)]
    assert ended == ["urgent", "many"]
    assert len(results(world, "many")) == many


def test_job_that_ends_is_not_gone_on_with() -> None:
    world = World(1, 1, random.Random(0), piece=2)
    world.submit(ask.Submit("j", "j", 2, [stage("a", 10)], [0], 3))
    assert world.core.behind
    tasks = world.core.books.jobs["j"].stages[0].tasks
    handed_over = [task.state for task in tasks]
    world.core.jobs.cancel("j")
    world.take()
    world.settle()
    assert not world.core.behind
    assert [task.state for task in tasks] == handed_over
    assert world.core.books.attempts == {}


def test_most_urgent_job_goes_on_first_and_then_the_earliest() -> None:
    world = World(1, 1, random.Random(0), piece=1)
    for name, priority in (("late", 2), ("later", 2), ("soon", 1)):
        world.submit(ask.Submit(name, name, priority, [stage("a", 3)], [0], 3))
    order = []
    while world.core.behind:
        before = {name: job.stages[0].first for name, job in world.core.books.jobs.items()}
        world.core.go_on()
        world.take()
        jobs = world.core.books.jobs
        order += [name for name, job in jobs.items() if job.stages[0].first != before[name]]
    assert order == ["soon", "soon", "late", "late", "later", "later"]
