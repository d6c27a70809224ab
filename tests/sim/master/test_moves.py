"""Containers leave drained nodes and change their specs: their successors run before they go."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colchis.model.app import AppSpec, GroupSpec, Kind, Restart
from colchis.model.cluster import ContainerId
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis.semantics.checker import judge
from colchis_master.core.events import SetDrained, SetSuspended
from colchis_master.core.lifecycle import ContainerState
from colchis_master.core.settings import CoreSettings
from colchis_master.service.views import Views
from tests.sim.master.support import (
    is_running,
    members_running,
    run_whole,
    spec,
    submit,
    up,
)
from tests.sim.master.world import World

APART = ("{web, {web, 0, 0}, node}",)


def drain(world: World, node: str, drained: bool = True) -> None:
    answer = world.ask(lambda n: SetDrained(n, node, drained))
    assert answer is not None
    assert answer.status == 0


def told(world: World) -> list[str]:
    return [one.text for one in world.emitted if one.event == "move"]


def is_done(world: World, name: str = "web") -> bool:
    """All is of the present spec, on nodes that are not drained, and nothing is on its way."""
    state = world.core.state
    return (
        is_running(world, name)
        and not state.copies
        and not any(
            state.nodes[entry.node or ""].drained for entry in state.apps[name].containers.values()
        )
    )


def web(index: int) -> ContainerId:
    return ContainerId("web", "g", index)


def test_the_overview_counts_nodes_by_the_states_that_their_listing_shows() -> None:
    world = World()
    up(world, spec(count=1))
    views = Views(world.core)
    assert views.status()["nodes"] == {"ready": 4}
    home = world.placements()["web/g/0"][0]
    drain(world, next(name for name in world.agents if name != home))
    counts = views.status()["nodes"]
    assert counts == {"ready": 3, "drained": 1}
    listed = [node["state"] for node in views.nodes(world.now)["nodes"]]
    assert counts == {state: listed.count(state) for state in listed}


def commands(world: World) -> set[tuple[str, ...] | None]:
    return {entry.group.command for entry in world.core.state.containers.values()}


def test_a_drained_node_is_left_without_a_member_away() -> None:
    world = World()
    before = up(world, spec(count=4, rules=("{web, {web, 0, 1}, node}",)))
    node = str(before["web/g/0"][0])
    drain(world, node)
    run_whole(world, lambda: is_done(world), members=4)
    after = world.placements()
    moved = {name for name in before if before[name][0] == node}
    assert {name for name in before if before[name] != after[name]} == moved
    assert len([text for text in told(world) if f"{node} is drained" in text]) == len(moved)
    assert {name: where[0] for name, where in world.running().items()} == after


def test_a_changed_spec_is_rolled_out_a_few_at_a_time_without_a_member_away() -> None:
    world = World()
    before = up(world, spec(count=8))
    submit(world, spec(count=8, command="other"), update=True)
    most = 0

    def is_out() -> bool:
        nonlocal most
        most = max(most, len(world.core.state.copies))
        return is_done(world)

    run_whole(world, is_out, members=8)
    assert most == 2
    assert commands(world) == {("other",)}
    assert all(before[name][1] < where[1] for name, where in world.placements().items())
    assert len(world.core.state.apps["web"].record().specs) == 1


def test_where_no_other_node_has_room_it_is_stopped_first_one_at_a_time_and_said() -> None:
    world = World(nodes=2)
    up(world, spec(count=4, cpus=4))
    submit(world, spec(count=4, cpus=4, command="other"), update=True)
    least = 4

    def is_out() -> bool:
        nonlocal least
        least = min(least, members_running(world))
        return is_done(world)

    world.run_until(is_out, 300)
    assert least == 3
    assert commands(world) == {("other",)}
    assert len([t for t in told(world) if t.endswith("no other node has room for it")]) == 4


def test_a_drain_without_room_elsewhere_stops_nothing() -> None:
    world = World(nodes=2)
    before = up(world, spec(count=2, cpus=8))
    drain(world, "n1")
    world.run(60)
    assert world.placements() == before
    (stays,) = [e for e in world.core.state.containers.values() if e.node == "n1"]
    assert "cannot leave n1" in stays.note


def test_a_rule_that_holds_beside_the_old_one_is_kept_to() -> None:
    """Nowhere else than where it is may the new one run as long as the old one does."""
    world = World(nodes=3, racks=3)
    up(world, spec(count=3, rules=APART))
    submit(world, spec(count=3, rules=APART, command="other"), update=True)
    world.run_until(lambda: is_done(world), 300)
    assert commands(world) == {("other",)}
    assert not world.core.state.constraints.violations()
    assert len([t for t in told(world) if "before it runs elsewhere" in t]) == 3


def test_soft_rules_are_not_missed_further_for_that() -> None:
    world = World(nodes=2)
    world.run(2)
    drain(world, "n1")
    up(world, spec(count=2, rules=("{web, {web, 1, inf}, node}",), hard=False))
    drain(world, "n1", False)
    submit(
        world,
        spec(count=2, rules=("{web, {web, 1, inf}, node}",), hard=False, command="other"),
        update=True,
    )
    world.run_until(lambda: is_done(world), 300)
    assert {node for node, _ in world.placements().values()} == {"n0"}
    assert [t for t in told(world) if "rules would be missed further elsewhere" in t]


def test_a_new_one_that_fails_at_once_leaves_the_old_one_where_it_is() -> None:
    world = World()
    before = up(world, spec(count=4))
    submit(world, spec(count=4, command="other"), update=True)
    end = world.now + 60
    tries = set()
    while world.now < end:
        for agent in world.agents.values():
            for one in list(agent.containers.values()):
                if (one.name, (agent.node, one.incarnation)) not in before.items() and one.alive:
                    tries.add((world.now, agent.node))
                    agent.crash(one, world.now)
        world.run(0.1)
        assert members_running(world) == 4
    assert world.placements().items() >= before.items()
    assert tries
    world.run_until(lambda: is_done(world), 300)
    assert commands(world) == {("other",)}


def test_a_copy_that_ends_is_tried_elsewhere_and_ever_later() -> None:
    world = World()
    group = GroupSpec("g", 1, Resources.of(1), frozenset(), ("x",), restart=Restart.NEVER)
    before = up(world, AppSpec("web", (group,)))
    home = str(before["web/g/0"][0])
    drain(world, home)
    end = world.now + 100
    while world.now < end:
        for agent in world.agents.values():
            for one in list(agent.containers.values()):
                if agent.node != home and one.alive:
                    agent.crash(one, world.now)
        world.run(0.1)
        assert members_running(world) >= 1
    assert world.placements().items() >= before.items()
    begun = [text.split(" to ")[1].split(":")[0] for text in told(world) if " moves from " in text]
    assert 5 <= len(begun) <= 8
    assert all(one != other for one, other in itertools.pairwise(begun))
    assert "did not come to run" in world.core.state.apps["web"].containers[web(0)].note
    run_whole(world, lambda: is_done(world), members=1)


def test_what_is_suspended_or_batch_is_never_doubled() -> None:
    world = World()
    up(world, spec(count=2), spec("job", count=2, kind=Kind.BATCH))
    world.ask(lambda n: SetSuspended(n, "web", True))
    world.run(5)
    submit(world, spec(count=2, command="other"), update=True)
    submit(world, spec("job", count=2, kind=Kind.BATCH, command="other"), update=True)
    end = world.now + 60
    while world.now < end:
        assert not world.core.state.copies
        world.run(0.1)
    assert commands(world) == {("other",)}
    states = {e.state for e in world.core.state.apps["web"].containers.values()}
    assert states == {ContainerState.SUSPENDED}


def test_a_second_update_overtakes_the_first() -> None:
    world = World()
    up(world, spec(count=4))
    for number in range(5):
        submit(world, spec(count=4, command=f"v{number}"), update=True)
        end = world.now + world.rng.uniform(0, 4)
        while world.now < end:
            world.run(0.1)
            assert members_running(world) == 4
    run_whole(world, lambda: is_done(world), members=4)
    assert commands(world) == {("v4",)}


@pytest.mark.parametrize("pause", [0.0, 0.3, 0.8, 1.2, 1.6, 2.5, 4.0])
def test_a_killed_master_goes_on_with_an_update(pause: float) -> None:
    world = World()
    up(world, spec(count=4))
    submit(world, spec(count=4, command="other"), update=True)
    world.run(1 + pause)
    world.kill_master()
    world.run(1)
    world.start_master()
    run_whole(world, lambda: is_done(world), members=4)
    assert commands(world) == {("other",)}
    assert sorted(map(len, world.running().values())) == [1, 1, 1, 1]


GROUP = st.builds(
    GroupSpec,
    st.just("g"),
    st.integers(1, 6),
    st.sampled_from([Resources.of(1, "1GiB"), Resources.of(2, "1GiB"), Resources.of(4, "1GiB")]),
    st.just(frozenset({"web"})),
    st.sampled_from([("serve",), ("other",)]),
)
RULES = tuple(
    Rule(parse_constraint(text), app="web", hard=hard)
    for text in (
        "{web, {web, 0, 1}, node}",
        "{web, {web, 0, 2}, rack}",
        "{web, {web, 1, inf}, rack}",
    )
    for hard in (False, True)
)


@settings(max_examples=60)
@given(
    GROUP,
    GROUP,
    st.lists(st.sampled_from(RULES), unique=True, max_size=2).map(tuple),
    st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    st.booleans(),
    st.integers(0, 9),
)
def test_no_more_members_are_away_than_may_be_and_no_hard_rule_is_newly_missed(
    before: GroupSpec,
    after: GroupSpec,
    rules: tuple[Rule, ...],
    share: float,
    with_drain: bool,
    seed: int,
) -> None:
    world = World(seed, nodes=4, settings=CoreSettings(away_share=share))
    world.run(2)
    submit(world, AppSpec("web", (before,), rules=rules))
    world.run(8)
    if not is_running(world):
        return  # It does not fit: nothing to be changed.
    members = min(before.count, after.count)
    limit = max(1, int(after.count * share))
    if with_drain:
        drain(world, random.Random(seed).choice(sorted(world.agents)))
    submit(world, AppSpec("web", (after,), rules=rules), update=True)
    missed = misses(world)
    end = world.now + 60
    while world.now < end:
        world.run(0.1)
        state = world.core.state
        kept = {f"web/g/{i}" for i in range(members)}
        running = {
            one.name
            for agent in world.agents.values()
            for one in agent.containers.values()
            if one.state == "running"
        }
        assert len(kept - running) <= limit
        assert len(state.copies) <= limit
        now = misses(world)
        assert now <= missed, "a hard rule is newly missed"
        missed = now


def misses(world: World) -> int:
    """How many containers miss a hard rule, by the reference checker."""
    return len({one.container for one in judge(world.core.state.cluster()).hard})
