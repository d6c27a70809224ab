"""The task scheduler: events in, instructions out.

After every event three things hold, and each handler only restores them where it disturbed them:

1. no slot is free while a task waits that may use it (:class:`~colchis_master.tasks.slots.Slots`);
2. no task waits while one less urgent may be displaced for it and none is being (`_displace`);
3. the laws of suspension: a slot is free only once the executor has acknowledged; suspended memory
   is charged to the node and bounded; whoever was displaced often runs protected for a while.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence

from colchis.errors import InputError
from colchis_master.tasks import events as ev
from colchis_master.tasks.book import Book
from colchis_master.tasks.displacement import Displacement, Restarts
from colchis_master.tasks.lifecycle import Step, TaskState, after
from colchis_master.tasks.options import Options
from colchis_master.tasks.orders import Orders
from colchis_master.tasks.policies import DEFAULT, make_policy
from colchis_master.tasks.records import Executor, Task
from colchis_master.tasks.slots import Slots
from colchis_master.tasks.story import Entry


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
        self._orders = Orders(self.book)
        self._slots = Slots(self.book, self._orders)
        self._freed: dict[Executor, str] = {}
        self._queued: list[tuple[Task, str]] = []

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
        self._orders.begin(now, event.id)
        self._slots.unplaced.clear()
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
            self._orders.cause = stage.id
            self._submitted(stage)
        freed, queued = self._freed, self._queued
        self._freed, self._queued = {}, []
        self._slots.give_out(freed, queued)
        self._displace()
        self._restart()
        return self._orders.out

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
            self._orders.tell(rider, f"launch attempt {rider.attempt}", f"goes along with {task}")
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
            self._orders.cause = task.stage.job.cancelled_by
            self._orders.tell(task, "cancelled", "its job was cancelled")

    def next_wakeup(self) -> float | None:
        """When a Tick is wanted next, if nothing else happens before."""
        soonest = min(self._displacement.recheck, self._restarts.next())
        if self.book.protections:
            soonest = min(soonest, self.book.protections[0][0])
        return None if soonest == math.inf else soonest

    def story(self, task: str) -> tuple[Entry, ...]:
        """What was decided about the task and why, oldest first."""
        return self._orders.story.of(task)

    def history(self) -> list[tuple[str, Entry]]:
        """The latest decisions about all tasks, with each one's task, oldest first."""
        return list(self._orders.story.latest)

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
            self._freed[executor] = self._orders.cause

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
            self._orders.tell(task, "submitted", f"stage {stage}, priority {stage.priority}")
        self.book.adopt(task, executor, carried.state, memory, self._orders.now)
        why = f"it is {carried.state} there since before the scheduler's own beginning"
        order = ev.Adopted(self._orders.cause, task.id, task.attempt, executor.name, why)
        self._orders.say(order, task, "adopt")
        if carried.state == "suspended":
            self._orders.tell(task, "suspended", f"as {executor.name} says")

    def _lost(self, name: str) -> None:
        executor = self.book.executors.get(name)
        if executor is None:
            return
        again: list[Task] = []
        for task in self.book.lose(executor):
            self.book.end(task, Step.LOSE)
            if task.state is TaskState.PENDING:
                self._orders.tell(task, "lost", f"with executor {name}; runs again")
                again.append(task)
        for lane in sorted({name, executor.node.name, executor.group} - {""}):
            if lane not in self.book.members:  # tasks bound to what is gone may go anywhere
                again += self.book.queue.tasks(lane)
        again = sorted(
            dict.fromkeys(again), key=lambda task: (self.policy.order(task.stage), task.seq)
        )
        self._queued += [(task, self._orders.cause) for task in again]

    def _pulse(self, event: ev.ExecutorPulse) -> None:
        executor = self.book.executors.get(event.executor)
        if executor is not None and executor.pressure.add(
            self._orders.now, event.spilled, event.memory, event.gc
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
            self._orders.tell(task, "submitted", reason)
            tasks.append(task)
        self.book.tidy(stage)
        self._queued += [(task, self._orders.cause) for task in tasks]

    def _ended(
        self, event: ev.TaskFinished | ev.TaskFailed | ev.Killed, step: Step, what: str, reason: str
    ) -> None:
        task = self._current(event.task, event.attempt)
        if task is None:
            return
        executor = self.book.end(task, step)
        self._orders.tell(task, what, reason or f"attempt {event.attempt}")
        if executor is not None:
            self._freed[executor] = self._orders.cause
        if task.state is TaskState.PENDING:
            self._queued.append((task, self._orders.cause))

    def _advanced(self, event: ev.LotAdvanced) -> None:
        for names, step in ((event.finished, Step.FINISH), (event.returned, Step.RETRY)):
            for name, attempt in names:
                task = self._current(name, attempt)
                if task is None or task.state is not TaskState.RIDING:
                    continue
                self.book.end(task, step)
                if step is Step.FINISH:
                    self._orders.tell(task, "finished", f"attempt {attempt}")
                else:
                    self._orders.tell(task, "given back", "its lot ends or takes long; waits again")
                    self._queued.append((task, self._orders.cause))

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
        executor = self.book.park(task, self._orders.now, event.memory_bytes)
        self._orders.tell(task, "suspended", f"acknowledged by {executor.name}")
        self._restarts.suspended(task)
        self._freed[executor] = self._orders.cause

    def _progress(self, event: ev.Progress) -> None:
        task = self._current(event.task, event.attempt)
        if task is None or not 0 <= event.share <= 1:
            return
        task.share = event.share
        work = task.work(self._orders.now)
        task.pace = work / event.share if event.share > 0 and work > 0 else None

    def _cancelled(self, name: str) -> None:
        job = self.book.jobs.get(name)
        if job is None:
            return
        for task in self.book.cancel(job, self._orders.cause):
            task.cancelled = True
            if task.state is TaskState.RIDING:
                self._orders.tell(task, "cancelled", "its job was cancelled")
                self.book.end(task, Step.CANCEL)
            elif task.state in (TaskState.KILLING, TaskState.DROPPING):
                self._orders.tell(task, "cancelled", "its job was cancelled; being killed already")
            else:
                self._orders.kill(task, None, "its job was cancelled")

    def _current(self, name: str, attempt: int) -> Task | None:
        task = self._live(name)
        return task if task is not None and task.attempt == attempt else None

    def _live(self, name: str) -> Task | None:
        task = self.book.tasks.get(name)
        return None if task is None or task.left_over else task

    def _displace(self) -> None:
        if self.policy.displaces is None:
            self.book.touched.clear()
            return
        if not self.book.queue.lanes and not self.book.parked:
            # Nobody wants a slot: what was touched is looked at when somebody does.
            return
        touched = list(self.book.touched)
        self.book.index_victims(self._orders.now)
        for lane in self._lanes(touched):
            spare = True
            for stage, prefer in self._displacement.needs(lane):
                spare = spare and self.book.take_surplus(lane)
                if spare:
                    continue
                victim = self._displacement.victim(stage, prefer, lane, self._orders.now)
                if victim is None:
                    break
                self._orders.displace(victim, lane, stage)
        for executor in touched:
            found = self._displacement.for_suspended(executor, self._orders.now)
            if found is not None and not self.book.take_surplus(executor.own_lane):
                task, victim = found
                self._orders.displace(victim, executor.own_lane, task.stage)

    def _lanes(self, touched: Iterable[Executor]) -> Iterable[str]:
        """The lanes for which there may be victims now and were none before."""
        if not self.policy.binding:
            return ("",)
        lanes = ["", *sorted(self._slots.unplaced)]
        for executor in touched:
            lanes.extend(sorted(self.book.queue.lanes_of(executor)))
        return dict.fromkeys(lanes)

    def _restart(self) -> None:
        for task in self._restarts.due(self._orders.now):
            waited = self._orders.now - task.suspended_at
            self._orders.kill(
                task,
                None,
                f"suspended for {waited:.1f} s after {task.worked:.1f} s of work while another "
                "executor is idle: starting again there is quicker",
            )


def check_weight(weight: float) -> None:
    """Raises InputError where it makes no sense as a share."""
    if not (weight > 0 and math.isfinite(weight)):
        raise InputError.of("a weight must be a number above 0", field="weight")
