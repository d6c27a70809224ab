"""The executors' side of the job core: who is there, and what they report."""

from collections.abc import Iterable

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT, PROTOCOL, Input
from colchis_master.jobs.books import Attempt, Books, Place, ToClient, ToExecutor
from colchis_master.jobs.graph import Jobs
from colchis_master.jobs.peers import Executor
from colchis_master.jobs.state import Job, Task, TaskState, Turn
from colchis_master.tasks import events as sched


class Executors:
    """Takes executors on, gives them up, and takes in their reports."""

    def __init__(self, books: Books, jobs: Jobs) -> None:
        self._books = books
        self._jobs = jobs

    def register(self, message: wire.Register, now: float) -> Executor | None:
        """An executor has come, or come back; one that we did not know and that is to be welcomed.

        The task scheduler has not been told of it.
        """
        name = message.executor
        if message.protocol != PROTOCOL:
            reason = f"protocol {message.protocol}; this job service speaks {PROTOCOL}"
            self._books.say(ToExecutor(name, wire.Refused(reason)))
            return None
        known = self._books.executors.get(name)
        if known is not None and known.incarnation != message.incarnation:
            # Another process under the same name: what the first one had is gone.
            self.lost(name)
            known = None
        if known is not None:
            known.heard = now
            self._come_back(known, message)
            return None
        executor = self._books.executors[name] = Executor(
            name,
            message.incarnation,
            message.node,
            message.cores,
            message.memory,
            message.address,
            now,
        )
        return executor

    def welcome(self, executor: Executor, message: wire.Register) -> None:
        """Answer an executor: it is to forget all but what we want of it."""
        name, epoch = executor.name, self._books.epoch
        self._books.say(ToExecutor(name, wire.Welcome(epoch, kept=executor.kept)))
        for number in message.attempts:
            if number >> EPOCH_SHIFT == epoch and number not in executor.attempts:
                self._books.say(ToExecutor(name, wire.Cancel(number, 0.0)))

    def _come_back(self, executor: Executor, message: wire.Register) -> None:
        # What it said last was lost with the connection, maybe.
        for done in message.done:
            if done.attempt in executor.attempts:
                self._finished(executor.name, wire.Finished(done.attempt, done.results))
        self.welcome(executor, message)

    def lost(self, name: str) -> None:
        """An executor is gone: its attempts run again, the results it kept are made anew."""
        executor = self._books.executors.pop(name, None)
        if executor is None:
            return
        back: list[tuple[str, int]] = []
        for number in executor.attempts:
            attempt = self._books.attempts.pop(number)
            back += _names(attempt.undone)
            if attempt.task.attempt == number:
                attempt.task.attempt = None
                if not attempt.done:
                    attempt.task.shown = "pending"
        self._books.tell(sched.ExecutorLost(self._books.id(), name))
        if back:
            self._books.tell(sched.LotAdvanced(self._books.id(), returned=tuple(back)))
        for job in self._books.jobs.values():
            if not job.over:
                self._jobs.lose_results(job, executor.address)

    def report(self, name: str, message: wire.FromExecutor, now: float) -> None:
        """What an executor that is known says, other than Register."""
        executor = self._books.executors[name]
        executor.heard = self._books.now = now
        if isinstance(message, wire.Finished):
            self._finished(name, message)
        elif isinstance(message, wire.Parts):
            self._parts(message)
        elif isinstance(message, wire.Suspended):
            self._suspended(message)
        elif isinstance(message, wire.Heartbeat):
            self._beat(executor, message)
        elif isinstance(message, wire.Failed):
            self._failed(message)
        elif isinstance(message, wire.Cancelled):
            attempt = self._end_attempt(message.attempt)
            if attempt is not None:
                self._books.tell(sched.Killed(self._books.id(), attempt.task.id, attempt.number))
        elif isinstance(message, wire.Lost):
            attempt = self._end_attempt(message.attempt)
            if attempt is not None:
                self._tell_failed(attempt, retry=True)
        elif isinstance(message, wire.InputLost):
            self._input_lost(message)
        elif isinstance(message, wire.Given):
            self._given(message)
        elif isinstance(message, wire.Leave):
            self.lost(name)

    def _end_attempt(self, number: int) -> Attempt | None:
        """Take a finished try off the books; None where it is not on them."""
        attempt = self._books.attempts.pop(number, None)
        if attempt is None:
            return None
        executor = self._books.executors.get(attempt.executor)
        if executor is not None:
            executor.end(number, attempt.digest)
        if attempt.task.attempt == number:
            attempt.task.attempt = None
            if not attempt.done:
                attempt.task.shown = "pending"
        return self._end_lot(attempt) if attempt.riders or attempt.done else attempt

    def _end_lot(self, attempt: Attempt) -> Attempt | None:
        """Settle all tasks of a lot but the one at hand, which the end of the attempt is about.

        None where none was at hand any more.
        """
        done, job = attempt.done, attempt.job
        rest = attempt.riders[done:]
        if rest:
            self._books.tell(sched.LotAdvanced(self._books.id(), returned=tuple(_names(rest))))
        if not done:
            return attempt
        # The first task was done before; now its slot is free. Its result may be lost again.
        again = attempt.task.state is TaskState.READY and not job.over
        first, number = attempt.task.id, attempt.number
        self._books.tell(
            sched.TaskFailed(self._books.id(), first, number, retry=True)
            if again
            else sched.TaskFinished(self._books.id(), first, number)
        )
        if done > len(attempt.riders):
            return None
        place = attempt.place(done)
        return Attempt(place.task, place.job, place.number, attempt.executor, attempt.digest)

    def _parts(self, message: wire.Parts) -> None:
        attempt = self._books.attempts.get(message.attempt)
        if attempt is None or message.first != attempt.done or not message.results:
            return
        self._books.functions.took(attempt.digest, message.seconds / len(message.results))
        finished: list[Place] = []
        for results in message.results[: 1 + len(attempt.riders) - attempt.done]:
            place = attempt.place(attempt.done)
            if attempt.done:
                finished.append(place)
            attempt.done += 1
            self.take_results(place.job, place.task, results)
        self._books.cut(message.attempt, attempt)
        if finished:
            done = tuple(_names(finished))
            self._books.tell(sched.LotAdvanced(self._books.id(), finished=done))

    def _given(self, message: wire.Given) -> None:
        attempt = self._books.attempts.get(message.attempt)
        if attempt is None or message.kept <= attempt.done:
            return
        rest = attempt.riders[message.kept - 1 :]
        del attempt.riders[message.kept - 1 :]
        self._books.tell(sched.LotAdvanced(self._books.id(), returned=tuple(_names(rest))))

    def _finished(self, name: str, message: wire.Finished) -> None:
        attempt = self._end_attempt(message.attempt)
        if attempt is None:
            self._books.settled.setdefault(name, []).append(message.attempt)
            return
        job, task = attempt.job, attempt.task
        self._books.settle(task)
        task.done_by = (name, message.attempt)
        if self._books.jobs.get(job.id) is not job:
            self._books.settle(task)
        if not message.results:
            self._tell_failed(attempt, retry=True)
            return
        self._books.functions.took(attempt.digest, message.seconds)
        self._books.tell(sched.TaskFinished(self._books.id(), task.id, attempt.number))
        self.take_results(job, task, message.results)

    def take_results(self, job: Job, task: Task, results: list[Input]) -> None:
        """A task is done, unless its job is over or it was done elsewhere."""
        if job.over or task.state is not TaskState.READY:
            self._jobs.drop(results)
            return
        task.turn(Turn.FINISH)
        task.results = results
        task.shown = ""
        stage = job.stages[task.stage]
        stage.left -= 1
        if task.stage in job.spec.deliver:
            done = ask.TaskDone(job.id, task.stage, task.index, results)
            self._books.say(ToClient(job.client, done))
        if stage.complete:
            self._jobs.hand_over(job)
        elif stage.before:
            self._jobs.fetch_early(job, stage, results)

    def _suspended(self, message: wire.Suspended) -> None:
        attempt = self._books.attempts.get(message.attempt)
        if attempt is None:
            return
        attempt.current.shown = "suspended"
        attempt.current.memory = message.memory
        self._books.tell(
            sched.Suspended(
                self._books.id(), attempt.task.id, attempt.number, memory_bytes=message.memory
            )
        )

    def _beat(self, executor: Executor, message: wire.Heartbeat) -> None:
        executor.pulse = message
        self._books.tell(
            sched.ExecutorPulse(
                self._books.id(), executor.name, float(message.spilled), message.memory, message.gc
            )
        )
        for one in message.attempts:
            attempt = self._books.attempts.get(one.attempt)
            if attempt is None:
                continue
            attempt.current.memory = one.memory
            if one.progress >= 0:
                self._books.tell(
                    sched.Progress(
                        self._books.id(), attempt.task.id, attempt.number, min(1.0, one.progress)
                    )
                )

    def _failed(self, message: wire.Failed) -> None:
        attempt = self._end_attempt(message.attempt)
        if attempt is None:
            return
        job, task = attempt.job, attempt.task
        if job.over:
            self._tell_failed(attempt, retry=False)
            return
        task.failures += 1
        retry = task.failures <= job.spec.retries
        self._tell_failed(attempt, retry=retry)
        if retry:
            return
        if not job.spec.independent:
            self._jobs.end(job, "failed", message.failure)
            return
        task.turn(Turn.FINISH)
        task.broken, task.shown = message.failure, "failed"
        job.stages[task.stage].left -= 1
        broken = ask.TaskBroken(job.id, task.stage, task.index, message.failure)
        self._books.say(ToClient(job.client, broken))
        if job.stages[task.stage].complete:
            self._jobs.hand_over(job)

    def _tell_failed(self, attempt: Attempt, *, retry: bool) -> None:
        self._books.tell(
            sched.TaskFailed(
                self._books.id(), attempt.task.id, attempt.number, retry and not attempt.job.over
            )
        )

    def _input_lost(self, message: wire.InputLost) -> None:
        attempt = self._end_attempt(message.attempt)
        if attempt is None:
            return
        job, task = attempt.job, attempt.task
        self._tell_failed(attempt, retry=False)
        if job.over:
            return
        job.stages[task.stage].set_back(task, Turn.LOSE_INPUT)
        for earlier in job.stages[task.stage].after:
            self._jobs.lose_key(job, job.stages[earlier], message.key)
        self._jobs.hand_over(job)


def _names(places: Iterable[Place]) -> list[tuple[str, int]]:
    """Tasks as the task scheduler knows them."""
    return [(place.task.id, place.number) for place in places]
