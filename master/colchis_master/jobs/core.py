"""The decisions about jobs, without any I/O: events in, messages out.

Drives the task scheduler: hands over the tasks whose inputs are there, turns its instructions into
orders to executors and their reports into its events. A task may be tried several times; each try
has a number of its own for ever, and only the report of the present one counts, so that a result
is taken once.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

import structlog

from colchis.errors import ColchisError
from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT, PROTOCOL, Failure, Input, Stored, Work
from colchis_master.jobs.peers import Client, Executor, Functions
from colchis_master.jobs.state import Job, Stage, Task, TaskState, Turn, problems
from colchis_master.tasks import events as sched
from colchis_master.tasks.scheduler import TaskScheduler

log = structlog.get_logger("jobs")

LOCAL_BYTES = 64 * 2**10
"""A task prefers the executor that holds this much or more of its input."""


@dataclass(frozen=True, slots=True)
class ToExecutor:
    """Send to an executor."""

    executor: str
    message: wire.ToExecutor


@dataclass(frozen=True, slots=True)
class ToClient:
    """Send to a client."""

    client: str
    message: ask.ToClient


@dataclass(frozen=True, slots=True)
class Keep:
    """Write an accepted job to the journal, before anything of this turn is sent."""

    client: str
    spec: ask.Submit
    functions: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Forget:
    """The journal need not have the job any more."""

    job: str


Output = ToExecutor | ToClient | Keep | Forget


@dataclass(slots=True)
class Attempt:
    """One try at one task, on its way."""

    task: Task
    job: Job
    number: int
    executor: str
    digest: str


class JobCore:
    """All jobs of one service. ``epoch`` grows with each start of the service.

    ``patience`` is how long an executor, and ``client_patience`` how long a client, may be silent
    before it is given up; ``now`` is monotonic seconds everywhere.
    """

    def __init__(
        self,
        scheduler: TaskScheduler,
        *,
        epoch: int,
        patience: float = 10.0,
        client_patience: float = 30.0,
    ) -> None:
        self.epoch = epoch
        self.jobs: dict[str, Job] = {}
        self.executors: dict[str, Executor] = {}
        self.clients: dict[str, Client] = {}
        self.functions = Functions()
        self.attempts: dict[int, Attempt] = {}
        self._scheduler = scheduler
        self._patience = patience
        self._client_patience = client_patience
        self._numbers = count((epoch << EPOCH_SHIFT) + 1)
        self._ids = count(1)
        self._tasks: dict[str, tuple[Job, Task]] = {}
        self._queue: deque[sched.Event] = deque()
        self._out: list[Output] = []

    # --- the scheduler's side -------------------------------------------------------------------

    def take(self, now: float) -> list[Output]:
        """Let the scheduler see what has happened, and collect everything to be sent."""
        while self._queue:
            event = self._queue.popleft()
            try:
                instructions = self._scheduler.handle(now, event)
            except ColchisError as error:
                log.error("the task scheduler refused an event", event_=event, why=str(error))
                continue
            for instruction in instructions:
                self._carry_out(instruction)
        out, self._out = self._out, []
        return out

    def next_wakeup(self) -> float | None:
        """When :meth:`tick` is due."""
        return self._scheduler.next_wakeup()

    def tick(self, now: float) -> None:
        """Time has passed: silent peers are given up."""
        self._queue.append(sched.Tick(self._id()))
        for executor in list(self.executors.values()):
            if now - executor.heard > self._patience:
                log.warning("executor is silent and given up", executor=executor.name)
                self.executor_lost(executor.name)
        for client in list(self.clients.values()):
            if now - client.heard > self._client_patience:
                self.client_left(client.name)

    def _id(self) -> str:
        return f"t{next(self._ids)}"

    def _carry_out(self, instruction: sched.Instruction) -> None:
        found = self._tasks.get(instruction.task)
        if isinstance(instruction, sched.Launch):
            if found is not None:
                self._launch(*found, instruction)
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
        self._out.append(ToExecutor(instruction.executor, order))

    def _find_attempt(
        self, found: tuple[Job, Task] | None, instruction: sched.Instruction
    ) -> tuple[int, Task] | None:
        if found is not None and found[1].attempt is not None:
            return found[1].attempt, found[1]
        # Its job has ended: a look through all attempts, which is rare.
        for number, attempt in self.attempts.items():
            if attempt.task.id == instruction.task and attempt.number == instruction.attempt:
                return number, attempt.task
        return None

    def _launch(self, job: Job, task: Task, order: sched.Launch) -> None:
        stage = job.stages[task.stage]
        inputs = self._inputs(job, stage, task)
        task.number = order.attempt
        if inputs is None:
            # An input was lost between the hand-over and now.
            self._set_back(job, task)
            return
        number = next(self._numbers)
        executor = self.executors[order.executor]
        digest = stage.spec.function
        for message in executor.begin(number, digest, self.functions[digest]):
            self._out.append(ToExecutor(order.executor, message))
        self.attempts[number] = Attempt(task, job, order.attempt, order.executor, digest)
        task.attempt, task.executor, task.reason = number, order.executor, order.reason
        task.shown = "running"
        work = Work(stage.spec.kind, digest, inputs, stage.spec.buckets)
        self._out.append(ToExecutor(order.executor, wire.Launch(number, work)))

    # --- executors ------------------------------------------------------------------------------

    def register(self, message: wire.Register, now: float) -> None:
        """An executor has come, or come back."""
        name = message.executor
        if message.protocol != PROTOCOL:
            reason = f"protocol {message.protocol}; this job service speaks {PROTOCOL}"
            self._out.append(ToExecutor(name, wire.Refused(reason)))
            return
        known = self.executors.get(name)
        if known is not None and (known.address, known.cores) != (message.address, message.cores):
            # Another process under the same name: what the first one had is gone.
            self.executor_lost(name)
            known = None
        self._out.append(ToExecutor(name, wire.Welcome(self.epoch)))
        mine = known.attempts if known is not None else set()
        for number in message.attempts:
            if number >> EPOCH_SHIFT == self.epoch and number not in mine:
                self._out.append(ToExecutor(name, wire.Cancel(number, 0.0)))
        if known is not None:
            known.heard = now
            return
        self.executors[name] = Executor(
            name, message.node, message.cores, message.memory, message.address, now
        )
        joined = sched.ExecutorJoined(self._id(), name, message.node, message.cores, message.memory)
        self._queue.append(joined)

    def executor_lost(self, name: str) -> None:
        """An executor is gone: its attempts run again, the results it kept are made anew."""
        executor = self.executors.pop(name, None)
        if executor is None:
            return
        for number in executor.attempts:
            attempt = self.attempts.pop(number)
            if attempt.task.attempt == number:
                attempt.task.attempt, attempt.task.shown = None, "pending"
        self._queue.append(sched.ExecutorLost(self._id(), name))
        for job in self.jobs.values():
            if not job.over:
                self._lose_results(job, executor.address)

    def _lose_results(self, job: Job, address: str) -> None:
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
            self._hand_over(job)

    def _lose_result(self, stage: Stage, task: Task) -> None:
        task.turn(Turn.LOSE_RESULT)
        task.results = None
        stage.left += 1

    def report(self, name: str, message: wire.FromExecutor, now: float) -> None:
        """What an executor that is known says, other than Register."""
        executor = self.executors[name]
        executor.heard = now
        if isinstance(message, wire.Finished):
            self._finished(message)
        elif isinstance(message, wire.Suspended):
            self._suspended(message)
        elif isinstance(message, wire.Heartbeat):
            self._beat(executor, message)
        elif isinstance(message, wire.Failed):
            self._failed(message)
        elif isinstance(message, wire.Cancelled):
            attempt = self._end_attempt(message.attempt)
            if attempt is not None:
                self._queue.append(sched.Killed(self._id(), attempt.task.id, attempt.number))
        elif isinstance(message, wire.Lost):
            attempt = self._end_attempt(message.attempt)
            if attempt is not None:
                self._tell_failed(attempt, retry=True)
        elif isinstance(message, wire.InputLost):
            self._input_lost(message)
        elif isinstance(message, wire.Leave):
            self.executor_lost(name)

    def _end_attempt(self, number: int) -> Attempt | None:
        """Take a finished try off the books; None where it is not on them."""
        attempt = self.attempts.pop(number, None)
        if attempt is None:
            return None
        executor = self.executors.get(attempt.executor)
        if executor is not None:
            executor.end(number, attempt.digest)
        if attempt.task.attempt == number:
            attempt.task.attempt, attempt.task.shown = None, "pending"
        return attempt

    def _finished(self, message: wire.Finished) -> None:
        attempt = self._end_attempt(message.attempt)
        if attempt is None:
            return
        job, task = attempt.job, attempt.task
        self._queue.append(sched.TaskFinished(self._id(), task.id, attempt.number))
        if job.over or task.state is not TaskState.READY:
            return
        task.turn(Turn.FINISH)
        task.results = message.results
        task.shown = ""
        stage = job.stages[task.stage]
        stage.left -= 1
        if task.stage in job.spec.deliver:
            done = ask.TaskDone(job.id, task.stage, task.index, message.results)
            self._out.append(ToClient(job.client, done))
        if stage.complete:
            self._hand_over(job)

    def _suspended(self, message: wire.Suspended) -> None:
        attempt = self.attempts.get(message.attempt)
        if attempt is None:
            return
        attempt.task.shown = "suspended"
        attempt.task.memory = message.memory
        self._queue.append(
            sched.Suspended(
                self._id(), attempt.task.id, attempt.number, memory_bytes=message.memory
            )
        )

    def _beat(self, executor: Executor, message: wire.Heartbeat) -> None:
        executor.pulse = message
        self._queue.append(
            sched.ExecutorPulse(
                self._id(), executor.name, float(message.spilled), message.memory, message.gc
            )
        )
        for one in message.attempts:
            attempt = self.attempts.get(one.attempt)
            if attempt is None:
                continue
            attempt.task.memory = one.memory
            if one.progress >= 0:
                self._queue.append(
                    sched.Progress(
                        self._id(), attempt.task.id, attempt.number, min(1.0, one.progress)
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
        if not retry:
            self._end_job(job, "failed", message.failure)

    def _tell_failed(self, attempt: Attempt, *, retry: bool) -> None:
        self._queue.append(
            sched.TaskFailed(
                self._id(), attempt.task.id, attempt.number, retry and not attempt.job.over
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
        task.turn(Turn.LOSE_INPUT)
        for earlier in job.stages[task.stage].after:
            self._lose_key(job, job.stages[earlier], message.key)
        self._hand_over(job)

    def _lose_key(self, job: Job, stage: Stage, key: str) -> bool:
        for task in stage.tasks:
            if any(isinstance(r, Stored) and r.key == key for r in task.results or ()):
                self._lose_result(stage, task)
                return True
        return False

    def _set_back(self, job: Job, task: Task) -> None:
        failed = sched.TaskFailed(self._id(), task.id, task.number, retry=False)
        self._queue.append(failed)
        task.turn(Turn.LOSE_INPUT)
        self._hand_over(job)

    # --- jobs -----------------------------------------------------------------------------------

    def submit(self, client: str, spec: ask.Submit, now: float, *, journal: bool = True) -> None:
        """Take a job on, or reject it with every reason."""
        if spec.job in self.jobs:
            if self.jobs[spec.job].client != client:
                rejected = ask.Rejected(spec.job, "a job of this name exists")
                self._out.append(ToClient(client, rejected))
            return
        wrong = problems(spec)
        digests = sorted({stage.function for stage in spec.stages})
        wrong += [f"function {one} was not sent" for one in digests if one not in self.functions]
        if wrong:
            self._out.append(ToClient(client, ask.Rejected(spec.job, "; ".join(wrong))))
            return
        job = Job.of(client, spec, now)
        self.jobs[job.id] = job
        for digest in digests:
            self.functions.use(digest, job.id)
        if client in self.clients:
            self.clients[client].jobs.add(job.id)
        if journal:
            functions = {digest: self.functions[digest] for digest in digests}
            self._out.append(Keep(client, spec, functions))
        self._out.append(ToClient(client, ask.Accepted(job.id)))
        for stage in job.stages:
            for task in stage.tasks:
                self._tasks[task.id] = (job, task)
        self._hand_over(job)

    def _hand_over(self, job: Job) -> None:
        """Give the scheduler every task whose inputs have all come; end the job after the last."""
        for stage in job.stages:
            if stage.complete or not all(job.stages[number].complete for number in stage.after):
                continue
            waiting = [task for task in stage.tasks if task.state is TaskState.WAITING]
            if not waiting:
                continue
            specs = []
            for task in waiting:
                task.turn(Turn.HAND_OVER)
                task.shown = "pending"
                prefer = self._preference(job, stage, task)
                specs.append(sched.TaskSpec(task.id, stage.spec.memory, prefer, task.number + 1))
            self._queue.append(
                sched.StageSubmitted(
                    self._id(),
                    job.id,
                    stage.spec.name,
                    job.spec.priority,
                    tuple(specs),
                    job.spec.weight,
                )
            )
        if all(stage.complete for stage in job.stages):
            self._end_job(job, "finished", None)

    def _inputs(self, job: Job, stage: Stage, task: Task) -> list[Input] | None:
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

    def _preference(self, job: Job, stage: Stage, task: Task) -> str | None:
        """The user's wish, else the executor that has most of the input, where it is much."""
        if stage.spec.prefer:
            return stage.spec.prefer[task.index] or None
        if not stage.after:
            return None
        held: dict[str, int] = {}
        for item in self._inputs(job, stage, task) or ():
            if isinstance(item, Stored):
                held[item.address] = held.get(item.address, 0) + item.size
        if not held:
            return None
        address = max(held, key=lambda one: (held[one], one))
        if held[address] < LOCAL_BYTES:
            return None
        return next((e.name for e in self.executors.values() if e.address == address), None)

    def _end_job(self, job: Job, state: str, failure: Failure | None) -> None:
        job.state = state
        job.failure = failure
        if state != "finished":
            self._queue.append(sched.JobCancelled(self._id(), job.id))
        ended = ask.JobEnded(job.id, state, failure)  # type: ignore[arg-type]  # one of three words
        self._out.append(ToClient(job.client, ended))

    def cancel(self, job_id: str) -> None:
        """End a job and everything of it that runs."""
        job = self.jobs.get(job_id)
        if job is not None and not job.over:
            self._end_job(job, "cancelled", None)

    def release(self, job_id: str) -> None:
        """Forget a job: its client has all it wants of it."""
        job = self.jobs.get(job_id)
        if job is None:
            return
        self.cancel(job_id)
        del self.jobs[job_id]
        if job.client in self.clients:
            self.clients[job.client].jobs.discard(job_id)
        self._out.append(Forget(job_id))
        for digest in {stage.function for stage in job.spec.stages}:
            self.functions.drop(digest, job_id)
        kept: dict[str, list[str]] = {}
        for stage in job.stages:
            for task in stage.tasks:
                del self._tasks[task.id]
                for result in task.results or ():
                    if isinstance(result, Stored):
                        kept.setdefault(result.address, []).append(result.key)
        for executor in self.executors.values():
            if executor.address in kept:
                drop = wire.DropResults(kept[executor.address])
                self._out.append(ToExecutor(executor.name, drop))

    def result_lost(self, message: ask.ResultLost) -> None:
        """A delivered result is not to be had any more: make it anew."""
        job = self.jobs.get(message.job)
        if job is None or job.state not in ("running", "finished"):
            return
        if message.stage < len(job.stages):
            job.state = "running"
            self._lose_key(job, job.stages[message.stage], message.key)
            self._hand_over(job)

    # --- clients --------------------------------------------------------------------------------

    def hello(self, message: ask.Hello, now: float) -> None:
        """A client has come, or come back: what its jobs have so far is sent (again)."""
        name = message.client
        client = self.clients.setdefault(name, Client(name, now))
        client.heard = now
        unknown = [job for job in message.jobs if job not in self.jobs]
        self._out.append(
            ToClient(
                name,
                ask.Greeting(
                    self.epoch,
                    sum(executor.cores for executor in self.executors.values()),
                    len(self.executors),
                    unknown,
                ),
            )
        )
        for job_id in message.jobs:
            job = self.jobs.get(job_id)
            if job is None or job.client != name:
                continue
            client.jobs.add(job_id)
            self._out.append(ToClient(name, ask.Accepted(job_id)))
            for number in job.spec.deliver:
                for task in job.stages[number].tasks:
                    if task.results is not None:
                        done = ask.TaskDone(job_id, number, task.index, task.results)
                        self._out.append(ToClient(name, done))
            if job.over:
                ended = ask.JobEnded(job_id, job.state, job.failure)  # type: ignore[arg-type]  # as above
                self._out.append(ToClient(name, ended))

    def expect(self, name: str, now: float) -> None:
        """A client of the service's earlier life is given time to come back."""
        self.clients.setdefault(name, Client(name, now))

    def client_left(self, name: str) -> None:
        """A client is gone: nothing of it is to go on."""
        client = self.clients.pop(name, None)
        if client is None:
            return
        for job in list(client.jobs):
            self.release(job)
        for digest in client.functions:
            self.functions.drop(digest, name)

    def add_function(self, name: str, message: wire.Function) -> None:
        """A client has sent a function that it will name from now on."""
        client = self.clients[name]
        if message.digest not in client.functions:
            client.functions.add(message.digest)
            self.functions.add(message.digest, message.data, name)

    def drop_function(self, name: str, digest: str) -> None:
        """A client will not name a function again before sending it anew."""
        client = self.clients[name]
        if digest in client.functions:
            client.functions.discard(digest)
            self.functions.drop(digest, name)
