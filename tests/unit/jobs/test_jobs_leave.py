"""Jobs that are cancelled or released leave piece by piece, and nobody can tell."""

import random

from hypothesis import given
from hypothesis import strategies as st

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis_master.jobs.books import Forget, Output, ToClient, ToExecutor
from colchis_master.jobs.graph import PIECE
from colchis_master.jobs.status import status
from tests.unit.jobs.world import FUNCTION, World, ends, results


def job(name: str, life: int, tasks: int) -> ask.Submit:
    """Two stages, the second of which says in which life of the name it was made."""
    payloads = [f"{name}.{life}.{index}".encode() for index in range(tasks)]
    first = ask.StageSpec("a", "records", FUNCTION, tasks, payloads)
    second = ask.StageSpec("b", "records", FUNCTION, tasks, after=[ask.After(0, "each")])
    return ask.Submit(name, name, 2, [first, second], [1])


class Watched(World):
    """Judges by what is sent: nothing of a job that is over, and no more at once than a piece."""

    def __init__(self, piece: int, rng: random.Random, *, lots: bool) -> None:
        self.over: set[str] = set()
        super().__init__(2, 2, rng, piece)
        if not lots:
            self.seconds = 1.0  # so that every order names its task

    def judge(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, ToExecutor) and isinstance(output.message, wire.Launch):
                assert output.message.task.partition("/")[0] not in self.over
            elif isinstance(output, ToClient) and isinstance(output.message, ask.TaskDone):
                assert output.message.job not in self.over

    def take(self) -> None:
        core, take = self.core, self.core.take

        def judged(now: float) -> list[Output]:
            outputs = take(now)
            self.judge(outputs)
            return outputs

        core.take = judged  # type: ignore[method-assign]
        super().take()
        core.take = take  # type: ignore[method-assign]

    def step(self) -> bool:
        before = set(self.core.books.tasks)
        moved = super().step()
        assert len(before - set(self.core.books.tasks)) <= self.piece
        return moved

    def release(self, name: str, *, running: bool) -> None:
        ended = len(ends(self, name))
        self.core.jobs.release(name)
        self.over.add(name)
        self.take()
        # All that anybody can see of it comes in the turn in which it is released.
        assert name not in self.journal
        assert ends(self, name)[ended:] == (["cancelled"] if running else [])
        assert not status(self.core, ask.Query(1, name), self.now).jobs
        self.core.clients.hello(ask.Hello("c", jobs=[name]), self.now)
        self.take()
        greeting = self.to_client[-1]
        assert isinstance(greeting, ask.Greeting) and greeting.unknown == [name]


@given(seed=st.integers(0, 10**6), piece=st.sampled_from([1, 3, PIECE]), lots=st.booleans())
def test_nobody_can_tell_that_jobs_leave_in_pieces(seed: int, piece: int, lots: bool) -> None:
    rng = random.Random(seed)
    world = Watched(piece, rng, lots=lots)
    lives = dict.fromkeys(("j", "k", "l"), 0)
    sizes: dict[str, int] = {}
    for _ in range(120):
        name = rng.choice(sorted(lives))
        there = world.core.books.jobs.get(name)
        choice = rng.random()
        if choice < 0.1 and there is None:
            lives[name] += 1
            sizes[name] = rng.randint(1, 24 if lots else 12)
            world.over.discard(name)
            world.to_client = [m for m in world.to_client if getattr(m, "job", "") != name]
            world.submit(job(name, lives[name], sizes[name]))
            assert ask.Accepted(name) in world.to_client
        elif choice < 0.14 and there is not None and not there.over:
            world.core.jobs.cancel(name)
            world.over.add(name)
            world.take()
            assert ends(world, name) == ["cancelled"]
        elif choice < 0.2 and there is not None:
            world.release(name, running=not there.over)
        elif choice < 0.22:
            world.crash(rng.choice(sorted(world.orders)))
        else:
            world.step()
    world.settle()
    for name, there in list(world.core.books.jobs.items()):
        assert there.over
        if there.state == "finished":
            found = {done.index: world.read(done.results[0]) for done in results(world, name)}
            right = {i: f"(({name}.{lives[name]}.{i}))" for i in range(sizes[name])}
            assert found.keys() == right.keys()
            assert all(found[index] in (None, right[index]) for index in right)
        world.release(name, running=False)
    world.settle()
    assert not world.core.behind
    world.ends_empty()


