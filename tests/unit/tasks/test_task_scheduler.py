"""The scheduler's core, message by message."""

import itertools
import random
from typing import Any

import pytest
from msgspec.structs import replace

from colchis.errors import IllegalTransitionError, InputError
from colchis_master.tasks import events as ev
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler

_IDS = itertools.count()
GIB = 2**30


def new_id() -> str:
    return f"id-{next(_IDS)}"


def scheduler(policy: str = "lma", cores: int = 1, **options: Any) -> TaskScheduler:
    core = TaskScheduler(policy, Options(**options), random.Random(0))
    core.handle(0, ev.ExecutorJoined(new_id(), "e0", "n0", cores, 32 * GIB))
    return core


def stage(job: str, priority: int, *tasks: str, memory: int = GIB) -> ev.StageSubmitted:
    specs = tuple(ev.TaskSpec(task, memory) for task in tasks)
    return ev.StageSubmitted(new_id(), job, "s", priority, specs)


def names(orders: list[ev.Instruction]) -> list[tuple[str, str, int]]:
    return [(type(order).__name__, order.task, order.attempt) for order in orders]


def test_instructions_repeat_the_events_id() -> None:
    event = stage("l", 2, "l0")
    (order,) = scheduler().handle(0, event)
    assert order.cause == event.id


def test_the_slot_of_a_victim_is_given_out_only_on_acknowledgement() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0"))
    (suspend,) = core.handle(1, stage("h", 1, "h0"))
    assert isinstance(suspend, ev.Suspend)
    assert core.handle(1.5, ev.Tick(new_id())) == []
    orders = core.handle(2, ev.Suspended(new_id(), "l0", 1, suspend.suspension))
    assert names(orders) == [("Launch", "h0", 1)]


def test_a_repeated_acknowledgement_does_nothing() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0"))
    core.handle(1, stage("h", 1, "h0", "h1"))
    acknowledgement = ev.Suspended(new_id(), "l0", 1, 1)
    assert names(core.handle(2, acknowledgement)) == [("Launch", "h0", 1)]
    assert core.handle(2, acknowledgement) == []


def test_an_old_acknowledgement_is_not_taken_for_a_new_one() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0"))
    core.handle(1, stage("h", 1, "h0"))
    first = ev.Suspended(new_id(), "l0", 1, 1)
    core.handle(2, first)
    assert names(core.handle(3, ev.TaskFinished(new_id(), "h0", 1))) == [("Resume", "l0", 1)]
    (again,) = core.handle(4, stage("i", 1, "i0"))
    assert isinstance(again, ev.Suspend)
    assert again.suspension == 2
    assert core.handle(5, first) == []
    second = ev.Suspended(new_id(), "l0", 1, 2)
    assert names(core.handle(6, second)) == [("Launch", "i0", 1)]


def test_a_task_that_ends_while_suspending_gives_its_slot_once() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0"))
    core.handle(1, stage("h", 1, "h0", "h1"))
    orders = core.handle(2, ev.TaskFinished(new_id(), "l0", 1))
    assert names(orders) == [("Launch", "h0", 1)]
    assert core.handle(2, ev.Suspended(new_id(), "l0", 1, 1)) == []
    assert core.handle(2, ev.TaskFinished(new_id(), "l0", 1)) == []


def test_a_task_not_yet_started_may_be_suspended_and_is_not_lost() -> None:
    core = scheduler()
    assert names(core.handle(0, stage("l", 2, "l0"))) == [("Launch", "l0", 1)]
    assert names(core.handle(0, stage("h", 1, "h0"))) == [("Suspend", "l0", 1)]
    core.handle(0.1, ev.Suspended(new_id(), "l0", 1, 1))
    assert names(core.handle(1, ev.TaskFinished(new_id(), "h0", 1))) == [("Resume", "l0", 1)]
    assert core.handle(2, ev.TaskFinished(new_id(), "l0", 1)) == []
    assert core.handle(3, stage("x", 2, "x0")) != []


def test_a_failed_task_is_tried_again_under_a_new_number() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0"))
    orders = core.handle(1, ev.TaskFailed(new_id(), "l0", 1, retry=True))
    assert names(orders) == [("Launch", "l0", 2)]
    assert core.handle(2, ev.TaskFinished(new_id(), "l0", 1)) == []
    assert core.handle(2, stage("m", 2, "m0")) == []
    assert names(core.handle(3, ev.TaskFinished(new_id(), "l0", 2))) == [("Launch", "m0", 1)]


