"""Reasons: why an app waits, why it can never be placed, and what explain says of each node."""

import pytest

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.resources import Resources
from colchis_master.lra import ALGORITHMS, UnknownContainerError, explain
from tests.unit.lra.lra_cases import app, rule, solve

NODES = tuple(Node(f"n{i}", Resources.of(4, "8GiB")) for i in range(3))


def full(cpus: float = 2) -> Cluster:
    """Each node has a container that takes ``cpus`` cores."""
    containers = tuple(
        Container.of(f"old/g/{i}", {"old"}, Resources.of(cpus, "1GiB")) for i in range(3)
    )
    return Cluster(NODES, containers, {c.id: f"n{c.id.index}" for c in containers})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_app_larger_than_any_node_can_never_be_placed(algorithm: str) -> None:
    plan = solve(full(), app("big", {"g": (1, set())}, cpus=5), algorithm=algorithm)
    assert not plan.apps[0].placed
    assert plan.apps[0].never
    assert plan.apps[0].reasons == ("big/g: needs 5 cpus, the largest node has 4 cpus",)


def test_an_app_that_waits_says_for_what() -> None:
    plan = solve(full(), app("big", {"g": (1, set())}, cpus=4))
    assert not plan.apps[0].never
    assert plan.apps[0].reasons == ("big/g: 3 nodes: needs 4 cpus, 2 cpus free",)


def test_too_many_containers_for_all_nodes_together() -> None:
    plan = solve(Cluster(NODES), app("many", {"g": (7, set())}, cpus=2))
    assert plan.apps[0].never
    assert "even if all nodes were empty" in plan.apps[0].reasons[0]


def test_own_hard_rules_that_the_nodes_can_never_keep() -> None:
    apart = app("web", {"g": (4, {"w"})}, "{w, {w, 0, 0}, node}", hard=True)
    plan = solve(Cluster(NODES), apart)
    assert plan.apps[0].never
    assert "under its own hard rules" in plan.apps[0].reasons[0]


def test_a_hard_rule_about_an_app_that_is_not_there_yet_is_waited_for() -> None:
    near = app("web", {"g": (1, {"w"})}, "{w, {cache, 1, inf}, node}", hard=True)
    plan = solve(Cluster(NODES), near)
    assert not plan.apps[0].placed
    assert not plan.apps[0].never
    assert "0 containers tagged cache" in plan.apps[0].reasons[0]
    later = solve(Cluster(NODES), near, app("store", {"g": (1, {"cache"})}))
    assert [each.placed for each in later.apps] == [True, True]


def test_extras_are_counted() -> None:
    gpus = Cluster((Node("plain", Resources.of(4, "8GiB")), Node("gpu", Resources.of(4, gpus=1))))
    group = GroupSpec("g", 1, Resources.of(1, gpus=1))
    plan = solve(gpus, AppSpec("a", (group,)), AppSpec("b", (group,)))
    assert sum(each.placed for each in plan.apps) == 1
    waiting = next(each for each in plan.apps if not each.placed)
    assert any("needs 1 gpus, 0 gpus free" in reason for reason in waiting.reasons)


def test_every_reason_of_every_node() -> None:
    rules = (rule("{web, {old, 0, 0}, node}", "web"), rule("{web, {x, 1, inf}, node}", "web"))
    spec = AppSpec(
        "web", (GroupSpec("g", 1, Resources.of(3, "1GiB"), frozenset({"web"})),), rules=rules
    )
    found = explain(full(), [spec], ContainerId("web", "g", 0)).to_contract()
    assert found["container"] == "web/g/0"
    node = found["nodes"][0]
    assert (node["node"], node["fits"], node["satisfied"]) == ("n0", False, False)
    assert node["reasons"] == [
        "needs 3 cpus, 2 cpus free",
        "{web, {old, 0, 0}, node}: 1 container tagged old on n0, at most 0 allowed",
        "{web, {x, 1, inf}, node}: 0 containers tagged x on n0, at least 1 needed",
    ]
    assert "3 nodes: needs 3 cpus, 2 cpus free" in found["summary"]
    assert found["best"] is None
    assert not found["never"]
    assert any("1 cpus more would have to be free" in text for text in found["changes"])


def test_a_running_container_is_judged_as_if_taken_off_first() -> None:
    found = explain(full(cpus=4), [], ContainerId("old", "g", 0))
    assert [node.fits for node in found.nodes] == [True, False, False]
    assert found.placed_on == "n0"
    assert found.best == "n0"


