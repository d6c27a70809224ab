"""The lifecycle of a container on its agent: a transition table held as data.

``life`` below means one run of the container's process. A container that its restart policy
starts again has several lives, one after the other, within one incarnation.
"""

from enum import StrEnum
from types import MappingProxyType

from colchis.errors import IllegalTransitionError
from colchis.wire.messages import ContainerState


class Phase(StrEnum):
    """``held`` is suspended between two lives: no process exists and none is started."""

    STARTING = "starting"
    RUNNING = "running"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESUMING = "resuming"
    BACKING_OFF = "backing-off"
    HELD = "held"
    STOPPING = "stopping"
    ENDED = "ended"


class Cause(StrEnum):
    """Why a container changes its phase."""

    LAUNCHED = "launched"
    SUSPEND = "suspend"
    FROZEN = "frozen"
    RESUME = "resume"
    THAWED = "thawed"
    FAILED = "failed"
    RETRY = "retry"
    STOP = "stop"
    END = "end"
    REPLACE = "replace"


TRANSITIONS = MappingProxyType(
    {
        (Phase.STARTING, Cause.LAUNCHED): Phase.RUNNING,
        (Phase.STARTING, Cause.STOP): Phase.STOPPING,
        (Phase.STARTING, Cause.FAILED): Phase.BACKING_OFF,
        (Phase.STARTING, Cause.END): Phase.ENDED,
        (Phase.RUNNING, Cause.SUSPEND): Phase.SUSPENDING,
        (Phase.RUNNING, Cause.STOP): Phase.STOPPING,
        (Phase.RUNNING, Cause.FAILED): Phase.BACKING_OFF,
        (Phase.RUNNING, Cause.END): Phase.ENDED,
        (Phase.SUSPENDING, Cause.FROZEN): Phase.SUSPENDED,
        (Phase.SUSPENDING, Cause.RESUME): Phase.RESUMING,
        (Phase.SUSPENDING, Cause.STOP): Phase.STOPPING,
        (Phase.SUSPENDING, Cause.FAILED): Phase.BACKING_OFF,
        (Phase.SUSPENDING, Cause.END): Phase.ENDED,
        (Phase.SUSPENDED, Cause.RESUME): Phase.RESUMING,
        (Phase.SUSPENDED, Cause.STOP): Phase.STOPPING,
        (Phase.SUSPENDED, Cause.FAILED): Phase.BACKING_OFF,
        (Phase.SUSPENDED, Cause.END): Phase.ENDED,
        (Phase.RESUMING, Cause.THAWED): Phase.RUNNING,
        (Phase.RESUMING, Cause.SUSPEND): Phase.SUSPENDING,
        (Phase.RESUMING, Cause.STOP): Phase.STOPPING,
        (Phase.RESUMING, Cause.FAILED): Phase.BACKING_OFF,
        (Phase.RESUMING, Cause.END): Phase.ENDED,
        (Phase.BACKING_OFF, Cause.RETRY): Phase.STARTING,
        (Phase.BACKING_OFF, Cause.SUSPEND): Phase.HELD,
        (Phase.BACKING_OFF, Cause.END): Phase.ENDED,
        (Phase.HELD, Cause.RESUME): Phase.BACKING_OFF,
        (Phase.HELD, Cause.END): Phase.ENDED,
        (Phase.STOPPING, Cause.END): Phase.ENDED,
        (Phase.ENDED, Cause.REPLACE): Phase.STARTING,
    }
)

ALIVE = frozenset(
    {
        Phase.STARTING,
        Phase.RUNNING,
        Phase.SUSPENDING,
        Phase.SUSPENDED,
        Phase.RESUMING,
        Phase.STOPPING,
    }
)
"""Phases in which a process of the container may exist."""

REPORTED: MappingProxyType[Phase, ContainerState] = MappingProxyType(
    {
        Phase.STARTING: "starting",
        Phase.RUNNING: "running",
        # Its cores are still taken, until every process of it is off them.
        Phase.SUSPENDING: "running",
        Phase.SUSPENDED: "suspended",
        Phase.RESUMING: "suspended",
        Phase.BACKING_OFF: "backing-off",
        Phase.HELD: "suspended",
        Phase.STOPPING: "stopping",
        Phase.ENDED: "ended",
    }
)
"""What the master is told of each phase."""


def step(phase: Phase, cause: Cause) -> Phase:
    """The phase that follows; raises IllegalTransitionError where the cause does not apply."""
    try:
        return TRANSITIONS[phase, cause]
    except KeyError:
        raise IllegalTransitionError(f"a container that is {phase} cannot take {cause}") from None
