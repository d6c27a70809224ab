"""Messages between the job service and executors. See ``work`` for the words they share."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from colchis.wire.codec import Codec
from colchis.wire.work import (
    MAX_LOT,
    MAX_MESSAGE,
    PROTOCOL,
    Address,
    Count,
    Digest,
    Failure,
    Input,
    Name,
    Seconds,
    Share,
    Stored,
    TaskName,
    Text,
    Work,
)


class Carried(Struct, frozen=True, array_like=True):
    """An attempt that an executor still has, at the task of this name.

    ``state`` is what a task scheduler calls it: one that is about to begin or to go on is running.
    ``memory`` is what it holds, in bytes.
    """

    attempt: Count
    task: TaskName
    state: Literal["running", "suspending", "suspended"]
    memory: Count = 0


class Done(Struct, frozen=True, array_like=True):
    """The results of an attempt at the task of this name, one per bucket."""

    attempt: Count
    task: TaskName
    results: list[Input]


class Register(Struct, frozen=True, tag="register"):
    """The first message of an executor, and its answer to :class:`WhoAreYou`.

    ``incarnation`` is a word of its process's own, ``attempts`` are those it still has;
    ``carried`` those of them that can go on under a service that does not know them, and ``done``
    what others have come to, as far as it is kept.
    """

    executor: Name
    incarnation: Name
    node: Name
    cores: Annotated[int, Meta(ge=1, le=4096)]
    memory: Count
    address: Address
    protocol: int = PROTOCOL
    attempts: list[Count] = []
    carried: list[Carried] = []
    done: list[Done] = []


class Attempted(Struct, frozen=True, array_like=True):
    """One running, suspending or suspended attempt, in a heartbeat.

    ``progress`` is the part of its records done, or -1 where that is not known.
    """

    attempt: Count
    phase: Name
    memory: Count
    progress: Annotated[float, Meta(ge=-1, le=1)] = -1.0


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


class Parts(Struct, frozen=True, tag="parts"):
    """Results of a lot's tasks from ``first`` on, which took ``seconds``; the lot goes on.

    Whatever message ends the attempt is about the task after those reported so far.
    """

    attempt: Count
    first: Count
    results: Annotated[list[list[Input]], Meta(max_length=MAX_LOT)]
    seconds: Seconds = 0.0


class Given(Struct, frozen=True, tag="given"):
    """A lot's tasks from ``kept`` on will not be begun in it: they may run elsewhere."""

    attempt: Count
    kept: Annotated[int, Meta(ge=1, le=MAX_LOT)]


class Finished(Struct, frozen=True, tag="finished"):
    """The attempt's results, one per bucket: the value where it is small, else where it is.

    None at all: a lot has ended before this task was begun, in order to make room.
    """

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
    | Parts
    | Given
    | Finished
    | Failed
    | Cancelled
    | Lost
    | InputLost
    | Leave
)


class Welcome(Struct, frozen=True, tag="welcome"):
    """The service knows the executor.

    It is to forget every attempt of other epochs but those ``kept``, and what they have come to.
    """

    epoch: Count
    protocol: int = PROTOCOL
    kept: list[Count] = []


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
    """Begin an attempt; with ``more``, one at a lot of tasks, this one first.

    ``task`` names a task that is worth going on with under a later life of the service, and so no
    lot.
    """

    attempt: Count
    work: Work
    more: Annotated[list[Work], Meta(max_length=MAX_LOT)] = []
    task: TaskName = ""


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


class Settled(Struct, frozen=True, tag="settled"):
    """What these attempts have come to need not be told again: their jobs are over."""

    attempts: list[Count]


class Prefetch(Struct, frozen=True, tag="prefetch"):
    """Results that a task to come will need here: fetch them now."""

    inputs: list[Stored]


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
    | Settled
    | Prefetch
)

FROM_EXECUTOR: Codec[FromExecutor] = Codec(FromExecutor, limit=MAX_MESSAGE)
TO_EXECUTOR: Codec[ToExecutor] = Codec(ToExecutor, limit=MAX_MESSAGE)