def test_news_that_cannot_be_raises_and_changes_nothing() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0", "l1"))
    with pytest.raises(IllegalTransitionError):
        core.handle(1, ev.TaskFinished(new_id(), "l1", 1))
    with pytest.raises(IllegalTransitionError):
        core.handle(1, ev.Killed(new_id(), "l0", 1))
    assert names(core.handle(2, ev.TaskFinished(new_id(), "l0", 1))) == [("Launch", "l1", 1)]


def test_a_cancelled_job_keeps_its_slots_until_the_executor_has_answered() -> None:
    core = scheduler(cores=2)
    core.handle(0, stage("l", 2, "l0", "l1", "l2"))
    core.handle(0, stage("m", 2, "m0"))
    cancel = ev.JobCancelled(new_id(), "l")
    assert names(core.handle(1, cancel)) == [("Kill", "l0", 1), ("Kill", "l1", 1)]
    assert core.handle(1, cancel) == []
    assert names(core.handle(2, ev.Killed(new_id(), "l0", 1))) == [("Launch", "m0", 1)]
    assert core.handle(2, ev.TaskFailed(new_id(), "l1", 1, retry=True)) == []


def test_a_suspended_task_of_a_cancelled_job_is_charged_until_it_is_gone() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0"))
    core.handle(1, stage("h", 1, "h0"))
    assert core.suspended_memory() == {"n0": GIB}
    core.handle(2, ev.Suspended(new_id(), "l0", 1, 1, memory_bytes=3 * GIB))
    assert core.suspended_memory() == {"n0": 3 * GIB}
    assert names(core.handle(3, ev.JobCancelled(new_id(), "l"))) == [("Kill", "l0", 1)]
    assert core.suspended_memory() == {"n0": 3 * GIB}
    core.handle(4, ev.Killed(new_id(), "l0", 1))
    assert core.suspended_memory() == {}


def test_protection_ends_with_a_wakeup() -> None:
    core = scheduler(max_suspensions=1, protect=10)
    core.handle(0, stage("l", 2, "l0"))
    core.handle(1, stage("h", 1, "h0"))
    core.handle(1, ev.Suspended(new_id(), "l0", 1, 1))
    core.handle(2, ev.TaskFinished(new_id(), "h0", 1))
    assert core.handle(3, stage("i", 1, "i0")) == []
    assert core.next_wakeup() == 12.0
    assert core.handle(11.9, ev.Tick(new_id())) == []
    assert names(core.handle(12.0, ev.Tick(new_id()))) == [("Suspend", "l0", 1)]


def test_a_suspended_task_displaces_when_something_less_urgent_is_no_longer_protected() -> None:
    core = scheduler(cores=2, max_suspensions=1, protect=10)
    core.handle(0, stage("low", 3, "low0"))
    core.handle(0, stage("first", 2, "first0"))
    core.handle(1, stage("h", 1, "h0"))
    core.handle(1, ev.Suspended(new_id(), "low0", 1, 1))
    core.handle(2, ev.TaskFinished(new_id(), "h0", 1))
    assert names(core.handle(3, stage("i", 1, "i0"))) == [("Suspend", "first0", 1)]
    core.handle(3, ev.Suspended(new_id(), "first0", 1, 1))
    assert names(core.handle(12.0, ev.Tick(new_id()))) == [("Suspend", "low0", 1)]
    orders = core.handle(12.1, ev.Suspended(new_id(), "low0", 1, 2))
    assert names(orders) == [("Resume", "first0", 1)]


def test_a_wrong_estimate_delays_a_suspension_only_a_little() -> None:
    core = scheduler(finish_within=0.1)
    core.handle(0, stage("l", 2, "l0"))
    core.handle(5, ev.Progress(new_id(), "l0", 1, 0.5))
    assert core.handle(9.95, stage("h", 1, "h0")) == []
    wakeup = core.next_wakeup()
    assert wakeup == pytest.approx(10.101)
    assert wakeup is not None
    assert names(core.handle(wakeup, ev.Tick(new_id()))) == [("Suspend", "l0", 1)]


@pytest.mark.parametrize("share", [-1.0, 2.0, float("nan"), 0.0])
def test_progress_that_says_nothing_is_ignored(share: float) -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0"))
    core.handle(1, ev.Progress(new_id(), "l0", 1, share))
    assert names(core.handle(2, stage("h", 1, "h0"))) == [("Suspend", "l0", 1)]


