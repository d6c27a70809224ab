"""The meaning of rules, case by case, as ``explain`` and ``schedule`` see it."""

import pytest

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.resources import Resources
from colchis_master.lra import ALGORITHMS, explain
from tests.unit.lra.lra_cases import app, problems_of, rule, solve

NODES = tuple(
    Node(f"n{i}", Resources.of(16, "64GiB"), {"rack": (f"rack{1 + i // 2}",)}) for i in range(4)
)


def cluster(*running: tuple[str, int, str, int]) -> Cluster:
    """Cluster A of the table; ``running`` are (app, node, tag, how many)."""
    containers = []
    placed = {}
    for number, (owner, node, tag, count) in enumerate(running):
        for i in range(count):
            container = Container.of(f"{owner}/g{number}/{i}", {tag}, Resources.of(1, "1GiB"))
            containers.append(container)
            placed[container.id] = f"n{node}"
    return Cluster(NODES, tuple(containers), placed)


APPS_1_TO_3 = (("app1", 0, "A", 1), ("app2", 0, "A", 1), ("app3", 1, "A", 3), ("app1", 2, "A", 2))


@pytest.mark.parametrize(
    ("running", "name", "tag", "text", "verdicts"),
    [
        ((), "x", "spark", "{spark, {hbase-m, 1, inf}, node}", "FFFF"),
        ((("h", 0, "hbase-rs", 1),), "x", "zk", "{zk, {hbase-rs, 1, inf}, rack}", "TTFF"),
        ((("h", 0, "hbase-rs", 1),), "x", "zk", "{zk, {hbase-rs, 0, 0}, rack}", "FFTT"),
        (
            (("h", 0, "hbase-m", 1), ("h", 2, "hbase-m", 1), ("s", 1, "spark", 4)),
            "x",
            "spark",
            "{spark, {hbase-m, 0, 0} & {spark, 0, 3}, node}",
            "FFFT",
        ),
        (
            (
                ("h", 0, "hbase-m", 1),
                ("h", 2, "hbase-rs", 1),
                ("s", 2, "spark", 1),
                ("h", 3, "hbase-rs", 1),
            ),
            "x",
            "zk",
            "{zk, {hbase-m, 1, inf}, node} | {zk, {hbase-rs, 1, inf} & {spark, 1, inf}, node}",
            "TFTF",
        ),
        (APPS_1_TO_3, "app1", "x", "{x, {others/A, 0, 0}, node}", "FFTT"),
        (APPS_1_TO_3, "app2", "x", "{x, {A, 0, 2}, node}", "TFTT"),
    ],
)
def test_explain_judges_the_cases(
    running: tuple[tuple[str, int, str, int], ...], name: str, tag: str, text: str, verdicts: str
) -> None:
    spec = app(name, {"new": (1, {tag})}, text)
    found = explain(cluster(*running), [spec], ContainerId(name, "new", 0))
    assert "".join("T" if node.satisfied else "F" for node in found.nodes) == verdicts
    assert all(node.fits for node in found.nodes)
    assert all(bool(node.reasons) == (not node.satisfied) for node in found.nodes)


def test_what_was_placed_first_stays_valid() -> None:
    five = Cluster(tuple(Node(f"n{i}", Resources.of(4, "8GiB")) for i in range(5)))
    bar = app("first", {"bar": (1, {"bar"})}, "{bar, {foo, 0, 0}, node}")
    foo = app("second", {"foo": (4, {"foo"})}, "{foo, {foo, 0, 0}, node}")
    plan = solve(five, bar, foo)
    assert plan.totals.nodes_used == 5
    assert plan.violations == ()
    assert plan.optimal


def test_others_are_counted_not_itself() -> None:
    four = Cluster(tuple(Node(f"n{i}", Resources.of(8, "8GiB")) for i in range(4)))
    plan = solve(four, app("one", {"foo": (8, {"foo"})}, "{foo, {foo, 0, 3}, node}"))
    nodes = list(plan.apps[0].assignments.values())
    assert len(nodes) == 8
    assert max(nodes.count(node) for node in nodes) <= 4
    assert plan.violations == ()


@pytest.mark.parametrize("hard", [False, True])
def test_affinity_to_what_comes_in_the_same_round(hard: bool) -> None:
    four = Cluster(tuple(Node(f"n{i}", Resources.of(8, "8GiB")) for i in range(4)))
    foo = app("first", {"foo": (4, {"foo"})}, "{foo, {bar, 1, inf}, node}", hard=hard)
    bar = app("second", {"bar": (1, {"bar"})})
    plan = solve(four, foo, bar)
    nodes = {node for each in plan.apps for node in each.assignments.values()}
    assert [each.placed for each in plan.apps] == [True, True]
    assert len(nodes) == 1
    assert plan.violations == ()


