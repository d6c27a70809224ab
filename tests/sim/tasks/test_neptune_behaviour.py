"""Neptune's behaviour in numbers: L is batch, H is stream; executors x cores."""

import pytest

from colchis_master.tasks.scenario import FaultSpec, HeartbeatSpec
from tests.sim.tasks.scenarios import H, executors, job, on, outcome, play, tasks, told

SUSPENDING = ["lma", "lb", "cl", "random"]


@pytest.mark.parametrize("policy", SUSPENDING)
def test_as_many_are_suspended_as_are_needed(policy: str) -> None:
    result = play(executors(1, 4), job("l", 4, 10), job("h", 2, 1, at=3, priority=H), policy=policy)
    assert len(tasks(result, "suspend")) == 2
    assert outcome(result, "h")["latency"] == pytest.approx(1.001)
    assert outcome(result, "l")["finished"] == pytest.approx(11.0)


@pytest.mark.parametrize("policy", SUSPENDING)
def test_free_slots_are_used_before_anyone_is_suspended(policy: str) -> None:
    result = play(executors(1, 4), job("l", 2, 10), job("h", 4, 1, at=3, priority=H), policy=policy)
    assert sorted(tasks(result, "suspend")) == ["l/s/0", "l/s/1"]
    started = [entry["t"] for entry in told(result, "launch") if entry["task"].startswith("h/")]
    assert sorted(started) == [3.0, 3.0, 3.001, 3.001]


def test_lb_suspends_three_of_seven_on_two_by_four() -> None:
    result = play(executors(2, 4), job("l", 7, 10), job("h", 4, 1, at=3, priority=H), policy="lb")
    assert len(tasks(result, "suspend")) == 3


def test_lb_suspends_nobody_where_every_executor_has_a_free_slot() -> None:
    result = play(executors(4, 4), job("l", 12, 10), job("h", 4, 1, at=3, priority=H), policy="lb")
    assert on(result, "launch", "l") == sorted(["e0", "e1", "e2", "e3"] * 3)
    assert tasks(result, "suspend") == []
    assert on(result, "launch", "h") == ["e0", "e1", "e2", "e3"]


@pytest.mark.parametrize("policy", SUSPENDING)
def test_suspended_tasks_resume_before_new_ones_of_their_stage_start(policy: str) -> None:
    result = play(
        executors(1, 4), job("l", 12, 10), job("h", 4, 1, at=3, priority=H), policy=policy
    )
    suspended = set(tasks(result, "suspend"))
    assert suspended == {f"l/s/{i}" for i in range(4)}
    after = [e for e in result.events if e["event"] in ("resume", "launch") and e["t"] >= 4.0]
    assert {entry["task"] for entry in after[:4]} == suspended
    assert all(entry["event"] == "resume" for entry in after[:4])
    assert all(entry["event"] == "launch" for entry in after[4:])


@pytest.mark.parametrize("policy", SUSPENDING)
def test_the_only_task_is_resumed_and_nothing_else_launched(policy: str) -> None:
    result = play(executors(1, 1), job("l", 1, 10), job("h", 1, 1, at=3, priority=H), policy=policy)
    told_of = [(entry["event"], entry["task"]) for entry in result.events]
    assert told_of == [
        ("launch", "l/s/0"),
        ("suspend", "l/s/0"),
        ("suspended", "l/s/0"),
        ("launch", "h/s/0"),
        ("finish", "h/s/0"),
        ("resume", "l/s/0"),
        ("finish", "l/s/0"),
    ]
    assert result.totals["busy_core_seconds"] == pytest.approx(11.0)


def test_lma_goes_where_slots_are_free_and_pressure_is_low() -> None:
    result = play(
        executors(2, 4),
        job("l", 5, 10, prefer=("e0", "e0", "e0", "e0", "e1")),
        job("h", 3, 1, at=3, priority=H),
        heartbeats=(
            HeartbeatSpec(1, "e0", spilled=5e6),
            HeartbeatSpec(1, "e1", spilled=1e6),
        ),
    )
    assert on(result, "launch", "h") == ["e1", "e1", "e1"]
    assert tasks(result, "suspend") == []