def test_stages_that_become_ready_take_over_the_slots_of_the_event() -> None:
    core = scheduler()
    core.handle(0, stage("h", 1, "h0"))
    core.handle(0, stage("l", 2, "l0"))
    following = ev.StageSubmitted(new_id(), "h", "t", 1, (ev.TaskSpec("h1"),))
    orders = core.handle(1, ev.TaskFinished(new_id(), "h0", 1), [following])
    assert names(orders) == [("Launch", "h1", 1)]


def test_unknown_names_change_nothing() -> None:
    core = scheduler()
    for event in (
        ev.ExecutorLost(new_id(), "nobody"),
        ev.ExecutorPulse(new_id(), "nobody", 1.0, 0.5, 0.1),
        ev.TaskFinished(new_id(), "nothing", 1),
        ev.Suspended(new_id(), "nothing", 1, 1),
        ev.JobCancelled(new_id(), "none"),
    ):
        assert core.handle(0, event) == []


def test_a_second_joining_under_the_same_name_adds_no_slots() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0", "l1"))
    assert core.handle(1, ev.ExecutorJoined(new_id(), "e0", "n0", 1, 0)) == []


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_a_weight_must_be_a_positive_number(weight: float) -> None:
    event = ev.StageSubmitted(new_id(), "j", "s", 2, (ev.TaskSpec("t"),), weight)
    with pytest.raises(InputError, match="weight"):
        scheduler().handle(0, event)


def test_an_executor_needs_a_core() -> None:
    with pytest.raises(InputError, match="core"):
        scheduler().handle(0, ev.ExecutorJoined(new_id(), "e1", "n1", 0))


def test_unknown_policies_are_refused_with_those_known() -> None:
    with pytest.raises(InputError, match=r"no policy 'best'; known are .*lma"):
        TaskScheduler("best")


def test_the_story_of_a_task_tells_causes_and_reasons() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0"))
    urgent = stage("h", 1, "h0")
    core.handle(1, urgent)
    core.handle(1, ev.Suspended("ack", "l0", 1, 1))
    core.handle(2, ev.TaskFinished("done", "h0", 1))
    told = core.story("l0")
    assert [entry.what.split()[0] for entry in told] == [
        "submitted",
        "launch",
        "suspend",
        "suspended",
        "resume",
    ]
    assert told[2].cause == urgent.id
    assert "h/s" in told[2].reason
    assert told[4].cause == "done"
    assert str(told[4]).startswith("2.000 [done] resume attempt 1 on e0: ")
    assert core.story("nothing") == ()


def test_nothing_is_remembered_of_jobs_that_have_ended() -> None:
    core = scheduler()
    for number in range(50):
        core.handle(number, stage(f"j{number}", 2, f"t{number}"))
        core.handle(number, ev.TaskFinished(new_id(), f"t{number}", 1))
    assert not core.book.tasks
    assert not core.book.jobs
    assert not core.book.queue.lanes
    assert not core.book.victims
    assert not core.book.claims


def test_tasks_that_go_along_need_no_slot_and_wait_again_when_given_back() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0", "l1", "l2", "l3"))
    assert core.take_along("l0", 2) == [("l1", 1), ("l2", 1)]
    assert core.waiting_with("l0") == 1
    assert core.handle(1, ev.LotAdvanced(new_id(), finished=(("l1", 1),))) == []
    assert names(core.handle(2, ev.TaskFinished(new_id(), "l0", 1))) == [("Launch", "l3", 1)]
    assert core.handle(3, ev.LotAdvanced(new_id(), returned=(("l2", 1), ("l1", 1)))) == []
    assert names(core.handle(4, ev.TaskFinished(new_id(), "l3", 1))) == [("Launch", "l2", 2)]


def test_tasks_that_go_along_are_cancelled_with_their_job() -> None:
    core = scheduler()
    core.handle(0, stage("l", 2, "l0", "l1", "l2"))
    core.take_along("l0", 1)
    assert names(core.handle(1, ev.JobCancelled(new_id(), "l"))) == [("Kill", "l0", 1)]
    assert core.handle(2, ev.LotAdvanced(new_id(), returned=(("l1", 1),))) == []
    core.handle(3, ev.Killed(new_id(), "l0", 1))
    core.go_on(1)
    assert not core.book.tasks


def test_stage_keeps_its_place_until_the_rest_of_it_comes() -> None:
    core = scheduler()
    first = replace(stage("l", 2, "l0"), more=True)
    assert names(core.handle(0, first)) == [("Launch", "l0", 1)]
    assert core.handle(1, ev.TaskFinished(new_id(), "l0", 1)) == []
    assert names(core.handle(2, stage("m", 2, "m0", "m1"))) == [("Launch", "m0", 1)]
    assert core.handle(3, stage("l", 2, "l1")) == []
    orders = core.handle(4, ev.TaskFinished(new_id(), "m0", 1))
    assert names(orders) == [("Launch", "l1", 1)]
    core.handle(5, ev.TaskFinished(new_id(), "l1", 1))
    core.handle(6, ev.TaskFinished(new_id(), "m1", 1))
    assert core.book.jobs == {}


