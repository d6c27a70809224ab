"""The decisions about jobs, without any I/O: events in, messages out.

Drives the task scheduler: hands over the tasks whose inputs are there, turns its instructions into
orders to executors and their reports into its events. A task may be tried several times; each try
has a number of its own for ever, and only the report of the present one counts, so that a result
is taken once.
"""

import math
from collections.abc import Callable

import structlog

from colchis.errors import ColchisError
from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import MAX_LOT, Input, Work
from colchis_master.jobs.books import Attempt, Books, Output, Place, ToClient, ToExecutor
from colchis_master.jobs.clients import Clients
from colchis_master.jobs.executors import Executors
from colchis_master.jobs.graph import PIECE, Jobs, inputs_of
from colchis_master.jobs.recovery import Recovery
from colchis_master.jobs.state import Job, Task
from colchis_master.jobs.state import TaskState as JobTaskState
from colchis_master.tasks import events as sched
from colchis_master.tasks.scheduler import TaskScheduler
from colchis_master.tasks.story import Entry

log = structlog.get_logger("jobs")

RESULTS = (ask.TaskDone, ask.JobEnded)
LOT = 0.002
"""Seconds of work that are sent to a slot at once."""
MAX_LOT_BYTES = 2**18
"""Bytes of payloads in a lot, if all were as long as the first."""
PAYLOAD = 1024
"""Bytes of a payload that is short beside the message about it."""