def test_affinity_to_a_node_with_room_for_all() -> None:
    """The first node that a greedy choice would take has no room for the rest."""
    nodes = (
        Node("small", Resources.of(2, "64GiB")),
        Node("large", Resources.of(5, "6GiB")),
        Node("other", Resources.of(2, "64GiB")),
    )
    foo = app("first", {"foo": (4, {"foo"})}, "{foo, {bar, 1, inf}, node}")
    bar = app("second", {"bar": (1, {"bar"})})
    plan = solve(Cluster(nodes), foo, bar)
    assert {n for each in plan.apps for n in each.assignments.values()} == {"large"}
    assert plan.violations == ()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_hard_rule_that_is_broken_already_stops_nobody_else(algorithm: str) -> None:
    running = cluster(("old", 0, "a", 2))
    broken = app("old", {}, "{a, {a, 0, 0}, node}", hard=True).rules
    now = Cluster(running.nodes, running.containers, running.placed, broken)
    fresh = app("new", {"g": (4, {"b"})})
    same = app("more", {"g": (4, {"a"})})
    plan = solve(now, fresh, same, algorithm=algorithm)
    assert [each.placed for each in plan.apps] == [True, True]
    assert "n0" not in plan.apps[1].assignments.values()
    assert problems_of(now, [fresh, same], plan) == []


def test_operator_rules_bear_on_all_apps() -> None:
    one = Cluster(NODES, rules=(app("", {}, "{job, {job, 0, 0}, node}", hard=True).rules[0],))
    ruled = Cluster(NODES, rules=tuple(type(r)(r.constraint, hard=True) for r in one.rules))
    plan = solve(ruled, app("a", {"g": (2, {"job"})}), app("b", {"g": (3, {"job"})}))
    assert sum(each.placed for each in plan.apps) == 1


def test_rules_of_running_apps_bear_on_newcomers() -> None:
    running = cluster(("old", 0, "quiet", 1), ("old", 2, "quiet", 1))
    ruled = Cluster(
        running.nodes,
        running.containers,
        running.placed,
        app("old", {}, "{quiet, {noisy, 0, 0}, node}").rules,
    )
    plan = solve(ruled, app("new", {"g": (4, {"noisy"})}))
    assert set(plan.apps[0].assignments.values()) == {"n1", "n3"}
    assert plan.violations == ()


def test_rules_of_running_apps_are_mended_by_newcomers() -> None:
    running = cluster(("old", 3, "web", 2))
    ruled = Cluster(
        running.nodes,
        running.containers,
        running.placed,
        app("old", {}, "{web, {cache, 1, inf}, node}").rules,
    )
    plan = solve(ruled, app("new", {"g": (1, {"cache"})}))
    assert list(plan.apps[0].assignments.values()) == ["n3"]
    assert plan.violations == ()


def test_drained_nodes_take_nothing_new_and_count_all_the_same() -> None:
    drained = Node("n0", Resources.of(16, "64GiB"), schedulable=False)
    plan = solve(Cluster((drained,)), app("a", {"g": (1, set())}))
    assert not plan.apps[0].placed
    assert not plan.apps[0].never
    assert "drained" in plan.apps[0].reasons[0]


def test_a_node_that_holds_more_than_it_has_does_not_end_the_search() -> None:
    """It came back smaller: n0's memory is overdrawn, and what needs none may still go there."""
    nodes = (
        Node("n0", Resources.of(2, "1GiB"), {"rack": ("r",)}),
        Node("n1", Resources.of(1, "1GiB"), {"rack": ("r",)}),
    )
    held = [Container.of(f"y/g/{i}", {"y"}, Resources.of(0, "1GiB")) for i in range(2)]
    overdrawn = Cluster(nodes, tuple(held), {container.id: "n0" for container in held})
    light = AppSpec(
        "light",
        (GroupSpec("g", 2, Resources.of(1, 0), frozenset({"a"})),),
        rules=(rule("{a, {a, 0, 0}, rack}", "light"), rule("{a, {y, 1, 1}, node}", "light")),
    )
    plan = solve(overdrawn, light, app("heavy", {"g": (2, {"h"})}, cpus=0.5))
    assert plan.optimal
    assert plan.notes == ()
    assert [placed.placed for placed in plan.apps] == [True, False]
    assert plan.totals.extent == 4
    assert plan.apps[1].reasons[0] == (
        "heavy/g (after 1 of 2): 1 node: needs 1GiB memory, 0 memory free"
    )


def test_the_weighted_sum_knows_of_what_is_missed_already() -> None:
    """What z misses is shared out among all subjects: an app that brings one makes it less."""
    held = Container.of("z/g/0", {"z"}, Resources.of(1, "1GiB"))
    missed = rule("{z, {nowhere, 1, inf}, node}", "z", weight=10)
    crowded = Cluster(
        (Node("n0", Resources.of(2, "8GiB"), {}),), (held,), {held.id: "n0"}, (missed,)
    )
    plain = app("plain", {"g": (1, {"p"})})
    ruled = app("ruled", {"g": (1, {"r"})}, "{r, {r, 0, 5}, node}")
    plan = solve(crowded, plain, ruled, mode="weighted")
    assert plan.optimal
    assert [placed.placed for placed in plan.apps] == [False, True]
    assert plan.objective == pytest.approx(1 / 2 - 0.5 * 10 / 2)


def test_an_app_of_thousands_of_groups_is_placed() -> None:
    """Those that others want to be near come first; to find them must not look at all pairs."""
    groups = {f"g{i}": (1, {f"t{i}"}) for i in range(4000)}
    wide = app("wide", groups, "{t0, {t3999, 1, inf}, node}", cpus=0.001)
    roomy = Cluster(tuple(Node(f"n{i}", Resources.of(8, "3TiB"), {}) for i in range(2)))
    plan = solve(roomy, wide, algorithm="serial", time_limit=1000.0)
    assert plan.totals.placed == 4000
    assert plan.violations == ()
