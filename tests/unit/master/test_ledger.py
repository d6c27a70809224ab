"""The ledger counts what the reference checker would, after any changes."""

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis.semantics.checker import Counts, judge, rule_extent
from colchis_master.constraints.ledger import Ledger
from colchis_master.constraints.manager import ConstraintManager

CONSTRAINTS = [
    "{web, {web, 0, 1}, node}",
    "{web, {self/web, 0, 0}, rack}",
    "{web, {others/web, 0, 1}, rack}",
    "{db, {web & hot, 1, 2}, rack}",
    "{web, {app/a/db, 1, inf} & {hot, 0, 1}, rack}",
    "{hot, {web, 0, 0}, zone}",
    "{db, {self/db & others/web, 0, 0}, node}",
    "{web, {db, 1, inf}, node} | {web, {db, 2, inf}, rack} & {web, {hot, 0, 0}, node}",
    "{web, {web, 0, 3}, cluster}",
]
NODES = [
    Node(
        f"n{i}",
        Resources.of(cpus=4, memory="4GiB"),
        {"rack": (("r0",), ("r1",), ("r0", "r1"))[i % 3]},
    )
    for i in range(4)
]
RULES = st.lists(
    st.builds(
        Rule,
        st.sampled_from([parse_constraint(text) for text in CONSTRAINTS]),
        app=st.sampled_from([None, "a", "b"]),
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        hard=st.booleans(),
    ),
    max_size=4,
)
TAGS = st.frozensets(st.sampled_from(["web", "db", "hot"]))
PLACED = st.lists(
    st.tuples(st.sampled_from("ab"), TAGS, st.sampled_from([n.name for n in NODES])), max_size=10
)


def containers(placed: list[tuple[str, frozenset[str], str]]) -> list[tuple[Container, str]]:
    small = Resources.of(cpus=0.5, memory="128MiB")
    return [
        (Container.of(f"{app}/g/{i}", tags, small), node)
        for i, (app, tags, node) in enumerate(placed)
    ]


def a_ledger(rules: list[Rule], placed: list[tuple[str, frozenset[str], str]]) -> Ledger:
    ledger = Ledger()
    for node in NODES:
        ledger.put_node(node)
    for rule in rules:
        ledger.add_rule(rule)
    for container, where in containers(placed):
        ledger.add(container, where)
    return ledger


def as_cluster(ledger: Ledger) -> Cluster:
    held = tuple(c for on in ledger.on.values() for c in on.values())
    return Cluster(tuple(ledger.nodes.values()), held, dict(ledger.home), tuple(ledger.rules))


@settings(max_examples=150)
@given(PLACED, PLACED, RULES, RULES, st.data())
def test_violations_are_those_of_the_checker(
    first: list[tuple[str, frozenset[str], str]],
    removed: list[tuple[str, frozenset[str], str]],
    rules: list[Rule],
    later: list[Rule],
    data: st.DataObject,
) -> None:
    manager = ConstraintManager()
    ledger = manager.ledger
    for node in NODES:
        ledger.put_node(node)
    for rule in rules:
        manager.add(rule, 0.0)
    for container, where in containers(first):
        ledger.add(container, where)
    for rule in later:
        manager.add(rule, 0.0)
    if first:
        for index in range(len(removed)):
            ledger.remove(containers(first)[index % len(first)][0].id)
    if rules:
        manager.remove(rules[0].label, rules[0].app)
    moved = Node("n0", NODES[0].capacity, {"rack": ("r1",), "zone": ("z",)})
    ledger.put_node(moved)
    if data.draw(st.booleans()):
        ledger.drop_node("n1")
    expected = judge(as_cluster(ledger))
    assert sorted(map(str, manager.violations())) == sorted(map(str, expected.violations))


