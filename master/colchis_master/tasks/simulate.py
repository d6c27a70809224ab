"""The real task scheduler under a virtual clock."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

from colchis_master.tasks import events as ev
from colchis_master.tasks.scenario import JobSpec, Scenario, read_scenario
from colchis_master.tasks.scheduler import TaskScheduler

__all__ = ["SimulationResult", "read_scenario", "simulate"]

PROGRESS_AFTER = 1.0
"""Seconds in a slot after which an executor first reports a task's progress."""

_END, _ACK, _FAULT, _BEAT, _ARRIVE, _PROGRESS, _TICK = range(7)
"""What happens first among things that happen at the same time."""


@dataclass(slots=True)
class _Run:
    """An attempt on an executor, as the executor sees it."""

    task: str
    attempt: int
    executor: str
    left: float
    total: float
    since: float = 0.0
    working: bool = True
    turn: int = 0


@dataclass(slots=True)
class _JobState:
    spec: JobSpec
    left: dict[str, set[str]]
    submitted: set[str] = field(default_factory=set)
    finished: float | None = None
    suspensions: int = 0
    kills: int = 0


@dataclass(frozen=True)
class SimulationResult:
    """What happened; all parts are ready for JSON."""

    events: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    totals: dict[str, Any]

    def to_contract(self) -> dict[str, Any]:
        """The document that `colchis simulate -o json` prints."""
        return {"events": self.events, "jobs": self.jobs, "totals": self.totals}


def simulate(scenario: Scenario, policy: str | None = None, seed: int = 0) -> SimulationResult:
    """Run a scenario to its end.

    ``policy`` instead of the scenario's; InputError is raised for one that is not known. ``seed``
    is that of the policy's random choices. Jobs that cannot finish have ``finished: null``.
    """
    return _World(scenario, policy or scenario.policy, seed).run()