def test_results_are_dropped_however_many_there_are() -> None:
    world = World(1, 1, random.Random(0), piece=2)
    world.submit(job("j", 1, 5))
    world.settle()
    assert world.stored["e0"]
    world.core.jobs.release("j")
    (forget,) = world.core.take(world.now)
    assert forget == Forget("j")
    del world.journal["j"]
    sizes = []
    while world.core.behind:
        before = len(world.core.books.tasks)
        world.core.go_on()
        world.take()
        sizes.append(before - len(world.core.books.tasks))
    assert [size for size in sizes if size] == [2, 2, 2, 2, 2]
    world.settle()
    assert not world.stored["e0"]


def test_urgent_job_need_not_wait_until_a_large_one_has_left() -> None:
    world = World(1, 1, random.Random(0))
    many = ask.StageSpec("a", "records", FUNCTION, 5000, [b"x"] * 5000)
    world.submit(ask.Submit("many", "many", 2, [many], [0]))
    while world.core.behind:
        world.core.go_on()
        world.take()
    world.core.jobs.release("many")
    world.take()
    world.core.go_on()
    world.take()
    assert world.core.behind
    world.submit(
        ask.Submit("urgent", "urgent", 1, [ask.StageSpec("a", "records", FUNCTION, 1, [b"y"])], [0])
    )
    while world.orders["e0"]:
        world.obey("e0", world.orders["e0"].popleft())
    (attempt,) = world.running["e0"]
    assert world.running["e0"][attempt].task == "urgent/a/0"
    assert world.core.behind


def test_nothing_of_a_released_job_begins_in_a_slot_that_came_free_in_the_same_turn() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(job("j", 1, 2))
    while world.orders["e0"]:
        world.obey("e0", world.orders["e0"].popleft())
    (attempt,) = world.running["e0"]
    world.core.executors.report("e0", wire.Finished(attempt, [b"done"], 1.0), world.now)
    world.core.clients.left("c")
    outputs = world.core.take(world.now)
    sent = [output.message for output in outputs if isinstance(output, ToExecutor)]
    assert not any(isinstance(message, wire.Launch) for message in sent)


def working(world: World) -> list[str]:
    """The tasks that executors are at, once they have obeyed."""
    for name, orders in world.orders.items():
        while orders:
            world.obey(name, orders.popleft())
    return sorted(order.task for running in world.running.values() for order in running.values())


def test_name_is_used_again_when_nothing_is_left_of_the_one_before() -> None:
    world = World(2, 1, random.Random(0))
    world.submit(job("j", 1, 1))
    assert working(world) == ["j/a/0"]
    world.core.jobs.release("j")
    world.take()
    world.submit(job("j", 2, 1))
    (killing,) = [name for name, orders in world.orders.items() if orders]
    assert [type(order) for order in world.orders[killing]] == [wire.Cancel]
    assert working(world) == ["j/a/0"], "in place of the one that was killed"
    world.settle()
    assert ends(world, "j") == ["cancelled", "finished"]
    (done,) = results(world, "j")
    assert world.read(done.results[0]) == "((j.2.0))"


def test_name_is_used_again_in_the_turn_in_which_it_is_free() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(job("j", 1, 2))
    assert working(world) == ["j/a/0"]
    (attempt,) = world.running["e0"]
    world.leave("e0", attempt)
    world.core.executors.report("e0", wire.Finished(attempt, [b"done"], 1.0), world.now)
    world.core.jobs.release("j")
    world.core.jobs.submit("c", job("j", 2, 2), world.now)
    world.take()
    world.settle()
    assert ends(world, "j") == ["cancelled", "finished"]
    assert [world.read(one.results[0]) for one in results(world, "j")] == ["((j.2.0))", "((j.2.1))"]


def test_job_that_waits_for_its_name_can_be_cancelled() -> None:
    world = World(1, 1, random.Random(0))
    world.submit(job("j", 1, 1))
    assert working(world) == ["j/a/0"]
    world.core.jobs.release("j")
    world.submit(job("j", 2, 1))
    world.core.jobs.cancel("j")
    world.take()
    assert working(world) == []
    world.core.jobs.release("j")
    world.settle()
    assert ends(world, "j") == ["cancelled", "cancelled"]
    world.ends_empty()
