"""Jobs as graphs: which tasks can be handed to the scheduler, and what is lost and made anew."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import Failure, Input, Stored
from colchis_master.jobs.books import Books, Forget, Keep, ToClient, ToExecutor
from colchis_master.jobs.state import Job, Stage, Task, TaskState, Turn, problems
from colchis_master.tasks import events as sched

PIECE = 64
"""Tasks given to the scheduler at once: about a millisecond, then others have their turn."""
LOCAL_BYTES = 64 * 2**10
"""A task prefers the executor that holds this much or more of its input."""


class Jobs:
    """Begins, continues and ends jobs; ``piece`` tasks are given to the scheduler at once."""

    def __init__(self, books: Books, piece: int = PIECE) -> None:
        self._books = books
        self._piece = piece

    def submit(self, client: str, spec: ask.Submit, now: float, *, born: int | None = None) -> None:
        """Take a job on, or reject it with every reason.

        One that was ``born`` before is in the journal, and is not begun before it is settled.
        """
        if spec.job in self._books.jobs:
            if self._books.jobs[spec.job].client != client:
                rejected = ask.Rejected(spec.job, "a job of this name exists")
                self._books.say(ToClient(client, rejected))
            return
        wrong = problems(spec)
        digests = sorted({stage.function for stage in spec.stages})
        wrong += [
            f"function {one} was not sent" for one in digests if one not in self._books.functions
        ]
        if wrong:
            self._books.say(ToClient(client, ask.Rejected(spec.job, "; ".join(wrong))))
            return
        self._books.now = now
        job = Job.of(client, spec, now, self._books.number() if born is None else born)
        job.settling = born is not None
        self._books.jobs[job.id] = job
        for digest in digests:
            self._books.functions.use(digest, job.id)
        if client in self._books.clients:
            self._books.clients[client].jobs.add(job.id)
        if born is None:
            functions = {digest: self._books.functions[digest] for digest in digests}
            self._books.say(Keep(client, spec, functions, job.born))
            self._books.say(ToClient(client, ask.Accepted(job.id)))
        for stage in job.stages:
            for task in stage.tasks:
                self._books.tasks[task.id] = (job, task)
        if job.id in self._books.lingering:
            self._books.held_back[job.id] = job
        self.hand_over(job)

    def hand_over(self, job: Job) -> None:
        """Give the scheduler the tasks whose inputs have all come; end the job after the last.

        No more than a piece of them at once: the job is *behind* where others remain.
        """
        left = self._piece
        self._books.behind.pop(job.id, None)
        complete = True
        for stage in job.stages:
            if stage.complete:
                continue
            complete = False
            if job.settling or job.id in self._books.held_back:
                continue
            if any(not job.stages[number].complete for number in stage.after):
                continue
            waiting = list(islice(_waiting(stage), left + 1))
            more = len(waiting) > left
            if more:
                self._books.behind[job.id] = job
                stage.first = waiting.pop().index
            else:
                stage.first = len(stage.tasks)
            left -= len(waiting)
            if not waiting:
                continue
            specs = []
            for task in waiting:
                task.turn(Turn.HAND_OVER)
                task.shown = "pending"
                prefer = self.preference(job, stage, task)
                specs.append(sched.TaskSpec(task.id, stage.spec.memory, prefer, task.number + 1))
            self._books.tell(
                sched.StageSubmitted(
                    self._books.id(),
                    job.id,
                    stage.spec.name,
                    job.spec.priority,
                    tuple(specs),
                    job.spec.weight,
                    more,
                )
            )
        if complete:
            self.end(job, "finished", None)

    def go_on(self) -> None:
        """Hand over more of the most urgent job that is behind, of several the earliest."""
        behind = [job for job in self._books.behind.values() if not job.over]
        if behind:
            self.hand_over(min(behind, key=lambda job: (job.spec.priority, job.submitted)))
        else:
            self._books.behind.clear()

    def fetch_early(self, job: Job, stage: Stage, results: list[Input]) -> None:
        """Have a large result fetched to where the next stage will probably read it.

        That is the executor that holds most of the same input so far, which is where
        :meth:`preference` will send the task; so the fetches run while the stage still does.
        """
        if all(job.stages[number].spec.tasks > len(results) for number in stage.before):
            return
        for bucket, result in enumerate(results):
            if not isinstance(result, Stored):
                continue
            held = stage.held.setdefault(bucket, Counter())
            held[result.address] += result.size
            leader = max(held, key=lambda one: (held[one], one))
            if leader != result.address and held[leader] >= LOCAL_BYTES:
                name = self._executor_at(leader)
                if name is not None:
                    self._books.say(ToExecutor(name, wire.Prefetch([result])))

    def _executor_at(self, address: str) -> str | None:
        executors = self._books.executors.values()
        return next((one.name for one in executors if one.address == address), None)

    def preference(self, job: Job, stage: Stage, task: Task) -> str | None:
        """The user's wish, else the executor that has most of the input, where it is much."""
        if stage.spec.prefer:
            return stage.spec.prefer[task.index] or None
        if not stage.after:
            return None
        held: dict[str, int] = {}
        for item in inputs_of(job, stage, task) or ():
            if isinstance(item, Stored):
                held[item.address] = held.get(item.address, 0) + item.size
        if not held:
            return None
        address = max(held, key=lambda one: (held[one], one))
        if held[address] < LOCAL_BYTES:
            return None
        return self._executor_at(address)

    def end(self, job: Job, state: str, failure: Failure | None) -> None:
        job.state = state
        job.failure = failure
        job.ended = self._books.now
        self._books.behind.pop(job.id, None)
        self._books.held_back.pop(job.id, None)
        if state != "finished":
            self._books.tell(sched.JobCancelled(self._books.id(), job.id))
            for number, attempt in self._books.attempts.items():
                if attempt.riders and attempt.at_hand.job is job:
                    self._books.cut(number, attempt)
        ended = ask.JobEnded(job.id, state, failure)  # type: ignore[arg-type]  # one of three words
        self._books.say(ToClient(job.client, ended))

    def cancel(self, job_id: str) -> None:
        """End a job and everything of it that runs."""
        job = self._books.jobs.get(job_id)
        if job is not None and not job.over:
            self.end(job, "cancelled", None)

    def release(self, job_id: str) -> None:
        """Forget a job: its client has all it wants of it.

        Nobody finds it or anything of it any more, but its tasks go by and by.
        """
        job = self._books.jobs.get(job_id)
        if job is None:
            return
        self.cancel(job_id)
        del self._books.jobs[job_id]
        if job.client in self._books.clients:
            self._books.clients[job.client].jobs.discard(job_id)
        self._books.say(Forget(job_id))
        for digest in {stage.function for stage in job.spec.stages}:
            self._books.functions.drop(digest, job_id)
        self._books.released.append(job)
        self._books.lingering.add(job_id)

    def use_names_again(self) -> None:
        """Begin the jobs of whose forgotten namesakes nothing is left.

        The task scheduler knows a task by its name and the number of its try, so nothing of a name
        may be under way when it is used again. To be called when the scheduler knows everything
        that has happened.
        """
        books = self._books
        if not books.held_back and len(books.lingering) <= len(books.attempts):
            return
        there = {attempt.job.id for attempt in books.attempts.values()}
        there |= {place.job.id for one in books.attempts.values() for place in one.undone}
        books.lingering &= there
        for name in [one for one in books.held_back if one not in there]:
            self.hand_over(books.held_back.pop(name))

    def forget(self) -> None:
        """Take a piece of the tasks of released jobs off the books, and drop their results."""
        books = self._books
        gone: list[Task] = []
        while books.released and len(gone) < self._piece:
            job = books.released[0]
            tasks = next((stage.tasks for stage in job.stages if stage.tasks), None)
            if tasks is None:
                books.released.popleft()
                continue
            first = max(0, len(tasks) - self._piece + len(gone))
            for task in tasks[first:]:
                if books.tasks[task.id][1] is task:
                    del books.tasks[task.id]
                books.settle(task)
            gone += tasks[first:]
            del tasks[first:]
        self.drop(result for task in gone for result in task.results or ())

    def drop(self, results: Iterable[Input]) -> None:
        """Nobody needs these results: executors need not keep them."""
        kept: dict[str, list[str]] = {}
        for result in results:
            if isinstance(result, Stored):
                kept.setdefault(result.address, []).append(result.key)
        if not kept:
            return
        for executor in self._books.executors.values():
            if executor.address in kept:
                drop = wire.DropResults(kept[executor.address])
                self._books.say(ToExecutor(executor.name, drop))

    def result_lost(self, message: ask.ResultLost) -> None:
        """A delivered result is not to be had any more: make it anew."""
        job = self._books.jobs.get(message.job)
        if job is None or job.state not in ("running", "finished"):
            return
        if message.stage < len(job.stages):
            job.state = "running"
            self.lose_key(job, job.stages[message.stage], message.key)
            self.hand_over(job)

    def lose_results(self, job: Job, address: str) -> None:
        touched = False
        for stage in job.stages:
            wanted = any(not job.stages[number].complete for number in stage.before)
            if not wanted:
                continue
            for task in stage.tasks:
                if any(isinstance(r, Stored) and r.address == address for r in task.results or ()):
                    self._lose_result(stage, task)
                    touched = True
        if touched:
            self.hand_over(job)

    def _lose_result(self, stage: Stage, task: Task) -> None:
        stage.set_back(task, Turn.LOSE_RESULT)
        task.results = None
        self._books.settle(task)
        stage.left += 1

    def lose_key(self, job: Job, stage: Stage, key: str) -> bool:
        for task in stage.tasks:
            if any(isinstance(r, Stored) and r.key == key for r in task.results or ()):
                self._lose_result(stage, task)
                return True
        return False

    def set_back(self, job: Job, task: Task) -> None:
        failed = sched.TaskFailed(self._books.id(), task.id, task.number, retry=False)
        self._books.tell(failed)
        job.stages[task.stage].set_back(task, Turn.LOSE_INPUT)
        self.hand_over(job)


def _waiting(stage: Stage) -> Iterator[Task]:
    tasks = islice(stage.tasks, stage.first, None)
    return (task for task in tasks if task.state is TaskState.WAITING)


def inputs_of(job: Job, stage: Stage, task: Task) -> list[Input] | None:
    """What a task reads; None where something of it is not there."""
    inputs: list[Input] = [stage.spec.payloads[task.index]] if stage.spec.payloads else []
    for after in stage.spec.after:
        earlier = job.stages[after.stage]
        which = 0
        sources: Iterable[Task] = earlier.tasks
        if after.mode == "each":
            sources = (earlier.tasks[task.index],)
        elif after.mode == "bucket":
            which = task.index
        for source in sources:
            if source.results is None:
                return None
            inputs.append(source.results[which])
    return inputs
