"""What an update would change is what it changes."""

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.change import changes_on, emptied, keep_homes
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.plan import AppPlan, Plan, Totals, Violation
from colchis.model.resources import Resources
from colchis_master.core.changes import changes
from colchis_master.lra import Settings, schedule
from tests.sim.master.support import is_running, spec, submit, up
from tests.sim.master.world import World

RULES = tuple(
    Rule(parse_constraint(text), app="web")
    for text in ("{web, {web, 0, 2}, node}", "{web, {web, 0, 4}, rack}")
)
GROUPS = st.builds(
    GroupSpec,
    st.just("g"),
    st.integers(1, 4),
    st.sampled_from([Resources.of(1, "1GiB"), Resources.of(2, "1GiB")]),
    st.sampled_from([frozenset({"web"}), frozenset({"web", "hot"})]),
    st.sampled_from([("serve",), ("serve", "-v")]),
)
SPECS = st.builds(
    lambda first, second, rules: AppSpec(
        "web", (first, *([replace(second, name="h")] if second else [])), rules=rules
    ),
    GROUPS,
    st.none() | GROUPS,
    st.lists(st.sampled_from(RULES), unique=True, max_size=2).map(tuple),
)


@settings(max_examples=30)
@given(SPECS, SPECS)
def test_an_update_does_what_was_shown(before: AppSpec, after: AppSpec) -> None:
    world = World()
    was = up(world, before)
    _, [change] = changes(world.core.state, [after])
    assert world.placements() == was
    submit(world, after, update=True)
    world.run(5)
    world.run_until(lambda: is_running(world) and not due(world), 300)
    now = world.placements()
    assert {str(i) for i in change.added} == now.keys() - was.keys()
    assert {str(i) for i in change.removed} == was.keys() - now.keys()
    same = {name for name in was.keys() & now.keys() if was[name] == now[name]}
    assert {str(i) for i in change.replaced} == (was.keys() & now.keys()) - same
    assert change.kept == len(same)
    in_force = {rule.label for rule in world.core.state.constraints.rules}
    labels = {rule.label for rule in before.rules}
    labels |= {rule.label for rule in change.rules_added}
    labels -= {rule.label for rule in change.rules_removed}
    assert in_force == labels
    assert not changes(world.core.state, [after])[1][0].fields


@pytest.mark.parametrize(
    ("rules", "count"),
    [((), 40), (("{web, {web, 0, 1}, node}",), 7), (("{web, {web, 0, 1}, node}",), 20)],
)
def test_an_app_is_scaled_up_as_far_as_was_shown(rules: tuple[str, ...], count: int) -> None:
    """Four nodes of eight cores; the rules are hard."""
    world = World()
    before = up(world, spec(count=2, rules=rules))
    after = spec(count=count, rules=rules)
    cluster, found = changes(world.core.state, [after])
    plan = schedule(
        cluster,
        [after],
        settings=Settings(),
        clock=time.monotonic,
        rng=random.Random(0),
        begun=[change.app for change in found if change.begun],
    )
    shown = {str(ident) for ident in plan.apps[0].assignments}
    submit(world, after, update=True)
    world.run(10)
    assert shown == {name for name, (node, _) in world.placements().items() if node} - before.keys()
    assert plan.apps[0].placed == is_running(world)
    assert plan.totals.placed == len(shown)
    if not plan.apps[0].placed:
        assert plan.apps[0].reasons == world.core.state.apps["web"].reasons


def test_members_exchanged_where_some_have_no_place() -> None:
    world = World()
    up(world, spec(count=3, rules=("{web, {web, 0, 0}, node}",)))
    after = spec(count=3, command="other")
    _, found = changes(world.core.state, [after])
    homes = found[0].replaced
    idents = [c.id for c in after.containers()]
    partly = AppPlan("web", False, {idents[0]: homes[idents[2]], idents[1]: "n9"}, ("full",))
    plan = Plan("x", "ordered", (partly,), (), Totals(3, 2, 0, 0, 0.0, 2), 1.0)
    kept = keep_homes(plan, found).apps[0].assignments
    assert kept == {idents[2]: homes[idents[2]], idents[0]: "n9"}


def due(world: World) -> bool:
    app = world.core.state.apps["web"]
    return any(entry.revision != app.revision for entry in app.containers.values())


def test_where_members_go_is_shown_with_what_of_them_changed() -> None:
    world = World()
    up(world, spec(count=2))
    cluster, [change] = changes(world.core.state, [spec(count=3, cpus=2)])
    assert not cluster.containers
    home = next(iter(change.replaced.values()))
    other = next(name for name in world.agents if name != home)
    wanted = [c.id for c in spec(count=3).containers()]
    app = AppPlan("web", True, dict(zip(wanted, (home, other, other), strict=True)))
    plan = Plan("ilp", "ordered", (app,), (), Totals(3, 3, 0, 0, 0.0, 2), 1.0)
    shown = change.to_contract(plan)
    assert shown["changed"] == [{"container": "web/g/0", "node": home, "fields": ["resources"]}]
    assert shown["moved"] == [
        {"container": "web/g/1", "from": home, "to": other, "fields": ["resources"]}
    ]
    assert shown["added"] == [{"container": "web/g/2", "node": other}]


def test_members_that_are_alike_stay_where_they_are() -> None:
    world = World()
    up(world, spec(count=3, rules=("{web, {web, 0, 0}, node}",)))
    after = spec(count=4, command="other")
    _, found = changes(world.core.state, [after])
    homes = found[0].replaced
    idents = [c.id for c in after.containers()]
    nodes = list(homes.values())
    turned = dict(zip(idents, [nodes[1], nodes[2], "n9", nodes[0]], strict=True))
    missed = Violation("rule", "web", idents[2], 1.0)
    plan = Plan(
        "x", "ordered", (AppPlan("web", True, turned),), (missed,), Totals(4, 4, 0, 0, 0.0, 4), 1.0
    )
    kept = keep_homes(plan, found)
    assert kept.apps[0].assignments == {**homes, idents[3]: "n9"}
    assert kept.violations == (replace(missed, container=idents[3]),)
    assert keep_homes(plan, []) == plan


def test_a_new_app_changes_nothing_that_runs() -> None:
    world = World()
    up(world, spec())
    cluster, found = changes(world.core.state, [spec("other")])
    assert found == []
    assert len(cluster.containers) == 4


@settings(max_examples=30)
@given(SPECS, SPECS)
def test_a_snapshot_shows_what_the_master_shows(before: AppSpec, after: AppSpec) -> None:
    """But for what a snapshot does not tell of a container, its command."""
    before, after = (
        replace(one, groups=tuple(replace(g, command=("serve",)) for g in one.groups))
        for one in (before, after)
    )
    world = World()
    up(world, before)
    left, live = changes(world.core.state, [after])
    cluster = world.core.state.cluster()
    offline = changes_on(cluster, [after])
    assert offline == live
    assert emptied(cluster, [after], offline) == left
    assert not changes_on(cluster, [replace(after, name="other")])