STEPS = st.lists(
    st.one_of(
        PLACED.map(lambda placed: ("place", placed)),
        st.lists(st.integers(0, 20), max_size=4).map(lambda numbers: ("end", numbers)),
        RULES.map(lambda rules: ("rules", rules)),
        st.integers(0, 5).map(lambda number: ("no rule", number)),
        st.tuples(st.integers(0, 3), st.sampled_from(["r0", "r1", "r2"])).map(
            lambda change: ("node", change)
        ),
        st.integers(0, 3).map(lambda number: ("no node", number)),
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(STEPS)
def test_violations_are_those_of_the_checker_at_every_look(steps: list[tuple[str, Any]]) -> None:
    manager = ConstraintManager()
    ledger = manager.ledger
    numbers = itertools.count()
    for node in NODES:
        ledger.put_node(node)
    for step, what in steps:
        active = list(manager.active)
        if step == "place":
            for app, tags, node_name in what:
                if node_name in ledger.nodes:
                    name = f"{app}/g/{next(numbers)}"
                    ledger.add(Container.of(name, tags, Resources.of(cpus=0.1)), node_name)
        elif step == "end":
            for number in what:
                for app in "ab":
                    ledger.remove(ContainerId(app, "g", number))
        elif step == "rules":
            for rule in what:
                manager.add(rule, 0.0)
        elif step == "no rule" and active:
            rule = active[what % len(active)].rule
            manager.remove(rule.label, rule.app)
        elif step == "node":
            number, rack = what
            capacity = Resources.of(cpus=8, memory="4GiB")
            ledger.put_node(Node(f"n{number}", capacity, {"rack": (rack,), "zone": ("z",)}))
        elif step == "no node":
            ledger.drop_node(f"n{what}")
        expected = judge(as_cluster(ledger)).violations
        assert sorted(map(str, manager.violations())) == sorted(map(str, expected))
        assert manager.count_violations() == len(expected)
        for app in "ab":
            missed = Counter(one.constraint for one in expected if one.app == app)
            assert manager.violating(app) == missed


@settings(max_examples=150)
@given(PLACED, RULES, TAGS)
def test_cost_is_what_a_placement_adds(
    placed: list[tuple[str, frozenset[str], str]], rules: list[Rule], tags: frozenset[str]
) -> None:
    ledger = a_ledger(rules, placed)
    new = Container.of("a/new/0", tags, Resources.of(cpus=1))
    before = judge(as_cluster(ledger))
    for node in NODES:
        cost = ledger.cost(new, node.name)
        ledger.add(new, node.name)
        after = judge(as_cluster(ledger))
        ledger.remove(new.id)
        was = {(v.constraint, v.container): v.extent for v in before.hard}
        hard = [v for v in after.hard if v.extent > was.get((v.constraint, v.container), 0) + 1e-9]
        if hard:
            assert cost is None
        else:
            assert cost is not None
            assert abs(cost - (after.weighted - before.weighted)) < 1e-9


@settings(max_examples=150)
@given(PLACED, PLACED.filter(bool), RULES)
def test_what_a_placement_changes_is_among_the_misses_near_it(
    placed: list[tuple[str, frozenset[str], str]],
    more: list[tuple[str, frozenset[str], str]],
    rules: list[Rule],
) -> None:
    ledger = a_ledger(rules, placed)
    nodes = {where for _, _, where in more}
    before, near_before = _hard_misses(ledger), _hard_misses_near(ledger, nodes)
    for container, where in containers(placed + more)[len(placed) :]:
        ledger.add(container, where)
    after, near_after = _hard_misses(ledger), _hard_misses_near(ledger, nodes)
    assert near_before.items() <= before.items()
    assert near_after.items() <= after.items()
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            assert near_before.get(key) == before.get(key)
            assert near_after.get(key) == after.get(key)


def _hard_misses(ledger: Ledger) -> dict[tuple[str, str], float]:
    """By rule and container; extents of rules with the same text add up."""
    found: dict[tuple[str, str], float] = {}
    for one in judge(as_cluster(ledger)).hard:
        key = one.constraint, str(one.container)
        found[key] = round(found.get(key, 0.0) + one.extent, 9)
    return found


def _hard_misses_near(ledger: Ledger, nodes: set[str]) -> dict[tuple[str, str], float]:
    labels = {id(rule): rule.label for rule in ledger.rules}
    found: dict[tuple[str, str], float] = {}
    for (rule, kind, node), extent in ledger.hard_misses(ledger.rules, nodes).items():
        for container in ledger.on[node].values():
            if ledger.kind(container) is kind:
                key = labels[rule], str(container.id)
                found[key] = round(found.get(key, 0.0) + extent, 9)
    return found


@given(PLACED.filter(bool), RULES)
def test_rules_bearing_on_a_container_elsewhere(
    placed: list[tuple[str, frozenset[str], str]], rules: list[Rule]
) -> None:
    manager = ConstraintManager()
    for node in NODES:
        manager.ledger.put_node(node)
    for rule in rules:
        manager.add(rule, 0.0)
    for container, where in containers(placed):
        manager.ledger.add(container, where)
    cluster = as_cluster(manager.ledger)
    subject = containers(placed)[0][0]
    for node in NODES:
        for rule, extent in manager.bearing_on(subject, node.name):
            expected = rule_extent(Counts(cluster), cluster, rule, subject, node.name)
            assert abs(extent - expected) < 1e-9


def test_rules_expire_by_their_own_clock() -> None:
    manager = ConstraintManager()
    short = Rule(parse_constraint(CONSTRAINTS[0]), name="short", expires=10.0)
    manager.add(short, now=100.0)
    manager.add(Rule(parse_constraint(CONSTRAINTS[0]), name="old", expires=10.0), 100.0, age=8.0)
    assert [rule.name for rule in manager.expire(101.0)] == []
    assert [rule.name for rule in manager.expire(102.0)] == ["old"]
    assert [rule.name for rule in manager.expire(110.0)] == ["short"]
    assert manager.rules == ()


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 1), st.booleans()),
        min_size=33,
        max_size=80,
    ),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 2), st.integers(0, 2)), max_size=20),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1)),
)
def test_room_is_found_on_all_nodes_that_have_it(
    nodes: list[tuple[int, int, int, bool]],
    taken: list[tuple[int, int, int]],
    need: tuple[int, int, int],
) -> None:
    ledger = Ledger()
    for number, (cpus, memory, gpus, schedulable) in enumerate(nodes):
        size = Resources.of(cpus, memory, gpus=gpus)
        ledger.put_node(Node(f"n{number}", size, schedulable=schedulable))
    for number, (at, cpus, memory) in enumerate(taken):
        node = f"n{at}"
        if at >= len(nodes):
            ledger.drop_node(f"n{at - len(nodes)}")
        elif node in ledger.nodes:
            ledger.add(Container.of(f"x/g/{number}", set(), Resources.of(cpus, memory)), node)
            ledger.put_node(replace(ledger.nodes[node], schedulable=number % 3 > 0))
            if number % 4 == 0:
                ledger.remove(ContainerId("x", "g", number))
            if number % 5 == 0:
                ledger.put_node(Node(node, Resources.of(memory, cpus)))
    cluster = as_cluster(ledger)
    wanted = Container.of("y/g/0", set(), Resources.of(need[0], need[1], gpus=need[2]))
    opened = [node.name for node in cluster.nodes if node.schedulable]
    fitting = [name for name in opened if wanted.resources.fits_in(cluster.free[name])]
    fitting.sort(key=lambda name: (cluster.free[name].millicpus, name), reverse=True)
    assert list(ledger.room(wanted)) == fitting
    for name in ("cpus", "memory", "gpus"):
        most = max((cluster.free[node].get(name) for node in opened), default=0)
        assert ledger.most_free(name) == most


def test_room_is_found_where_most_is_free() -> None:
    ledger = Ledger()
    for node in NODES:
        ledger.put_node(node)
    ledger.put_node(Node("big", Resources.of(cpus=8, memory="1GiB")))
    ledger.put_node(Node("closed", Resources.of(cpus=16, memory="9GiB"), schedulable=False))
    ledger.add(Container.of("x/g/0", set(), Resources.of(cpus=3)), "n2")
    found = list(ledger.room(Container.of("x/g/1", set(), Resources.of(cpus=2, memory="1GiB"))))
    assert found[0] == "big"
    assert set(found) == {"big", "n0", "n1", "n3"}
