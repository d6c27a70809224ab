"""What the parts of the job core share: everything that is known, and what is to be said."""

from collections import deque
from itertools import count

from msgspec import Struct

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT
from colchis_master.jobs.peers import Client, Executor, Functions
from colchis_master.jobs.state import Job, Task
from colchis_master.tasks import events as sched


class ToExecutor(Struct, frozen=True):
    """Send to an executor."""

    executor: str
    message: wire.ToExecutor


class ToClient(Struct, frozen=True):
    """Send to a client."""

    client: str
    message: ask.ToClient


class Keep(Struct, frozen=True):
    """Write an accepted job to the journal, before anything of this turn is sent."""

    client: str
    spec: ask.Submit
    functions: dict[str, bytes]
    born: int


class Forget(Struct, frozen=True):
    """The journal need not have the job any more."""

    job: str


Output = ToExecutor | ToClient | Keep | Forget


class Place(Struct, frozen=True):
    """A task of an attempt, with its job and the number of its try."""

    job: Job
    task: Task
    number: int


class Attempt(Struct):
    """One try at one task, on its way."""

    task: Task
    job: Job
    number: int
    executor: str
    digest: str
    riders: list[Place] = []
    """Further tasks of its lot, maybe of other jobs."""
    done: int = 0
    """Tasks of its lot that are done, while it goes on."""

    def place(self, index: int) -> Place:
        """A task of the lot."""
        return self.riders[index - 1] if index else Place(self.job, self.task, self.number)

    @property
    def at_hand(self) -> Place:
        """The task that is worked at, or the last one."""
        return self.place(min(self.done, len(self.riders)))

    @property
    def undone(self) -> list[Place]:
        """The tasks after the first that are not done."""
        return self.riders[max(0, self.done - 1) :]

    @property
    def current(self) -> Task:
        """The task of :attr:`at_hand`."""
        return self.at_hand.task


class Books:
    """All jobs, peers and attempts; events on their way to the scheduler; outputs collected."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.now = 0.0
        """When the present turn began, monotonic seconds."""
        self.jobs: dict[str, Job] = {}
        self.tasks: dict[str, tuple[Job, Task]] = {}
        self.behind: dict[str, Job] = {}
        """Jobs with tasks that could be handed to the scheduler and are not yet."""
        self.released: deque[Job] = deque()
        """Jobs that are forgotten, of whose tasks some are still on the books."""
        self.lingering: set[str] = set()
        """Names of forgotten jobs of which executors may still have something."""
        self.held_back: dict[str, Job] = {}
        """Jobs that wait until nothing lingers of a forgotten one of their name."""
        self.executors: dict[str, Executor] = {}
        self.clients: dict[str, Client] = {}
        self.functions = Functions()
        self.attempts: dict[int, Attempt] = {}
        self.settled: dict[str, list[int]] = {}
        """By executor, attempts whose results it need not keep a note of any more."""
        self.queue: deque[sched.Event] = deque()
        self.out: list[Output] = []
        self.tell = self.queue.append
        """Have the task scheduler told of an event."""
        self._numbers = count((epoch << EPOCH_SHIFT) + 1)
        self._ids = count(1)

    def say(self, output: Output) -> None:
        """Have something sent or written."""
        self.out.append(output)

    def settle(self, task: Task) -> None:
        """Nobody will want what an executor has noted of the task's results."""
        if task.done_by is not None:
            executor, attempt = task.done_by
            self.settled.setdefault(executor, []).append(attempt)
            task.done_by = None

    def find(self, name: str) -> tuple[Job, Task] | None:
        """A task and its job, unless that is forgotten."""
        found = self.tasks.get(name)
        return None if found is None or self.jobs.get(found[0].id) is not found[0] else found

    def cut(self, number: int, attempt: Attempt) -> None:
        """End a lot of another job in which a task is at hand that is not wanted any more.

        The task scheduler cannot: for it the lot's first task has the slot.
        """
        job = attempt.at_hand.job
        if job.over and job is not attempt.job and 0 < attempt.done <= len(attempt.riders):
            self.say(ToExecutor(attempt.executor, wire.Cancel(number, 0.0)))

    def id(self) -> str:
        """A new event's id."""
        return f"t{next(self._ids)}"

    def number(self) -> int:
        """A new attempt's number."""
        return next(self._numbers)
