"""Executors with slow, repeated and late messages, faults and cancelled jobs, all from one seed.

The scheduler may be lost, too: another one begins with what executors still have as they come back.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Literal

from colchis_master.tasks import events as ev
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler
from tests.sim.tasks.audit import Audit

GIB = 2**30
SETTLE = 3.0
"""Seconds that a new scheduler's tasks wait for executors that may be at them."""


@dataclass(eq=False)
class Run:
    """An attempt in its host, which knows it by a number."""

    number: int
    task: str
    left: float
    since: float = 0.0
    working: bool = False
    turn: int = 0
    state: Literal["running", "suspending", "suspended"] = "running"
    suspension: int | None = None
    """The number of the order to suspend it, as long as that order's sender lives."""


@dataclass(eq=False)
class Host:
    """One incarnation of an executor; messages each way keep their order.

    ``session`` is the scheduler's life in which it has come (back).
    """

    join: ev.ExecutorJoined
    session: int = 0
    inbox_at: float = 0.0
    outbox_at: float = 0.0


class World:
    """`run` plays everything to its end, audited after every event."""

    def __init__(self, policy: str, seed: int, options: Options | None = None) -> None:
        self.random, self.forgetting = random.Random(seed), random.Random(seed)
        self.policy = policy
        self.options = options or self.some_options()
        self.scheduler = TaskScheduler(policy, self.options, random.Random(seed))
        self.audit = Audit(policy, self.options)
        self.now = 0.0
        self.agenda: list[tuple[float, int, tuple[object, ...]]] = []
        self.ids, self.order, self.numbers = count(), count(), count(1)
        self.hosts: dict[str, Host] = {}
        self.runs: dict[tuple[Host, int], Run] = {}
        self.tick_at: float | None = None
        self.session = 0
        self.restarts_while_suspending = 0
        self.attempts: dict[int, tuple[str, int]] = {}
        """Tasks and attempts as the present scheduler calls them, by the hosts' numbers."""
        self.stages: dict[str, ev.StageSubmitted] = {}
        self.recovering: dict[str, ev.TaskSpec] = {}
        """Tasks of an earlier scheduler that the present one does not know yet."""

    def some_options(self) -> Options:
        pick = self.random.choice
        return Options(
            max_suspensions=pick([1, 2, 10]),
            protect=pick([0.5, 5.0]),
            protect_per_wait=pick([None, 0.5]),
            max_suspended_memory=pick([None, 2 * GIB, 8 * GIB]),
            max_wait=pick([3.0, 300.0]),
            restart_after=pick([None, 1.0]),
        )

    def id(self) -> str:
        return f"e{next(self.ids)}"

    def at(self, delay: float, *what: object) -> None:
        heappush(self.agenda, (self.now + delay, next(self.order), what))

    def run(self) -> None:
        self.populate()
        while self.agenda:
            self.now, _, what = heappop(self.agenda)
            getattr(self, f"do_{what[0]}")(*what[1:])
            if self.scheduler.behind and self.forgetting.random() < 0.5:
                self.scheduler.go_on(self.forgetting.randint(1, 3))
            wanted = self.scheduler.next_wakeup()
            if self.audit.live and wanted is not None:
                wanted = max(wanted, self.now + 1e-6)
                if self.tick_at is None or wanted < self.tick_at:
                    self.tick_at = wanted
                    self.at(wanted - self.now, "tick", wanted)
        assert not self.recovering
        self.audit.check_end()
        assert not self.scheduler.suspended_memory()

    def tell(self, event: ev.Event, names: dict[str, int] | None = None) -> set[int]:
        """Tell the scheduler; the hosts' numbers, out of those carried, that it adopts."""
        self.audit.told(self.now, event)
        orders = self.scheduler.handle(self.now, event)
        self.audit.ordered(self.now, orders)
        if self.options.max_suspended_memory is not None:
            assert self.scheduler.suspended_memory() == self.audit.suspended_memory()
        adopted = set()
        for order in orders:
            assert order.cause == event.id
            if isinstance(order, ev.Adopted):
                assert names is not None
                number = names[order.task]
                self.attempts[number] = order.task, order.attempt
                self.recovering.pop(order.task, None)
                adopted.add(number)
        for order in orders:
            if not isinstance(order, ev.Adopted):
                self.send(order)
        return adopted

    def populate(self) -> None:
        rnd = self.random
        names = [f"x{i}" for i in range(rnd.randint(1, 5))]
        for index, name in enumerate(names):
            join = ev.ExecutorJoined(self.id(), name, f"n{index // 2}", rnd.randint(1, 4), 4 * GIB)
            self.at(rnd.choice([0.0, rnd.random()]), "join", join)
            for beat in range(3):
                self.at(beat + rnd.random(), "beat", name)
            if rnd.random() < 0.4:
                lost = 1 + rnd.random() * 8
                self.at(lost, "lose", name)
                self.at(lost + rnd.random() * 3, "join", join)
        for _ in range(rnd.choice([0, 1, 3])):
            self.at(rnd.random() * 8, "restart")
        self.restarts_while_suspending = rnd.choice([0, 3])
        places = [None, None, *names, "n0", "gone"]
        for number in range(rnd.randint(1, 7)):
            job, at = f"j{number}", rnd.random() * 8
            tasks = tuple(
                ev.TaskSpec(
                    f"{job}/{i}",
                    rnd.choice([0, GIB // 2, GIB, 3 * GIB]),
                    rnd.choice(places),
                )
                for i in range(rnd.randint(1, 9))
            )
            priority = rnd.choice([0, 1, 1, 2, 2, 2, 3])
            stage = ev.StageSubmitted(self.id(), job, "s", priority, tasks, rnd.choice([1.0, 2.5]))
            self.at(at, "submit", stage)
            if rnd.random() < 0.2:
                self.at(at + rnd.random() * 4, "cancel", job)

    def do_tick(self, wanted: float) -> None:
        if wanted == self.tick_at:
            self.tick_at = None
            self.tell(ev.Tick(self.id()))

    def do_join(self, join: ev.ExecutorJoined) -> None:
        host = self.hosts.setdefault(join.executor, Host(join, self.session))
        if host.session == self.session:
            self.tell(ev.ExecutorJoined(self.id(), join.executor, join.node, join.cores, 4 * GIB))

    def do_lose(self, name: str) -> None:
        if name in self.hosts:
            del self.hosts[name]
            self.tell(ev.ExecutorLost(self.id(), name))

    def do_beat(self, name: str) -> None:
        rnd = self.random
        values = [rnd.choice([None, 0.0, rnd.random()]) for _ in range(3)]
        self.tell(ev.ExecutorPulse(self.id(), name, *values))

    def do_submit(self, stage: ev.StageSubmitted) -> None:
        self.stages[stage.job] = stage
        self.tell(stage)

    def do_cancel(self, job: str) -> None:
        for task in [task for task in self.recovering if task.startswith(f"{job}/")]:
            del self.recovering[task]
            self.audit.cancelled.add(task)
        self.tell(ev.JobCancelled(self.id(), job))

    def do_restart(self) -> None:
        """A scheduler begins that knows which tasks are not done, and nothing else."""
        self.session += 1
        self.scheduler = TaskScheduler(self.policy, self.options, random.Random(self.session))
        self.attempts.clear()
        self.tick_at = None
        for task in self.audit.restarted():
            stage = self.stages[task.partition("/")[0]]
            self.recovering[task] = next(spec for spec in stage.tasks if spec.task == task)
        for host in self.hosts.values():
            self.at(self.random.choice([0.0, 0.1, 0.5, 5.0]), "return", host, self.session)
        self.at(SETTLE, "settle", self.session)

    def do_settle(self, session: int) -> None:
        if session != self.session:
            return
        for job, stage in self.stages.items():
            tasks = tuple(spec for spec in stage.tasks if self.recovering.pop(spec.task, None))
            if tasks:
                again = ev.StageSubmitted(self.id(), job, "s", stage.priority, tasks, stage.weight)
                self.tell(again)

    def do_return(self, host: Host, session: int) -> None:
        """The executor says what it has; what it said before is not heard any more."""
        if session != self.session or not self.alive(host):
            return
        host.session = session
        has = [(run, run.state) for (there, _), run in self.runs.items() if there is host]
        for run, _ in has:
            run.suspension = None
        self.post(host, "returned", session, has)

    def do_returned(
        self,
        host: Host,
        session: int,
        has: list[tuple[Run, Literal["running", "suspending", "suspended"]]],
    ) -> None:
        if session != self.session or not self.alive(host):
            return
        carried, names = [], {}
        for run, state in has:
            stage = self.stages[run.task.partition("/")[0]]
            if run.task in self.recovering or run.task in self.audit.live:
                spec = next(spec for spec in stage.tasks if spec.task == run.task)
                names[run.task] = run.number
                carried.append(
                    ev.Carried(
                        stage.job,
                        "s",
                        stage.priority,
                        spec,
                        state,
                        spec.memory_bytes,
                        stage.weight,
                    )
                )
        join = host.join
        joined = ev.ExecutorJoined(
            self.id(), join.executor, join.node, join.cores, 4 * GIB, tuple(carried)
        )
        # The welcome comes before any order.
        host.inbox_at = max(host.inbox_at, self.now + self.delay())
        welcome = host.inbox_at
        adopted = self.tell(joined, names)
        self.at(welcome - self.now, "welcome", host, session, [run for run, _ in has], adopted)

    def do_welcome(self, host: Host, session: int, had: list[Run], adopted: set[int]) -> None:
        for run in had:
            if run.number not in adopted:
                self.runs.pop((host, run.number), None)

    def delay(self) -> float:
        return self.random.choice([0.0, 0.001, 0.05, 0.3])

    def send(self, order: ev.Instruction) -> None:
        if isinstance(order, ev.Launch):
            number = next(self.numbers)
            self.attempts[number] = order.task, order.attempt
        else:
            wanted = order.task, order.attempt
            number = next(n for n, named in self.attempts.items() if named == wanted)
        host = self.hosts[order.executor]
        host.inbox_at = max(host.inbox_at, self.now + self.delay())
        self.at(host.inbox_at - self.now, "receive", host, self.session, number, order)

    def post(self, host: Host, *what: object) -> None:
        """Have something arrive from a host, after whatever it sent before."""
        host.outbox_at = max(host.outbox_at, self.now + self.delay())
        self.at(host.outbox_at - self.now, what[0], host, *what[1:])

    def reply(
        self, host: Host, run: Run, say: Callable[[str, str, int], ev.Event], *, twice: bool = True
    ) -> None:
        self.post(host, "arrive", host.session, run.number, say)
        if twice and self.random.random() < 0.2:
            late = host.outbox_at - self.now + self.random.random() * 2
            self.at(late, "arrive", host, host.session, run.number, say)

    def do_arrive(
        self, host: Host, session: int, number: int, say: Callable[[str, str, int], ev.Event]
    ) -> None:
        if session == self.session and number in self.attempts:
            self.tell(say(self.id(), *self.attempts[number]))

    def alive(self, host: Host) -> bool:
        return self.hosts.get(host.join.executor) is host

    def do_receive(self, host: Host, session: int, number: int, order: ev.Instruction) -> None:
        if not self.alive(host):
            return
        if session != self.session and (host.session != session or self.random.random() < 0.5):
            return  # lost with its sender
        key = (host, number)
        if isinstance(order, ev.Launch):
            self.runs[key] = Run(number, order.task, self.random.choice([0.01, 0.5, 2.0, 4.0]))
            self.go_on(host, self.runs[key])
        elif key in self.runs:
            run = self.runs[key]
            if isinstance(order, ev.Resume):
                self.go_on(host, run)
            elif isinstance(order, ev.Suspend):
                run.state, run.suspension = "suspending", order.suspension
                self.at(self.random.choice([0.0, 0.2, 3.0]), "yield", host, run, run.turn)
                if self.restarts_while_suspending and self.random.random() < 0.5:
                    self.restarts_while_suspending -= 1
                    self.at(self.random.random() / 2, "restart")
            else:
                self.halt(run)
                del self.runs[key]
                self.reply(host, run, ev.Killed)

    def do_yield(self, host: Host, run: Run, turn: int) -> None:
        if run.turn != turn or (host, run.number) not in self.runs or not self.alive(host):
            return
        self.halt(run)
        run.state = "suspended"
        suspension = run.suspension
        self.reply(
            host,
            run,
            lambda event, task, attempt: ev.Suspended(event, task, attempt, suspension),
            twice=suspension is not None,
        )

    def go_on(self, host: Host, run: Run) -> None:
        run.working, run.since, run.state = True, self.now, "running"
        run.turn += 1
        self.at(run.left, "end", host, run, run.turn)
        self.at(run.left * self.random.random(), "progress", host, run, run.turn)

    def halt(self, run: Run) -> None:
        if run.working:
            run.working = False
            run.left -= self.now - run.since

    def do_progress(self, host: Host, run: Run, turn: int) -> None:
        if run.turn == turn and run.working and self.alive(host):
            done = self.random.random()
            self.reply(
                host, run, lambda event, task, attempt: ev.Progress(event, task, attempt, done)
            )

    def do_end(self, host: Host, run: Run, turn: int) -> None:
        if run.turn != turn or not run.working or not self.alive(host):
            return
        if self.runs.pop((host, run.number), None) is None:
            return
        luck = self.random.random()
        if luck < 0.1 and run.number % 3:
            self.reply(
                host, run, lambda event, task, attempt: ev.TaskFailed(event, task, attempt, True)
            )
        elif luck < 0.12:
            self.reply(
                host, run, lambda event, task, attempt: ev.TaskFailed(event, task, attempt, False)
            )
        else:
            self.reply(host, run, ev.TaskFinished)