def test_stage_whose_rest_does_not_come_is_forgotten() -> None:
    core = scheduler()
    core.handle(0, replace(stage("l", 2, "l0"), more=True))
    core.handle(1, ev.TaskFinished(new_id(), "l0", 1))
    core.handle(2, ev.JobCancelled(new_id(), "l"))
    assert core.book.jobs == {}
    core.handle(3, replace(stage("m", 2, "m0"), more=True))
    core.handle(4, ev.JobCancelled(new_id(), "m"))
    core.handle(5, ev.Killed(new_id(), "m0", 1))
    assert core.book.jobs == {}


def carried(job: str, priority: int, task: str, state: Any, memory: int = 0) -> ev.Carried:
    return ev.Carried(job, "s", priority, ev.TaskSpec(task, GIB), state, memory)


def joined(executor: str, cores: int, *has: ev.Carried) -> ev.ExecutorJoined:
    return ev.ExecutorJoined(new_id(), executor, executor, cores, 32 * GIB, has)


def test_what_an_executor_brings_along_goes_on_there() -> None:
    core = TaskScheduler()
    has = [
        carried("l", 2, "l0", "running"),
        carried("l", 2, "l1", "suspending", 2 * GIB),
        carried("l", 2, "l2", "suspended", 3 * GIB),
    ]
    orders = core.handle(0, joined("e0", 2, *has))
    assert sorted(names(orders)) == [("Adopted", f"l{n}", 1) for n in range(3)]
    assert core.suspended_memory() == {"e0": 5 * GIB}
    assert "since before" in core.story("l1")[-1].reason
    orders = core.handle(1, ev.Suspended(new_id(), "l1", 1, memory_bytes=4 * GIB))
    assert names(orders) == [("Resume", "l2", 1)]
    orders = core.handle(2, ev.TaskFinished(new_id(), "l0", 1))
    assert names(orders) == [("Resume", "l1", 1)]
    assert core.suspended_memory() == {}


def test_what_cannot_go_on_where_it_is_is_not_adopted() -> None:
    core = TaskScheduler()
    core.handle(0, joined("e0", 1))
    core.handle(0, stage("l", 2, "l0", "l1"))
    has = [carried("l", 2, task, "running") for task in ("l0", "l1", "l2")]
    # l0 is elsewhere by now, and there is one slot.
    orders = core.handle(1, joined("e1", 1, *has))
    assert names(orders) == [("Adopted", "l1", 1)]
    assert core.story("l2") == ()
    # Nor is anything of one that is known already.
    assert core.handle(2, joined("e1", 1, carried("l", 2, "l3", "running"))) == []


def test_a_slot_that_is_being_left_already_is_waited_for() -> None:
    core = TaskScheduler()
    core.handle(0, joined("e0", 1, carried("l", 2, "l0", "suspending")))
    core.handle(0, joined("e1", 1, carried("l", 2, "l1", "running")))
    assert core.handle(1, stage("h", 1, "h0")) == []
    orders = core.handle(2, ev.Suspended(new_id(), "l0", 1))
    assert names(orders) == [("Launch", "h0", 1)]


def test_what_has_worked_nobody_knows_how_long_does_not_start_again() -> None:
    core = scheduler(restart_after=1.0)
    core.handle(0, stage("l", 2, "l0"))
    core.handle(1, joined("e1", 1, carried("l", 2, "l1", "running")))
    core.handle(2, stage("h", 1, "h0", "h1"))
    for task in ("l0", "l1"):
        core.handle(3, ev.Suspended(new_id(), task, 1))
    orders = core.handle(3, joined("e2", 2))
    assert orders == []
    assert names(core.handle(20, ev.Tick(new_id()))) == [("Kill", "l0", 1)]


def test_weight_without_sense_brings_nobody_along() -> None:
    core = TaskScheduler()
    wrong = ev.Carried("l", "s", 2, ev.TaskSpec("l0"), "running", weight=0.0)
    with pytest.raises(InputError, match="weight"):
        core.handle(0, joined("e0", 1, wrong))
    core.handle(1, stage("l", 2, "l0"))
    assert names(core.handle(2, joined("e0", 1))) == [("Launch", "l0", 1)]
