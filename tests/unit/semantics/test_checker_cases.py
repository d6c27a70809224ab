"""The meaning of constraints in cases: who is counted, in which sets, and how far a miss is."""

import pytest

from colchis.model.cluster import Cluster, Container, Node
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis.semantics.checker import (
    Counts,
    describe_misses,
    judge,
    rule_extent,
    with_assignments,
)

ROOM = Resources.of(64, "64GiB")
SMALL = Resources.of(1, "1GiB")
RACKS = {"n0": "rack1", "n1": "rack1", "n2": "rack2", "n3": "rack2"}
NODES = tuple(Node(name, ROOM, {"rack": (rack,)}) for name, rack in RACKS.items())


def rule(
    text: str, app: str | None = None, name: str = "", weight: float = 1.0, hard: bool = False
) -> Rule:
    return Rule(parse_constraint(text), name, app, weight, hard)


def cluster(
    present: list[tuple[str, str, str]],
    nodes: tuple[Node, ...] = NODES,
    rules: tuple[Rule, ...] = (),
) -> Cluster:
    """``present`` has node, container and its tags (blank-separated)."""
    containers = tuple(Container.of(name, set(tags.split()), SMALL) for _, name, tags in present)
    placed = {c.id: node for c, (node, _, _) in zip(containers, present, strict=True)}
    return Cluster(nodes, containers, placed, rules)


def extents(
    text: str,
    present: list[tuple[str, str, str]],
    candidate: tuple[str, str] = ("new/x/0", "x"),
    nodes: tuple[Node, ...] = NODES,
) -> list[float]:
    """How far the candidate misses its app's rule on each node."""
    where = cluster(present, nodes)
    subject = Container.of(candidate[0], set(candidate[1].split()), SMALL)
    own = rule(text, subject.app)
    return [rule_extent(Counts(where), where, own, subject, node.name) for node in nodes]


HBASE_AND_SPARK = [
    ("n0", "h/m/0", "hbase-m"),
    ("n2", "h/m/1", "hbase-m"),
    *[("n1", f"s/w/{i}", "spark") for i in range(4)],
]
MIXED = [
    ("n0", "h/m/0", "hbase-m"),
    ("n2", "h/r/0", "hbase-rs"),
    ("n2", "s/w/0", "spark"),
    ("n3", "h/r/1", "hbase-rs"),
]
THREE_APPS = [
    ("n0", "app1/a/0", "A"),
    ("n0", "app2/a/0", "A"),
    *[("n1", f"app3/a/{i}", "A") for i in range(3)],
    ("n2", "app1/a/1", "A"),
    ("n2", "app1/a/2", "A"),
]
EITHER = "{zk, {hbase-m, 1, inf}, node} | {zk, {hbase-rs, 1, inf} & {spark, 1, inf}, node}"


@pytest.mark.parametrize(
    ("present", "candidate", "text", "satisfied"),
    [
        ([], ("s/w/9", "spark"), "{spark, {hbase-m, 1, inf}, node}", "FFFF"),
        ([("n0", "h/r/0", "hbase-rs")], ("z/k/0", "zk"), "{zk, {hbase-rs, 1, inf}, rack}", "TTFF"),
        ([("n0", "h/r/0", "hbase-rs")], ("z/k/0", "zk"), "{zk, {hbase-rs, 0, 0}, rack}", "FFTT"),
        (
            HBASE_AND_SPARK,
            ("s/w/9", "spark"),
            "{spark, {hbase-m, 0, 0} & {spark, 0, 3}, node}",
            "FFFT",
        ),
        (MIXED, ("z/k/0", "zk"), EITHER, "TFTF"),
        (THREE_APPS, ("app1/x/0", "x"), "{x, {others/A, 0, 0}, node}", "FFTT"),
        (THREE_APPS, ("app2/x/0", "x"), "{x, {A, 0, 2}, node}", "TFTT"),
    ],
)
def test_medea_cases(
    present: list[tuple[str, str, str]], candidate: tuple[str, str], text: str, satisfied: str
) -> None:
    found = extents(text, present, candidate)
    assert "".join("F" if extent else "T" for extent in found) == satisfied


