"""What the task scheduler takes in, and what it tells the world to do.

Every event has an ``id`` chosen by whoever made it; the instructions that follow from it and the
recorded reasons repeat it as ``cause``. A task is named by an id that is unique among the live
tasks of the scheduler, and each try at it by a number that grows. News of a task or an attempt that
the scheduler no longer knows is stale and changes nothing, so duplicates and late messages are
harmless.
"""

from typing import Literal

from msgspec import Struct

STREAM = 1
BATCH = 2
PRIORITIES = {"stream": STREAM, "batch": BATCH}
"""Priorities with names; lower is more urgent, any integer will do."""


class ExecutorJoined(Struct, frozen=True):
    """An executor with ``cores`` slots. One that is known already is left as it is.

    ``carried`` are tasks that it already has, and keeps where the answer is :class:`Adopted`.
    """

    id: str
    executor: str
    node: str
    cores: int
    memory_bytes: int = 0
    carried: tuple["Carried", ...] = ()


class ExecutorLost(Struct, frozen=True):
    """The executor and all it held are gone; its tasks run again elsewhere."""

    id: str
    executor: str


class ExecutorPulse(Struct, frozen=True):
    """One heartbeat; None where the executor does not know.

    ``spilled`` counts bytes since the last heartbeat, ``memory`` and ``gc`` are shares 0..1.
    """

    id: str
    executor: str
    spilled: float | None = None
    memory: float | None = None
    gc: float | None = None


class TaskSpec(Struct, frozen=True):
    """One task of a stage.

    ``prefer`` names a node or an executor. ``attempt`` is the number of its first attempt, for
    tasks that had earlier lives. ``memory_bytes`` is what it is expected to hold.
    """

    task: str
    memory_bytes: int = 0
    prefer: str | None = None
    attempt: int = 1


class StageSubmitted(Struct, frozen=True):
    """Tasks whose inputs are ready. ``weight`` is the job's share under the policy ``fair``.

    The same stage may be submitted again with further tasks (lost results made anew, or the rest of
    many). With ``more`` that will be soon: until then the stage keeps its place in the queue.
    """

    id: str
    job: str
    stage: str
    priority: int
    tasks: tuple[TaskSpec, ...]
    weight: float = 1.0
    more: bool = False


class Carried(Struct, frozen=True):
    """A task that an executor has from before the scheduler's own beginning.

    The other fields are those of its stage as in :class:`StageSubmitted`; ``memory_bytes`` is what
    it holds. It may have been submitted already, or not.
    """

    job: str
    stage: str
    priority: int
    spec: TaskSpec
    state: Literal["running", "suspending", "suspended"]
    memory_bytes: int = 0
    weight: float = 1.0


class TaskFinished(Struct, frozen=True):
    """The attempt ended well, whatever was ordered meanwhile: its slot is free."""

    id: str
    task: str
    attempt: int


class LotAdvanced(Struct, frozen=True):
    """News of tasks that go along with others, each by its name and the number of its attempt.

    ``finished`` are done, ``returned`` have not begun and wait again.
    """

    id: str
    finished: tuple[tuple[str, int], ...] = ()
    returned: tuple[tuple[str, int], ...] = ()


class TaskFailed(Struct, frozen=True):
    """The attempt ended badly; with ``retry`` the task goes back to the queue."""

    id: str
    task: str
    attempt: int
    retry: bool


class Suspended(Struct, frozen=True):
    """The executor acknowledges a :class:`Suspend`: the attempt is off its core.

    ``suspension`` repeats the number in the order, so that an old acknowledgement is never taken
    for a new one; None, for transports that neither repeat nor reorder, means the latest order.
    """

    id: str
    task: str
    attempt: int
    suspension: int | None = None
    memory_bytes: int | None = None


class Killed(Struct, frozen=True):
    """The executor acknowledges a :class:`Kill`: nothing of the attempt is left."""

    id: str
    task: str
    attempt: int


class Progress(Struct, frozen=True):
    """The attempt has done this share (0..1) of its work."""

    id: str
    task: str
    attempt: int
    share: float


class JobCancelled(Struct, frozen=True):
    """Nothing of the job is to run any more."""

    id: str
    job: str


class Tick(Struct, frozen=True):
    """Time has passed; due at :meth:`TaskScheduler.next_wakeup`."""

    id: str


Event = (
    ExecutorJoined
    | ExecutorLost
    | ExecutorPulse
    | StageSubmitted
    | TaskFinished
    | LotAdvanced
    | TaskFailed
    | Suspended
    | Killed
    | Progress
    | JobCancelled
    | Tick
)


class Launch(Struct, frozen=True):
    """Start this attempt in a slot of the executor."""

    cause: str
    task: str
    attempt: int
    executor: str
    reason: str


class Suspend(Struct, frozen=True):
    """Take the attempt off its core, keeping its memory; answer with :class:`Suspended`.

    If it has not started yet it is held back; if it ends first the answer is its end.
    """

    cause: str
    task: str
    attempt: int
    executor: str
    reason: str
    suspension: int


class Resume(Struct, frozen=True):
    """Give the suspended attempt a slot of its executor again. Needs no answer."""

    cause: str
    task: str
    attempt: int
    executor: str
    reason: str


class Kill(Struct, frozen=True):
    """End the attempt, running or suspended; answer with :class:`Killed`, or its end."""

    cause: str
    task: str
    attempt: int
    executor: str
    reason: str


class Adopted(Struct, frozen=True):
    """The executor goes on with the task that it carried; any other that it did is to end.

    From now on it is this attempt, in the state that it was said to be in.
    """

    cause: str
    task: str
    attempt: int
    executor: str
    reason: str


Instruction = Launch | Suspend | Resume | Kill | Adopted
