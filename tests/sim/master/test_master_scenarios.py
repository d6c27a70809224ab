"""Faults, one at a time, as an operator would tell them."""

from typing import Literal

import pytest

from colchis.model.app import Kind
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.wire.messages import ContainerReport, Heartbeat, NodeSample, Report
from colchis_master.core.core import MasterCore
from colchis_master.core.events import (
    AddRules,
    Emit,
    Received,
    Remove,
    Send,
    Tick,
)
from colchis_master.core.lifecycle import ContainerState, NodeState
from colchis_master.core.settings import CoreSettings
from tests.sim.master.agents import ModelAgent
from tests.sim.master.support import is_running, spec, submit, up
from tests.sim.master.world import World


def test_a_partition_shorter_than_the_patience_restarts_nothing() -> None:
    world = World()
    before = up(world, spec())
    for seconds in (3.0, 6.0, 8.0):
        world.cut.add("n1")
        world.run(seconds)
        world.cut.clear()
        world.run(20)
        assert world.placements() == before


def test_after_a_longer_partition_the_loser_stops() -> None:
    world = World()
    before = up(world, spec(rules=("{web, {web, 0, 1}, node}",)))
    world.cut.add("n1")
    world.run(30)
    after = world.placements()
    moved = {name for name in before if before[name][0] == "n1"}
    assert moved
    for name in before:
        assert (after[name] != before[name]) == (name in moved)
        assert after[name][0] != "n1"
    assert any(len(where) == 2 for where in world.running().values())
    world.cut.clear()
    world.run(20)
    assert world.placements() == after
    assert {name: where for name, (where,) in world.running().items()} == after


def test_what_was_not_replaced_is_kept_when_its_node_comes_back() -> None:
    world = World(nodes=2)
    before = up(world, spec(count=2, rules=("{web, {web, 0, 0}, node}",)))
    world.cut.add("n1")
    world.run(30)
    lost = [e for e in world.core.state.containers.values() if e.state is ContainerState.PENDING]
    assert len(lost) == 1
    assert world.core.state.apps["web"].reasons
    world.cut.clear()
    world.run_until(lambda: is_running(world))
    assert world.placements() == before


@pytest.mark.parametrize("seconds", [20, 300])
def test_a_master_cut_off_from_everybody_evicts_nobody(seconds: int) -> None:
    world = World()
    before = up(world, spec(rules=("{web, {web, 0, 0}, node}",), hard=False))
    world.cut.update(world.agents)
    world.run(seconds)
    for node in list(world.agents):
        world.cut.discard(node)
        world.run(3)
    world.run(20)
    assert world.placements() == before


def test_a_master_that_was_stopped_for_long_blames_nobody() -> None:
    world = World()
    before = up(world, spec(rules=("{web, {web, 0, 0}, node}",), hard=False))
    sleeping, world.master = world.master, None
    world.run(200)
    world.master = sleeping
    world.run(30)
    assert world.placements() == before
    assert all(node.state is NodeState.READY for node in world.core.state.nodes.values())


def test_a_jump_of_the_wall_clock_is_no_matter() -> None:
    world = World()
    rule = Rule(parse_constraint("{web, {web, 0, 9}, node}"), name="short", expires=60.0)
    before = up(world, spec())
    world.ask(lambda n: AddRules(n, (rule,), world.now))
    for jump in (3600, -7200, 3600):
        world.wall_offset += jump
        world.run(5)
        assert world.placements() == before
        assert world.core.state.constraints.find("short") is not None


def test_a_killed_master_comes_back_with_all_it_had_acknowledged() -> None:
    world = World()
    before = up(world, spec(), spec("job", kind=Kind.BATCH))
    submit(world, spec("late"))
    world.kill_master()
    world.run(40)
    world.start_master()
    assert {"web", "job", "late"} <= set(world.core.state.apps)
    world.run_until(lambda: is_running(world, "late"))
    for name, where in before.items():
        assert world.placements()[name] == where
    assert all(len(where) == 1 for where in world.running().values())


def test_a_node_that_does_not_return_after_a_restart_is_replaced() -> None:
    world = World()
    before = up(world, spec())
    world.kill_master()
    world.agents["n1"].up = False
    world.start_master()
    world.run(5)
    assert world.placements() == before
    world.run(30)
    assert all(node != "n1" for node, _ in world.placements().values())


def test_an_old_master_is_refused() -> None:
    world = World()
    old = world.core
    before = up(world, spec())
    world.kill_master()
    world.start_master()
    world.run(10)
    agent = world.agents["n0"]
    assert agent.epoch == 2
    for entry in old.state.containers.values():
        entry.order = None
    old.handle(world.now, Tick(0.0))
    for one in old.handle(world.now, Remove(99, "web", 0.0)):
        if isinstance(one, Send) and one.node == "n0":
            agent.receive(one.message, world.now)
    assert agent.silent_orders > 0
    agent.connect(world.now)
    world.run(5)
    assert world.placements() == before


def test_a_master_does_not_take_agents_that_obey_a_newer_one() -> None:
    world = World()
    world.run(3)
    world.kill_master()
    world.start_master()
    world.run(5)
    old = MasterCore(1, CoreSettings())
    heard: list[str] = []
    agent = world.agents["n0"]
    spoken = ModelAgent("n0", agent.capacity, {}, world.rng, lambda _, m: _hello(old, m, heard))
    spoken.epoch = 2
    spoken.connect(world.now)
    assert any("obeys a master of epoch 2; this is epoch 1" in text for text in heard)


def _hello(master: MasterCore, message: object, heard: list[str]) -> None:
    for one in master.handle(1.0, Received("n0", "x", message)):  # type: ignore[arg-type]
        if isinstance(one, Emit):
            heard.append(one.text)


def test_what_comes_late_or_twice_has_no_effect() -> None:
    world = World(nodes=1)
    up(world, spec(count=1))
    core, agent = world.core, world.agents["n0"]
    (entry,) = core.state.containers.values()

    def tell(message: Heartbeat | Report) -> ContainerState:
        core.handle(world.now, Received("n0", agent.link, message))
        return entry.state

    def view(state: Literal["running", "suspended"]) -> ContainerReport:
        return ContainerReport(str(entry.id), entry.incarnation, state)

    def beat(seq: int, state: Literal["running", "suspended"]) -> Heartbeat:
        return Heartbeat(agent.session, seq, NodeSample(), [view(state)], [])

    assert tell(Report(agent.session, 900, view("suspended"))) is ContainerState.SUSPENDED
    assert tell(Report(agent.session, 899, view("running"))) is ContainerState.SUSPENDED
    assert tell(Report(agent.session, 900, view("running"))) is ContainerState.SUSPENDED
    assert tell(beat(901, "running")) is ContainerState.RUNNING
    assert tell(beat(900, "suspended")) is ContainerState.RUNNING
    assert tell(beat(901, "suspended")) is ContainerState.RUNNING
    assert tell(Report("another", 999, view("suspended"))) is ContainerState.RUNNING


def test_a_container_that_waits_for_one_that_is_placed_after_it_is_placed_next() -> None:
    world = World()
    submit(world, spec("a", 1, kind=Kind.BATCH, rules=("{a, {b, 1, inf}, node}",)))
    submit(world, spec("b", 1, kind=Kind.BATCH))
    world.run(10)
    assert is_running(world, "b")
    assert is_running(world, "a")
