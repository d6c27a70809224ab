"""The laws of suspension, and what the public release of Neptune does not do."""

import pytest

from colchis_master.tasks.scenario import FaultSpec, JobSpec, StageSpec
from tests.sim.tasks.scenarios import GIB, H, executors, job, on, outcome, play, tasks, told


def test_a_slot_is_free_only_when_the_suspension_is_acknowledged() -> None:
    result = play(executors(1, 1), job("l", 1, 10), job("h", 1, 1, at=3, priority=H))
    acknowledged = told(result, "suspended")[0]["t"]
    launched = next(e["t"] for e in told(result, "launch") if e["task"] == "h/s/0")
    assert acknowledged == launched == pytest.approx(3.001)


def test_a_much_suspended_task_runs_protected_for_a_while() -> None:
    streams = [job(f"h{i}", 1, 0.5, at=1 + i, priority=H) for i in range(8)]
    result = play(
        executors(1, 1), job("l", 1, 20), *streams, max_suspensions=3, protect=3.0, max_wait=100
    )
    suspended = [entry["t"] for entry in told(result, "suspend")]
    resumed = [entry["t"] for entry in told(result, "resume")]
    assert suspended[:3] == pytest.approx([1.0, 2.0, 3.0])
    assert suspended[3] == pytest.approx(resumed[2] + 3.0)
    assert "protected" in told(result, "resume")[2]["reason"]


def test_protection_need_be_no_longer_than_a_part_of_the_wait() -> None:
    streams = [job(f"h{i}", 1, 0.4, at=1 + 0.5 * i, priority=H) for i in range(8)]
    batch = job("l", 1, 20)
    gentle = play(
        executors(1, 1), batch, *streams, max_suspensions=3, protect=3.0, protect_per_wait=0.5
    )
    suspended = [entry["t"] for entry in told(gentle, "suspend")]
    resumed = [entry["t"] for entry in told(gentle, "resume")]
    assert suspended[:3] == pytest.approx([1.0, 1.5, 2.0])
    assert suspended[3] == pytest.approx(resumed[2] + 0.2, abs=0.002)
    assert "protected for 0.2 s" in told(gentle, "resume")[2]["reason"]
    longest = max(outcome(gentle, f"h{i}")["latency"] for i in range(8))
    assert longest < 3, "nobody waits for the whole period"


def test_nobody_starves_where_short_waits_bring_short_protection() -> None:
    streams = [job(f"h{i}", 1, 1.0, at=1 + i, priority=H) for i in range(60)]
    result = play(
        executors(1, 1), job("l", 1, 10), *streams, max_wait=5.0, protect=3.0, protect_per_wait=0.5
    )
    # One second, then waits of five and what is left of a stream's task for three seconds each.
    assert outcome(result, "l")["finished"] < 1 + 3 * (5 + 1 + 3) + 1


def test_suspended_memory_is_bounded_per_node() -> None:
    result = play(
        executors(1, 4),
        job("l", 4, 10, memory=GIB),
        job("h", 4, 1, at=3, priority=H),
        max_suspended_memory=2 * GIB,
    )
    h = [entry["t"] for entry in told(result, "launch") if entry["task"].startswith("h/")]
    assert len(tasks(result, "suspend")) == 2
    assert h == pytest.approx([3.001, 3.001, 4.001, 4.001])


def test_past_the_bound_another_node_is_picked() -> None:
    result = play(
        executors(2, 2),
        job("big", 2, 10, memory=4 * GIB, prefer=("e0", "e0")),
        job("small", 2, 10, memory=GIB, prefer=("e1", "e1")),
        job("h", 4, 1, at=3, priority=H, prefer=("e0",) * 4),
        max_suspended_memory=3 * GIB,
    )
    assert on(result, "suspend", "small") == ["e1", "e1"]
    assert on(result, "suspend", "big") == []
    assert outcome(result, "h")["latency"] == pytest.approx(2.001)


def test_victims_hold_little_memory() -> None:
    result = play(
        executors(2, 2),
        job("big", 2, 10, memory=4 * GIB, prefer=("e0", "e0")),
        job("small", 2, 10, memory=GIB, prefer=("e1", "e1")),
        job("h", 2, 1, at=3, priority=H),
    )
    assert sorted(tasks(result, "suspend")) == ["small/s/0", "small/s/1"]


def test_victims_were_suspended_least() -> None:
    result = play(
        executors(1, 2),
        job("l", 2, 10),
        job("h", 1, 0.1, at=3, priority=H),
        job("i", 1, 0.1, at=4, priority=H),
    )
    first, second = tasks(result, "suspend")
    assert first != second


def test_a_nearly_finished_task_is_spared() -> None:
    result = play(
        executors(1, 2),
        job("old", 1, 10),
        job("young", 1, 10, at=5, memory=4 * GIB),
        job("h", 1, 1, at=9.5, priority=H),
    )
    assert tasks(result, "suspend") == ["young/s/0"]


