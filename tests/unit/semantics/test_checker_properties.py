"""The checker against the definition, written down a second time in other words."""

from hypothesis import given
from hypothesis import strategies as st

from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.constraints import Atom, Constraint, Rule, Scope, TagExpr, TagRef, Target
from colchis.model.resources import Resources
from colchis.semantics.checker import Counts, describe_misses, judge, rule_extent
from tests.unit.model.model_strategies import is_close

APPS = ("a", "b")
TAGS = ("t", "u", "app:a", "group:g")
GROUPS = ("node", "cluster", "rack", "zone")

plain = st.builds(TagRef, st.sampled_from(TAGS))
scoped = st.builds(TagRef, st.sampled_from(TAGS), st.sampled_from([Scope.SELF, Scope.OTHERS]))
foreign = st.builds(TagRef, st.sampled_from(TAGS), st.just(Scope.APP), st.sampled_from(APPS))
subjects = st.builds(TagExpr, st.lists(plain, min_size=1, max_size=2).map(tuple))
expressions = st.builds(
    TagExpr, st.lists(plain | scoped | foreign, min_size=1, max_size=2).map(tuple)
)
targets = st.builds(
    lambda expr, low, more: Target(expr, low, None if more is None else low + more),
    expressions,
    st.integers(0, 3),
    st.none() | st.integers(0, 2),
)
atoms = st.builds(
    Atom, subjects, st.lists(targets, min_size=1, max_size=2).map(tuple), st.sampled_from(GROUPS)
)
constraints = st.builds(
    Constraint,
    st.lists(st.lists(atoms, min_size=1, max_size=2).map(tuple), min_size=1, max_size=2).map(tuple),
)
rules = st.builds(
    Rule,
    constraints,
    app=st.none() | st.sampled_from(APPS),
    weight=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    hard=st.booleans(),
)
sets = st.lists(st.sampled_from(["s1", "s2"]), max_size=2, unique=True).map(tuple)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    nodes = tuple(
        Node(f"n{i}", Resources(), {"rack": draw(sets), "zone": draw(sets)})
        for i in range(draw(st.integers(1, 4)))
    )
    containers = []
    placed = {}
    for index in range(draw(st.integers(0, 7))):
        ident = ContainerId(draw(st.sampled_from(APPS)), draw(st.sampled_from("gh")), index)
        own = draw(st.frozensets(st.sampled_from("tu")))
        containers.append(Container(ident, own | ident.tags(), Resources()))
        placed[ident] = f"n{draw(st.integers(0, len(nodes) - 1))}"
    return Cluster(nodes, tuple(containers), placed, tuple(draw(st.lists(rules, max_size=3))))


def counts_for(ref: TagRef, one: Container, subject: Container) -> bool:
    of_the_right_app = {
        Scope.ANY: True,
        Scope.SELF: one.app == subject.app,
        Scope.OTHERS: one.app != subject.app,
        Scope.APP: one.app == ref.app,
    }[ref.scope]
    return of_the_right_app and ref.tag in one.tags


def has_all(expr: TagExpr, container: Container) -> bool:
    return all(ref.tag in container.tags for ref in expr.refs)


def gamma(
    where: Cluster, home: dict[ContainerId, str], members: set[str], expr: TagExpr, s: Container
) -> int:
    return sum(
        1
        for other in where.containers
        if other.id != s.id
        and home[other.id] in members
        and all(counts_for(ref, other, s) for ref in expr.refs)
    )


def node_sets(where: Cluster, group: str, node: str) -> list[set[str]]:
    if group == "node":
        return [{node}]
    everyone = {n.name for n in where.nodes}
    if group == "cluster":
        return [everyone]
    mine = next(n for n in where.nodes if n.name == node).groups.get(group, ())
    return [{n.name for n in where.nodes if name in n.groups.get(group, ())} for name in mine]


def miss(target: Target, found: int) -> float:
    below = max(0, target.minimum - found) / target.minimum if target.minimum else 0.0
    if target.maximum is None:
        return below
    return below + max(0, found - target.maximum) / max(1, target.maximum)


def defined_extent(where: Cluster, rule: Rule, subject: Container, node: str) -> float:
    home = dict(where.placed)
    if rule.app is not None and rule.app != subject.app:
        return 0.0
    best = None
    for all_of in rule.constraint.alternatives:
        total = 0.0
        for atom in all_of:
            if not has_all(atom.subject, subject):
                continue
            per_set = [
                sum(miss(t, gamma(where, home, members, t.expr, subject)) for t in atom.targets)
                for members in node_sets(where, atom.group, node)
            ]
            total += min(per_set) if per_set else 1.0
        best = total if best is None else min(best, total)
    assert best is not None
    return best


def defined_satisfied(where: Cluster, rule: Rule, subject: Container, node: str) -> bool:
    """Without extents: some alternative all of whose atoms hold in some set."""
    home = dict(where.placed)
    if rule.app is not None and rule.app != subject.app:
        return True

    def holds(atom: Atom) -> bool:
        if not has_all(atom.subject, subject):
            return True
        return any(
            all(
                t.minimum
                <= gamma(where, home, members, t.expr, subject)
                <= (10**9 if t.maximum is None else t.maximum)
                for t in atom.targets
            )
            for members in node_sets(where, atom.group, node)
        )

    return any(all(map(holds, all_of)) for all_of in rule.constraint.alternatives)


@given(clusters(), rules, st.sampled_from(APPS), st.frozensets(st.sampled_from("tu")))
def test_a_candidate_on_every_node(
    where: Cluster, rule: Rule, app: str, own: frozenset[str]
) -> None:
    candidate = Container.of(f"{app}/g/99", own, Resources())
    counts = Counts(where)
    for node in where.nodes:
        extent = rule_extent(counts, where, rule, candidate, node.name)
        assert is_close(extent, defined_extent(where, rule, candidate, node.name))
        assert (extent == 0) == defined_satisfied(where, rule, candidate, node.name)
        assert (extent == 0) == (describe_misses(where, rule, candidate, node.name) == ())


@given(clusters(), rules)
def test_what_is_placed_judged_where_it_is_and_elsewhere(where: Cluster, rule: Rule) -> None:
    counts = Counts(where)
    for container in where.containers:
        for node in where.nodes:
            extent = rule_extent(counts, where, rule, container, node.name)
            assert is_close(extent, defined_extent(where, rule, container, node.name))


@given(clusters())
def test_a_judgement_is_the_sum_of_its_parts(where: Cluster) -> None:
    found = judge(where)
    misses = {
        (index, container.id): defined_extent(where, rule, container, where.placed[container.id])
        for index, rule in enumerate(where.rules)
        for container in where.containers
    }
    assert len(found.violations) == sum(extent > 0 for extent in misses.values())
    assert found.violating == len({ident for (_, ident), extent in misses.items() if extent > 0})
    assert is_close(found.extent, sum(misses.values()))
    weighted = sum(where.rules[index].weight * e for (index, _), e in misses.items())
    assert is_close(found.weighted, weighted)
    hard = sum(where.rules[index].hard and e > 0 for (index, _), e in misses.items())
    assert len(found.hard) == hard
    assert found.violating <= found.subjects <= len(where.containers)
