"""The life of a task, as a table.

A task that is *riding* goes along with another of its function, in that one's slot and lot, and
holds nothing itself. A slot of its executor is held in the states of :data:`HOLDS_SLOT`, memory
without a slot in those of :data:`HOLDS_MEMORY_ONLY`. Whatever waits for an executor's answer has a
state of its own (*suspending*, *killing*, *dropping*): orders sent are never taken for orders
carried out.
"""

from enum import StrEnum

from colchis.errors import IllegalTransitionError


class TaskState(StrEnum):
    """Where a task is."""

    PENDING = "pending"
    RIDING = "riding"
    RUNNING = "running"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    KILLING = "killing"
    DROPPING = "dropping"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"


class Step(StrEnum):
    """What moves a task."""

    LAUNCH = "launch"
    RIDE = "ride"
    SUSPEND = "suspend"
    SUSPENDED = "suspended"
    RESUME = "resume"
    KILL = "kill"
    KILLED = "killed"
    FINISH = "finish"
    FAIL = "fail"
    RETRY = "retry"
    LOSE = "lose"
    CANCEL = "cancel"


_T = TaskState
TRANSITIONS: dict[tuple[TaskState, Step], TaskState] = {
    (_T.PENDING, Step.LAUNCH): _T.RUNNING,
    (_T.PENDING, Step.RIDE): _T.RIDING,
    (_T.PENDING, Step.CANCEL): _T.KILLED,
    (_T.RIDING, Step.FINISH): _T.FINISHED,
    (_T.RIDING, Step.FAIL): _T.FAILED,
    (_T.RIDING, Step.RETRY): _T.PENDING,
    (_T.RIDING, Step.KILLED): _T.KILLED,
    (_T.RIDING, Step.CANCEL): _T.KILLED,
    (_T.RUNNING, Step.SUSPEND): _T.SUSPENDING,
    (_T.RUNNING, Step.KILL): _T.KILLING,
    (_T.RUNNING, Step.FINISH): _T.FINISHED,
    (_T.RUNNING, Step.FAIL): _T.FAILED,
    (_T.RUNNING, Step.RETRY): _T.PENDING,
    (_T.RUNNING, Step.LOSE): _T.PENDING,
    (_T.SUSPENDING, Step.SUSPENDED): _T.SUSPENDED,
    (_T.SUSPENDING, Step.KILL): _T.KILLING,
    (_T.SUSPENDING, Step.FINISH): _T.FINISHED,
    (_T.SUSPENDING, Step.FAIL): _T.FAILED,
    (_T.SUSPENDING, Step.RETRY): _T.PENDING,
    (_T.SUSPENDING, Step.LOSE): _T.PENDING,
    (_T.SUSPENDED, Step.RESUME): _T.RUNNING,
    (_T.SUSPENDED, Step.KILL): _T.DROPPING,
    (_T.SUSPENDED, Step.FINISH): _T.FINISHED,
    (_T.SUSPENDED, Step.FAIL): _T.FAILED,
    (_T.SUSPENDED, Step.RETRY): _T.PENDING,
    (_T.SUSPENDED, Step.LOSE): _T.PENDING,
    # killing: a slot and its memory, until the executor answers; then again from nothing, or gone
    (_T.KILLING, Step.KILLED): _T.KILLED,
    (_T.KILLING, Step.FINISH): _T.FINISHED,
    (_T.KILLING, Step.FAIL): _T.FAILED,
    (_T.KILLING, Step.RETRY): _T.PENDING,
    (_T.KILLING, Step.LOSE): _T.PENDING,
    # dropping: killed while suspended, so memory without a slot
    (_T.DROPPING, Step.KILLED): _T.KILLED,
    (_T.DROPPING, Step.FINISH): _T.FINISHED,
    (_T.DROPPING, Step.FAIL): _T.FAILED,
    (_T.DROPPING, Step.RETRY): _T.PENDING,
    (_T.DROPPING, Step.LOSE): _T.PENDING,
}
"""Every legal step; a task that was cancelled takes KILLED where another would take RETRY."""

HOLDS_SLOT = frozenset({_T.RUNNING, _T.SUSPENDING, _T.KILLING})
HOLDS_MEMORY_ONLY = frozenset({_T.SUSPENDED, _T.DROPPING})
ENDED = frozenset({_T.FINISHED, _T.FAILED, _T.KILLED})


def after(state: TaskState, step: Step) -> TaskState:
    """The state that ``step`` leads to. Raises :class:`IllegalTransitionError`."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise IllegalTransitionError(f"a task that is {state} cannot {step}") from None
