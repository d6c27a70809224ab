"""What the agent's core makes of orders, one story at a time."""

from typing import Any

import pytest

from colchis.errors import IllegalTransitionError
from colchis.wire.messages import (
    Confirm,
    Exit,
    Heartbeat,
    Hello,
    NodeSample,
    ReadLog,
    Refused,
    Report,
    Resume,
    Stop,
    Suspend,
    Welcome,
)
from colchis_agent.core import events as e
from colchis_agent.core.lifecycle import TRANSITIONS, Cause, Phase, step
from colchis_agent.driver.model import ContainerRef
from tests.sim.agent.agent_world import World, start

WEB = "app/web/0"


def up(**changes: Any) -> World:
    """A node on which one container runs."""
    world = World()
    world.connect()
    world.say(start(1, **changes))
    world.settle(1)
    assert world.running() == {WEB}
    return world


def ref(world: World) -> ContainerRef:
    return world.records[WEB].ref


def test_a_container_is_started_suspended_resumed_and_stopped() -> None:
    world = up()
    world.say(Suspend(1, 2, WEB, 1))
    assert 2 not in world.done(), "nothing is acknowledged before it is so"
    world.settle(1)
    assert world.lives[ref(world)].frozen
    world.say(Resume(1, 3, WEB, 1))
    world.settle(1)
    assert not world.lives[ref(world)].frozen
    world.say(Stop(1, 4, WEB, 1, 5.0))
    world.settle(60)
    assert world.running() == set()
    assert world.done() == {1: "", 2: "", 3: "", 4: ""}
    assert world.states(WEB) == ["running", "suspended", "running", "stopping", "ended"]


@pytest.mark.parametrize("before", ["starting", "running", "suspended", "backing-off", "held"])
def test_a_stop_ends_it_in_every_state(before: str) -> None:
    world = World()
    world.connect()
    world.say(start(1))
    if before != "starting":
        world.settle(1)
    if before in ("backing-off", "held"):
        world.end(ref(world), Exit("exited", code=1))
        world.settle(0.5)
    if before in ("suspended", "held"):
        world.say(Suspend(1, 2, WEB, 1))
        world.settle(1 if before == "suspended" else 0)
    assert world.records[WEB].phase == before
    world.say(Stop(1, 3, WEB, 1, 5.0))
    world.settle(60)
    assert world.records[WEB].phase == Phase.ENDED
    assert world.running() == set()
    assert world.done()[3] == ""
    assert {exit_.kind for _, exit_ in world.exits(WEB)} == {"stopped"}


def test_a_stop_that_comes_before_its_start_keeps_it_from_starting() -> None:
    world = World()
    world.connect()
    world.say(Stop(1, 2, WEB, 1, 5.0), start(1))
    world.settle()
    assert not world.launched
    assert world.done()[2] == ""
    assert world.done()[1]
    world.say(start(3, incarnation=2))
    world.settle(1)
    assert world.running() == {WEB}


def test_a_newer_incarnation_takes_the_place_of_the_older_one() -> None:
    world = up()
    world.say(start(2, incarnation=2))
    world.settle(60)
    assert world.running() == {WEB}
    assert world.records[WEB].incarnation == 2
    world.say(Stop(1, 3, WEB, 1, 0.0), start(4))
    world.settle(60)
    assert world.running() == {WEB}, "what concerns the old incarnation leaves the new one alone"
    assert world.done()[3] == ""
    assert world.done()[4] == "it has been stopped"


def test_of_suspensions_and_resumptions_the_one_sent_last_counts() -> None:
    world = up()
    world.say(Resume(1, 3, WEB, 1), Suspend(1, 2, WEB, 1))
    world.settle(1)
    assert not world.lives[ref(world)].frozen
    assert "3" in world.done()[2]


def test_a_freeze_that_was_overtaken_is_not_taken_for_done() -> None:
    world = up()
    world.say(Suspend(1, 2, WEB, 1), Resume(1, 3, WEB, 1), Suspend(1, 4, WEB, 1))
    stale = world.pending.pop(0)
    assert isinstance(stale, e.Frozen)
    world.tell(stale)
    assert 4 not in world.done()
    world.settle(1)
    assert world.done()[4] == ""
    assert world.lives[ref(world)].frozen


def test_a_freeze_that_fails_is_undone_and_said() -> None:
    world = up()
    world.say(Suspend(1, 2, WEB, 1))
    frozen = world.pending.pop(0)
    assert isinstance(frozen, e.Frozen)
    world.tell(e.OperationFailed(frozen.ref, frozen.operation, "no freezer"))
    world.settle(1)
    assert world.done()[2] == "no freezer"
    assert world.records[WEB].phase == Phase.RUNNING
    assert not world.lives[ref(world)].frozen


