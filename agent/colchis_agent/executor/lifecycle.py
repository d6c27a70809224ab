"""The life of an attempt (one try at one task) inside an executor, as a table.

A phase says what the attempt holds:

=============  ======  =========  ===================================================
phase          a core  a process  meaning
=============  ======  =========  ===================================================
waiting        no      no         accepted, no core or process yet
held           no      no         suspended before it had started
running        yes     yes        its records are being worked through
suspending     yes     yes        told to suspend, has not yielded yet
suspended      no      yes        yielded: its greenlet is parked in the process
frozen         no      yes        did not yield in time: its whole process is frozen
resuming       no      yes        wants a core, and its process to itself
cancelling     yes     yes        told to end, has not ended yet
unwinding      no      yes        parked, is to be ended; wants a core to run its cleanup
ended          no      no         reported to the master; forgotten
=============  ======  =========  ===================================================
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from colchis.errors import IllegalTransitionError


class Phase(StrEnum):
    """Where an attempt stands."""

    WAITING = "waiting"
    HELD = "held"
    RUNNING = "running"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    FROZEN = "frozen"
    RESUMING = "resuming"
    CANCELLING = "cancelling"
    UNWINDING = "unwinding"
    ENDED = "ended"


class Cause(StrEnum):
    """What moves an attempt from one phase to the next."""

    START = "start"
    SUSPEND = "suspend"
    YIELD = "yield"
    FREEZE = "freeze"
    RESUME = "resume"
    CONTINUE = "continue"
    CANCEL = "cancel"
    FINISH = "finish"
    LOSE = "lose"


_P = Phase
_C = Cause

TRANSITIONS: Mapping[tuple[Phase, Cause], Phase] = MappingProxyType(
    {
        (_P.WAITING, _C.START): _P.RUNNING,
        (_P.WAITING, _C.SUSPEND): _P.HELD,
        (_P.WAITING, _C.CANCEL): _P.ENDED,
        (_P.HELD, _C.RESUME): _P.WAITING,
        (_P.HELD, _C.CANCEL): _P.ENDED,
        (_P.RUNNING, _C.SUSPEND): _P.SUSPENDING,
        (_P.RUNNING, _C.CANCEL): _P.CANCELLING,
        (_P.RUNNING, _C.FINISH): _P.ENDED,
        (_P.RUNNING, _C.LOSE): _P.ENDED,
        (_P.SUSPENDING, _C.YIELD): _P.SUSPENDED,
        (_P.SUSPENDING, _C.FREEZE): _P.FROZEN,
        (_P.SUSPENDING, _C.CANCEL): _P.CANCELLING,
        (_P.SUSPENDING, _C.FINISH): _P.ENDED,
        (_P.SUSPENDING, _C.LOSE): _P.ENDED,
        (_P.SUSPENDED, _C.RESUME): _P.RESUMING,
        (_P.SUSPENDED, _C.CANCEL): _P.UNWINDING,
        (_P.SUSPENDED, _C.LOSE): _P.ENDED,
        # A frozen process may have said something just before it froze.
        (_P.FROZEN, _C.YIELD): _P.SUSPENDED,
        (_P.FROZEN, _C.FINISH): _P.ENDED,
        (_P.FROZEN, _C.RESUME): _P.RESUMING,
        (_P.FROZEN, _C.CANCEL): _P.CANCELLING,
        (_P.FROZEN, _C.LOSE): _P.ENDED,
        (_P.RESUMING, _C.YIELD): _P.RESUMING,
        (_P.RESUMING, _C.FINISH): _P.ENDED,
        (_P.RESUMING, _C.CONTINUE): _P.RUNNING,
        (_P.RESUMING, _C.SUSPEND): _P.SUSPENDED,
        (_P.RESUMING, _C.FREEZE): _P.FROZEN,
        (_P.RESUMING, _C.CANCEL): _P.UNWINDING,
        (_P.RESUMING, _C.LOSE): _P.ENDED,
        (_P.CANCELLING, _C.YIELD): _P.UNWINDING,
        (_P.CANCELLING, _C.FINISH): _P.ENDED,
        (_P.CANCELLING, _C.LOSE): _P.ENDED,
        (_P.UNWINDING, _C.CONTINUE): _P.CANCELLING,
        (_P.UNWINDING, _C.FINISH): _P.ENDED,
        (_P.UNWINDING, _C.LOSE): _P.ENDED,
    }
)

ON_A_CORE = frozenset({Phase.RUNNING, Phase.SUSPENDING, Phase.CANCELLING})
"""Phases in which an attempt occupies one of the executor's cores."""


def step(phase: Phase, cause: Cause) -> Phase:
    """The phase after ``cause``; raises :class:`IllegalTransitionError` where there is none."""
    try:
        return TRANSITIONS[phase, cause]
    except KeyError:
        raise IllegalTransitionError(f"an attempt that is {phase} cannot {cause}") from None