class JobCore:
    """All jobs of one service. ``epoch`` grows with each start of the service.

    ``patience`` is how long an executor, and ``client_patience`` how long a client, may be silent
    before it is given up; ``settle`` how long after :meth:`recover` executors may take to come
    back before what they may be at is begun anew; ``now`` is monotonic seconds everywhere. After
    any number of calls to ``jobs``, ``executors`` and ``clients``, :meth:`take` has what follows
    from them. Large jobs are taken in and forgotten piece by piece, so that urgent ones need not
    wait for the whole.
    """

    def __init__(
        self,
        scheduler: TaskScheduler,
        *,
        epoch: int,
        patience: float = 10.0,
        client_patience: float = 30.0,
        piece: int = PIECE,
        settle: float = 3.0,
    ) -> None:
        self.books = Books(epoch)
        self.jobs = Jobs(self.books, piece)
        self.executors = Executors(self.books, self.jobs)
        self.clients = Clients(self.books, self.jobs)
        self._recovery = Recovery(self.books, self.jobs, self.executors.take_results)
        self._piece, self._pieces = piece, 0
        self._settle = settle
        self._settled_at = math.inf
        self._scheduler = scheduler
        self._patience = patience
        self._client_patience = client_patience

    def results(self) -> list[Output]:
        """Results to be sent before anything is decided; nothing where more than these is due."""
        out = self.books.out
        if not all(isinstance(one, ToClient) and isinstance(one.message, RESULTS) for one in out):
            return []
        self.books.out = []
        return out

    @property
    def behind(self) -> bool:
        """Whether :meth:`go_on` is wanted, once others have had their turn."""
        return bool(self.books.behind or self.books.released or self._scheduler.behind)

    def go_on(self) -> None:
        """Take in a piece of a large job, or forget one; either has its turn."""
        due: list[Callable[[], None]] = []
        if self.books.behind:
            due.append(self.jobs.go_on)
        if self.books.released:
            due.append(self.jobs.forget)
        if self._scheduler.behind:
            due.append(lambda: self._scheduler.go_on(self._piece))
        if due:
            self._pieces += 1
            due[self._pieces % len(due)]()

    def take(self, now: float) -> list[Output]:
        """Let the scheduler see what has happened, and collect everything to be sent."""
        self._work(now)
        self.jobs.use_names_again()
        self._work(now)
        out, self.books.out = self.books.out, []
        return out

    def recover(self, client: str, spec: ask.Submit, born: int, now: float) -> None:
        """Take up a job of the service's earlier life, to be told before anything else.

        Its functions are there already, and its client has as long to come back as any client may
        be silent.
        """
        self.clients.expect(client, now)
        self.jobs.submit(client, spec, now, born=born)
        self._settled_at = now + self._settle

    def register(self, message: wire.Register, now: float) -> None:
        """An executor has come, or come back, maybe with tasks of our earlier life.

        Decided at once, since what it says next may be about them.
        """
        self._work(now)
        executor = self.executors.register(message, now)
        if executor is None:
            return
        # Where it takes the place of another of its name that one is to be gone first.
        self._work(now)
        executor.kept = self._recovery.take_done(executor, message.done)
        offers, carried = self._recovery.offers(message.carried)
        joined = sched.ExecutorJoined(
            self.books.id(), executor.name, executor.node, executor.cores, executor.memory, carried
        )
        orders = self._decide(now, joined, [])
        for order in orders:
            if isinstance(order, sched.Adopted):
                number = self._recovery.adopt(executor, order, offers[order.task])
                executor.kept.append(number)
        self.executors.welcome(executor, message)
        for order in orders:
            if not isinstance(order, sched.Adopted):
                self._carry_out(order)

    def _work(self, now: float) -> None:
        queue = self.books.queue
        while queue:
            event = queue.popleft()
            then: list[sched.StageSubmitted] = []
            while queue and isinstance(queue[0], sched.StageSubmitted):
                then.append(queue.popleft())  # type: ignore[arg-type]  # the one just looked at
            for instruction in self._decide(now, event, then):
                self._carry_out(instruction)

    def _decide(
        self, now: float, event: sched.Event, then: list[sched.StageSubmitted]
    ) -> list[sched.Instruction]:
        """What the scheduler says to an event and stages that became ready by it or after it."""
        try:
            return self._scheduler.handle(now, event, then)
        except ColchisError as error:
            log.error("the task scheduler refused an event", event_=event, why=str(error))
        return [order for stage in then for order in self._decide(now, stage, [])]

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
        if now >= self._settled_at:
            self._settled_at = math.inf
            self._recovery.settle()
        settled, self.books.settled = self.books.settled, {}
        for name, attempts in settled.items():
            if name in self.books.executors:
                self.books.say(ToExecutor(name, wire.Settled(attempts)))
        for executor in list(self.books.executors.values()):
            if now - executor.heard > self._patience:
                log.warning("executor is silent and given up", executor=executor.name)
                self.executors.lost(executor.name)
        for client in list(self.books.clients.values()):
            if now - client.heard > self._client_patience:
                self.clients.left(client.name)

    def _carry_out(self, instruction: sched.Instruction) -> None:
        found = self.books.find(instruction.task)
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
        for place in riders:
            self.books.number()
            rider = place.task
            rider.number, rider.executor, rider.reason = (
                place.number,
                order.executor,
                order.reason,
            )
        task.attempt, task.executor, task.reason = number, order.executor, order.reason
        task.shown = "running"
        work = Work(stage.spec.kind, digest, inputs, stage.spec.buckets)
        more = [
            Work(stage.spec.kind, digest, [_payload(place)], stage.spec.buckets) for place in riders
        ]
        name = "" if more else task.id
        self.books.say(ToExecutor(order.executor, wire.Launch(number, work, more, name)))

    def _riders(self, job: Job, task: Task) -> list[Place]:
        """Further short tasks of a function, to be sent along in one message.

        As many as take :data:`LOT` seconds together, and at most half of what each slot may
        expect of those that wait, so that all slots end at about the same time.
        """
        spec = job.stages[task.stage].spec
        pace = self.books.functions.pace(spec.function)
        if not 0 < pace < LOT / 2 or spec.after:
            return []
        waiting = self._scheduler.waiting_with(task.id)
        if not waiting:
            return []
        slots = sum(executor.cores for executor in self.books.executors.values())
        share = waiting // (2 * slots)
        longest = max(PAYLOAD, len(spec.payloads[task.index]))
        most = min(share, int(LOT / pace), MAX_LOT, MAX_LOT_BYTES // longest)
        if most < 1:
            return []

        def alike(name: str) -> bool:
            found = self.books.find(name)
            if found is None or found[0].client != job.client or found[0].over:
                return False
            other = found[0].stages[found[1].stage].spec
            return (
                (other.function, other.kind, other.buckets, other.memory)
                == (spec.function, spec.kind, spec.buckets, spec.memory)
                and not other.after
                and len(other.payloads[found[1].index]) <= longest
            )

        riders, done = [], []
        for name, tried in self._scheduler.take_along(task.id, most, alike):
            its, rider = self.books.tasks[name]
            if rider.state is JobTaskState.READY:
                riders.append(Place(its, rider, tried))
            else:
                done.append((name, tried))
        if done:
            self.books.tell(sched.LotAdvanced(self.books.id(), finished=tuple(done)))
        return riders


def _payload(place: Place) -> Input:
    return place.job.stages[place.task.stage].spec.payloads[place.task.index]
