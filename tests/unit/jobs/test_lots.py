"""Short tasks that travel together: nothing is lost, doubled or kept from other executors."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import Failure
from tests.unit.jobs.world import World, ends, results, stage


def wide(job: str, tasks: int, priority: int = 2, *, independent: bool = False) -> ask.Submit:
    return ask.Submit(job, job, priority, [stage("a", tasks)], [0], 3, independent=independent)


def in_a_lot(world: World, cores: int = 1) -> wire.Launch:
    """The first attempt that is a lot, running on the only executor; other orders are obeyed."""
    for _ in range(100):
        orders = world.orders["e0"]
        while orders:
            order = orders.popleft()
            world.obey("e0", order)
            if isinstance(order, wire.Launch) and order.more:
                return order
        world.finish("e0", next(iter(world.running["e0"])))
    raise AssertionError("no lot was made")


def values(world: World, job: str) -> list[str | None]:
    return [world.read(done.results[0]) for done in results(world, job)]


@given(seed=st.integers(0, 10**6), executors=st.integers(1, 3), cores=st.integers(1, 2))
def test_lots_give_right_results_once_whatever_fails(seed: int, executors: int, cores: int) -> None:
    rng = random.Random(seed)
    world = World(executors, cores, rng)
    world.failing = 0.02
    world.submit(wide("j", 60, independent=True))
    single = [f"single{number}" for number in range(30)]
    for job in single:
        world.submit(wide(job, 1, independent=True))
    cancelled = set()
    for turn in range(100):
        choice = rng.random()
        name = rng.choice(sorted(world.orders))
        if choice < 0.03:
            world.crash(name)
        elif choice < 0.06 and world.running[name]:
            attempt = rng.choice(sorted(world.running[name]))
            del world.running[name][attempt]
            world.parked[name].discard(attempt)
            world.report(name, wire.Lost(attempt))
        elif choice < 0.1:
            world.submit(wide(f"urgent{turn}", 2, priority=1))
        elif choice < 0.12:
            unwanted = rng.choice(single)
            cancelled.add(unwanted)
            world.core.jobs.cancel(unwanted)
            world.take()
        else:
            world.step()
    world.settle()
    assert world.lots
    places = [(done.stage, done.index) for done in results(world, "j")]
    broken = [m for m in world.to_client if isinstance(m, ask.TaskBroken) and m.job == "j"]
    assert len(places) == len(set(places)) and len(places) + len(broken) == 60
    for done in results(world, "j"):
        assert world.read(done.results[0]) in (None, f"(a{done.index})")
    assert ends(world, "j") == ["finished"]
    for job in single:
        assert len(results(world, job)) <= 1 and len(ends(world, job)) == 1
        assert job in cancelled or ends(world, job) == ["finished"]
    for job in list(world.core.books.jobs):
        world.core.jobs.release(job)
    world.take()
    world.settle()
    books = world.core.books
    assert not books.attempts and not books.tasks
    world.submit(wide("last", 3))
    world.settle()
    assert len(results(world, "last")) == 3, "every slot is still there"


def test_tasks_given_back_run_elsewhere_while_the_one_at_hand_goes_on() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(wide("j", 40))
    lot = in_a_lot(world)
    world.join("e1")
    world.report("e0", wire.Given(lot.attempt, 1))
    world.kept[lot.attempt] = 1
    stuck = world.running["e0"].pop(lot.attempt)
    world.settle()
    assert len(results(world, "j")) == 39, "all but the one at hand"
    world.running["e0"][lot.attempt] = stuck
    world.settle()
    assert len(results(world, "j")) == 40 and ends(world, "j") == ["finished"]
    assert max(world.computed.values()) == 1, "nothing runs twice"


def test_task_that_fails_in_a_lot_is_the_one_at_hand() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(wide("j", 40, independent=True))
    lot = in_a_lot(world)
    world.report("e0", wire.Parts(lot.attempt, 0, [[b"first"]], 1e-4))
    del world.running["e0"][lot.attempt]
    world.report("e0", wire.Failed(lot.attempt, Failure("no luck")))
    tasks = world.core.books.jobs["j"].stages[0].tasks
    failed = lot.more[0].inputs[0]
    assert [b"a%d" % task.index for task in tasks if task.failures] == [failed]
    world.settle()
    assert ends(world, "j") == ["finished"] and len(results(world, "j")) == 40


def test_urgent_job_is_not_kept_waiting_by_a_lot() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(wide("j", 40))
    lot = in_a_lot(world)
    world.submit(wide("urgent", 1, priority=1))
    assert world.orders["e0"].popleft().attempt == lot.attempt  # type: ignore[union-attr]  # a Suspend
    world.report("e0", wire.Parts(lot.attempt, 0, [[b"first"]], 1e-4))
    del world.running["e0"][lot.attempt]
    world.report("e0", wire.Finished(lot.attempt, []))
    launch = next(o for o in world.orders["e0"] if isinstance(o, wire.Launch))
    assert launch.work.inputs == [b"a0"] and not launch.more, "the urgent one is next"
    world.settle()
    assert ends(world, "urgent") == ["finished"] and ends(world, "j") == ["finished"]
    assert len(results(world, "j")) == 40


def test_cancelled_lot_leaves_nothing() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(wide("j", 40))
    lot = in_a_lot(world)
    world.report("e0", wire.Parts(lot.attempt, 0, [[b"first"], [b"second"]], 1e-4))
    world.core.jobs.cancel("j")
    world.take()
    world.settle()
    world.core.jobs.release("j")
    world.take()
    world.settle()
    assert not world.core.books.attempts and not world.core.books.tasks
    world.submit(wide("k", 1))
    world.settle()
    assert ends(world, "k") == ["finished"]


def test_jobs_of_one_task_each_travel_together() -> None:
    world = World(1, 1, random.Random(0))
    jobs = [f"j{number}" for number in range(40)]
    for job in jobs:
        world.submit(wide(job, 1))
    lot = in_a_lot(world)
    world.settle()
    assert all(ends(world, job) == ["finished"] for job in jobs)
    assert all(values(world, job) == ["(a0)"] for job in jobs)
    assert world.computed["a0"] == 40 and len(lot.more) > 1
    books = world.core.books
    for job in jobs:
        world.core.jobs.release(job)
    world.settle()
    assert not books.attempts and not books.tasks


def test_nothing_is_overtaken_by_jobs_that_travel_together() -> None:
    world = World(1, 1, random.Random(0))
    for number in range(40):
        world.submit(wide(f"j{number}", 1))
    function = wire.Function("b" * 32, b"g")
    world.core.clients.add_function("c", function)
    other = msgspec.structs.replace(stage("b", 1), function=function.digest)
    world.submit(ask.Submit("other", "other", 2, [other], [0], 3))
    for number in range(40, 80):
        world.submit(wide(f"j{number}", 1))
    world.settle()
    ended = [m.job for m in world.to_client if isinstance(m, ask.JobEnded)]
    assert ended.index("other") == 40 and len(ended) == 81


def test_job_cancelled_while_it_is_at_hand_in_anothers_lot_is_ended() -> None:
    world = World(1, 1, random.Random(0))
    for number in range(40):
        world.submit(wide(f"j{number}", 1))
    lot = in_a_lot(world)
    books = world.core.books
    leader, riders = books.attempts[lot.attempt].job.id, books.attempts[lot.attempt].riders
    at_hand, others = riders[0].job.id, [place.job.id for place in riders[1:]]
    world.report("e0", wire.Parts(lot.attempt, 0, [[b"first"]], 1e-4))
    assert ends(world, leader) == ["finished"]
    world.core.jobs.release(leader)
    world.core.jobs.cancel(at_hand)
    world.take()
    assert wire.Cancel(lot.attempt, 0.0) in world.orders["e0"]
    world.settle()
    assert ends(world, at_hand) == ["cancelled"]
    assert all(ends(world, job) == ["finished"] for job in others)


def test_job_cancelled_before_its_turn_in_anothers_lot_is_ended_when_it_comes() -> None:
    world = World(1, 1, random.Random(0))
    for number in range(60):
        world.submit(wide(f"j{number}", 1))
    lot = in_a_lot(world)
    riders = world.core.books.attempts[lot.attempt].riders
    assert len(riders) > 1
    second = riders[1].job.id
    world.core.jobs.cancel(second)
    world.take()
    assert wire.Cancel(lot.attempt, 0.0) not in world.orders["e0"]
    world.report("e0", wire.Parts(lot.attempt, 0, [[b"first"], [b"second"]], 1e-4))
    assert wire.Cancel(lot.attempt, 0.0) in world.orders["e0"]
    world.settle()
    assert ends(world, second) == ["cancelled"]
    assert sum(ends(world, f"j{number}") == ["finished"] for number in range(60)) == 59