def test_rules_of_others_are_named() -> None:
    now = full()
    ruled = Cluster(
        now.nodes,
        now.containers,
        now.placed,
        (rule("{old, {noisy, 0, 0}, node}", "old", hard=True),),
    )
    spec = app("n", {"g": (1, {"noisy"})})
    found = explain(ruled, [spec], ContainerId("n", "g", 0))
    assert all(node.fits and node.satisfied and not node.allowed for node in found.nodes)
    assert found.nodes[0].breaks == ("{old, {noisy, 0, 0}, node}",)
    plan = solve(ruled, spec)
    assert not plan.apps[0].placed
    assert "hard rule {old, {noisy, 0, 0}, node}" in plan.apps[0].reasons[0]


def test_no_such_container() -> None:
    with pytest.raises(UnknownContainerError, match="no app has a container web/g/7"):
        explain(full(), [app("web", {"g": (1, set())})], ContainerId("web", "g", 7))


def test_only_what_does_not_run_yet_is_placed() -> None:
    spec = app("old", {"g": (5, {"old"})}, "{old, {old, 0, 1}, node}")
    now = full(cpus=1)
    ruled = Cluster(now.nodes, now.containers, now.placed, spec.rules)
    plan = solve(ruled, spec)
    assert {str(c) for c in plan.apps[0].assignments} == {"old/g/3", "old/g/4"}
    assert plan.totals.containers == 2
    assert plan.violations == ()
    assert plan.totals.subjects == 5


def calm(name: str, node: str, *, hard: bool) -> tuple[Cluster, Container]:
    """An app on one node whose rule asks the same as that of others, under a name of its own."""
    container = Container.of(f"{name}/g/0", {"calm"}, Resources.of(1, "1GiB"))
    own = rule("{calm, {noisy, 0, 0}, node}", name, hard=hard, name=f"quiet-{name}")
    return Cluster(NODES, (container,), {container.id: node}, (own,)), container


def together(*clusters: Cluster) -> Cluster:
    return Cluster(
        NODES,
        tuple(c for cluster in clusters for c in cluster.containers),
        {ident: node for cluster in clusters for ident, node in cluster.placed.items()},
        tuple(r for cluster in clusters for r in cluster.rules),
    )


@pytest.mark.parametrize("hard", [False, True])
def test_of_rules_that_ask_the_same_the_one_is_named_whose_container_is_there(hard: bool) -> None:
    apps = {"x": "n0", "y": "n1", "z": "n1"}
    now = together(*(calm(name, node, hard=hard)[0] for name, node in apps.items()))
    found = explain(now, [app("n", {"g": (1, {"noisy"})})], ContainerId("n", "g", 0))
    assert [node.breaks for node in found.nodes] == [("quiet-x",), ("quiet-y", "quiet-z"), ()]
    kind = "hard rule" if hard else "rule"
    assert f"1 node: {kind} quiet-x of others would be missed by more" in found.summary
    assert [node.allowed for node in found.nodes] == [not hard, not hard, True]
    assert found.best == "n2"


def test_app_that_waits_names_each_hard_rule_that_it_would_break() -> None:
    now = together(*(calm(name, f"n{i}", hard=True)[0] for i, name in enumerate("xyz")))
    plan = solve(now, app("n", {"g": (1, {"noisy"})}))
    assert plan.apps[0].reasons == tuple(
        f"n/g: 1 node: a container there keeps the hard rule quiet-{name}, which would be broken"
        for name in "xyz"
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_app_that_waits_names_its_own_rule_though_another_asks_the_same(algorithm: str) -> None:
    def alone(name: str) -> AppSpec:
        groups = (GroupSpec("g", 1, Resources.of(1, "1GiB"), frozenset({"w"})),)
        own = rule("{w, {w, 0, 0}, node}", name, hard=True, name=f"alone-{name}")
        return AppSpec(name, groups, rules=(own,))

    plan = solve(Cluster(NODES[:1]), alone("x"), alone("y"), algorithm=algorithm)
    placed, waiting = sorted(plan.apps, key=lambda each: not each.placed)
    assert (placed.placed, waiting.placed) == (True, False)
    assert (
        f"{waiting.app}/g: 1 node: hard rule alone-{waiting.app}: 1 container tagged w on n0, "
        "at most 0 allowed"
    ) in waiting.reasons


def test_apps_that_wait_for_the_same_name_each_its_own_rule() -> None:
    def near(name: str) -> AppSpec:
        groups = (GroupSpec("g", 1, Resources.of(1, "1GiB"), frozenset({"w"})),)
        own = rule("{w, {cache, 1, inf}, node}", name, hard=True, name=f"near-{name}")
        return AppSpec(name, groups, rules=(own,))

    plan = solve(Cluster(NODES[:1]), near("x"), near("y"))
    assert [each.reasons for each in plan.apps] == [
        (f"{name}/g/0: hard rule near-{name}: 0 containers tagged cache on n0, at least 1 needed",)
        for name in "xy"
    ]
