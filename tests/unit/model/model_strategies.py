"""Random constraints, apps and clusters for property tests."""

import math

from hypothesis import strategies as st

from colchis.model.app import AppSpec, GroupSpec, Kind, Restart
from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.constraints import Atom, Constraint, Rule, Scope, TagExpr, TagRef, Target
from colchis.model.resources import Resources

words = st.from_regex(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]{0,6}[A-Za-z0-9_])?", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,6}[A-Za-z0-9_])?", fullmatch=True)
tags = words.filter(lambda tag: not tag.startswith(("app:", "group:")))
printable = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8
)
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)

subject_refs = st.one_of(
    st.builds(TagRef, words),
    st.builds(TagRef, words, st.just(Scope.SELF)),
    st.builds(TagRef, words, st.just(Scope.APP), words),
)
refs = st.one_of(subject_refs, st.builds(TagRef, words, st.just(Scope.OTHERS)))
subjects = st.builds(TagExpr, st.lists(subject_refs, min_size=1, max_size=3).map(tuple))
expressions = st.builds(TagExpr, st.lists(refs, min_size=1, max_size=3).map(tuple))


@st.composite
def targets(draw: st.DrawFn) -> Target:
    minimum = draw(st.integers(0, 20))
    maximum = draw(st.none() | st.integers(minimum, minimum + 1000))
    return Target(draw(expressions), minimum, maximum)


atoms = st.builds(Atom, subjects, st.lists(targets(), min_size=1, max_size=3).map(tuple), words)
constraints = st.builds(
    Constraint,
    st.lists(st.lists(atoms, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
)


def rules(app: str | None) -> st.SearchStrategy[tuple[Rule, ...]]:
    """Rules of one app (None: the operator's), whose names differ."""
    rule = st.builds(
        Rule,
        constraints,
        name=st.just("") | printable,
        app=st.just(app),
        weight=st.floats(0, 1e6),
        hard=st.booleans(),
        expires=st.none() | st.floats(0.001, 1e6),
    )
    unique = st.lists(rule, max_size=3, unique_by=lambda r: r.name or id(r))
    return unique.map(tuple)


resources = st.builds(
    lambda cpus, memory, extras: Resources.from_amounts(
        {**{f"x-{name}": amount for name, amount in extras.items()}, "cpus": cpus, "memory": memory}
    ),
    st.integers(0, 10**7),
    st.integers(0, 2**50),
    st.dictionaries(names, st.integers(0, 10**6), max_size=2),
)
environments = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), text, max_size=2
)
commands = st.lists(text, max_size=3).flatmap(
    lambda rest: printable.map(lambda first: (first, *rest))
)


@st.composite
def apps(draw: st.DrawFn) -> AppSpec:
    name = draw(names)
    kind = draw(st.sampled_from(Kind))
    groups = [
        GroupSpec(
            group,
            draw(st.integers(0, 100_000)),
            draw(resources),
            draw(st.frozensets(tags, max_size=3)),
            draw(st.none() | commands),
            draw(environments),
            draw(st.sampled_from(Restart)),
        )
        for group in draw(st.lists(names, max_size=3, unique=True))
        if group != "executors"
    ]
    if not groups or draw(st.booleans()):
        cores, memory = draw(st.integers(1, 64)), draw(st.integers(0, 2**45))
        groups.append(
            GroupSpec(
                "executors",
                draw(st.integers(0, 1000)),
                Resources.of(cores, memory),
                draw(st.frozensets(tags, max_size=2)),
                env=draw(environments),
                executor=True,
            )
        )
    priority = draw(st.none() | st.integers(0, 1000)) if kind is Kind.BATCH else None
    return AppSpec(name, tuple(groups), kind, draw(rules(name)), priority)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    sets = st.lists(words, max_size=3, unique=True).map(tuple)
    groups = words.filter(lambda group: group not in ("node", "cluster"))
    nodes = tuple(
        Node(
            name,
            draw(resources),
            draw(st.dictionaries(groups, sets, max_size=3)),
            draw(st.dictionaries(names, text, max_size=2)),
            draw(st.booleans()),
        )
        for name in draw(st.lists(names, max_size=4, unique=True))
    )
    placed: dict[ContainerId, str] = {}
    containers = []
    idents = st.builds(ContainerId, names, names, st.integers(0, 1000))
    for ident in draw(st.lists(idents, max_size=4, unique=True)) if nodes else ():
        own = draw(st.frozensets(tags, max_size=3)) | ident.tags()
        containers.append(Container(ident, own, draw(resources)))
        placed[ident] = draw(st.sampled_from(nodes)).name
    ruled = [
        rule for app in draw(st.lists(names, max_size=2, unique=True)) for rule in draw(rules(app))
    ]
    return Cluster(nodes, tuple(containers), placed, (*ruled, *draw(rules(None))))


def is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