class _World:
    """Executors, jobs and time."""

    def __init__(self, scenario: Scenario, policy: str, seed: int) -> None:
        self.scenario = scenario
        self.scheduler = TaskScheduler(policy, scenario.options, random.Random(seed))
        self.specs = {executor.name: executor for executor in scenario.executors}
        self.alive: set[str] = set()
        self.runs: dict[str, _Run] = {}
        self.lost: dict[str, _Run] = {}
        self.durations: dict[str, float] = {}
        self.job_of: dict[str, tuple[str, str]] = {}
        self.jobs = {
            job.name: _JobState(job, {stage.name: set() for stage in job.stages})
            for job in scenario.jobs
        }
        self.now = 0.0
        self.busy = 0.0
        self.makespan = 0.0
        self.log: list[dict[str, Any]] = []
        self.ids = count(1)
        self.order = count()
        self.agenda: list[tuple[float, int, int, Any]] = []
        self.tick_at: float | None = None

    def run(self) -> SimulationResult:
        for executor in self.scenario.executors:
            self.join(executor.name)
        for job in self.scenario.jobs:
            self.at(job.at, _ARRIVE, job.name)
        for beat in self.scenario.heartbeats:
            self.at(beat.at, _BEAT, beat)
        for fault in self.scenario.faults:
            self.at(fault.at, _FAULT, fault)
        while self.agenda:
            self.now, kind, _, what = heappop(self.agenda)
            self.step(kind, what)
            self.plan_tick()
        return self.result()

    def at(self, when: float, kind: int, what: Any) -> None:
        heappush(self.agenda, (when, kind, next(self.order), what))

    def plan_tick(self) -> None:
        """Ticks are for live tasks only; without any nothing is left to decide."""
        wanted = self.scheduler.next_wakeup()
        if wanted is None or not self.job_of:
            return
        wanted = max(wanted, self.now)
        if self.tick_at is None or wanted < self.tick_at:
            self.tick_at = wanted
            self.at(wanted, _TICK, wanted)

    def step(self, kind: int, what: Any) -> None:
        match kind:
            case _ if kind == _END:
                self.end(*what)
            case _ if kind == _ACK:
                self.acknowledge(*what)
            case _ if kind == _FAULT:
                if what.event == "lost":
                    self.lose(what.executor)
                else:
                    self.join(what.executor)
            case _ if kind == _BEAT:
                if what.executor in self.alive:
                    pulse = (what.executor, what.spilled, what.memory, what.gc)
                    self.tell(ev.ExecutorPulse(self.id(), *pulse))
            case _ if kind == _ARRIVE:
                for stage in self.ready(self.jobs[what]):
                    self.tell(stage)
            case _ if kind == _PROGRESS:
                self.progress(*what)
            case _ if kind == _TICK and what == self.tick_at:
                self.tick_at = None
                self.tell(ev.Tick(self.id()))

    def id(self) -> str:
        return f"event-{next(self.ids)}"

    def tell(self, event: ev.Event, then: Sequence[ev.StageSubmitted] = ()) -> None:
        self.carry_out(self.scheduler.handle(self.now, event, then))

    def join(self, name: str) -> None:
        if name not in self.alive:
            self.alive.add(name)
            spec = self.specs[name]
            self.tell(ev.ExecutorJoined(self.id(), name, spec.node, spec.cores, spec.memory))

    def lose(self, name: str) -> None:
        if name not in self.alive:
            return
        self.alive.discard(name)
        gone = [run for run in self.runs.values() if run.executor == name]
        for run in gone:
            self.stop(run)
            del self.runs[run.task]
            self.note("lost", run.task, name, run.attempt, "its executor was lost")
        if not gone:
            self.note("lost", None, name, None, "an executor without tasks")
        self.tell(ev.ExecutorLost(self.id(), name))

    def go_on(self, run: _Run) -> None:
        run.working = True
        run.since = self.now
        run.turn += 1
        self.at(self.now + run.left, _END, (run.task, run.attempt, run.turn))
        if run.left > PROGRESS_AFTER:
            self.at(self.now + PROGRESS_AFTER, _PROGRESS, (run.task, run.attempt, run.turn))

    def stop(self, run: _Run) -> None:
        if run.working:
            run.working = False
            run.turn += 1
            worked = self.now - run.since
            run.left -= worked
            self.busy += worked

    def find(self, task: str, attempt: int, turn: int) -> _Run | None:
        run = self.runs.get(task)
        return run if run and (run.attempt, run.turn) == (attempt, turn) else None

    def end(self, task: str, attempt: int, turn: int) -> None:
        run = self.find(task, attempt, turn)
        if run is None:
            return
        self.stop(run)
        del self.runs[task]
        self.makespan = self.now
        self.note("finish", task, run.executor, attempt, "")
        job, stage = self.job_of.pop(task)
        state = self.jobs[job]
        state.left[stage].discard(task)
        ready = [] if state.left[stage] else self.ready(state)
        self.tell(ev.TaskFinished(self.id(), task, attempt), ready)

    def progress(self, task: str, attempt: int, turn: int) -> None:
        run = self.find(task, attempt, turn)
        if run is not None:
            done = (run.total - run.left + self.now - run.since) / run.total
            self.tell(ev.Progress(self.id(), task, attempt, min(1.0, done)))

    def acknowledge(self, order: ev.Suspend | ev.Kill, turn: int) -> None:
        run = self.find(order.task, order.attempt, turn)
        if run is None:
            return
        self.stop(run)
        if isinstance(order, ev.Suspend):
            self.note("suspended", run.task, run.executor, run.attempt, order.reason)
            self.tell(ev.Suspended(self.id(), run.task, run.attempt, order.suspension))
        else:
            del self.runs[run.task]
            self.tell(ev.Killed(self.id(), run.task, run.attempt))

    def ready(self, state: _JobState) -> list[ev.StageSubmitted]:
        """The stages of a job that may start now; notes the end of a job that has none left."""
        job = state.spec
        found = []
        for stage in job.stages:
            done = (o in state.submitted and not state.left[o] for o in stage.after)
            if stage.name in state.submitted or not all(done):
                continue
            state.submitted.add(stage.name)
            prefer = stage.prefer or (None,) * len(stage.durations)
            specs = []
            for index, duration in enumerate(stage.durations):
                task = f"{job.name}/{stage.name}/{index}"
                self.durations[task] = duration
                self.job_of[task] = (job.name, stage.name)
                state.left[stage.name].add(task)
                specs.append(ev.TaskSpec(task, stage.memory, prefer[index]))
            found.append(
                ev.StageSubmitted(
                    self.id(), job.name, stage.name, job.priority, tuple(specs), job.weight
                )
            )
        if len(state.submitted) == len(job.stages) and not any(state.left.values()):
            state.finished = self.now
        return found

    def carry_out(self, orders: Iterable[ev.Instruction]) -> None:
        latency = self.scenario.suspend_latency
        for order in orders:
            job = self.jobs[self.job_of[order.task][0]]
            what = type(order).__name__.lower()
            self.note(what, order.task, order.executor, order.attempt, order.reason)
            if isinstance(order, ev.Launch):
                duration = self.durations[order.task]
                run = _Run(order.task, order.attempt, order.executor, duration, duration)
                self.runs[order.task] = run
                self.go_on(run)
                continue
            run = self.runs[order.task]
            if isinstance(order, ev.Resume):
                self.go_on(run)
                continue
            if isinstance(order, ev.Suspend):
                job.suspensions += 1
            else:
                job.kills += 1
            self.at(self.now + latency, _ACK, (order, run.turn))

    def note(
        self, event: str, task: str | None, executor: str, attempt: int | None, reason: str
    ) -> None:
        self.log.append(
            {
                "t": _rounded(self.now),
                "event": event,
                "task": task,
                "executor": executor,
                "attempt": attempt,
                "reason": reason,
            }
        )

    def result(self) -> SimulationResult:
        jobs = [
            {
                "job": state.spec.name,
                "submitted": state.spec.at,
                "finished": _rounded(state.finished),
                "latency": _rounded(
                    None if state.finished is None else state.finished - state.spec.at
                ),
                "tasks": sum(len(stage.durations) for stage in state.spec.stages),
                "suspensions": state.suspensions,
                "kills": state.kills,
            }
            for state in self.jobs.values()
        ]
        totals = {
            "suspensions": sum(state.suspensions for state in self.jobs.values()),
            "kills": sum(state.kills for state in self.jobs.values()),
            "makespan": _rounded(self.makespan),
            "busy_core_seconds": _rounded(self.busy),
        }
        return SimulationResult(self.log, jobs, totals)


def _rounded(seconds: float | None) -> float | None:
    """Without the noise that sums of floating point numbers leave."""
    return None if seconds is None else round(seconds, 9)
