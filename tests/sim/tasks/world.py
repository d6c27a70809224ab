"""Executors with slow, repeated and late messages, faults and cancelled jobs, all from one seed."""

import random
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from colchis_master.tasks import events as ev
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler
from tests.sim.tasks.audit import Audit

GIB = 2**30


@dataclass
class Run:
    order: ev.Instruction
    left: float
    since: float = 0.0
    working: bool = False
    turn: int = 0


@dataclass
class Host:
    """One incarnation of an executor; messages each way keep their order."""

    join: ev.ExecutorJoined
    inbox_at: float = 0.0
    outbox_at: float = 0.0


class World:
    """`run` plays everything to its end, audited after every event."""

    def __init__(self, policy: str, seed: int, options: Options | None = None) -> None:
        self.random = random.Random(seed)
        self.options = options or self.some_options()
        self.scheduler = TaskScheduler(policy, self.options, random.Random(seed))
        self.audit = Audit(policy, self.options)
        self.now = 0.0
        self.agenda: list[tuple[float, int, tuple[object, ...]]] = []
        self.ids, self.order = count(), count()
        self.hosts: dict[str, Host] = {}
        self.runs: dict[tuple[int, str, int], Run] = {}
        self.tick_at: float | None = None
        self.stretch = 0.0

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
            wanted = self.scheduler.next_wakeup()
            if self.audit.live and wanted is not None:
                wanted = max(wanted, self.now + 1e-6)
                if self.tick_at is None or wanted < self.tick_at:
                    self.tick_at = wanted
                    self.at(wanted - self.now, "tick", wanted)
        self.audit.check_end()
        assert not self.scheduler.suspended_memory()

    def tell(self, event: ev.Event) -> None:
        self.audit.told(self.now, event)
        orders = self.scheduler.handle(self.now, event)
        self.audit.ordered(self.now, orders)
        if self.options.max_suspended_memory is not None:
            assert self.scheduler.suspended_memory() == self.audit.suspended_memory()
        for order in orders:
            assert order.cause == event.id
            self.send(order)

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
        if join.executor not in self.hosts:
            self.hosts[join.executor] = Host(join)
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
        self.tell(stage)

    def do_cancel(self, job: str) -> None:
        self.tell(ev.JobCancelled(self.id(), job))

    def delay(self) -> float:
        return self.random.choice([0.0, 0.001, 0.05, 0.3])

    def send(self, order: ev.Instruction) -> None:
        host = self.hosts[order.executor]
        host.inbox_at = max(host.inbox_at, self.now + self.delay())
        self.at(host.inbox_at - self.now, "receive", host, order)

    def reply(self, host: Host, event: ev.Event) -> None:
        host.outbox_at = max(host.outbox_at, self.now + self.delay())
        self.at(host.outbox_at - self.now, "arrive", event)
        if self.random.random() < 0.2:
            self.at(host.outbox_at - self.now + self.random.random() * 2, "arrive", event)

    def do_arrive(self, event: ev.Event) -> None:
        self.tell(event)

    def alive(self, host: Host) -> bool:
        return self.hosts.get(host.join.executor) is host

    def do_receive(self, host: Host, order: ev.Instruction) -> None:
        if not self.alive(host):
            return
        key = (id(host), order.task, order.attempt)
        if isinstance(order, ev.Launch):
            self.runs[key] = Run(order, self.random.choice([0.01, 0.5, 2.0, 4.0]))
            self.go_on(host, self.runs[key])
        elif key in self.runs:
            run = self.runs[key]
            if isinstance(order, ev.Resume):
                self.go_on(host, run)
                return
            self.halt(run)
            if isinstance(order, ev.Suspend):
                self.reply(
                    host, ev.Suspended(self.id(), order.task, order.attempt, order.suspension)
                )
            else:
                del self.runs[key]
                self.reply(host, ev.Killed(self.id(), order.task, order.attempt))

    def go_on(self, host: Host, run: Run) -> None:
        run.working, run.since = True, self.now
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
            self.reply(host, ev.Progress(self.id(), run.order.task, run.order.attempt, done))

    def do_end(self, host: Host, run: Run, turn: int) -> None:
        if run.turn != turn or not run.working or not self.alive(host):
            return
        if self.runs.pop((id(host), run.order.task, run.order.attempt), None) is None:
            return
        task, attempt = run.order.task, run.order.attempt
        luck = self.random.random()
        if luck < 0.1 and attempt < 5:
            self.reply(host, ev.TaskFailed(self.id(), task, attempt, retry=True))
        elif luck < 0.12:
            self.reply(host, ev.TaskFailed(self.id(), task, attempt, retry=False))
        else:
            self.reply(host, ev.TaskFinished(self.id(), task, attempt))