def test_a_task_about_to_end_is_waited_for() -> None:
    result = play(executors(1, 1), job("l", 1, 10), job("h", 1, 1, at=9.97, priority=H))
    assert tasks(result, "suspend") == []
    assert outcome(result, "h")["finished"] == pytest.approx(11.0)


def test_any_number_of_priorities() -> None:
    result = play(
        executors(1, 1),
        job("p4", 1, 10, priority=4),
        job("p3", 1, 5, at=1, priority=3),
        job("p2", 1, 3, at=2, priority=2),
        job("p0", 1, 1, at=3, priority=0),
    )
    assert tasks(result, "suspend") == ["p4/s/0", "p3/s/0", "p2/s/0"]
    assert tasks(result, "finish") == ["p0/s/0", "p2/s/0", "p3/s/0", "p4/s/0"]


def test_the_least_urgent_leave_first() -> None:
    result = play(
        executors(1, 3),
        job("p2", 1, 10),
        job("p5", 1, 10, priority=5),
        job("p3", 1, 10, priority=3),
        job("h", 2, 1, at=3, priority=H),
    )
    assert tasks(result, "suspend") == ["p5/s/0", "p3/s/0"]


def test_a_retried_stream_task_displaces_again() -> None:
    result = play(
        executors(2, 1),
        job("l", 1, 10, prefer=("e0",)),
        job("h", 1, 5, at=1, priority=H, prefer=("e1",)),
        faults=(FaultSpec(2, "e1", "lost"),),
    )
    assert tasks(result, "suspend") == ["l/s/0"]
    assert outcome(result, "h")["finished"] == pytest.approx(7.001)


def test_a_later_stage_displaces_and_keeps_the_slots_of_the_earlier() -> None:
    stages = (
        StageSpec("a", (1.0, 1.0)),
        StageSpec("b", (1.0, 1.0, 1.0), after=("a",)),
    )
    result = play(executors(1, 4), job("l", 4, 10), JobSpec("h", 3, H, stages))
    assert len(tasks(result, "suspend")) == 4
    assert outcome(result, "h")["latency"] == pytest.approx(2.001, abs=0.01)


def test_suspended_tasks_of_a_lost_executor_run_again() -> None:
    result = play(
        executors(2, 1),
        job("l", 2, 10),
        job("h", 2, 2, at=3, priority=H),
        faults=(FaultSpec(4, "e0", "lost"),),
    )
    assert sorted(name[0] for name in tasks(result, "lost")) == ["h", "l"]
    assert sorted(tasks(result, "finish")) == ["h/s/0", "h/s/1", "l/s/0", "l/s/1"]


def test_a_long_suspended_task_starts_again_on_an_idle_executor() -> None:
    where = executors(2, 1)
    jobs = (
        job("keep", 1, 12, prefer=("e1",)),
        job("l", 1, 10, at=0.5, prefer=("e0",)),
        job("h", 1, 100, at=3, priority=H, prefer=("e0",)),
    )
    waits = play(where, *jobs)
    assert outcome(waits, "l")["finished"] == pytest.approx(110.501, abs=0.01)
    moves = play(where, *jobs, restart_after=1.0)
    assert outcome(moves, "l")["finished"] == pytest.approx(22.001, abs=0.01)
    assert tasks(moves, "kill") == ["l/s/0"]
    assert "another executor is idle" in told(moves, "kill")[0]["reason"]
    assert tasks(moves, "finish").count("l/s/0") == 1
    assert [e["attempt"] for e in told(moves, "finish") if e["task"] == "l/s/0"] == [2]


def test_no_restart_while_it_would_cost_more_than_it_has_waited() -> None:
    result = play(
        executors(2, 1),
        job("l", 1, 10, prefer=("e0",)),
        job("h", 1, 3, at=4, priority=H, prefer=("e0",)),
        job("k", 1, 4.5, prefer=("e1",)),
        restart_after=1.0,
    )
    assert tasks(result, "kill") == []


def test_a_task_suspended_for_too_long_gets_the_next_slot() -> None:
    streams = [job(f"h{i}", 2, 1.0, at=0.5 + i, priority=H) for i in range(20)]
    result = play(executors(1, 1), job("l", 1, 2), *streams, max_wait=5.0, protect=10.0)
    resumed = told(result, "resume")[0]
    assert 5.5 <= resumed["t"] <= 7.0
    assert outcome(result, "l")["finished"] < 10
    assert "suspended for more than 5 s" in resumed["reason"]


def test_every_displacement_has_a_reason() -> None:
    result = play(executors(1, 1), job("l", 1, 10), job("h", 1, 1, at=3, priority=H))
    reason = told(result, "suspend")[0]["reason"]
    assert "h/s" in reason
    assert "priority 1" in reason