def test_the_subject_itself_is_never_counted() -> None:
    apart = rule("{foo, {foo, 0, 0}, node}", "a")
    alone = cluster([("n0", "a/f/0", "foo")], rules=(apart,))
    assert judge(alone).violating == 0
    together = cluster([("n0", "a/f/0", "foo"), ("n0", "a/f/1", "foo")], rules=(apart,))
    assert judge(together).violating == 2


def test_at_most_three_others_means_four_in_all() -> None:
    few = rule("{foo, {foo, 0, 3}, node}", "a")
    four = [("n0", f"a/f/{i}", "foo") for i in range(4)]
    assert judge(cluster(four, rules=(few,))).violating == 0
    assert judge(cluster([*four, ("n0", "a/f/4", "foo")], rules=(few,))).violating == 5


def test_where_a_placed_container_would_go_it_does_not_meet_itself() -> None:
    present = [("n0", "a/f/0", "foo"), ("n1", "a/f/1", "foo")]
    found = extents("{foo, {foo, 0, 0}, node}", present, ("a/f/0", "foo"))
    assert found == [0, 1, 0, 0]


def test_a_container_without_the_subject_tags_is_satisfied() -> None:
    assert extents("{y, {z, 1, inf}, node}", [], ("new/x/0", "x")) == [0, 0, 0, 0]
    assert extents("{x & y, {z, 1, inf}, node}", [], ("new/x/0", "x")) == [0, 0, 0, 0]


def test_a_conjunction_of_tags_needs_one_container_with_both() -> None:
    present = [("n0", "a/a/0", "hb"), ("n0", "a/a/1", "mem"), ("n1", "a/a/2", "hb mem")]
    assert extents("{x, {hb & mem, 1, inf}, node}", present) == [1, 0, 1, 1]


def test_a_node_in_no_set_never_satisfies() -> None:
    assert extents("{x, {a, 0, inf}, zone}", []) == [1, 1, 1, 1]


def test_one_of_several_sets_is_enough_but_for_all_targets_at_once() -> None:
    nodes = (
        Node("n0", ROOM, {"domain": ("u1", "u2")}),
        Node("n1", ROOM, {"domain": ("u1",)}),
        Node("n2", ROOM, {"domain": ("u2",)}),
        Node("n3", ROOM),
    )
    present = [("n1", "a/a/0", "a"), ("n2", "a/b/0", "b")]
    assert extents("{x, {a, 1, inf}, domain}", present, nodes=nodes) == [0, 0, 1, 1]
    assert extents("{x, {a, 0, 0}, domain}", present, nodes=nodes) == [0, 1, 0, 1]
    both = "{x, {a, 1, inf} & {b, 1, inf}, domain}"
    assert extents(both, present, nodes=nodes) == [1, 1, 1, 1]


def test_the_predefined_group_cluster_holds_all_nodes() -> None:
    present = [("n3", "a/a/0", "a")]
    assert extents("{x, {a, 1, 1}, cluster}", present) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "here", "extent"),
    [
        ("{x, {a, 4, inf}, node}", 1, 0.75),
        ("{x, {a, 0, 2}, node}", 5, 1.5),
        ("{x, {a, 0, 0}, node}", 3, 3.0),
        ("{x, {a, 2, 3}, node}", 2, 0.0),
        ("{x, {a, 4, inf} & {a, 0, 0}, node}", 1, 1.75),
        ("{x, {a, 4, inf}, node} & {x, {a, 0, 0}, node}", 1, 1.75),
        ("{x, {a, 4, inf}, node} | {x, {a, 0, 0}, node}", 1, 0.75),
        ("{x, {a, 4, inf}, node} | {x, {a, 0, 0}, node} & {x, {a, 0, 0}, rack}", 2, 0.5),
        ("{x, {a, 2, inf}, zone}", 9, 1.0),
        ("{x, {a, 8, inf}, node} & {x, {a, 0, inf}, zone}", 2, 1.75),
    ],
)
def test_extents(text: str, here: int, extent: float) -> None:
    present = [("n0", f"a/a/{i}", "a") for i in range(here)]
    assert extents(text, present)[0] == extent


