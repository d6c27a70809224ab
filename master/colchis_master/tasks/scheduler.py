"""The task scheduler: events in, instructions out.

After every event three things hold, and each handler only restores them where it disturbed them:

1. no slot is free while a task waits that may use it (:meth:`TaskScheduler._fill`, `_place`);
2. no task waits while one less urgent may be displaced for it and none is being (`_displace`);
3. the laws of suspension: a slot is free only once the executor has acknowledged; suspended memory
   is charged to the node and bounded; whoever was displaced often runs protected for a while.
"""

import math
import random
from collections.abc import Callable, Container, Iterable, Sequence

from colchis.errors import InputError
from colchis_master.tasks import events as ev
from colchis_master.tasks.book import Book
from colchis_master.tasks.displacement import Displacement, Restarts
from colchis_master.tasks.lifecycle import Step, TaskState, after
from colchis_master.tasks.options import Options
from colchis_master.tasks.policies import DEFAULT, make_policy
from colchis_master.tasks.records import Executor, Stage, Task
from colchis_master.tasks.story import Entry, Story


class TaskScheduler:
    """Takes events, returns instructions; no clock, no randomness, no I/O of its own.

    ``policy`` is one of the names in :data:`colchis_master.tasks.policies.POLICIES`; InputError is
    raised for any other.
    """

    def __init__(
        self,
        policy: str = DEFAULT,
        options: Options | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.options = options or Options()
        self.policy = make_policy(policy, self.options, rng or random.Random(0))
        self.book = Book(self.policy)
        self._displacement = Displacement(self.book)
        self._restarts = Restarts(self.book)
        self._story = Story()
        self._now = 0.0
        self._cause = ""
        self._unplaced: set[str] = set()
        self._freed: dict[Executor, str] = {}
        self._queued: list[tuple[Task, str]] = []
        self._out: list[ev.Instruction] = []

    def handle(
        self, now: float, event: ev.Event, then: Sequence[ev.StageSubmitted] = ()
    ) -> list[ev.Instruction]:
        """What to do about ``event`` at ``now`` (seconds, monotonic).

        ``then`` are stages that became ready by it; all is decided together, so that a job goes on
        in the slots it has instead of giving them up and taking others.
        Raises IllegalTransitionError or InputError, with nothing changed, for what cannot be.
        """
        for stage in then:
            check_weight(stage.weight)
        self._now, self._cause, self._out = now, event.id, []
        self._unplaced.clear()
        self._displacement.look_again()
        self.book.expire_protections(now)
        match event:
            case ev.StageSubmitted():
                self._submitted(event)
            case ev.TaskFinished():
                self._ended(event, Step.FINISH, "finished", "")
            case ev.LotAdvanced():
                self._advanced(event)
            case ev.ExecutorPulse():
                self._pulse(event)
            case ev.ExecutorJoined():
                self._joined(event)
            case ev.ExecutorLost(executor=name):
                self._lost(name)
            case ev.TaskFailed(retry=retry):
                step = Step.RETRY if retry else Step.FAIL
                self._ended(event, step, "failed", "to be tried again" if retry else "for good")
            case ev.Suspended():
                self._suspended(event)
            case ev.Killed():
                self._killed(event)
            case ev.Progress():
                self._progress(event)
            case ev.JobCancelled(job=job):
                self._cancelled(job)
            case ev.Tick():
                pass
        for stage in then:
            self._cause = stage.id
            self._submitted(stage)
        self._settle()
        self._displace()
        self._restart()
        return self._out

    def take_along(
        self, task: str, most: int, alike: Callable[[str], bool] = lambda _: False
    ) -> list[tuple[str, int]]:
        """Let up to ``most`` pending tasks go along with one that was launched.

        They are of the same stage, or come next in the queue, of the same priority and ``alike``.
        They need no slot of their own. Returns each one's name and the number of its attempt;
        their end is told by :class:`~colchis_master.tasks.events.LotAdvanced`, or as that of other
        tasks.
        """
        leader = self.book.tasks[task]
        riders = self.book.ride(leader, most, alike)
        for rider in riders:
            self._tell(rider, f"launch attempt {rider.attempt}", f"goes along with {task}")
        return [(rider.id, rider.attempt) for rider in riders]

    def waiting_with(self, task: str) -> int:
        """How many tasks wait that might go along with a live one."""
        return self.book.waiting_with(self.book.tasks[task])

    @property
    def behind(self) -> bool:
        """Whether :meth:`go_on` is wanted: tasks of cancelled jobs are still to be forgotten.

        Nothing depends on when that is done but memory.
        """
        return bool(self.book.left_over)

    def go_on(self, most: int) -> None:
        """Forget up to so many tasks that waited when their jobs were cancelled."""
        for task in self.book.forget(most):
            self._cause = task.stage.job.cancelled_by
            self._tell(task, "cancelled", "its job was cancelled")

    def next_wakeup(self) -> float | None:
        """When a Tick is wanted next, if nothing else happens before."""
        soonest = min(self._displacement.recheck, self._restarts.next())
        if self.book.protections:
            soonest = min(soonest, self.book.protections[0][0])
        return None if soonest == math.inf else soonest

    def story(self, task: str) -> tuple[Entry, ...]:
        """What was decided about the task and why, oldest first."""
        return self._story.of(task)

    def history(self) -> list[tuple[str, Entry]]:
        """The latest decisions about all tasks, with each one's task, oldest first."""
        return list(self._story.latest)

    def suspended_memory(self) -> dict[str, int]:
        """Bytes that suspended tasks keep, by node; nodes without any are left out."""
        return {node.name: node.charged for node in self.book.nodes.values() if node.charged}

    def _joined(self, event: ev.ExecutorJoined) -> None:
        if event.cores < 1:
            raise InputError.of("an executor needs at least one core", field="cores")
        if event.executor not in self.book.executors:
            for carried in event.carried:
                check_weight(carried.weight)
            executor = self.book.join(
                event.executor, event.node, event.cores, max(0, event.memory_bytes)
            )
            # Those that are suspended pass through a slot, so they come first.
            for carried in sorted(event.carried, key=lambda one: one.state != "suspended"):
                self._adopt(carried, executor)
            self._freed[executor] = self._cause

    def _adopt(self, carried: ev.Carried, executor: Executor) -> None:
        spec = carried.spec
        task = self._live(spec.task)
        if executor.free < 1 or (task is not None and task.state is not TaskState.PENDING):
            return
        memory = max(0, carried.memory_bytes)
        if task is None:
            stage = self.book.stage(carried.job, carried.stage, carried.priority, carried.weight)
            prefer = spec.prefer or None
            task = self.book.add(stage, spec.task, max(0, spec.memory_bytes), prefer, spec.attempt)
            self._tell(task, "submitted", f"stage {stage}, priority {stage.priority}")
        self.book.adopt(task, executor, carried.state, memory, self._now)
        why = f"it is {carried.state} there since before the scheduler's own beginning"
        order = ev.Adopted(self._cause, task.id, task.attempt, executor.name, why)
        self._say(order, task, "adopt")
        if carried.state == "suspended":
            self._tell(task, "suspended", f"as {executor.name} says")

    def _lost(self, name: str) -> None:
        executor = self.book.executors.get(name)
        if executor is None:
            return
        again: list[Task] = []
        for task in self.book.lose(executor):
            self.book.end(task, Step.LOSE)
            if task.state is TaskState.PENDING:
                self._tell(task, "lost", f"with executor {name}; runs again")
                again.append(task)
        for lane in sorted({name, executor.node.name, executor.group} - {""}):
            if lane not in self.book.members:  # tasks bound to what is gone may go anywhere
                again += self.book.queue.tasks(lane)
        again = sorted(
            dict.fromkeys(again), key=lambda task: (self.policy.order(task.stage), task.seq)
        )
        self._queued += [(task, self._cause) for task in again]

    def _pulse(self, event: ev.ExecutorPulse) -> None:
        executor = self.book.executors.get(event.executor)
        if executor is not None and executor.pressure.add(
            self._now, event.spilled, event.memory, event.gc
        ):
            self.book.touch(executor)

    def _submitted(self, event: ev.StageSubmitted) -> None:
        check_weight(event.weight)
        specs = {spec.task: spec for spec in event.tasks if self._live(spec.task) is None}
        stage = self.book.stage(event.job, event.stage, event.priority, event.weight)
        stage.more = event.more
        tasks = []
        reason = f"stage {stage}, priority {stage.priority}"
        for spec in specs.values():
            memory = max(0, spec.memory_bytes)
            task = self.book.add(stage, spec.task, memory, spec.prefer or None, spec.attempt)
            self._tell(task, "submitted", reason)
            tasks.append(task)
        self.book.tidy(stage)
        self._queued += [(task, self._cause) for task in tasks]

    def _ended(
        self, event: ev.TaskFinished | ev.TaskFailed | ev.Killed, step: Step, what: str, reason: str
    ) -> None:
        task = self._current(event.task, event.attempt)
        if task is None:
            return
        executor = self.book.end(task, step)
        self._tell(task, what, reason or f"attempt {event.attempt}")
        if executor is not None:
            self._freed[executor] = self._cause
        if task.state is TaskState.PENDING:
            self._queued.append((task, self._cause))

    def _advanced(self, event: ev.LotAdvanced) -> None:
        for names, step in ((event.finished, Step.FINISH), (event.returned, Step.RETRY)):
            for name, attempt in names:
                task = self._current(name, attempt)
                if task is None or task.state is not TaskState.RIDING:
                    continue
                self.book.end(task, step)
                if step is Step.FINISH:
                    self._tell(task, "finished", f"attempt {attempt}")
                else:
                    self._tell(task, "given back", "its lot ends or takes long; waits again")
                    self._queued.append((task, self._cause))

    def _killed(self, event: ev.Killed) -> None:
        task = self._current(event.task, event.attempt)
        if task is None:
            return
        after(task.state, Step.KILLED)  # a kill that nobody ordered is no acknowledgement
        again = not task.cancelled
        self._ended(
            event,
            Step.RETRY if again else Step.KILLED,
            "killed",
            "starts again from nothing" if again else "its job was cancelled",
        )

    def _suspended(self, event: ev.Suspended) -> None:
        task = self._current(event.task, event.attempt)
        if (
            task is None
            or task.state is not TaskState.SUSPENDING
            or event.suspension not in (None, task.suspension)
        ):
            return
        executor = self.book.park(task, self._now, event.memory_bytes)
        self._tell(task, "suspended", f"acknowledged by {executor.name}")
        self._restarts.suspended(task)
        self._freed[executor] = self._cause

    def _progress(self, event: ev.Progress) -> None:
        task = self._current(event.task, event.attempt)
        if task is None or not 0 <= event.share <= 1:
            return
        task.share = event.share
        work = task.work(self._now)
        task.pace = work / event.share if event.share > 0 and work > 0 else None

    def _cancelled(self, name: str) -> None:
        job = self.book.jobs.get(name)
        if job is None:
            return
        for task in self.book.cancel(job, self._cause):
            task.cancelled = True
            if task.state is TaskState.RIDING:
                self._tell(task, "cancelled", "its job was cancelled")
                self.book.end(task, Step.CANCEL)
            elif task.state in (TaskState.KILLING, TaskState.DROPPING):
                self._tell(task, "cancelled", "its job was cancelled; being killed already")
            else:
                self._kill(task, None, "its job was cancelled")

    def _current(self, name: str, attempt: int) -> Task | None:
        task = self._live(name)
        return task if task is not None and task.attempt == attempt else None

    def _live(self, name: str) -> Task | None:
        task = self.book.tasks.get(name)
        return None if task is None or task.left_over else task

    def _settle(self) -> None:
        """Slots that came free first go to whoever is next for them; then tasks look for slots."""
        last = self._cause
        freed, queued = self._freed, self._queued
        self._freed, self._queued = {}, []
        if queued:
            # A slot that was free before is wanted by nobody: preferences come first there.
            queued = self._place_near(queued, freed)
        for executor, self._cause in freed.items():
            self._fill(executor)
        if queued and freed:
            queued = self._place_near(queued, ())
        if queued:
            self._place(queued)
        self._cause = last

    def _fill(self, executor: Executor) -> None:
        """Give the free slots of one executor to whoever is next for them."""
        queue = self.book.queue
        served: list[str] = []
        while executor.free > 0:
            waiting = [t for t in executor.suspended.values() if t.state is TaskState.SUSPENDED]
            overdue = min(waiting, key=lambda task: (task.suspended_at, task.seq), default=None)
            if overdue and self._now - overdue.suspended_at >= self.options.max_wait:
                self.book.protect(overdue, self._now)
                self._resume(overdue, f"suspended for more than {self.options.max_wait:g} s")
                served.append(executor.own_lane)
                continue
            best = queue.best(executor)
            task = min(
                waiting, key=lambda task: (self.policy.order(task.stage), task.seq), default=None
            )
            if task is not None and (best is None or self.policy.order(task.stage) <= best[0]):
                self._resume(task, "a slot of its executor is free and it is next")
                served.append(executor.own_lane)
            elif best is not None:
                _, stage, lane = best
                self._launch(queue.pick(stage, lane, executor), executor, "a slot came free")
                served.append(lane)
            else:
                break
        self.book.exchange_claims(executor, served)

    def _place_near(
        self, tasks: Iterable[tuple[Task, str]], but: Container[Executor]
    ) -> list[tuple[Task, str]]:
        """Launch tasks where they prefer to be and a slot is free; the others."""
        rest = []
        members = self.book.members
        for task, self._cause in tasks:
            if task.state is not TaskState.PENDING:
                continue
            near = members.get(task.prefer) if task.prefer and self.policy.local else None
            if not near:
                rest.append((task, self._cause))
                continue
            lane = self.policy.lane(task.stage, task.prefer)
            bound = members.get(lane) or near
            executor = self._freest(e for name, e in near.items() if name in bound and e not in but)
            if executor is not None:
                self._launch(task, executor, f"it prefers {task.prefer}, where a slot is free")
            else:
                rest.append((task, self._cause))
        return rest

    def _place(self, tasks: Iterable[tuple[Task, str]]) -> None:
        """Find free slots for tasks that have just come into the queue, wherever they are."""
        full: set[str] = set()
        for task, self._cause in tasks:
            lane = self.policy.lane(task.stage, task.prefer)
            if lane in full:
                continue
            executor = self._free_slot(lane)
            if executor is None:
                full.add(lane)
                self._unplaced.add(lane)
            else:
                self._launch(task, executor, "best free slot")

    def _free_slot(self, lane: str) -> Executor | None:
        book = self.book
        if lane in book.free and book.members.get(lane):
            return book.free[lane].first()
        if lane and lane in book.members:
            return self._freest(book.members[lane].values())
        firsts = (ranking.first() for ranking in book.free.values())
        return self._freest(executor for executor in firsts if executor is not None)

    def _freest(self, executors: Iterable[Executor]) -> Executor | None:
        free = (executor for executor in executors if executor.free > 0)
        return min(free, key=self.policy.free_key, default=None)

    def _displace(self) -> None:
        if self.policy.displaces is None:
            self.book.touched.clear()
            return
        if not self.book.queue.lanes and not self.book.parked:
            # Nobody wants a slot: what was touched is looked at when somebody does.
            return
        touched = list(self.book.touched)
        self.book.index_victims(self._now)
        for lane in self._lanes(touched):
            spare = True
            for stage, prefer in self._displacement.needs(lane):
                spare = spare and self.book.take_surplus(lane)
                if spare:
                    continue
                victim = self._displacement.victim(stage, prefer, lane, self._now)
                if victim is None:
                    break
                self._displace_one(victim, lane, stage)
        for executor in touched:
            found = self._displacement.for_suspended(executor, self._now)
            if found is not None and not self.book.take_surplus(executor.own_lane):
                task, victim = found
                self._displace_one(victim, executor.own_lane, task.stage)

    def _lanes(self, touched: Iterable[Executor]) -> Iterable[str]:
        """The lanes for which there may be victims now and were none before."""
        if not self.policy.binding:
            return ("",)
        lanes = ["", *sorted(self._unplaced)]
        for executor in touched:
            lanes.extend(sorted(self.book.queue.lanes_of(executor)))
        return dict.fromkeys(lanes)

    def _displace_one(self, victim: Task, claim: str, stage: Stage) -> None:
        reason = (
            f"stage {stage} (priority {stage.priority}) is more urgent than priority "
            f"{victim.stage.priority} and no slot is free for it"
        )
        if self.policy.displaces == "kill":
            self._kill(victim, claim, reason)
            return
        self.book.order_suspend(victim, claim)
        self._say(
            ev.Suspend(
                self._cause,
                victim.id,
                victim.attempt,
                self._holder(victim).name,
                reason,
                victim.suspension,
            ),
            victim,
            "suspend",
        )

    def _restart(self) -> None:
        for task in self._restarts.due(self._now):
            waited = self._now - task.suspended_at
            self._kill(
                task,
                None,
                f"suspended for {waited:.1f} s after {task.worked:.1f} s of work while another "
                "executor is idle: starting again there is quicker",
            )

    def _launch(self, task: Task, executor: Executor, why: str) -> None:
        self.book.start(task, executor, self._now)
        order = ev.Launch(self._cause, task.id, task.attempt, executor.name, why)
        self._say(order, task, "launch")

    def _resume(self, task: Task, why: str) -> None:
        protected = task.protected_until
        self.book.resume(task, self._now)
        if task.protected_until > max(protected, self._now):
            why += f"; protected for {task.protected_until - self._now:.3g} s"
        order = ev.Resume(self._cause, task.id, task.attempt, self._holder(task).name, why)
        self._say(order, task, "resume")

    def _kill(self, task: Task, claim: str | None, why: str) -> None:
        self.book.order_kill(task, claim)
        order = ev.Kill(self._cause, task.id, task.attempt, self._holder(task).name, why)
        self._say(order, task, "kill")

    def _say(self, order: ev.Instruction, task: Task, what: str) -> None:
        self._out.append(order)
        self._tell(task, f"{what} attempt {order.attempt} on {order.executor}", order.reason)

    def _tell(self, task: Task, what: str, reason: str) -> None:
        executor = task.executor.name if task.executor else ""
        self._story.tell(task.id, Entry(self._now, self._cause, what, reason, executor))

    @staticmethod
    def _holder(task: Task) -> Executor:
        assert task.executor is not None, f"{task.id} is on no executor"
        return task.executor


def check_weight(weight: float) -> None:
    """Raises InputError where it makes no sense as a share."""
    if not (weight > 0 and math.isfinite(weight)):
        raise InputError.of("a weight must be a number above 0", field="weight")
