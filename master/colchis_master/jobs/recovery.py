"""What executors still have of an earlier life of the service is taken up.

Jobs come out of the journal as they were submitted. Their tasks are held back for a while, until
executors have come back: what one of them is at goes on there, and what one has done is taken.
An attempt is one at a kept job's task if it is younger than the job, as names may be used again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT, Input
from colchis_master.jobs.books import Attempt, Books
from colchis_master.jobs.graph import Jobs
from colchis_master.jobs.peers import Executor
from colchis_master.jobs.state import Job, Task, TaskState, Turn
from colchis_master.tasks import events as sched


@dataclass(frozen=True, slots=True)
class Offer:
    """An attempt that an executor carries and somebody wants."""

    carried: wire.Carried
    job: Job
    task: Task


class Recovery:
    """``take_results`` takes in the results of a task that was handed over."""

    def __init__(
        self, books: Books, jobs: Jobs, take_results: Callable[[Job, Task, list[Input]], None]
    ) -> None:
        self._books = books
        self._jobs = jobs
        self._take_results = take_results

    def settle(self) -> None:
        """Whoever was to come back has done so: hand over what nobody is at."""
        for job in list(self._books.jobs.values()):
            if job.settling:
                job.settling = False
                if not job.over:
                    self._jobs.hand_over(job)

    def take_done(self, executor: Executor, done: Iterable[wire.Done]) -> list[int]:
        """Take what an executor has done; the attempts whose results are wanted."""
        kept = []
        for one in done:
            found = self._find(one.attempt, one.task)
            if found is None:
                continue
            job, task = found
            if len(one.results) != max(1, job.stages[task.stage].spec.buckets):
                continue
            self._hand_over(task)
            self._take_results(job, task, one.results)
            task.done_by = (executor.name, one.attempt)
            kept.append(one.attempt)
        return kept

    def offers(
        self, carried: Iterable[wire.Carried]
    ) -> tuple[dict[str, Offer], tuple[sched.Carried, ...]]:
        """What an executor is at that is wanted: by task, and as the task scheduler is told."""
        wanted: dict[str, Offer] = {}
        told = []
        for one in carried:
            found = self._find(one.attempt, one.task)
            if found is None or one.task in wanted:
                continue
            job, task = found
            stage = job.stages[task.stage]
            wanted[one.task] = Offer(one, job, task)
            prefer = self._jobs.preference(job, stage, task)
            spec = sched.TaskSpec(task.id, stage.spec.memory, prefer, task.number + 1)
            told.append(
                sched.Carried(
                    job.id,
                    stage.spec.name,
                    job.spec.priority,
                    spec,
                    one.state,
                    one.memory,
                    job.spec.weight,
                )
            )
        return wanted, tuple(told)

    def adopt(self, executor: Executor, order: sched.Adopted, offer: Offer) -> int:
        """An executor goes on with an attempt; its number."""
        job, task, number = offer.job, offer.task, offer.carried.attempt
        self._hand_over(task)
        digest = job.stages[task.stage].spec.function
        executor.go_on(number, digest)
        attempt = Attempt(task, job, order.attempt, executor.name, digest)
        self._books.attempts[number] = attempt
        task.number, task.attempt = order.attempt, number
        task.executor, task.reason = executor.name, order.reason
        task.shown, task.memory = offer.carried.state, offer.carried.memory
        return number

    def _find(self, number: int, name: str) -> tuple[Job, Task] | None:
        """The task that an attempt is at, where nobody else is and nothing has come of it."""
        found = self._books.find(name)
        if found is None or number >> EPOCH_SHIFT == self._books.epoch:
            return None
        job, task = found
        free = task.state is not TaskState.DONE and task.attempt is None
        return found if free and not job.over and number > job.born else None

    @staticmethod
    def _hand_over(task: Task) -> None:
        if task.state is TaskState.WAITING:
            task.turn(Turn.HAND_OVER)
