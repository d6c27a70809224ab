"""Moves of running containers."""

import pytest
from hypothesis import given, settings

from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.resources import Resources
from colchis.semantics.checker import judge
from colchis_master.lra import Settings, Weights
from colchis_master.lra.rebalance import rebalance
from tests.unit.lra.lra_cases import Round, hard_misses, rounds, rule


def moved(cluster: Cluster, container: ContainerId, target: str) -> Cluster:
    return Cluster(
        cluster.nodes,
        cluster.containers,
        {**cluster.placed, container: target},
        cluster.rules,
    )


def with_copy(cluster: Cluster, container: Container, target: str) -> Cluster:
    """The container and its copy, side by side."""
    copy = Container(
        ContainerId(container.app, container.id.group, 1_000), container.tags, container.resources
    )
    return Cluster(
        cluster.nodes,
        (*cluster.containers, copy),
        {**cluster.placed, copy.id: target},
        cluster.rules,
    )


@given(case=rounds(containers=0, running=8))
@settings(max_examples=80)
def test_every_move_leaves_no_more_violations_than_before(case: Round) -> None:
    cluster, apps = case
    now = Cluster(
        cluster.nodes,
        cluster.containers,
        cluster.placed,
        (*cluster.rules, *(r for a in apps for r in a.rules)),
    )
    plan = rebalance(now, Settings(), 5)
    assert len(plan.moves) <= 5
    verdict = judge(now)
    assert plan.violations == len(verdict.violations)
    assert plan.extent == pytest.approx(verdict.weighted)
    for move in plan.moves:
        assert now.placed[move.container] == move.source != move.target
        container = next(c for c in now.containers if c.id == move.container)
        assert container.resources.fits_in(now.free[move.target])
        assert now.node[move.target].schedulable
        between = hard_misses(judge(with_copy(now, container, move.target)))
        was = hard_misses(verdict)
        assert all(e <= was.get(k, 0.0) + 1e-9 for k, e in between.items())
        now = moved(now, move.container, move.target)
        after = judge(now)
        assert len(after.violations) <= len(verdict.violations)
        assert after.weighted <= verdict.weighted + 1e-9
        before = hard_misses(verdict)
        assert all(e <= before.get(k, 0.0) + 1e-9 for k, e in hard_misses(after).items())
        assert move.violations == len(after.violations)
        assert move.extent == pytest.approx(after.weighted)
        verdict = after


def crowded(count: int, nodes: int) -> Cluster:
    """All containers on the first node, though each wants to be alone."""
    containers = tuple(
        Container.of(f"web/g/{i}", {"web"}, Resources.of(1, "1GiB")) for i in range(count)
    )
    return Cluster(
        tuple(Node(f"n{i}", Resources.of(8, "8GiB")) for i in range(nodes)),
        containers,
        {c.id: "n0" for c in containers},
        (rule("{web, {web, 0, 0}, node}", "web"),),
    )


def test_misses_are_mended() -> None:
    plan = rebalance(crowded(4, 4), Settings(), 10)
    assert plan.violations == 4
    assert plan.moves[-1].violations == 0
    assert len(plan.moves) == 3


def test_moves_are_bounded() -> None:
    assert len(rebalance(crowded(4, 4), Settings(), 2).moves) == 2
    assert len(rebalance(crowded(4, 4), Settings(), 9, per_app=1).moves) == 1
    assert len(rebalance(crowded(4, 4), Settings(), 9, per_app={"web": 2}).moves) == 2


def test_only_what_may_be_moved_is_moved() -> None:
    cluster = crowded(4, 4)
    free = {container.id for container in cluster.containers[:1]}
    plan = rebalance(cluster, Settings(), 9, movable=free)
    assert [move.container for move in plan.moves] == list(free)
    assert plan.moves[0].reason == "{web, {web, 0, 0}, node}: missed by 12, then by 6"


def test_what_is_well_placed_stays() -> None:
    assert rebalance(crowded(1, 3), Settings(), 10).moves == ()


def test_load_is_balanced_where_the_operator_asks() -> None:
    containers = tuple(
        Container.of(f"web/g/{i}", {"web"}, Resources.of(2, "1GiB")) for i in range(4)
    )
    cluster = Cluster(
        tuple(Node(f"n{i}", Resources.of(9, "9GiB")) for i in range(2)),
        containers,
        {c.id: "n0" for c in containers},
    )
    plan = rebalance(cluster, Settings(weights=Weights(balance=1.0)), 10)
    assert len(plan.moves) == 2
    assert {move.target for move in plan.moves} == {"n1"}


def test_rules_that_ask_the_same_are_all_named() -> None:
    nodes = tuple(Node(f"n{i}", Resources.of(4, "8GiB")) for i in range(3))
    places = {("x", "calm"): "n0", ("y", "calm"): "n1", ("noise", "noisy"): "n1"}
    containers = tuple(
        Container.of(f"{app}/g/0", {tag}, Resources.of(1, "1GiB")) for app, tag in places
    )
    placed = dict(zip([one.id for one in containers], places.values(), strict=True))
    rules = tuple(rule("{calm, {noisy, 0, 0}, node}", name, name=f"quiet-{name}") for name in "xy")
    plan = rebalance(Cluster(nodes, containers, placed, rules), Settings(), 1)
    assert [move.reason for move in plan.moves] == ["quiet-x and quiet-y: missed by 1, then by 0"]
