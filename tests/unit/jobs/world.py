"""Executors that fail, lose things and come back, for tests of the job core."""

import random
from collections import Counter, deque
from typing import Literal

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT, Failure, Input, Stored, Work
from colchis_master.jobs.books import Keep, ToClient, ToExecutor
from colchis_master.jobs.core import JobCore
from colchis_master.jobs.graph import PIECE
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler

FUNCTION = "0" * 32
BIG = 10**6


class World:
    """Executors that work through their orders in any order; results name what they came of."""

    def __init__(self, executors: int, cores: int, rng: random.Random, piece: int = PIECE) -> None:
        self.epoch = 0
        self.piece = piece
        self.journal: dict[str, Keep] = {}
        self.serve()
        self.rng = rng
        self.now = 0.0
        self.lives: Counter[str] = Counter()
        self.running: dict[str, dict[int, wire.Launch]] = {}
        self.parked: dict[str, set[int]] = {}
        self.leaving: dict[str, set[int]] = {}
        self.done_there: dict[str, dict[int, wire.Done]] = {}
        self.welcomed: dict[str, int] = {}
        self.stored: dict[str, dict[str, str]] = {}
        self.orders: dict[str, deque[wire.ToExecutor]] = {}
        self.to_client: list[ask.ToClient] = []
        self.attempts: list[int] = []
        self.done: Counter[int] = Counter()
        self.kept: dict[int, int] = {}
        self.computed: Counter[str] = Counter()
        self.failing = 0.0
        self.seconds = 1e-4
        self.lots = 0
        self.cores = cores
        for number in range(executors):
            self.join(f"e{number}")
        self.hello()

    def serve(self) -> None:
        self.epoch += 1
        scheduler = TaskScheduler("lma", Options(), random.Random(0))
        self.core = JobCore(
            scheduler, epoch=self.epoch, patience=1e9, client_patience=1e6, piece=self.piece
        )

    def hello(self) -> None:
        self.core.clients.hello(ask.Hello("c", jobs=list(self.journal)), self.now)
        self.core.clients.add_function("c", wire.Function(FUNCTION, b"f"))
        self.take()

    def restart(self) -> None:
        """The service dies and is started again; nobody has come back to it yet.

        Orders on their way come to their executors or do not, reports on theirs are lost.
        """
        for name, orders in self.orders.items():
            if self.rng.random() < 0.5:
                self.unheard(name, orders)
            orders.clear()
        self.serve()
        functions = self.core.books.functions
        functions.add(FUNCTION, b"f", "journal")
        for kept in self.journal.values():
            self.core.recover(kept.client, kept.spec, kept.born, self.now)
        functions.drop(FUNCTION, "journal")
        self.take()

    def unheard(self, name: str, orders: deque[wire.ToExecutor]) -> None:
        core, self.core = (
            self.core,
            JobCore(TaskScheduler("lma", Options(), random.Random(0)), epoch=0),
        )
        while orders:
            self.obey(name, orders.popleft())
        self.core = core

    def join(self, name: str) -> None:
        self.lives[name] += 1
        self.running[name], self.stored[name], self.parked[name] = {}, {}, set()
        self.leaving[name], self.done_there[name] = set(), {}
        self.orders[name] = deque()
        self.register(name)

    def register(self, name: str) -> None:
        def state(attempt: int) -> Literal["running", "suspending", "suspended"]:
            if attempt in self.parked[name]:
                return "suspended"
            return "suspending" if attempt in self.leaving[name] else "running"

        life = f"{name}-{self.lives[name]}"
        register = wire.Register(
            name,
            life,
            name,
            self.cores,
            2**30,
            f"ipc://{life}",
            attempts=list(self.running[name]),
            carried=[
                wire.Carried(attempt, order.task, state(attempt))
                for attempt, order in self.running[name].items()
                if order.task
            ],
            done=list(self.done_there[name].values()),
        )
        self.core.register(register, self.now)
        self.take()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)
        self.take()

    def take(self) -> None:
        self.now += 0.001
        for output in self.core.take(self.now):
            if isinstance(output, ToExecutor):
                if output.executor in self.orders:
                    self.orders[output.executor].append(output.message)
            elif isinstance(output, ToClient):
                self.to_client.append(output.message)
            elif isinstance(output, Keep):
                self.journal[output.spec.job] = output
            else:
                del self.journal[output.job]

    def submit(self, job: ask.Submit) -> None:
        self.core.jobs.submit("c", job, self.now)
        self.take()

    def report(self, name: str, message: wire.FromExecutor) -> None:
        if name in self.core.books.executors:
            self.core.executors.report(name, message, self.now)
        self.take()

    def crash(self, name: str) -> None:
        """An executor is found to be gone, or not before the next one of its name is there."""
        if self.rng.random() < 0.5:
            self.core.executors.lost(name)
            self.take()
        self.join(name)

    def address(self, name: str) -> str:
        return f"ipc://{name}-{self.lives[name]}"

    def step(self) -> bool:
        """One thing happens somewhere; False when nothing can."""
        choices = [(name, "order") for name, orders in self.orders.items() if orders]
        choices += [(name, "come back") for name in self.orders.keys() - self.core.books.executors]
        choices += [(name, "yield") for name, leaving in self.leaving.items() if leaving]
        choices.sort()
        choices += [(name, "end") for name, running in self.running.items() if running]
        if self.core.behind:
            choices.append(("", "go on"))
        if not choices:
            return False
        name, what = self.rng.choice(choices)
        if what == "go on":
            self.core.go_on()
            self.take()
        elif what == "order":
            self.obey(name, self.orders[name].popleft())
        elif what == "come back":
            self.register(name)
        elif what == "yield":
            self.park(name, self.rng.choice(sorted(self.leaving[name])))
        else:
            free = [a for a in self.running[name] if a not in self.parked[name]]
            if free:
                self.finish(name, self.rng.choice(free))
        return True

    def park(self, name: str, attempt: int) -> None:
        self.leaving[name].discard(attempt)
        self.parked[name].add(attempt)
        self.report(name, wire.Suspended(attempt, "cooperative", 10))

    def obey(self, name: str, order: wire.ToExecutor) -> None:
        if isinstance(order, wire.Launch):
            assert order.attempt not in self.attempts, "attempts never share a number"
            self.attempts.append(order.attempt)
            self.lots += bool(order.more)
            if order.task:
                assert order.task not in self.at_work(), "nothing runs twice at a time"
            self.running[name][order.attempt] = order
            busy = len(self.running[name]) - len(self.parked[name])
            assert busy <= self.cores, "a slot is given out once"
        elif isinstance(order, wire.Cancel) and order.attempt in self.running[name]:
            self.leave(name, order.attempt)
            self.report(name, wire.Cancelled(order.attempt))
        elif isinstance(order, wire.Suspend) and order.attempt in self.running[name]:
            self.leaving[name].add(order.attempt)
        elif isinstance(order, wire.Resume):
            self.parked[name].discard(order.attempt)
        elif isinstance(order, wire.Settled):
            for attempt in order.attempts:
                self.done_there[name].pop(attempt, None)
        elif isinstance(order, wire.Welcome):
            self.welcome(name, order)
        elif isinstance(order, wire.DropResults):
            for key in order.keys:
                self.stored[name].pop(key, None)

    def welcome(self, name: str, order: wire.Welcome) -> None:
        if self.welcomed.get(name) == order.epoch:
            return
        self.welcomed[name] = order.epoch

        def dropped(attempt: int) -> bool:
            return attempt >> EPOCH_SHIFT != order.epoch and attempt not in order.kept

        for attempt in [one for one in self.running[name] if dropped(one)]:
            self.leave(name, attempt)
            self.report(name, wire.Cancelled(attempt))
        for attempt in [one for one in self.done_there[name] if dropped(one)]:
            del self.done_there[name][attempt]
        for key in [one for one in self.stored[name] if dropped(int(one.partition(".")[0]))]:
            del self.stored[name][key]

    def leave(self, name: str, attempt: int) -> wire.Launch:
        self.parked[name].discard(attempt)
        self.leaving[name].discard(attempt)
        return self.running[name].pop(attempt)

    def at_work(self) -> set[str]:
        """Tasks that executors are at which have been heard in this life of the service."""
        return {
            order.task
            for name, running in self.running.items()
            if self.welcomed.get(name) == self.epoch
            for order in running.values()
        }

    def read(self, item: Input) -> str | None:
        if isinstance(item, bytes):
            return item.decode()
        for name, kept in self.stored.items():
            if self.address(name) == item.address:
                return kept.get(item.key)
        return None

    def finish(self, name: str, attempt: int) -> None:
        """An attempt goes a step further: most have one, lots have many."""
        order = self.running[name][attempt]
        works = [order.work, *order.more]
        kept = self.kept.get(attempt, len(works))
        done = self.done[attempt]
        if kept - done > 1 or (done == kept and kept < len(works)):
            choice = self.rng.random()
            if choice < 0.1 and done < kept - 1:
                self.kept[attempt] = done + 1
                self.report(name, wire.Given(attempt, done + 1))
                return
            if (choice < 0.2 and done) or done == kept:
                self.leave(name, attempt)
                self.report(name, wire.Finished(attempt, []))
                return
            last = len(works) if kept == len(works) else kept + 1
            parts: list[list[Input]] = []
            for index in range(done, self.rng.randint(done + 1, last - 1)):
                results = self.compute(name, attempt + index, works[index])
                if isinstance(results, Stored):
                    break
                parts.append(results)
            self.done[attempt] += len(parts)
            self.report(name, wire.Parts(attempt, done, parts, 1e-4))
            return
        self.leave(name, attempt)
        if self.rng.random() < self.failing:
            self.report(name, wire.Failed(attempt, Failure("no luck")))
            return
        results = self.compute(name, attempt + done, works[done])
        if isinstance(results, Stored):
            self.report(name, wire.InputLost(attempt, results.key))
        elif kept < len(works):
            self.report(name, wire.Parts(attempt, done, [results], 1e-4))
            self.report(name, wire.Finished(attempt, []))
        else:
            if order.task:
                self.done_there[name][attempt] = wire.Done(attempt, order.task, results)
            self.report(name, wire.Finished(attempt, results, self.seconds))

    def compute(self, name: str, number: int, work: Work) -> list[Input] | Stored:
        """The results of a task, or the input that is lost."""
        values = []
        for item in work.inputs:
            value = self.read(item)
            if value is None:
                assert isinstance(item, Stored)
                return item
            values.append(value)
        self.computed[",".join(values)] += 1
        results: list[Input] = []
        for bucket in range(work.buckets or 1):
            value = f"({','.join(values)})" + (f"[{bucket}]" if work.buckets else "")
            if self.rng.random() < 0.5:
                key = f"{number}.{bucket}"
                self.stored[name][key] = value
                results.append(Stored(key, BIG, self.address(name)))
            else:
                results.append(value.encode())
        return results

    def settle(self) -> None:
        for _ in range(20_000):
            if not self.step():
                if not any(job.settling for job in self.core.books.jobs.values()):
                    return
                self.pass_time(5.0)
        raise AssertionError("it never ends")

    def ends_empty(self) -> None:
        """Nothing of any job is left a moment later, here or on the executors."""
        self.pass_time(1.0)
        self.settle()
        books = self.core.books
        assert not books.jobs and not books.tasks and not books.attempts
        assert not any(self.running.values())
        assert not any(self.stored.values())
        assert not any(self.done_there.values())


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
