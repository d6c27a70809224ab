"""The lives of nodes and containers as the master sees them: transition tables held as data."""

from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from colchis.errors import IllegalTransitionError

State = TypeVar("State", bound=StrEnum)


class NodeState(StrEnum):
    """``unknown``: recorded by a former master, not heard of since. ``suspect``: silent, but not
    for long enough to place its containers elsewhere. ``lost``: they are placed elsewhere."""

    UNKNOWN = "unknown"
    READY = "ready"
    SUSPECT = "suspect"
    LOST = "lost"


class NodeStep(StrEnum):
    """What changes a node's state."""

    HEARD = "heard"
    QUIET = "quiet"
    SILENT = "silent"


_N = NodeState
NODE = MappingProxyType(
    {
        (_N.UNKNOWN, NodeStep.HEARD): _N.READY,
        (_N.UNKNOWN, NodeStep.SILENT): _N.LOST,
        (_N.READY, NodeStep.HEARD): _N.READY,
        (_N.READY, NodeStep.QUIET): _N.SUSPECT,
        (_N.SUSPECT, NodeStep.HEARD): _N.READY,
        (_N.SUSPECT, NodeStep.SILENT): _N.LOST,
        (_N.LOST, NodeStep.HEARD): _N.READY,
    }
)


class ContainerState(StrEnum):
    """``unconfirmed``: recorded as placed by a former master, its agent has not spoken yet."""

    PENDING = "pending"
    STARTING = "starting"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    SUSPENDED = "suspended"
    BACKING_OFF = "backing-off"
    STOPPING = "stopping"
    ENDED = "ended"


class ContainerStep(StrEnum):
    """What changes a container's state; ``seen-`` is what its agent says of it."""

    PLACE = "place"
    RETURN = "return"
    SEEN_STARTING = "seen-starting"
    SEEN_RUNNING = "seen-running"
    SEEN_SUSPENDED = "seen-suspended"
    SEEN_BACKING_OFF = "seen-backing-off"
    SEEN_STOPPING = "seen-stopping"
    STOP = "stop"
    END = "end"
    LOSE = "lose"
    AGAIN = "again"


_C = ContainerState
_S = ContainerStep
_ON_NODE = (_C.STARTING, _C.UNCONFIRMED, _C.RUNNING, _C.SUSPENDED, _C.BACKING_OFF)
_SEEN = {
    _S.SEEN_STARTING: _C.STARTING,
    _S.SEEN_RUNNING: _C.RUNNING,
    _S.SEEN_SUSPENDED: _C.SUSPENDED,
    _S.SEEN_BACKING_OFF: _C.BACKING_OFF,
}
CONTAINER = MappingProxyType(
    {
        (_C.PENDING, _S.PLACE): _C.STARTING,
        (_C.PENDING, _S.RETURN): _C.UNCONFIRMED,
        (_C.PENDING, _S.END): _C.ENDED,
        **{(state, step): seen for state in _ON_NODE for step, seen in _SEEN.items()},
        **{(state, _S.SEEN_STOPPING): state for state in _ON_NODE},
        **{(state, _S.STOP): _C.STOPPING for state in _ON_NODE},
        **{(state, _S.END): _C.ENDED for state in _ON_NODE},
        **{(state, _S.LOSE): _C.PENDING for state in _ON_NODE},
        **{(_C.STOPPING, step): _C.STOPPING for step in (*_SEEN, _S.SEEN_STOPPING, _S.STOP)},
        (_C.STOPPING, _S.END): _C.ENDED,
        (_C.ENDED, _S.AGAIN): _C.PENDING,
    }
)

HELD = frozenset({*_ON_NODE, _C.STOPPING})
"""States in which a container takes room on a node."""


def node_after(state: NodeState, step: NodeStep) -> NodeState:
    """Raises IllegalTransitionError where the step does not apply."""
    try:
        return NODE[state, step]
    except KeyError:
        raise IllegalTransitionError(f"a node that is {state} cannot take {step}") from None


def container_after(state: ContainerState, step: ContainerStep) -> ContainerState:
    """Raises IllegalTransitionError where the step does not apply."""
    try:
        return CONTAINER[state, step]
    except KeyError:
        raise IllegalTransitionError(f"a container that is {state} cannot take {step}") from None
