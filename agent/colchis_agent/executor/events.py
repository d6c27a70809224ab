"""What the executor's core takes in (events) and what it tells its shell to do (instructions)."""

from dataclasses import dataclass
from enum import StrEnum


class Rung(StrEnum):
    """How a task came to a halt: it yielded, its process was frozen, or it had not begun."""

    COOPERATIVE = "cooperative"
    FROZEN = "frozen"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Launch:
    """Begin attempt number ``attempt``; numbers are never used twice."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Suspend:
    """Take the attempt off its core and keep its memory."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Give the attempt a core again."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the attempt; it has ``grace`` seconds for its own cleanup, then its process is killed."""

    attempt: int
    grace: float


@dataclass(frozen=True, slots=True)
class ProcessReady:
    """A spawned process waits for its first order."""

    process: int


@dataclass(frozen=True, slots=True)
class Yielded:
    """The process's running attempt has parked; the process waits for an order."""

    process: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The process's running attempt is over; ``outcome`` is passed on unseen."""

    process: int
    attempt: int
    outcome: object


@dataclass(frozen=True, slots=True)
class Frozen:
    """Every thread of the process has come to a halt."""

    process: int


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """The process is gone; ``status`` is its exit code, or minus the signal that ended it."""

    process: int
    status: int


@dataclass(frozen=True, slots=True)
class Tick:
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


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a slot process under this number."""

    process: int


@dataclass(frozen=True, slots=True)
class Run:
    """Clear the process's flag, then have it begin the attempt."""

    process: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Continue:
    """Clear the process's flag, then have it go on with an attempt parked in it."""

    process: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Unwind:
    """Clear the process's flag, then have it raise a cancellation in an attempt parked in it."""

    process: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Flag:
    """Set the flag that the record iterators test: suspend, or cancel."""

    process: int
    cancel: bool


@dataclass(frozen=True, slots=True)
class Freeze:
    """Freeze the process, and say :class:`Frozen` once it has halted."""

    process: int


@dataclass(frozen=True, slots=True)
class Thaw:
    """Let the process go on; ``clear`` its flag first, or leave it to yield at the next record."""

    process: int
    clear: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the process and whatever it started, frozen or not."""

    process: int


@dataclass(frozen=True, slots=True)
class ReportSuspended:
    """The attempt is off its core."""

    attempt: int
    process: int
    rung: Rung


@dataclass(frozen=True, slots=True)
class ReportResumed:
    """The attempt is on a core again."""

    attempt: int


@dataclass(frozen=True, slots=True)
class ReportEnded:
    """The attempt came to its own end."""

    attempt: int
    process: int
    outcome: object


@dataclass(frozen=True, slots=True)
class ReportDied:
    """The attempt's process ended under it; ``cancelled`` says whether that was wanted."""

    attempt: int
    process: int
    status: int
    cancelled: bool


@dataclass(frozen=True, slots=True)
class ReportLost:
    """The attempt was parked in a process that another one's end took down."""

    attempt: int


Report = ReportSuspended | ReportResumed | ReportEnded | ReportDied | ReportLost
Instruction = Spawn | Run | Continue | Unwind | Flag | Freeze | Thaw | Kill | Report