def test_lma_suspends_where_pressure_is_least() -> None:
    beats = (HeartbeatSpec(1, "e0", spilled=50e6), HeartbeatSpec(1, "e1", spilled=0.0))
    result = play(
        executors(2, 4), job("l", 8, 10), job("h", 3, 1, at=3, priority=H), heartbeats=beats
    )
    assert on(result, "suspend", "l") == ["e1", "e1", "e1"]


def test_a_task_that_ends_while_it_is_being_suspended_gives_its_slot_once() -> None:
    where = executors(1, 1)
    result = play(where, job("l", 1, 5), job("h", 2, 1, at=4.9995, priority=H), finish_within=0)
    assert tasks(result, "suspend") == ["l/s/0"]
    assert tasks(result, "suspended") == []
    assert [e["t"] for e in told(result, "launch")] == [0.0, 5.0, 6.0]


def test_heartbeats_of_zeros_or_nothing_disturb_nothing() -> None:
    jobs = (job("l", 8, 10), job("h", 4, 1, at=3, priority=H))
    silent = play(executors(2, 4), *jobs)
    beats = tuple(
        beat
        for at in (0.5, 1.5, 2.5, 3.0005)
        for beat in (HeartbeatSpec(at, "e0", 0.0, 0.0, 0.0), HeartbeatSpec(at, "e1"))
    )
    assert play(executors(2, 4), *jobs, heartbeats=beats).events == silent.events


def test_cl_displaces_on_the_preferred_executor_though_another_is_idle() -> None:
    where = executors(2, 2)
    jobs = (
        job("l", 2, 10, prefer=("e0", "e0")),
        job("h", 1, 1, at=3, priority=H, prefer=("n0",)),
    )
    bound = play(where, *jobs, policy="cl")
    assert on(bound, "suspend", "l") == ["e0"]
    assert on(bound, "launch", "h") == ["e0"]
    soft = play(where, *jobs, policy="lma")
    assert tasks(soft, "suspend") == []
    assert on(soft, "launch", "h") == ["e1"]


def test_cl_frees_tasks_whose_executor_is_gone() -> None:
    result = play(
        executors(2, 1),
        job("l", 2, 4, prefer=("e0", "e0")),
        faults=(FaultSpec(1, "e0", "lost"),),
        policy="cl",
    )
    assert outcome(result, "l")["finished"] == pytest.approx(9.0)
    assert on(result, "finish", "l") == ["e1", "e1"]


def test_kill_starts_victims_again_from_nothing() -> None:
    result = play(executors(1, 2), job("l", 2, 10), job("h", 1, 1, at=3, priority=H), policy="kill")
    assert result.totals["kills"] == 1
    assert result.totals["suspensions"] == 0
    assert outcome(result, "l")["finished"] == pytest.approx(14.001)


@pytest.mark.parametrize("policy", ["static", "fifo", "fair"])
def test_the_baselines_displace_nobody(policy: str) -> None:
    result = play(executors(2, 2), job("l", 8, 10), job("h", 4, 1, at=3, priority=H), policy=policy)
    assert result.totals["suspensions"] == result.totals["kills"] == 0
    assert all(entry["finished"] is not None for entry in result.jobs)


def test_fifo_makes_streams_wait_their_turn() -> None:
    result = play(executors(1, 1), job("l", 3, 10), job("h", 1, 1, at=3, priority=H), policy="fifo")
    assert outcome(result, "h")["finished"] == pytest.approx(31.0)


def test_static_keeps_an_executor_for_each_class() -> None:
    result = play(
        executors(2, 2), job("l", 8, 10), job("h", 4, 1, at=3, priority=H), policy="static"
    )
    assert set(on(result, "launch", "l")).isdisjoint(on(result, "launch", "h"))
    assert outcome(result, "h")["latency"] == pytest.approx(2.0)
    assert outcome(result, "l")["finished"] == pytest.approx(40.0)


def test_fair_shares_slots_by_weight() -> None:
    result = play(
        executors(1, 4),
        job("heavy", 40, 1, at=0.5, weight=3),
        job("light", 40, 1, at=0.5),
        job("first", 4, 1),
        policy="fair",
    )
    during = [e for e in told(result, "launch") if 1.0 <= e["t"] < 9.0]
    heavy = sum(entry["task"].startswith("heavy/") for entry in during)
    assert (heavy, len(during) - heavy) == (24, 8)
