"""Who steps aside for whom: victims, their order, and tasks that start again elsewhere."""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice
from math import inf

from colchis_master.tasks.book import Book
from colchis_master.tasks.lifecycle import TaskState
from colchis_master.tasks.ranking import Key
from colchis_master.tasks.records import Executor, Stage, Task

LOOK = 8
"""Executors looked at for a victim that is not nearly done, before one that is will do."""


class Displacement:
    """Chooses victims out of a book; ``recheck`` is when to look again for lack of one."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.recheck = inf
        self._ending: dict[Executor, None] = {}

    def look_again(self) -> None:
        """Executors passed over because a task was about to end count as changed."""
        self.recheck = inf
        for executor in self._ending:
            if self.book.executors.get(executor.name) is executor:
                self.book.touched[executor] = None
        self._ending.clear()

    def needs(self, lane: str) -> Iterator[tuple[Stage, str | None]]:
        """The waiting tasks of a lane, by stage and preference, that lack a slot to come.

        Slots that are being vacated for the lane are counted off in the queue's order, so that no
        more victims are asked to leave than tasks wait.
        """
        queue = self.book.queue
        if lane not in queue.lanes:
            return
        coming = self.book.coming(lane)
        for _, stage in queue.lanes[lane].ranked():
            if not self.any_below(stage.priority):
                return
            waiting = queue.waiting(stage, lane)
            if waiting <= coming:
                coming -= waiting
                continue
            for prefer in islice(queue.preferences(stage, lane), coming, None):
                yield stage, prefer
            coming = 0

    def any_below(self, priority: int) -> bool:
        """Whether anything less urgent may be displaced."""
        return any(other > priority for other in self.book.victims)

    def victim(self, stage: Stage, prefer: str | None, lane: str, now: float) -> Task | None:
        """The task that should step aside for one of the stage."""
        self.book.index_victims(now)
        members = self.book.members
        bound = members.get(lane) if lane else None
        if bound:
            return self._among(bound.values(), stage.priority, now)
        if prefer is not None and prefer in members and self.book.policy.local:
            victim = self._among(members[prefer].values(), stage.priority, now)
            if victim is not None:
                return victim
        for priority in sorted(self.book.victims, reverse=True):
            if priority <= stage.priority:
                break
            victim = self._ranked(priority, now)
            if victim is not None:
                return victim
        return None

    def for_suspended(self, executor: Executor, now: float) -> tuple[Task, Task] | None:
        """A task to resume here and a less urgent one that should step aside for it."""
        if executor.free or not executor.suspended:
            return None
        waiting = [t for t in executor.suspended.values() if t.state is TaskState.SUSPENDED]
        waiting.sort(key=lambda task: (task.stage.priority, task.seq))
        coming = self.book.coming(executor.own_lane)
        if len(waiting) <= coming:
            return None
        task = waiting[coming]
        victim = self._among([executor], task.stage.priority, now)
        return None if victim is None else (task, victim)

    def _ranked(self, priority: int, now: float) -> Task | None:
        best: tuple[bool, Key] | None = None
        chosen: Task | None = None
        for looked, (key, executor) in enumerate(self.book.victims[priority].ranked()):
            if looked >= (LOOK if chosen is not None else LOOK * LOOK):
                break
            if best is not None and not best[0] and best[1] <= key:
                break
            found = self._on(executor, priority, now)
            if found is not None and (best is None or found[0] < best):
                best, chosen = found
        return chosen

    def _among(self, executors: Iterable[Executor], above: int, now: float) -> Task | None:
        best: tuple[int, tuple[bool, Key]] | None = None
        chosen: Task | None = None
        for executor in executors:
            for priority in executor.victim_priorities:
                if priority > above:
                    found = self._on(executor, priority, now)
                    if found is not None and (best is None or (-priority, found[0]) < best):
                        best, chosen = (-priority, found[0]), found[1]
        return chosen

    def _on(
        self, executor: Executor, priority: int, now: float
    ) -> tuple[tuple[bool, Key], Task] | None:
        book, options = self.book, self.book.options
        room = book.room(executor.node)
        best: tuple[bool, Key] | None = None
        chosen: Task | None = None
        for task in executor.holding.values():
            if task.stage.priority != priority or not book.may_displace(task, now, room):
                continue
            remaining = task.remaining(now)
            if remaining is not None and abs(remaining) <= options.finish_within:
                # Its slot comes free about as soon as a suspension would free it; if the estimate
                # was wrong it becomes a victim then.
                self._ending[executor] = None
                self.recheck = min(self.recheck, now + remaining + 1.01 * options.finish_within)
                continue
            nearly = task.done(now) >= options.nearly_done
            key = (nearly, book.policy.victim_key(executor, task))
            if best is None or key < best:
                best, chosen = key, task
        return None if best is None or chosen is None else (best, chosen)


class Restarts:
    """Suspended tasks with little done that had better start again on an idle executor.

    A task qualifies once it has been suspended for ``restart_after`` seconds and for at least as
    long as it had worked: the work thrown away is then no more than the wait it has already cost
    (the ski-rental rule: at most twice the time of whoever knows the future).
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self._heap: list[tuple[float, str, int, int]] = []
        self._under_way: set[str] = set()

    def suspended(self, task: Task) -> None:
        """A task was taken off its core."""
        options, policy = self.book.options, self.book.policy
        if (
            options.restart_after is None
            or task.adopted
            or task.done(task.suspended_at) >= options.restart_below
            or policy.lane(task.stage, task.prefer)
        ):
            return
        due = task.suspended_at + max(options.restart_after, task.worked)
        heappush(self._heap, (due, task.id, task.attempt, task.suspension))

    def due(self, now: float) -> list[Task]:
        """The tasks to start again now, no more than there are idle slots."""
        found: list[Task] = []
        while self._heap and self._heap[0][0] <= now and self._idle() > 0:
            _, name, attempt, suspension = heappop(self._heap)
            task = self.book.tasks.get(name)
            if (
                task is not None
                and task.state is TaskState.SUSPENDED
                and (task.attempt, task.suspension) == (attempt, suspension)
            ):
                self._under_way.add(name)
                task.restarting = True
                found.append(task)
        return found

    def next(self) -> float:
        """When the next task may qualify."""
        return self._heap[0][0] if self._heap and self._idle() > 0 else inf

    def _idle(self) -> int:
        tasks = self.book.tasks
        self._under_way = {n for n in self._under_way if n in tasks and tasks[n].restarting}
        return self.book.free_slots - len(self._under_way)
