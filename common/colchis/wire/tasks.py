"""Messages of jobs: client and job service, job service and executors, executors among themselves.

What users' functions take and return travels as opaque bytes; only clients and slot processes
unpickle it. Every other field is checked for type and bounds when a message is decoded.

An *attempt* is one try at one task. Its number is unique for ever: the high bits are the job
service's epoch, which grows with each start. A result is named by the attempt that made it and a
bucket, so that an old result is never taken for a newer one.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from colchis.wire.codec import Codec

PROTOCOL = 1
"""Version of these messages; a peer that speaks another is refused with both versions named."""

MAX_MESSAGE = 64 * 2**20
"""Bytes; a longer message is refused by its sender, with the size and this limit in the error."""

MAX_INLINE = 32 * 2**10
"""Bytes; results no longer than this travel inside messages, longer ones stay in executors."""

EPOCH_SHIFT = 40
"""Bits of an attempt's number below the epoch."""

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Address: TypeAlias = Annotated[str, Meta(max_length=512)]
Text: TypeAlias = Annotated[str, Meta(max_length=65_536)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
Index: TypeAlias = Annotated[int, Meta(ge=0, le=2**31)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Digest: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Priority: TypeAlias = Annotated[int, Meta(ge=0, le=1000)]

STREAM = 1
BATCH = 2


# --- work, inputs and results -----------------------------------------------------------------


class Stored(Struct, frozen=True, array_like=True):
    """A result kept by an executor: ``key`` names it there, ``address`` is where it is served."""

    key: Name
    size: Count
    address: Address


Input: TypeAlias = bytes | Stored
"""A pickled value, or where to fetch it."""

Kind: TypeAlias = Literal["call", "records"]
"""``call``: the one input is (args, kwargs). ``records``: each input is a sequence of records, and
the function gets one iterator over all of them."""


class Work(Struct, frozen=True, array_like=True):
    """What an attempt is to do.

    ``buckets``: 0 for a result that is one value; n where it is a sequence of n values, each kept
    apart so that another task may fetch one alone.
    """

    kind: Kind
    function: Digest
    inputs: Annotated[list[Input], Meta(max_length=100_000)]
    buckets: Annotated[int, Meta(ge=0, le=65_536)] = 0


class Failure(Struct, frozen=True):
    """Why a task failed: what, where, and the last lines it wrote.

    ``exception`` is the pickled exception, empty where there is none (the process died).
    """

    message: Text
    traceback: Text = ""
    exception: bytes = b""
    node: Text = ""
    executor: Text = ""
    log: Annotated[list[Text], Meta(max_length=200)] = []


# --- executor to job service ------------------------------------------------------------------


class Register(Struct, frozen=True, tag="register"):
    """The first message of an executor, and its answer to :class:`WhoAreYou`.

    ``attempts`` are those it still has, ``results`` whether it keeps any.
    """

    executor: Name
    node: Name
    cores: Annotated[int, Meta(ge=1, le=4096)]
    memory: Count
    address: Address
    protocol: int = PROTOCOL
    attempts: list[Count] = []


class Attempted(Struct, frozen=True, array_like=True):
    """One running, suspending or suspended attempt, in a heartbeat.

    ``progress`` is the part of its records done, or -1 where that is not known.
    """

    attempt: Count
    phase: Name
    memory: Count
    progress: float = -1.0


class Heartbeat(Struct, frozen=True, tag="beat"):
    """What an executor holds; ``spilled`` in bytes and ``gc`` as a share of time since the last."""

    memory: Share
    spilled: Count
    gc: Share
    attempts: list[Attempted] = []
    stored: Count = 0
    node_memory: Count = 0


class Suspended(Struct, frozen=True, tag="suspended"):
    """The attempt is off its core; ``memory`` is what it holds, in bytes."""

    attempt: Count
    rung: Literal["cooperative", "frozen", "held"]
    memory: Count = 0


class Resumed(Struct, frozen=True, tag="resumed"):
    """The attempt is on a core again."""

    attempt: Count


class Finished(Struct, frozen=True, tag="finished"):
    """The attempt's results, one per bucket: the value where it is small, else where it is."""

    attempt: Count
    results: list[Input]
    seconds: Seconds = 0.0


class Failed(Struct, frozen=True, tag="failed"):
    """The attempt failed; ``died`` says that its process ended under it."""

    attempt: Count
    failure: Failure
    died: bool = False


class Cancelled(Struct, frozen=True, tag="cancelled"):
    """The attempt ended because it was told to."""

    attempt: Count


class Lost(Struct, frozen=True, tag="lost"):
    """The attempt was taken down by another's end, without any fault of its own."""

    attempt: Count


class InputLost(Struct, frozen=True, tag="input-lost"):
    """The attempt could not fetch ``key``, which it needs; it has ended."""

    attempt: Count
    key: Name


class Leave(Struct, frozen=True, tag="leave"):
    """The executor ends in good order."""


FromExecutor: TypeAlias = (
    Register
    | Heartbeat
    | Suspended
    | Resumed
    | Finished
    | Failed
    | Cancelled
    | Lost
    | InputLost
    | Leave
)


# --- job service to executor ------------------------------------------------------------------


class Welcome(Struct, frozen=True, tag="welcome"):
    """The service knows the executor; it is to forget every attempt of other epochs."""

    epoch: Count
    protocol: int = PROTOCOL


class WhoAreYou(Struct, frozen=True, tag="who"):
    """The service does not know the sender: it has restarted, or given it up. Register."""

    epoch: Count


class Refused(Struct, frozen=True, tag="refused"):
    """The peer is not taken on, and why."""

    reason: Text


class Function(Struct, frozen=True, tag="function"):
    """A pickled function, sent once per peer and named by its digest afterwards."""

    digest: Digest
    data: bytes


class DropFunction(Struct, frozen=True, tag="drop-function"):
    """The function will not be asked for under this digest until it is sent again."""

    digest: Digest


class Launch(Struct, frozen=True, tag="launch"):
    """Begin an attempt."""

    attempt: Count
    work: Work


class Suspend(Struct, frozen=True, tag="suspend"):
    """Suspend the attempt; ``reason`` is kept for whoever asks why."""

    attempt: Count
    reason: Text = ""


class Resume(Struct, frozen=True, tag="resume"):
    """Give the attempt a core again."""

    attempt: Count


class Cancel(Struct, frozen=True, tag="cancel"):
    """End the attempt; its process is killed after ``grace`` seconds."""

    attempt: Count
    grace: Seconds


class DropResults(Struct, frozen=True, tag="drop-results"):
    """Results that nobody needs any more."""

    keys: list[Name]


class Prefetch(Struct, frozen=True, tag="prefetch"):
    """Results that a task to come will need here: fetch them now."""

    inputs: list[Stored]


class Leaving(Struct, frozen=True, tag="end"):
    """End, and everything that runs here with you."""


ToExecutor: TypeAlias = (
    Welcome
    | WhoAreYou
    | Refused
    | Function
    | DropFunction
    | Launch
    | Suspend
    | Resume
    | Cancel
    | DropResults
    | Prefetch
    | Leaving
)


# --- between stores ---------------------------------------------------------------------------


class Get(Struct, frozen=True, tag="get"):
    """Send the result ``key``; fetch it from ``address`` first where that is given."""

    key: Name
    address: Address = ""


class Put(Struct, frozen=True, tag="put"):
    """Keep a result; only an executor's own slot processes may ask this."""

    key: Name
    data: bytes


class Data(Struct, frozen=True, tag="data"):
    """A result; ``data`` is None where there is none of that name, ``reason`` says why."""

    key: Name
    data: bytes | None = None
    reason: Text = ""


StoreMessage: TypeAlias = Get | Put | Data


# --- client to job service --------------------------------------------------------------------


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
    tasks: Annotated[int, Meta(ge=0, le=1_000_000)]
    payloads: list[bytes] = []
    after: Annotated[list[After], Meta(max_length=1000)] = []
    buckets: Annotated[int, Meta(ge=0, le=65_536)] = 0
    memory: Count = 0
    prefer: list[Text] = []


class Submit(Struct, frozen=True, tag="submit"):
    """A job. Results of the stages in ``deliver`` are sent to the client as they come."""

    job: Name
    name: Text
    priority: Priority
    stages: Annotated[list[StageSpec], Meta(max_length=10_000)]
    deliver: list[Index]
    retries: Annotated[int, Meta(ge=0, le=100)] = 3
    weight: Annotated[float, Meta(gt=0, le=1e6)] = 1.0


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
    """Ask for a :class:`Status`; of one job, or of all where ``job`` is empty."""

    request: Count
    job: Annotated[str, Meta(max_length=255)] = ""


class Bye(Struct, frozen=True, tag="bye"):
    """The client ends; its unfinished jobs are cancelled."""


class Ping(Struct, frozen=True, tag="ping"):
    """The client is there."""

    client: Name


FromClient: TypeAlias = (
    Hello | Function | Submit | CancelJob | Release | ResultLost | Query | Bye | Ping
)


# --- job service to client --------------------------------------------------------------------


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


class Status(Struct, frozen=True, tag="status"):
    """The answer to :class:`Query`."""

    request: Count
    jobs: list[JobStatus]
    executors: list[ExecutorStatus]


ToClient: TypeAlias = Greeting | Accepted | Rejected | TaskDone | JobEnded | Status | WhoAreYou

FROM_EXECUTOR: Codec[FromExecutor] = Codec(FromExecutor, limit=MAX_MESSAGE)
TO_EXECUTOR: Codec[ToExecutor] = Codec(ToExecutor, limit=MAX_MESSAGE)
FROM_CLIENT: Codec[FromClient] = Codec(FromClient, limit=MAX_MESSAGE)
TO_CLIENT: Codec[ToClient] = Codec(ToClient, limit=MAX_MESSAGE)
STORE: Codec[StoreMessage] = Codec(StoreMessage, limit=2**31)
