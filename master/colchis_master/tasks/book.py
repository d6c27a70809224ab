"""Where everything is: tasks, executors and nodes, and the indices kept over them.

Each method makes one lawful step and leaves the indices right, so that a decision reads the first
entry of a ranking instead of all executors. Nothing is decided here.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import islice

from colchis_master.tasks.lifecycle import HOLDS_SLOT, Step, TaskState, after
from colchis_master.tasks.policies.base import Policy
from colchis_master.tasks.pressure import Pressure
from colchis_master.tasks.ranking import Key, Ranking
from colchis_master.tasks.records import OWN, Executor, Job, Node, Stage, Task
from colchis_master.tasks.waitlist import Waitlist

_CHARGED = frozenset({TaskState.SUSPENDING, TaskState.SUSPENDED, TaskState.DROPPING})


class Book:
    """The scheduler's state."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.options = policy.options
        self.executors: dict[str, Executor] = {}
        self.nodes: dict[str, Node] = {}
        self.jobs: dict[str, Job] = {}
        self.tasks: dict[str, Task] = {}
        self.members: dict[str, dict[str, Executor]] = {}
        self.queue = Waitlist(policy, lambda lane: bool(self.members.get(lane)))
        self.free: dict[str, Ranking[Executor]] = {}
        self.free_slots = 0
        self.parked = 0
        """Tasks that executors hold without a slot."""
        self.victims: dict[int, Ranking[Executor]] = {}
        self.claims: dict[str, dict[Task, None]] = {}
        self.touched: dict[Executor, None] = {}
        self.protections: list[tuple[float, str, int]] = []
        self.left_over: deque[OrderedDict[str, Task]] = deque()
        """Tasks that waited when their jobs were cancelled, and are still to be forgotten."""
        self._seq = 0

    def join(self, name: str, node_name: str, cores: int, memory: int) -> Executor:
        """A new executor, all slots free."""
        node = self.nodes.setdefault(node_name, Node(node_name))
        executor = Executor(name, node, cores, memory, Pressure(self.options.window))
        sizes = {group: len(self.members.get(group, ())) for group in self.free}
        executor.group = self.policy.group(sizes)
        self.executors[name] = node.executors[name] = executor
        self.free_slots += cores
        for label in self._labels(executor):
            self.members.setdefault(label, {})[name] = executor
            self.queue.check(label)
        self.touch(executor)
        self._touch_node(node)
        return executor

    def lose(self, executor: Executor) -> list[Task]:
        """Forget an executor; the tasks it held, still unchanged but for being nowhere."""
        tasks = [*executor.holding.values(), *executor.suspended.values()]
        for task in tasks:
            self._leave(task)
        self.free_slots -= executor.cores
        self.free[executor.group].discard(executor)
        for priority in executor.victim_priorities:
            self.victims[priority].discard(executor)
        self.touched.pop(executor, None)
        del self.executors[executor.name], executor.node.executors[executor.name]
        if not executor.node.executors:
            del self.nodes[executor.node.name]
        for label in self._labels(executor):
            del self.members[label][executor.name]
            if not self.members[label]:
                del self.members[label]
            self.queue.check(label)
        self._touch_node(executor.node)
        return tasks

    def _labels(self, executor: Executor) -> set[str]:
        return {executor.name, executor.node.name, executor.group}

    def stage(self, job_name: str, name: str, priority: int, weight: float) -> Stage:
        """The stage, a new one if there is none with live tasks."""
        job = self.jobs.get(job_name)
        if job is None:
            job = self.jobs[job_name] = Job(job_name, self._next(), weight)
        if name not in job.stages:
            job.stages[name] = Stage(job, name, priority, self._next())
        return job.stages[name]

    def add(self, stage: Stage, name: str, memory: int, prefer: str | None, attempt: int) -> Task:
        """A new pending task."""
        task = Task(name, stage, memory, prefer, attempt, self._next())
        self.tasks[name] = task
        self.queue.add(task)
        return task

    def start(self, task: Task, executor: Executor, now: float) -> None:
        """Give a pending task a slot."""
        task.state = after(task.state, Step.LAUNCH)
        self._take_up(task)
        task.executor = executor
        self._enter(task, now)

    def ride(
        self, leader: Task, most: int, alike: Callable[[str], bool] = lambda _: False
    ) -> list[Task]:
        """Let up to so many pending tasks go along with a running one.

        Those of the same stage, and of the stages that come next in the queue as long as their
        tasks are ``alike``: nothing else is overtaken by them.
        """
        prefer = leader.prefer if self.policy.local else None
        riders = list(islice(leader.stage.pending.get(prefer, {}).values(), most))
        lane = self.policy.lane(leader.stage, prefer)
        if prefer is None and not self.policy.dynamic and lane in self.queue.lanes:
            for _, stage in self.queue.lanes[lane].ranked():
                if stage is leader.stage:
                    continue
                tasks = stage.pending.get(None)
                if (
                    len(riders) >= most
                    or stage.priority != leader.stage.priority
                    or not tasks
                    or not alike(next(iter(tasks)))
                ):
                    break
                riders += islice(tasks.values(), most - len(riders))
        for task in riders:
            task.state = after(task.state, Step.RIDE)
            self._take_up(task)
        return riders

    def waiting_with(self, leader: Task) -> int:
        """How many tasks wait that may go along with this one, were they alike."""
        stage = leader.stage
        return stage.waiting if self.policy.dynamic else self.queue.by_priority[stage.priority]

    def adopt(self, task: Task, executor: Executor, state: str, memory: int, now: float) -> None:
        """A pending task is already on the executor, in a state that follows from its launch."""
        self.start(task, executor, now)
        task.adopted = True
        if state == "running":
            return
        task.memory = memory
        self.order_suspend(task, "" if state == "suspending" else None)
        if state == "suspended":
            self.park(task, now, memory)

    def order_suspend(self, task: Task, claim: str | None) -> None:
        """The slot is still held, the memory already charged."""
        task.state = after(task.state, Step.SUSPEND)
        task.suspension += 1
        task.displaced += 1
        if claim is not None:
            self._claim(task, claim)
        self._charge(task)

    def park(self, task: Task, now: float, memory: int | None) -> Executor:
        """The suspension is acknowledged: the slot is free."""
        state = after(task.state, Step.SUSPENDED)
        executor = self._holder(task)
        task.worked = task.work(now)
        task.state = state
        task.suspended_at = now
        self._release_slot(task, executor)
        executor.suspended[task.id] = task
        self.parked += 1
        if memory is not None:
            task.memory = memory
        self._charge(task)
        return executor

    def resume(self, task: Task, now: float) -> None:
        """Give a suspended task a slot of its executor."""
        task.state = after(task.state, Step.RESUME)
        del self._holder(task).suspended[task.id]
        self.parked -= 1
        self._enter(task, now, now - task.suspended_at)
        self._charge(task)

    def order_kill(self, task: Task, claim: str | None) -> None:
        """What the task has it keeps until the executor has answered."""
        task.state = after(task.state, Step.KILL)
        if claim is not None:
            task.displaced += 1
            self._claim(task, claim)
        self._charge(task)
        self.touch(self._holder(task))

    def end(self, task: Task, step: Step) -> Executor | None:
        """The present attempt is over; the executor that has got something back, if any.

        A task that goes on waits again, under the next attempt number.
        """
        if task.cancelled and step in (Step.RETRY, Step.LOSE):
            step = Step.KILLED
        state = after(task.state, step)
        executor = task.executor
        if executor is not None:
            self._leave(task)
        task.state = state
        del task.stage.at_work[task.id]
        if state is TaskState.PENDING:
            task.attempt += 1
            task.forget_attempt()
            self.queue.add(task)
        else:
            del self.tasks[task.id]
            self.tidy(task.stage)
        return executor

    def _take_up(self, task: Task) -> None:
        self.queue.remove(task)
        task.stage.at_work[task.id] = task

    def cancel(self, job: Job, cause: str) -> list[Task]:
        """Forget a job that nobody wants; its tasks at work, which still have to end.

        Those that waited are left over: :meth:`forget` has yet to be called for them, but nobody
        can tell, and their names are free.
        """
        del self.jobs[job.name]
        job.cancelled_by = cause
        at_work: list[Task] = []
        for stage in job.stages.values():
            stage.more = False
            self.left_over += self.queue.drop(stage)
            at_work += stage.at_work.values()
        return at_work

    def forget(self, most: int) -> list[Task]:
        """Forget up to so many of the tasks that are left over; they, but for names used again."""
        forgotten = []
        for _ in range(most):
            if not self.left_over:
                break
            tasks = self.left_over[0]
            name, task = tasks.popitem(last=False)
            if not tasks:
                self.left_over.popleft()
            if self.tasks.get(name) is task:
                del self.tasks[name]
                forgotten.append(task)
            task.state = after(task.state, Step.CANCEL)
        return forgotten

    def tidy(self, stage: Stage) -> None:
        """Forget a stage that has no tasks, and will have none."""
        job = stage.job
        if not (stage.at_work or stage.waiting or stage.more or job.cancelled_by):
            del job.stages[stage.name]
            if not job.stages:
                del self.jobs[job.name]

    def _enter(self, task: Task, now: float, waited: float = math.inf) -> None:
        executor = self._holder(task)
        assert executor.free > 0, f"no free slot on {executor.name}"
        task.since = now
        if task.displaced >= self.options.max_suspensions:
            self.protect(task, now, waited)
        executor.holding[task.id] = task
        self.free_slots -= 1
        self._held(task.stage.job, 1)
        self.touch(executor)

    def _leave(self, task: Task) -> None:
        executor = self._holder(task)
        if task.state in HOLDS_SLOT:
            self._release_slot(task, executor)
        else:
            del executor.suspended[task.id]
            self.parked -= 1
            self.touch(executor)
        self._set_charge(task, 0)
        task.executor = None

    def _release_slot(self, task: Task, executor: Executor) -> None:
        del executor.holding[task.id]
        if task.claim is not None:
            executor.vacated.append(task.claim)
            self._unclaim(task, task.claim)
        self.free_slots += 1
        self._held(task.stage.job, -1)
        self.touch(executor)

    def _held(self, job: Job, change: int) -> None:
        job.held += change
        if self.policy.dynamic:
            self.queue.reorder(job.stages.values())

    def _claim(self, task: Task, claim: str) -> None:
        task.claim = claim
        self.claims.setdefault(claim, {})[task] = None
        self.touch(self._holder(task))

    def _unclaim(self, task: Task, claim: str) -> None:
        task.claim = None
        del self.claims[claim][task]
        if not self.claims[claim]:
            del self.claims[claim]

    def coming(self, lane: str) -> int:
        """Slots that are being vacated for a lane."""
        return len(self.claims.get(lane, ()))

    def serves(self, executor: Executor, lane: str) -> bool:
        """Whether slots of the executor are any good to the lane."""
        if lane.startswith(OWN):
            return lane == executor.own_lane
        return lane not in self.members or executor.name in self.members[lane]

    def exchange_claims(self, executor: Executor, served: list[str]) -> None:
        """Slots vacated for some lanes went to others: these hand over slots still to come."""
        vacated, executor.vacated = executor.vacated, []
        for lane in list(vacated):
            if lane in served:
                vacated.remove(lane)
                served.remove(lane)
        for lane in vacated:
            giver = next((other for other in served if self.hand_over(other, lane)), None)
            if giver is not None:
                served.remove(giver)

    def hand_over(self, giver: str, lane: str) -> bool:
        """Let a slot that is being vacated for one lane be for another; whether there was one."""
        for task in self.claims.get(giver, ()):
            if self.serves(self._holder(task), lane):
                self._unclaim(task, giver)
                self._claim(task, lane)
                return True
        return False

    def take_surplus(self, lane: str) -> bool:
        """Let the lane have a slot that is being vacated for another that needs it no more."""
        surplus = [other for other in self.claims if other != lane and self._has_surplus(other)]
        return any(self.hand_over(other, lane) for other in surplus)

    def _has_surplus(self, lane: str) -> bool:
        """Whether slots are being vacated for a lane whose tasks have got others or are gone."""
        if not lane.startswith(OWN):
            return lane not in self.queue.lanes
        leaving = self.claims[lane]
        least = max(task.stage.priority for task in leaving)
        suspended = self._holder(next(iter(leaving))).suspended.values()
        wanted = sum(
            task.state is TaskState.SUSPENDED and task.stage.priority < least for task in suspended
        )
        return len(leaving) > wanted

    def protect(self, task: Task, now: float, waited: float = math.inf) -> None:
        """Nobody displaces the task for a while, after it has waited for so many seconds."""
        seconds = self.options.protect
        if self.options.protect_per_wait is not None and waited < math.inf:
            seconds = min(seconds, self.options.protect_per_wait * waited)
        if now + seconds > task.protected_until:
            task.protected_until = now + seconds
            heappush(self.protections, (task.protected_until, task.id, task.attempt))

    def expire_protections(self, now: float) -> None:
        """Tasks whose protection is over may be displaced again."""
        while self.protections and self.protections[0][0] <= now:
            _, name, _ = heappop(self.protections)
            task = self.tasks.get(name)
            if task is not None and task.executor is not None:
                self.touch(task.executor)

    def room(self, node: Node) -> float:
        """Bytes that may still be suspended on the node."""
        bound = self.options.max_suspended_memory
        if bound is None:
            bound = sum(executor.memory for executor in node.executors.values())
            if not bound:
                return float("inf")
        return bound - node.charged

    def may_displace(self, task: Task, now: float, room: float) -> bool:
        """Whether the laws let the task be a victim."""
        return (
            task.state is TaskState.RUNNING
            and task.protected_until <= now
            and (self.policy.displaces == "kill" or task.memory <= room)
        )

    def _charge(self, task: Task) -> None:
        self._set_charge(task, task.memory if task.state in _CHARGED else 0)

    def _set_charge(self, task: Task, amount: int) -> None:
        if amount != task.charged:
            node = self._holder(task).node
            node.charged += amount - task.charged
            task.charged = amount
            self._touch_node(node)

    def touch(self, executor: Executor) -> None:
        """Something about the executor has changed."""
        ranking = self.free.get(executor.group)
        if ranking is None:
            ranking = self.free[executor.group] = Ranking()
        if executor.free > 0:
            ranking.put(executor, self.policy.free_key(executor))
        else:
            ranking.discard(executor)
        self.touched[executor] = None

    def _touch_node(self, node: Node) -> None:
        for executor in node.executors.values():
            self.touched[executor] = None

    def index_victims(self, now: float) -> None:
        """Bring the ranking of possible victims up to date with all that was touched."""
        policy = self.policy
        for executor in self.touched:
            room = self.room(executor.node)
            keys: dict[int, Key] = {}
            for task in executor.holding.values():
                if self.may_displace(task, now, room):
                    priority = task.stage.priority
                    key = policy.victim_key(executor, task)
                    if priority not in keys or key < keys[priority]:
                        keys[priority] = key
            for priority in executor.victim_priorities:
                if priority not in keys:
                    self.victims[priority].discard(executor)
                    if not self.victims[priority]:
                        del self.victims[priority]
            for priority, key in keys.items():
                if priority not in self.victims:
                    self.victims[priority] = Ranking()
                self.victims[priority].put(executor, key)
            executor.victim_priorities = tuple(keys)
        self.touched.clear()

    @staticmethod
    def _holder(task: Task) -> Executor:
        assert task.executor is not None, f"{task.id} is on no executor"
        return task.executor

    def _next(self) -> int:
        self._seq += 1
        return self._seq