def test_failures_back_off_up_to_a_minute_and_a_stable_stretch_forgives() -> None:
    world = up()
    waits = []
    for _ in range(9):
        world.end(ref(world), Exit("exited", code=1))
        world.tell(world.pending.pop(0))
        due = world.core.containers.live[WEB].deadline
        assert due is not None
        waits.append(due - world.now)
        world.settle(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    world.now += 61
    world.end(ref(world), Exit("exited", code=1))
    world.tell(world.pending.pop(0))
    assert world.core.containers.live[WEB].deadline == world.now + 1
    world.settle(1)
    assert world.records[WEB].restarts == 10


@pytest.mark.parametrize(
    ("policy", "end", "again"),
    [
        ("never", Exit("exited", code=1), False),
        ("on-failure", Exit("exited", code=0), False),
        ("on-failure", Exit("exited", code=3), True),
        ("on-failure", Exit("oom", signal=9), True),
        ("on-failure", Exit("lost"), True),
        ("always", Exit("exited", code=0), True),
    ],
)
def test_restart_policy(policy: str, end: Exit, again: bool) -> None:
    world = up(restart=policy)
    world.end(ref(world), end)
    world.settle(30)
    assert (WEB in world.running()) == again
    if not again:
        assert world.exits(WEB) == {(1, end)}


def test_a_suspended_container_that_dies_starts_again_only_when_resumed() -> None:
    world = up()
    world.say(Suspend(1, 2, WEB, 1))
    world.settle(1)
    world.end(ref(world), Exit("signal", signal=9))
    world.settle(300)
    assert world.running() == set()
    world.say(Resume(1, 3, WEB, 1))
    world.settle(5)
    assert world.running() == {WEB}


def test_a_launch_that_fails_is_said_and_tried_again() -> None:
    world = World(failing={WEB})
    world.connect()
    world.say(start(1))
    world.settle(3)
    assert world.done()[1] == "no such driver"
    world.failing.clear()
    world.settle(60)
    assert world.running() == {WEB}


def test_an_old_master_is_not_obeyed_even_after_a_restart() -> None:
    world = World(epoch=5)
    world.connect()
    world.boot()
    world.tell(e.Connected())
    world.say(start(1), Welcome(1, 4, 1.0, "lab"))
    world.settle()
    assert not world.launched
    assert "epoch" in world.done()[1]
    assert not world.core.welcomed
    world.say(start(2, epoch=6))
    assert world.launched
    assert world.master is not None
    assert world.master.epoch == 6


def test_reports_are_sent_again_until_confirmed() -> None:
    world = up()
    reports = [m for m in world.of(Report) if isinstance(m, Report)]
    world.settle(20)
    assert len(world.of(Report)) > len(reports)
    world.confirm()
    count = len(world.of(Report))
    world.settle(600)
    assert len(world.of(Report)) == count
    world.say(Confirm(1, "another session", 10**6))


def test_without_a_master_containers_go_on_and_nothing_is_sent() -> None:
    world = up()
    world.tell(e.Disconnected())
    count = len(world.sent)
    world.settle(100_000)
    world.tell(e.Beat(NodeSample()))
    assert world.running() == {WEB}
    assert len(world.sent) == count
    world.connect()
    hello = [m for m in world.of(Hello) if isinstance(m, Hello)][-1]
    assert [report.state for report in hello.containers] == ["running"]
    world.tell(e.Beat(NodeSample()))
    assert isinstance(world.sent[-1], Heartbeat)


def test_a_refused_agent_keeps_its_containers_and_asks_seldom() -> None:
    world = up()
    world.confirm()
    count = len(world.of(Hello))
    world.say(Refused("protocol 2 is spoken here"))
    world.settle(100)
    assert world.running() == {WEB}
    assert 1 <= len(world.of(Hello)) - count <= 50


def test_ended_containers_are_forgotten_some_time_after_they_were_confirmed() -> None:
    world = World(keep_ended=100.0)
    world.connect()
    world.say(start(1, restart="never"))
    world.settle(1)
    world.end(ref(world), Exit("exited", code=0))
    world.settle(1000)
    assert WEB in world.records, "the master does not know yet"
    world.confirm()
    world.settle(1000)
    world.tell(e.Tick())
    assert not world.records
    assert not world.lives


def test_heartbeats_list_what_has_ended_until_the_master_has_kept_it() -> None:
    world = up(restart="never")
    world.end(ref(world), Exit("exited", code=0))
    world.settle(1)
    world.tell(e.Beat(NodeSample()))
    beat = world.sent[-1]
    assert isinstance(beat, Heartbeat)
    assert [report.state for report in beat.containers] == ["ended"]
    world.confirm()
    world.tell(e.Beat(NodeSample()))
    beat = world.sent[-1]
    assert isinstance(beat, Heartbeat)
    assert not beat.containers


def test_a_master_that_forgot_an_end_is_told_again() -> None:
    world = up(restart="never")
    world.end(ref(world), Exit("exited", code=0))
    world.settle(1)
    world.confirm()
    assert world.records[WEB].settled
    world.say(start(2))
    assert world.states(WEB)[-2:] == ["ended", "ended"]
    world.confirm()
    world.say(Stop(1, 3, WEB, 1, 0.0))
    assert world.states(WEB)[-3:] == ["ended"] * 3
    assert len(world.launched) == 1


def test_output_of_a_former_life_is_read_before_that_of_the_present_one() -> None:
    world = up()
    first = ref(world)
    world.lives[first].exit = Exit("exited", code=1)
    world.tell(e.Exited(first, Exit("exited", code=1), 500))
    world.settle(5)
    [read] = world.core.handle(e.Received(ReadLog(1, 7, WEB, 0, 100)), world.now)
    assert isinstance(read, e.ReadOutput)
    assert [segment.base for segment in read.segments] == [0, 500]
    assert [segment.ref for segment in read.segments] == [first, ref(world)]
    assert not read.ended


def test_illegal_transitions_raise() -> None:
    for phase in Phase:
        for cause in Cause:
            if (phase, cause) not in TRANSITIONS:
                with pytest.raises(IllegalTransitionError, match=phase):
                    step(phase, cause)
