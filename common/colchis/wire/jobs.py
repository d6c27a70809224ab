"""Messages between clients and the job service. See ``work`` for the words they share."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from colchis.wire.codec import Codec
from colchis.wire.tasks import DropFunction, Function, WhoAreYou
from colchis.wire.work import (
    MAX_BUCKETS,
    MAX_MESSAGE,
    PROTOCOL,
    Count,
    Digest,
    Failure,
    Index,
    Input,
    Kind,
    Name,
    Priority,
    Seconds,
    Share,
    TaskName,
    Text,
)

MAX_TASKS = 1_000_000
"""Of one stage."""

MAX_RETRIES = 100


class After(Struct, frozen=True, array_like=True):
    """A stage's input is another's output.

    ``each``: task i reads the result of task i. ``all``: every task reads every result.
    ``bucket``: task i reads bucket i of every result.
    """

    stage: Index
    mode: Literal["each", "all", "bucket"]


class StageSpec(Struct, frozen=True):
    """A stage of ``tasks`` parallel tasks.

    ``payloads`` is empty or has one input per task, read before those of ``after``. ``prefer``
    is empty or names a node or executor (or "") per task.
    """

    name: Name
    kind: Kind
    function: Digest
    tasks: Annotated[int, Meta(ge=0, le=MAX_TASKS)]
    payloads: list[bytes] = []
    after: Annotated[list[After], Meta(max_length=1000)] = []
    buckets: Annotated[int, Meta(ge=0, le=MAX_BUCKETS)] = 0
    memory: Count = 0
    prefer: list[Text] = []


class Submit(Struct, frozen=True, tag="submit"):
    """A job. Results of the stages in ``deliver`` are sent to the client as they come.

    With ``independent``, for a single stage, a task that fails for good leaves the others alone.
    """

    job: Name
    name: Text
    priority: Priority
    stages: Annotated[list[StageSpec], Meta(max_length=10_000)]
    deliver: list[Index]
    retries: Annotated[int, Meta(ge=0, le=MAX_RETRIES)] = 3
    weight: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    independent: bool = False


class Hello(Struct, frozen=True, tag="hello"):
    """The first message of a client; ``jobs`` are those it waits for, after a lost connection."""

    client: Name
    protocol: int = PROTOCOL
    jobs: list[Name] = []


class CancelJob(Struct, frozen=True, tag="cancel-job"):
    """End the job and everything of it that runs."""

    job: Name


class Release(Struct, frozen=True, tag="release"):
    """The client has what it wants of the job; its results may go."""

    job: Name


class ResultLost(Struct, frozen=True, tag="result-lost"):
    """The client could not fetch a delivered result; make it anew."""

    job: Name
    stage: Index
    index: Index
    key: Name


class Query(Struct, frozen=True, tag="query"):
    """Ask for a :class:`Status`; of one job, or of all where ``job`` is empty.

    With ``task`` (its id, ``JOB/STAGE/INDEX``) also for what was decided about it and why;
    with ``history`` for the latest decisions about all tasks.
    """

    request: Count
    job: Annotated[str, Meta(max_length=255)] = ""
    task: TaskName = ""
    history: bool = False


class Bye(Struct, frozen=True, tag="bye"):
    """The client ends; its unfinished jobs are cancelled."""


class Ping(Struct, frozen=True, tag="ping"):
    """The client is there."""

    client: Name


FromClient: TypeAlias = (
    Hello | Function | DropFunction | Submit | CancelJob | Release | ResultLost | Query | Bye | Ping
)


class Greeting(Struct, frozen=True, tag="greeting"):
    """The service knows the client. ``unknown`` are jobs it asked for that do not exist."""

    epoch: Count
    slots: Count
    executors: Count
    unknown: list[Name] = []


class Accepted(Struct, frozen=True, tag="accepted"):
    """The job is on the disk and will survive the service's end."""

    job: Name


class Rejected(Struct, frozen=True, tag="rejected"):
    """The job is not taken, and why; nothing of it is kept."""

    job: Name
    reason: Text


class TaskDone(Struct, frozen=True, tag="task-done"):
    """A result of a stage that is delivered; sent again after a lost connection."""

    job: Name
    stage: Index
    index: Index
    results: list[Input]


class TaskBroken(Struct, frozen=True, tag="task-broken"):
    """A task of a job of independent tasks has failed for good."""

    job: Name
    stage: Index
    index: Index
    failure: Failure


class JobEnded(Struct, frozen=True, tag="job-ended"):
    """The job's end; every result was sent before."""

    job: Name
    state: Literal["finished", "failed", "cancelled"]
    failure: Failure | None = None


class TaskStatus(Struct, frozen=True):
    """One task of a job."""

    stage: Name
    index: Index
    state: Name
    executor: Text = ""
    attempts: Count = 0
    suspensions: Count = 0
    memory: Count = 0
    reason: Text = ""


class JobStatus(Struct, frozen=True):
    """One job; ``counts`` is tasks by state; ``tasks`` only where one job was asked for."""

    job: Name
    name: Text
    priority: Priority
    state: Name
    counts: dict[str, int]
    submitted: float = 0.0
    seconds: float = 0.0
    suspensions: Count = 0
    kills: Count = 0
    tasks: list[TaskStatus] = []
    failure: Failure | None = None


class ExecutorStatus(Struct, frozen=True):
    """One executor as its last heartbeat has it."""

    executor: Name
    node: Name
    cores: Count
    memory: Share = 0.0
    spilled: Count = 0
    gc: Share = 0.0
    running: Count = 0
    suspending: Count = 0
    suspended: Count = 0
    suspended_memory: Count = 0


class Told(Struct, frozen=True):
    """A decision about a task, ``ago`` seconds before the answer, and why it was taken."""

    task: Text
    ago: Seconds
    what: Text
    reason: Text
    executor: Text = ""


class Status(Struct, frozen=True, tag="status"):
    """The answer to :class:`Query`."""

    request: Count
    jobs: list[JobStatus]
    executors: list[ExecutorStatus]
    story: list[Told] = []


ToClient: TypeAlias = (
    Greeting | Accepted | Rejected | TaskDone | TaskBroken | JobEnded | Status | WhoAreYou
)

FROM_CLIENT: Codec[FromClient] = Codec(FromClient, limit=MAX_MESSAGE)
TO_CLIENT: Codec[ToClient] = Codec(ToClient, limit=MAX_MESSAGE)
