"""The decisions about jobs, without any I/O: events in, messages out.

Drives the task scheduler: hands over the tasks whose inputs are there, turns its instructions into
orders to executors and their reports into its events. A task may be tried several times; each try
has a number of its own for ever, and only the report of the present one counts, so that a result
is taken once.
"""

import structlog

from colchis.errors import ColchisError
from colchis.wire import tasks as wire
from colchis.wire.work import MAX_LOT, Work
from colchis_master.jobs.books import Attempt, Books, Output, ToExecutor
from colchis_master.jobs.clients import Clients
from colchis_master.jobs.executors import Executors
from colchis_master.jobs.graph import Jobs, inputs_of
from colchis_master.jobs.state import Job, Task
from colchis_master.jobs.state import TaskState as JobTaskState
from colchis_master.tasks import events as sched
from colchis_master.tasks.scheduler import TaskScheduler
from colchis_master.tasks.story import Entry

log = structlog.get_logger("jobs")

LOT = 0.002
"""Seconds of work that are sent to a slot at once."""
MAX_LOT_BYTES = 2**18
"""Bytes of payloads in a lot, if all were as long as the first."""


class JobCore:
    """All jobs of one service. ``epoch`` grows with each start of the service.

    ``patience`` is how long an executor, and ``client_patience`` how long a client, may be silent
    before it is given up; ``now`` is monotonic seconds everywhere. After any number of calls to
    ``jobs``, ``executors`` and ``clients``, :meth:`take` has what follows from them.
    """

    def __init__(
        self,
        scheduler: TaskScheduler,
        *,
        epoch: int,
        patience: float = 10.0,
        client_patience: float = 30.0,
    ) -> None:
        self.books = Books(epoch)
        self.jobs = Jobs(self.books)
        self.executors = Executors(self.books, self.jobs)
        self.clients = Clients(self.books, self.jobs)
        self._scheduler = scheduler
        self._patience = patience
        self._client_patience = client_patience

    def take(self, now: float) -> list[Output]:
        """Let the scheduler see what has happened, and collect everything to be sent."""
        while self.books.queue:
            event = self.books.queue.popleft()
            try:
                instructions = self._scheduler.handle(now, event)
            except ColchisError as error:
                log.error("the task scheduler refused an event", event_=event, why=str(error))
                continue
            for instruction in instructions:
                self._carry_out(instruction)
        out, self.books.out = self.books.out, []
        return out

    def next_wakeup(self) -> float | None:
        """When :meth:`tick` is due."""
        return self._scheduler.next_wakeup()

    def story(self, task: str) -> list[tuple[str, Entry]]:
        """What the task scheduler decided about a task and why, oldest first."""
        return [(task, entry) for entry in self._scheduler.story(task)]

    def history(self) -> list[tuple[str, Entry]]:
        """The latest decisions about all tasks, oldest first."""
        return self._scheduler.history()

    def tick(self, now: float) -> None:
        """Time has passed: silent peers are given up."""
        self.books.tell(sched.Tick(self.books.id()))
        for executor in list(self.books.executors.values()):
            if now - executor.heard > self._patience:
                log.warning("executor is silent and given up", executor=executor.name)
                self.executors.lost(executor.name)
        for client in list(self.books.clients.values()):
            if now - client.heard > self._client_patience:
                self.clients.left(client.name)

    def _carry_out(self, instruction: sched.Instruction) -> None:
        found = self.books.tasks.get(instruction.task)
        if isinstance(instruction, sched.Launch):
            if found is not None and found[1].state is JobTaskState.READY:
                self._launch(*found, instruction)
            else:
                # Done in a lot before the executor was lost, maybe with its whole job.
                ended = sched.TaskFinished(self.books.id(), instruction.task, instruction.attempt)
                self.books.tell(ended)
            return
        attempt = self._find_attempt(found, instruction)
        if attempt is None:
            return
        number, task = attempt
        task.reason = instruction.reason
        if isinstance(instruction, sched.Suspend):
            task.suspensions += 1
            task.shown = "suspending"
            order: wire.ToExecutor = wire.Suspend(number, instruction.reason)
        elif isinstance(instruction, sched.Resume):
            task.shown = "running"
            order = wire.Resume(number)
        else:
            task.kills += 1
            task.shown = "killing"
            order = wire.Cancel(number, 0.0)
        self.books.say(ToExecutor(instruction.executor, order))

    def _find_attempt(
        self, found: tuple[Job, Task] | None, instruction: sched.Instruction
    ) -> tuple[int, Task] | None:
        if found is not None and found[1].attempt is not None:
            return found[1].attempt, self.books.attempts[found[1].attempt].current
        # Its job has ended: a look through all attempts, which is rare.
        for number, attempt in self.books.attempts.items():
            if attempt.task.id == instruction.task and attempt.number == instruction.attempt:
                return number, attempt.current
        return None

    def _launch(self, job: Job, task: Task, order: sched.Launch) -> None:
        stage = job.stages[task.stage]
        inputs = inputs_of(job, stage, task)
        task.number = order.attempt
        if inputs is None:
            # An input was lost between the hand-over and now.
            self.jobs.set_back(job, task)
            return
        number = self.books.number()
        executor = self.books.executors[order.executor]
        digest = stage.spec.function
        for message in executor.begin(number, digest, self.books.functions[digest]):
            self.books.say(ToExecutor(order.executor, message))
        riders = self._riders(job, task)
        self.books.attempts[number] = Attempt(
            task, job, order.attempt, order.executor, digest, riders
        )
        for rider, tried in riders:
            self.books.number()
            rider.number, rider.executor, rider.reason = tried, order.executor, order.reason
        task.attempt, task.executor, task.reason = number, order.executor, order.reason
        task.shown = "running"
        work = Work(stage.spec.kind, digest, inputs, stage.spec.buckets)
        payloads = stage.spec.payloads
        more = [
            Work(stage.spec.kind, digest, [payloads[rider.index]], stage.spec.buckets)
            for rider, _ in riders
        ]
        self.books.say(ToExecutor(order.executor, wire.Launch(number, work, more)))

    def _riders(self, job: Job, task: Task) -> list[tuple[Task, int]]:
        """Further tasks of a stage of short ones, to be sent along in one message.

        As many as take :data:`LOT` seconds together, and at most half of what each slot may
        expect of those that wait, so that all slots end at about the same time.
        """
        stage = job.stages[task.stage]
        if not 0 < stage.pace < LOT / 2 or stage.after:
            return []
        slots = sum(executor.cores for executor in self.books.executors.values())
        share = self._scheduler.waiting_with(task.id) // (2 * slots)
        most = min(
            share,
            int(LOT / stage.pace),
            MAX_LOT,
            MAX_LOT_BYTES // (1 + len(stage.spec.payloads[task.index])),
        )
        if most < 1:
            return []
        riders, done = [], []
        for name, tried in self._scheduler.take_along(task.id, most):
            rider = self.books.tasks[name][1]
            if rider.state is JobTaskState.READY:
                riders.append((rider, tried))
            else:
                done.append((name, tried))
        if done:
            self.books.tell(sched.LotAdvanced(self.books.id(), finished=tuple(done)))
        return riders
