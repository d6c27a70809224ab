"""Slots that are being vacated go to whoever needs them, and nobody leaves for nothing."""

import itertools
import random
from typing import Literal

from colchis_master.tasks import events as ev
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler

_IDS = itertools.count()
GIB = 2**30


def new_id() -> str:
    return f"id-{next(_IDS)}"


def submitted(task: str, priority: int) -> ev.StageSubmitted:
    return ev.StageSubmitted(new_id(), task, "s", priority, (ev.TaskSpec(task),))


def brought(
    task: str, priority: int, state: Literal["running", "suspended"], memory: int = GIB
) -> ev.Carried:
    return ev.Carried(task, "s", priority, ev.TaskSpec(task, memory), state, memory)


def joined(name: str, cores: int, *carried: ev.Carried) -> ev.ExecutorJoined:
    return ev.ExecutorJoined(new_id(), name, f"node of {name}", cores, 32 * GIB, carried)


def orders(core: TaskScheduler, now: float, event: ev.Event) -> list[tuple[str, str, str]]:
    return [
        (type(order).__name__, order.task, order.executor)
        for order in core.handle(now, event)
        if not isinstance(order, ev.Adopted)
    ]


def test_nobody_leaves_while_a_slot_comes_that_its_suspended_task_needs_no_more() -> None:
    core = TaskScheduler("lma", Options(), random.Random(0))
    here = (brought("p", 2, "suspended"), brought("a", 3, "running"), brought("b", 3, "running"))
    ((order, leaves, _),) = orders(core, 0, joined("x", 2, *here))
    assert order == "Suspend"
    stays = "b" if leaves == "a" else "a"
    # The slot that p gets is another than the one which is being vacated for it.
    finished = ev.TaskFinished(new_id(), stays, 1)
    assert orders(core, 1, finished) == [("Resume", "p", "x")]
    assert orders(core, 2, joined("y", 1, brought("c", 3, "running"))) == []
    assert orders(core, 3, submitted("u", 1)) == []
    acknowledged = ev.Suspended(new_id(), leaves, 1)
    assert orders(core, 4, acknowledged) == [("Launch", "u", "x")]


def test_a_suspended_task_has_no_use_of_a_slot_that_comes_free_elsewhere() -> None:
    core = TaskScheduler("lma", Options(), random.Random(0))
    here = (
        brought("p", 2, "suspended"),
        brought("a", 3, "running"),
        brought("b", 3, "running", 8 * GIB),
    )
    assert orders(core, 0, joined("x", 2, *here)) == [("Suspend", "a", "x")]
    orders(core, 1, joined("y", 1, brought("c", 3, "running", 4 * GIB)))
    assert orders(core, 2, submitted("u", 1)) == [("Suspend", "c", "y")]
    # u takes the slot that was meant for p, which needs another one of x then.
    acknowledged = ev.Suspended(new_id(), "a", 1)
    assert orders(core, 3, acknowledged) == [("Launch", "u", "x"), ("Suspend", "b", "x")]


def test_a_suspended_task_takes_a_slot_that_comes_for_nobody() -> None:
    core = TaskScheduler("lma", Options(max_suspensions=1, protect=10.0), random.Random(0))
    here = (
        brought("a", 3, "suspended"),
        brought("b", 3, "suspended"),
        brought("p", 2, "running"),
        brought("w", 1, "running"),
    )
    assert orders(core, 0, joined("x", 3, *here)) == [("Resume", "a", "x")]
    assert orders(core, 1, ev.TaskFinished(new_id(), "w", 1)) == [("Resume", "b", "x")]
    assert orders(core, 2, submitted("v", 1)) == [("Suspend", "p", "x")]
    assert orders(core, 2, ev.Suspended(new_id(), "p", 1)) == [("Launch", "v", "x")]
    assert orders(core, 3, submitted("u", 1)) == []
    assert orders(core, 10, ev.Tick(new_id())) == [("Suspend", "a", "x")]
    assert orders(core, 10.5, ev.JobCancelled(new_id(), "u")) == []
    assert orders(core, 11, ev.Tick(new_id())) == [], "b may leave now, but a does already"
    assert orders(core, 12, ev.Suspended(new_id(), "a", 1)) == [("Resume", "p", "x")]
