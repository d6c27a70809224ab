"""What the executor's core takes in (events) and what it tells its shell to do (instructions)."""

from enum import StrEnum

from msgspec import Struct


class Rung(StrEnum):
    """How a task came to a halt: it yielded, its process was frozen, or it had not begun."""

    COOPERATIVE = "cooperative"
    FROZEN = "frozen"
    HELD = "held"


class Launch(Struct, frozen=True):
    """Begin attempt number ``attempt``; numbers are never used twice."""

    attempt: int


class Suspend(Struct, frozen=True):
    """Take the attempt off its core and keep its memory."""

    attempt: int


class Resume(Struct, frozen=True):
    """Give the attempt a core again."""

    attempt: int


class Cancel(Struct, frozen=True):
    """End the attempt; it has ``grace`` seconds for its own cleanup, then its process is killed."""

    attempt: int
    grace: float


class ProcessReady(Struct, frozen=True):
    """A spawned process waits for its first order."""

    process: int


class Yielded(Struct, frozen=True):
    """The process's running attempt has parked; the process waits for an order."""

    process: int
    attempt: int


class Ended(Struct, frozen=True):
    """The process's running attempt is over; ``outcome`` is passed on unseen."""

    process: int
    attempt: int
    outcome: object


class Frozen(Struct, frozen=True):
    """Every thread of the process has come to a halt."""

    process: int


class ProcessExited(Struct, frozen=True):
    """The process is gone; ``status`` is its exit code, or minus the signal that ended it."""

    process: int
    status: int


class Tick(Struct, frozen=True):
    """Time has passed; see :meth:`ExecutorCore.next_deadline`."""


Event = (
    Launch
    | Suspend
    | Resume
    | Cancel
    | ProcessReady
    | Yielded
    | Ended
    | Frozen
    | ProcessExited
    | Tick
)


class Spawn(Struct, frozen=True):
    """Fork a slot process under this number."""

    process: int


class Run(Struct, frozen=True):
    """Clear the process's flag, then have it begin the attempt."""

    process: int
    attempt: int


class Continue(Struct, frozen=True):
    """Clear the process's flag, then have it go on with an attempt parked in it."""

    process: int
    attempt: int


class Unwind(Struct, frozen=True):
    """Clear the process's flag, then have it raise a cancellation in an attempt parked in it."""

    process: int
    attempt: int


class Flag(Struct, frozen=True):
    """Set the flag that the record iterators test: suspend, or cancel."""

    process: int
    cancel: bool


class Freeze(Struct, frozen=True):
    """Freeze the process, and say :class:`Frozen` once it has halted."""

    process: int


class Thaw(Struct, frozen=True):
    """Let the process go on; ``clear`` its flag first, or leave it to yield at the next record."""

    process: int
    clear: bool


class Kill(Struct, frozen=True):
    """Kill the process and whatever it started, frozen or not."""

    process: int


class ReportSuspended(Struct, frozen=True):
    """The attempt is off its core."""

    attempt: int
    process: int
    rung: Rung


class ReportResumed(Struct, frozen=True):
    """The attempt is on a core again."""

    attempt: int


class ReportEnded(Struct, frozen=True):
    """The attempt came to its own end."""

    attempt: int
    process: int
    outcome: object


class ReportDied(Struct, frozen=True):
    """The attempt's process ended under it; ``cancelled`` says whether that was wanted."""

    attempt: int
    process: int
    status: int
    cancelled: bool


class ReportLost(Struct, frozen=True):
    """The attempt was parked in a process that another one's end took down."""

    attempt: int


Report = ReportSuspended | ReportResumed | ReportEnded | ReportDied | ReportLost
Instruction = Spawn | Run | Continue | Unwind | Flag | Freeze | Thaw | Kill | Report
