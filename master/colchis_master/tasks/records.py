"""What the scheduler remembers of jobs, stages, tasks, executors and nodes."""

from collections import OrderedDict

from msgspec import Struct, field

from colchis_master.tasks.lifecycle import TaskState
from colchis_master.tasks.pressure import Pressure

OWN = "\0resume "


class Job(Struct, eq=False):
    """A job with live tasks. ``held`` counts the slots it has.

    ``cancelled_by`` is the cause of its cancellation, empty where it was not cancelled.
    """

    name: str
    seq: int
    weight: float
    held: int = 0
    cancelled_by: str = ""
    stages: dict[str, "Stage"] = {}


class Stage(Struct, eq=False):
    """A stage with live tasks; ``pending`` are those in the queue, by preference, others at work.

    Ordered dictionaries, since only they give their first entry in constant time after many others
    have been taken off the front.
    """

    job: Job
    name: str
    priority: int
    seq: int
    at_work: dict[str, "Task"] = {}
    pending: OrderedDict[str | None, OrderedDict[str, "Task"]] = field(default_factory=OrderedDict)
    waiting: int = 0
    more: bool = False
    """Whether further tasks will come."""

    def __str__(self) -> str:
        return f"{self.job.name}/{self.name}"


class Task(Struct, eq=False):
    """A live task.

    ``displaced`` counts suspensions and preemptive kills, ``suspension`` numbers the orders to
    suspend the present attempt. ``claim`` is the lane that its slot was taken for. ``worked`` are
    its seconds in slots before ``since``, when it got the present one; ``pace`` the seconds of
    work that its last progress report foresees in all. What was ``adopted`` had worked before,
    nobody knows how long.
    """

    id: str
    stage: Stage
    memory: int
    prefer: str | None
    attempt: int
    seq: int
    state: TaskState = TaskState.PENDING
    executor: "Executor | None" = None
    displaced: int = 0
    suspension: int = 0
    protected_until: float = 0.0
    claim: str | None = None
    cancelled: bool = False
    restarting: bool = False
    since: float = 0.0
    worked: float = 0.0
    share: float = 0.0
    pace: float | None = None
    suspended_at: float = 0.0
    charged: int = 0
    adopted: bool = False

    @property
    def left_over(self) -> bool:
        """Whether it waited when its job was cancelled: it is as good as forgotten."""
        return self.state is TaskState.PENDING and bool(self.stage.job.cancelled_by)

    def work(self, now: float) -> float:
        """Seconds that the present attempt has been in a slot."""
        if self.state in (TaskState.RUNNING, TaskState.SUSPENDING):
            return self.worked + now - self.since
        return self.worked

    def done(self, now: float) -> float:
        """The share of its work that it should have done by now, as far as known."""
        if self.pace is None:
            return self.share
        return min(1.0, self.work(now) / self.pace)

    def remaining(self, now: float) -> float | None:
        """Seconds of work expected to be left; negative when it is overdue; None if unknown."""
        return None if self.pace is None else self.pace - self.work(now)

    def forget_attempt(self) -> None:
        """Everything that belonged to the attempt that has ended."""
        self.executor = None
        self.claim = None
        self.restarting = self.adopted = False
        self.suspension = 0
        self.worked = self.share = self.protected_until = 0.0
        self.pace = None


class Node(Struct, eq=False):
    """A host; ``charged`` are the bytes of suspended (and suspending) tasks on it."""

    name: str
    executors: dict[str, "Executor"] = {}
    charged: int = 0


class Executor(Struct, eq=False):
    """``holding`` are tasks with a slot, ``suspended`` those with memory only.

    ``vacated`` are the lanes for which slots have been vacated since slots were last given out.
    """

    name: str
    node: Node
    cores: int
    memory: int
    pressure: Pressure
    group: str = ""
    holding: dict[str, Task] = {}
    suspended: dict[str, Task] = {}
    victim_priorities: tuple[int, ...] = ()
    vacated: list[str] = []

    @property
    def free(self) -> int:
        return self.cores - len(self.holding)

    @property
    def own_lane(self) -> str:
        """What slots are vacated for when the executor's own suspended tasks need them."""
        return OWN + self.name

    @property
    def load(self) -> int:
        """Tasks on it, with a slot or without."""
        return len(self.holding) + len(self.suspended)
