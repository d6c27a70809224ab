"""Tasks that wait when their job is cancelled are forgotten piece by piece; nobody can tell."""

import random
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from colchis_master.tasks import events as ev
from colchis_master.tasks.options import Options
from colchis_master.tasks.policies import POLICIES
from colchis_master.tasks.scheduler import TaskScheduler


def submitted(
    number: str, job: str, priority: int, tasks: int, prefer: str | None = None
) -> ev.Event:
    specs = tuple(ev.TaskSpec(f"{job}/{index}", 0, prefer) for index in range(tasks))
    return ev.StageSubmitted(number, job, "s", priority, specs)


class Twins:
    """One scheduler forgets at once, the other when it is told to: both are to say the same."""

    def __init__(self, policy: str) -> None:
        self.prompt = TaskScheduler(policy, Options(), random.Random(0))
        self.late = TaskScheduler(policy, Options(), random.Random(0))
        self.ids, self.now = count(), 0.0
        self.at_work: dict[str, int] = {}
        self.unanswered: list[ev.Instruction] = []

    def id(self) -> str:
        return f"t{next(self.ids)}"

    def tell(self, event: ev.Event) -> None:
        self.now += 1.0
        orders = self.prompt.handle(self.now, event)
        assert self.late.handle(self.now, event) == orders
        self.prompt.go_on(10**6)
        for order in orders:
            if isinstance(order, ev.Launch):
                assert order.task not in self.at_work
                self.at_work[order.task] = order.attempt
            elif not isinstance(order, ev.Resume):
                self.unanswered.append(order)

    def leave(self, task: str) -> int:
        self.unanswered = [order for order in self.unanswered if order.task != task]
        return self.at_work.pop(task)

    def answer(self, order: ev.Instruction) -> None:
        self.unanswered.remove(order)
        if isinstance(order, ev.Kill):
            self.tell(ev.Killed(self.id(), order.task, self.leave(order.task)))
        elif isinstance(order, ev.Suspend):
            self.tell(ev.Suspended(self.id(), order.task, order.attempt, order.suspension))


@given(seed=st.integers(0, 10**6), policy=st.sampled_from(sorted(POLICIES)))
def test_nobody_can_tell_when_cancelled_tasks_are_forgotten(seed: int, policy: str) -> None:
    rng = random.Random(seed)
    twins = Twins(policy)
    for number in range(2):
        join = ev.ExecutorJoined(twins.id(), f"e{number}", f"n{number}", rng.randint(1, 2), 2**30)
        twins.tell(join)
    for _ in range(60):
        job = f"j{rng.randint(0, 2)}"
        choice = rng.random()
        if choice < 0.3:
            prefer = rng.choice([None, "e0", "n1", "gone"])
            twins.tell(submitted(twins.id(), job, rng.randint(1, 3), rng.randint(1, 6), prefer))
        elif choice < 0.5:
            twins.tell(ev.JobCancelled(twins.id(), job))
        elif choice < 0.65 and twins.unanswered:
            twins.answer(rng.choice(twins.unanswered))
        elif choice < 0.75:
            twins.late.go_on(rng.randint(1, 3))
        elif twins.at_work:
            task = rng.choice(sorted(twins.at_work))
            attempt = twins.leave(task)
            twins.tell(ev.TaskFailed(twins.id(), task, attempt, retry=rng.random() < 0.3))
    for job in ("j0", "j1", "j2"):
        twins.tell(ev.JobCancelled(twins.id(), job))
    while twins.unanswered:
        twins.answer(twins.unanswered[0])
    while twins.late.behind:
        twins.late.go_on(1)
    for core in (twins.prompt, twins.late):
        assert not core.book.jobs
        assert set(core.book.tasks) == set(twins.at_work) == set()


def test_as_many_tasks_as_wanted_are_forgotten_at_once() -> None:
    core = TaskScheduler()
    core.handle(0, submitted("s", "j", 2, 10))
    assert not core.behind
    assert core.handle(1, ev.JobCancelled("c", "j")) == []
    sizes: list[int] = []
    while core.behind:
        core.go_on(4)
        sizes.append(len(core.book.tasks))
    assert sizes == [6, 2, 0]
    (entry,) = [entry for entry in core.story("j/9") if entry.what == "cancelled"]
    assert entry.cause == "c"


def test_name_of_a_task_that_is_to_be_forgotten_is_free() -> None:
    core = TaskScheduler()
    core.handle(0, submitted("s", "j", 2, 3))
    core.handle(1, ev.JobCancelled("c", "j"))
    core.handle(2, submitted("s2", "j", 2, 2))
    core.go_on(10)
    assert not core.behind
    orders = core.handle(3, ev.ExecutorJoined("x", "e", "n", 4))
    assert [order.task for order in orders] == ["j/0", "j/1"]
