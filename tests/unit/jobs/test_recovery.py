"""The job service dies and is started again: what executors have goes on, and runs once."""

import random

from hypothesis import given
from hypothesis import strategies as st

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from tests.unit.jobs.world import EXPECTED, FUNCTION, World, diamond, ends, results, stage


def obey_all(world: World) -> None:
    for name, orders in world.orders.items():
        while orders:
            world.obey(name, orders.popleft())


def launches(world: World) -> list[str]:
    orders = [order for queue in world.orders.values() for order in queue]
    return [order.task for order in orders if isinstance(order, wire.Launch)]


@given(seed=st.integers(0, 10**6), executors=st.integers(1, 3), cores=st.integers(1, 2))
def test_results_are_right_whatever_dies(seed: int, executors: int, cores: int) -> None:
    rng = random.Random(seed)
    world = World(executors, cores, rng, rng.choice([1, 2, 256]))
    submitted = 0
    for _ in range(200):
        choice = rng.random()
        if choice < 0.05 and submitted < 4:
            submitted += 1
            world.submit(diamond(f"j{submitted}", rng.choice([1, 2])))
        elif choice < 0.09:
            world.restart()
            world.hello()
        elif choice < 0.11:
            world.crash(rng.choice(sorted(world.orders)))
        elif choice < 0.13:
            world.pass_time(rng.choice([0.1, 5.0]))
        else:
            world.step()
    world.settle()
    for number in range(1, submitted + 1):
        done = results(world, f"j{number}")
        assert done
        values = [world.read(one.results[0]) for one in done]
        assert all(value in (None, EXPECTED) for value in values)
        assert set(ends(world, f"j{number}")) == {"finished"}
        world.core.jobs.release(f"j{number}")
    world.take()
    world.settle()
    world.ends_empty()


@given(seed=st.integers(0, 10**6), executors=st.integers(1, 3), cores=st.integers(1, 2))
def test_nothing_runs_twice_that_need_not(seed: int, executors: int, cores: int) -> None:
    rng = random.Random(seed)
    world = World(executors, cores, rng, rng.choice([1, 2, 256]))
    world.seconds = 1.0  # no lots
    world.submit(ask.Submit("low", "low", 2, [stage("a", 6)], [0]))
    high = rng.randint(0, 20)
    for turn in range(60):
        if turn == high:
            world.submit(ask.Submit("high", "high", 1, [stage("b", 3)], [0]))
        if rng.random() < 0.1:
            world.restart()
            world.hello()
            for name in rng.sample(sorted(world.orders), executors):
                world.register(name)
        world.step()
    world.settle()
    assert ends(world, "low")[-1] == ends(world, "high")[-1] == "finished"
    assert set(world.computed.values()) == {1}
    assert len(world.computed) == 9


def suspended() -> World:
    """One slot; a task of the batch is suspended and one waits, the stream's runs."""
    world = World(1, 1, random.Random(0))
    world.submit(ask.Submit("low", "low", 2, [stage("a", 2)], [0]))
    obey_all(world)
    world.submit(ask.Submit("high", "high", 1, [stage("b", 1)], [0]))
    obey_all(world)
    world.park("e0", *world.leaving["e0"])
    obey_all(world)
    assert len(world.running["e0"]) == 2 and len(world.parked["e0"]) == 1
    return world


def shown(world: World) -> dict[str, str]:
    return {name: task.shown for name, (_, task) in world.core.books.tasks.items()}


def test_tasks_are_in_the_states_that_they_were_in() -> None:
    world = suspended()
    before = shown(world)
    assert before == {"low/a/0": "suspended", "low/a/1": "pending", "high/b/0": "running"}
    running = dict(world.running["e0"])
    world.restart()
    world.register("e0")
    obey_all(world)
    assert shown(world) == before | {"low/a/1": ""}
    world.pass_time(5.0)
    assert shown(world) == before
    assert not launches(world) and world.running["e0"] == running
    story = [entry.what for _, entry in world.core.story("low/a/0")]
    assert story[-2].startswith("adopt") and story[-1] == "suspended"
    world.settle()
    assert set(world.computed.values()) == {1} and len(world.computed) == 3


def test_others_tasks_wait_for_executors_to_come_back() -> None:
    world = World(2, 1, random.Random(0))
    world.submit(ask.Submit("j", "j", 2, [stage("a", 2)], [0]))
    obey_all(world)
    world.restart()
    world.register("e0")
    world.pass_time(1.0)
    assert not launches(world)
    # What is new need not wait.
    world.hello()
    finished = next(iter(world.running["e0"]))
    obey_all(world)
    world.finish("e0", finished)
    world.submit(ask.Submit("k", "k", 2, [stage("b", 1)], [0]))
    assert launches(world) == ["k/b/0"]
    world.pass_time(5.0)
    obey_all(world)
    # The other is given up by now: its task waits for the slot here.
    (task,) = [name for name, state in shown(world).items() if state == "pending"]
    world.register("e1")
    assert shown(world)[task] == "running"
    world.settle()
    assert set(world.computed.values()) == {1}


def test_what_comes_back_too_late_is_ended() -> None:
    world = World(2, 1, random.Random(0))
    world.submit(ask.Submit("j", "j", 2, [stage("a", 2)], [0]))
    obey_all(world)
    world.restart()
    world.register("e0")
    obey_all(world)
    (late,), (at_hand,) = world.running["e1"], world.running["e0"]
    world.finish("e0", at_hand)
    world.pass_time(5.0)
    obey_all(world)
    assert len(world.running["e0"]) == 1, "nobody else seems to be at it"
    world.register("e1")
    obey_all(world)
    assert late not in world.running["e1"]
    world.settle()
    assert ends(world, "j") == ["finished"]


def test_tasks_end_when_their_client_does_not_come_back() -> None:
    world = suspended()
    world.restart()
    world.register("e0")
    obey_all(world)
    world.pass_time(2e6)
    obey_all(world)
    assert not any(world.running.values())
    books = world.core.books
    assert not books.jobs and not books.attempts and not world.journal


def test_results_of_an_earlier_job_of_the_same_name_are_not_taken() -> None:
    world = World(1, 1, random.Random(0))
    for payload in (b"first", b"second"):
        spec = ask.StageSpec("a", "records", FUNCTION, 1, [payload])
        world.submit(ask.Submit("j", "j", 2, [spec], [0]))
        if payload == b"first":
            world.settle()
            assert ends(world, "j") == ["finished"]
            world.core.jobs.release("j")
            world.take()
            world.to_client.clear()
    world.orders["e0"].clear()
    assert world.done_there["e0"]
    world.restart()
    world.hello()
    world.settle()
    (done,) = results(world, "j")
    assert world.read(done.results[0]) == "(second)"


def test_results_whose_report_was_lost_with_the_connection_are_told_again() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(ask.Submit("j", "j", 2, [stage("a", 1)], [0]))
    obey_all(world)
    (attempt,) = world.running["e0"]
    order = world.leave("e0", attempt)
    world.done_there["e0"][attempt] = wire.Done(attempt, order.task, [b"result"])
    world.register("e0")
    assert ends(world, "j") == ["finished"]
