"""What the parts of the job core share: everything that is known, and what is to be said."""

from collections import deque
from dataclasses import dataclass, field
from itertools import count

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT
from colchis_master.jobs.peers import Client, Executor, Functions
from colchis_master.jobs.state import Job, Task
from colchis_master.tasks import events as sched


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
    riders: list[tuple[Task, int]] = field(default_factory=list)
    """Further tasks of its lot, each with the number of its try."""
    done: int = 0
    """Tasks of its lot that are done, while it goes on."""

    def place(self, index: int) -> tuple[Task, int]:
        """A task of the lot, with the number of its try."""
        return self.riders[index - 1] if index else (self.task, self.number)

    @property
    def current(self) -> Task:
        """The task at hand."""
        return self.place(min(self.done, len(self.riders)))[0]


class Books:
    """All jobs, peers and attempts; events on their way to the scheduler; outputs collected."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.now = 0.0
        """When the present turn began, monotonic seconds."""
        self.jobs: dict[str, Job] = {}
        self.tasks: dict[str, tuple[Job, Task]] = {}
        self.executors: dict[str, Executor] = {}
        self.clients: dict[str, Client] = {}
        self.functions = Functions()
        self.attempts: dict[int, Attempt] = {}
        self.queue: deque[sched.Event] = deque()
        self.out: list[Output] = []
        self.tell = self.queue.append
        """Have the task scheduler told of an event."""
        self._numbers = count((epoch << EPOCH_SHIFT) + 1)
        self._ids = count(1)

    def say(self, output: Output) -> None:
        """Have something sent or written."""
        self.out.append(output)

    def id(self) -> str:
        """A new event's id."""
        return f"t{next(self._ids)}"

    def number(self) -> int:
        """A new attempt's number."""
        return next(self._numbers)
