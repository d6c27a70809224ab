"""The queue: stages with pending tasks, in the policy's order, by lane."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat

from colchis_master.tasks.policies.base import Policy
from colchis_master.tasks.ranking import Key, Ranking
from colchis_master.tasks.records import Executor, Stage, Task


class Waitlist:
    """Pending tasks.

    A lane is what tasks may be bound to (an executor, a node, a group of executors; "" is bound to
    nothing). ``alive`` tells whether a lane has executors: the tasks of one that has none may go
    anywhere, so nobody waits for what is gone.
    """

    def __init__(self, policy: Policy, alive: Callable[[str], bool]) -> None:
        self._policy, self._alive = policy, alive
        self.lanes: dict[str, Ranking[Stage]] = {}
        self.by_priority: Counter[int] = Counter()
        """How many tasks wait, by priority."""
        self._orphaned: set[str] = set()

    def add(self, task: Task) -> None:
        """Let a task wait."""
        stage = task.stage
        prefer = task.prefer if self._policy.local else None
        if prefer not in stage.pending:
            stage.pending[prefer] = OrderedDict()
        stage.pending[prefer][task.id] = task
        stage.waiting += 1
        self.by_priority[stage.priority] += 1
        lane = self._policy.lane(stage, prefer)
        if lane not in self.lanes:
            self.lanes[lane] = Ranking()
            self.check(lane)
        self.lanes[lane].put(stage, self._policy.order(stage))

    def remove(self, task: Task) -> None:
        """The task waits no longer."""
        stage = task.stage
        prefer = task.prefer if self._policy.local else None
        del stage.pending[prefer][task.id]
        if not stage.pending[prefer]:
            del stage.pending[prefer]
        stage.waiting -= 1
        self.by_priority[stage.priority] -= 1
        lane = self._policy.lane(stage, prefer)
        if not self.waiting(stage, lane):
            self._leave(lane, stage)

    def drop(self, stage: Stage) -> list[OrderedDict[str, Task]]:
        """None of the stage's tasks waits any longer; they, by preference."""
        for lane in {self._policy.lane(stage, prefer) for prefer in stage.pending}:
            self._leave(lane, stage)
        self.by_priority[stage.priority] -= stage.waiting
        dropped = list(stage.pending.values())
        stage.pending, stage.waiting = OrderedDict(), 0
        return dropped

    def _leave(self, lane: str, stage: Stage) -> None:
        self.lanes[lane].discard(stage)
        if not self.lanes[lane]:
            del self.lanes[lane]
            self._orphaned.discard(lane)

    def check(self, lane: str) -> None:
        """Look again whether the lane has executors."""
        if lane and lane in self.lanes and not self._alive(lane):
            self._orphaned.add(lane)
        else:
            self._orphaned.discard(lane)

    def reorder(self, stages: Iterable[Stage]) -> None:
        """The policy's order of these stages may have changed."""
        for stage in stages:
            for lane in {self._policy.lane(stage, prefer) for prefer in stage.pending}:
                self.lanes[lane].put(stage, self._policy.order(stage))

    def waiting(self, stage: Stage, lane: str) -> int:
        """Tasks of the stage that wait in the lane."""
        if self._policy.binding:
            return len(stage.pending.get(lane or None, ()))
        return stage.waiting

    def tasks(self, lane: str) -> list[Task]:
        """All that wait in the lane."""
        return [
            task
            for stage in self.lanes.get(lane, ())
            for tasks in self._pending(stage, lane).values()
            for task in tasks.values()
        ]

    def preferences(self, stage: Stage, lane: str) -> Iterator[str | None]:
        """What each task of the stage that waits in the lane prefers; those that do first."""
        pending = self._pending(stage, lane)
        for prefer, tasks in pending.items():
            if prefer is not None:
                yield from repeat(prefer, len(tasks))
        yield from repeat(None, len(pending.get(None, ())))

    def lanes_of(self, executor: Executor) -> Iterator[str]:
        """The lanes with waiting tasks that the executor may serve, the most particular first."""
        for lane in dict.fromkeys((executor.name, executor.node.name, executor.group, "")):
            if lane in self.lanes and lane not in self._orphaned:
                yield lane
        yield from self._orphaned

    def best(self, executor: Executor) -> tuple[Key, Stage, str] | None:
        """The stage that is next to have a slot on this executor: its key, itself, its lane."""
        best: tuple[Key, Stage, str] | None = None
        for lane in self.lanes_of(executor):
            stage = self.lanes[lane].first()
            if stage is not None:
                key = self._policy.order(stage)
                if best is None or key < best[0]:
                    best = (key, stage, lane)
        return best

    def pick(self, stage: Stage, lane: str, executor: Executor) -> Task:
        """The stage's task for that executor: one that prefers it, else one without preference."""
        pending = self._pending(stage, lane)
        for prefer in (executor.name, executor.node.name, None):
            if prefer in pending:
                return next(iter(pending[prefer].values()))
        return next(iter(next(iter(pending.values())).values()))

    def _pending(self, stage: Stage, lane: str) -> Mapping[str | None, OrderedDict[str, Task]]:
        if self._policy.binding:
            return {lane or None: stage.pending[lane or None]}
        return stage.pending
