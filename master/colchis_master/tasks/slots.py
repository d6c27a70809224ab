"""Which free slot is whose."""

from collections.abc import Container, Iterable, Mapping

from colchis_master.tasks.book import Book
from colchis_master.tasks.lifecycle import TaskState
from colchis_master.tasks.orders import Orders
from colchis_master.tasks.records import Executor, Task


class Slots:
    """Gives slots out until none is free for which a task waits.

    ``unplaced`` are the lanes in which a task has found no slot, for whoever looks for victims.
    """

    def __init__(self, book: Book, orders: Orders) -> None:
        self.book, self.policy = book, book.policy
        self.unplaced: set[str] = set()
        self._orders = orders

    def give_out(self, freed: Mapping[Executor, str], queued: list[tuple[Task, str]]) -> None:
        """Slots that came free first go to whoever is next for them; then tasks look for slots.

        Both come with their causes.
        """
        last = self._orders.cause
        if queued:
            # A slot that was free before is wanted by nobody: preferences come first there.
            queued = self._place_near(queued, freed)
        for executor, self._orders.cause in freed.items():
            self._fill(executor)
        if queued and freed:
            queued = self._place_near(queued, ())
        if queued:
            self._place(queued)
        self._orders.cause = last

    def _fill(self, executor: Executor) -> None:
        """Give the free slots of one executor to whoever is next for them."""
        queue = self.book.queue
        served: list[str] = []
        while executor.free > 0:
            waiting = [t for t in executor.suspended.values() if t.state is TaskState.SUSPENDED]
            overdue = min(waiting, key=lambda task: (task.suspended_at, task.seq), default=None)
            if overdue and self._orders.now - overdue.suspended_at >= self.policy.options.max_wait:
                self.book.protect(overdue, self._orders.now)
                self._orders.resume(
                    overdue, f"suspended for more than {self.policy.options.max_wait:g} s"
                )
                served.append(executor.own_lane)
                continue
            best = queue.best(executor)
            task = min(
                waiting, key=lambda task: (self.policy.order(task.stage), task.seq), default=None
            )
            if task is not None and (best is None or self.policy.order(task.stage) <= best[0]):
                self._orders.resume(task, "a slot of its executor is free and it is next")
                served.append(executor.own_lane)
            elif best is not None:
                _, stage, lane = best
                self._orders.launch(queue.pick(stage, lane, executor), executor, "a slot came free")
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
        for task, self._orders.cause in tasks:
            if task.state is not TaskState.PENDING:
                continue
            near = members.get(task.prefer) if task.prefer and self.policy.local else None
            if not near:
                rest.append((task, self._orders.cause))
                continue
            lane = self.policy.lane(task.stage, task.prefer)
            bound = members.get(lane) or near
            executor = self._freest(e for name, e in near.items() if name in bound and e not in but)
            if executor is not None:
                self._orders.launch(
                    task, executor, f"it prefers {task.prefer}, where a slot is free"
                )
            else:
                rest.append((task, self._orders.cause))
        return rest

    def _place(self, tasks: Iterable[tuple[Task, str]]) -> None:
        """Find free slots for tasks that have just come into the queue, wherever they are."""
        full: set[str] = set()
        for task, self._orders.cause in tasks:
            lane = self.policy.lane(task.stage, task.prefer)
            if lane in full:
                continue
            executor = self._free_slot(lane)
            if executor is None:
                full.add(lane)
                self.unplaced.add(lane)
            else:
                self._orders.launch(task, executor, "best free slot")

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