def test_the_extent_is_the_least_over_the_sets() -> None:
    nodes = (Node("n0", ROOM, {"d": ("u1", "u2")}), Node("n1", ROOM, {"d": ("u1",)}))
    present = [("n1", f"a/a/{i}", "a") for i in range(2)]
    assert extents("{x, {a, 4, inf}, d}", present, nodes=nodes) == [0.5, 0.5]
    present = [("n0", "a/a/9", "a"), *present]
    assert extents("{x, {a, 4, inf}, d}", present, nodes=nodes) == [0.25, 0.25]


@pytest.mark.parametrize(
    ("tag", "satisfied"),
    [("a", "FFT"), ("self/a", "FTT"), ("others/a", "TFT"), ("app/other/a", "TFT"),
     ("app/absent/a", "TTT"), ("app:mine", "FTT"), ("group:g & a", "FFT")],
)  # fmt: skip
def test_scopes(tag: str, satisfied: str) -> None:
    present = [("n0", "mine/g/0", "a"), ("n1", "other/g/0", "a")]
    found = extents(f"{{x, {{{tag}, 0, 0}}, node}}", present, ("mine/x/0", "x"))
    assert "".join("F" if extent else "T" for extent in found[:3]) == satisfied


def test_an_apps_rule_has_only_its_own_containers_as_subjects() -> None:
    present = [("n0", "one/x/0", "x"), ("n0", "two/x/0", "x")]
    apart = "{x, {x, 0, 0}, node}"
    assert judge(cluster(present, rules=(rule(apart, "one"),))).subjects == 1
    assert judge(cluster(present, rules=(rule(apart),))).subjects == 2


@pytest.mark.parametrize(("subject", "found"), [("x", 2), ("self/x", 2), ("app/one/x", 1)])
def test_an_app_in_front_of_a_subjects_tag_is_the_subjects_own(subject: str, found: int) -> None:
    present = [("n0", "one/x/0", "x"), ("n0", "two/x/0", "x")]
    operators = rule(f"{{{subject}, {{x, 0, 0}}, node}}")
    assert judge(cluster(present, rules=(operators,))).subjects == found


def test_rules_stay_in_force_for_later_placements() -> None:
    before = cluster([("n0", "a/web/0", "web")], rules=(rule("{web, {batch, 0, 0}, node}", "a"),))
    assert judge(before).violations == ()
    new = Container.of("b/job/0", {"batch"}, SMALL)
    after = with_assignments(before, [new], {new.id: "n0"})
    [violation] = judge(after).violations
    assert (str(violation.container), violation.extent) == ("a/web/0", 1.0)


def test_a_judgement_weighs_extents_and_tells_hard_rules_apart() -> None:
    rules = (
        rule("{x, {a, 2, inf}, node}", name="near", weight=3.0),
        rule("{x, {x, 0, 0}, node}", name="apart", hard=True),
        rule("{x, {x, 0, 5}, node}", name="kept"),
    )
    present = [("n0", "m/x/0", "x"), ("n0", "m/x/1", "x"), ("n1", "m/a/0", "a")]
    found = judge(cluster(present, rules=rules))
    assert (found.subjects, found.violating, found.instances) == (2, 2, 6)
    assert (found.extent, found.weighted) == (4.0, 2 * 3.0 + 2)
    assert [v.constraint for v in found.hard] == ["apart", "apart"]


def test_reasons_name_count_and_bound() -> None:
    where = cluster([("n0", "x/b/0", "b"), ("n1", "x/b/1", "b"), ("n1", "x/b/2", "b")])
    subject = Container.of("x/a/0", {"a"}, SMALL)

    def reasons(text: str, node: str) -> tuple[str, ...]:
        return describe_misses(where, rule(text, "x"), subject, node)

    none = "{a, {b, 0, 0}, node}"
    assert reasons(none, "n0") == (f"{none}: 1 container tagged b on n0, at most 0 allowed",)
    assert reasons(none, "n2") == ()
    near = "{a, {b, 4, inf}, rack}"
    assert reasons(near, "n0") == (
        f"{near}: 3 containers tagged b in rack rack1, at least 4 needed",
    )
    assert reasons("{a, {b, 0, 1}, zone}", "n0") == (
        "{a, {b, 0, 1}, zone}: n0 is in no set of zone",
    )
    either = f"{none} | {near}"
    assert len(reasons(either, "n0")) == 2
