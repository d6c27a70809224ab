"""Small random rounds, and the best of all placements by trying each."""

import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence

from hypothesis import strategies as st

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.constraints import Atom, Constraint, Rule, Scope, TagExpr, TagRef, Target
from colchis.model.parse import parse_constraint
from colchis.model.plan import Plan
from colchis.model.resources import Resources
from colchis.semantics.checker import Judgement, judge, with_assignments
from colchis_master.lra import Settings, evaluate, schedule

TAGS = ("a", "b", "c")
GROUPS = ("node", "rack", "domain", "cluster")
R_MIN = Resources.of(cpus=1, memory="1GiB")

Round = tuple[Cluster, tuple[AppSpec, ...]]


def rule(
    text: str, app: str | None = None, *, hard: bool = False, weight: float = 1.0, name: str = ""
) -> Rule:
    return Rule(parse_constraint(text), name, app, weight, hard)


def app(
    name: str,
    groups: Mapping[str, tuple[int, set[str]]],
    *rules: str,
    hard: bool = False,
    cpus: float = 1,
) -> AppSpec:
    """An app of groups ``{name: (count, tags)}``, each container of 1 GiB and ``cpus`` cores."""
    return AppSpec(
        name,
        tuple(
            GroupSpec(group, count, Resources.of(cpus, "1GiB"), frozenset(tags))
            for group, (count, tags) in groups.items()
        ),
        rules=tuple(rule(text, name, hard=hard) for text in rules),
    )


def solve(cluster: Cluster, *apps: AppSpec, algorithm: str = "ilp", **settings: object) -> Plan:
    return schedule(
        cluster,
        apps,
        algorithm=algorithm,
        settings=Settings(**{"time_limit": 60.0, **settings}),  # type: ignore[arg-type]
        clock=time.monotonic,
        rng=random.Random(1),
    )


@st.composite
def constraints(draw: st.DrawFn, apps: Sequence[str], groups: Sequence[str] = GROUPS) -> Constraint:
    def ref(subject: bool) -> TagRef:
        tag = draw(st.sampled_from(TAGS))
        scopes = [scope for scope in Scope if not (subject and scope is Scope.OTHERS)]
        scope = draw(st.sampled_from(scopes))
        return TagRef(tag, scope, draw(st.sampled_from(apps)) if scope is Scope.APP else "")

    def target() -> Target:
        minimum = draw(st.integers(0, 2))
        maximum = draw(st.one_of(st.none(), st.integers(minimum, 3)))
        refs = tuple(ref(False) for _ in range(draw(st.sampled_from((1, 1, 1, 2)))))
        return Target(TagExpr(refs), minimum, maximum)

    def atom() -> Atom:
        targets = tuple(target() for _ in range(draw(st.sampled_from((1, 1, 2)))))
        return Atom(TagExpr((ref(True),)), targets, draw(st.sampled_from(groups)))

    shape = draw(st.sampled_from(((1,), (1,), (1,), (2,), (1, 1), (2, 1))))
    return Constraint(tuple(tuple(atom() for _ in range(size)) for size in shape))


@st.composite
def rules(
    draw: st.DrawFn, owner: str | None, apps: Sequence[str], groups: Sequence[str] = GROUPS
) -> Rule:
    return Rule(
        draw(constraints(apps, groups)),
        "",
        owner,
        draw(st.sampled_from((1.0, 1.0, 0.5, 3.0))),
        draw(st.sampled_from((False, False, True))),
    )


@st.composite
def rounds(
    draw: st.DrawFn,
    *,
    nodes: int = 4,
    containers: int = 8,
    running: int = 4,
    extras: bool = True,
    groups: Sequence[str] = GROUPS,
) -> Round:
    """A cluster with containers and rules, and apps to be placed on it."""
    tags = st.frozensets(st.sampled_from(TAGS), max_size=2)
    amounts = st.builds(
        lambda cpus, memory, gpus: Resources.of(cpus, f"{memory}GiB", gpus=gpus),
        st.sampled_from((0.5, 1, 2)),
        st.integers(1, 2),
        st.integers(0, 1) if extras else st.just(0),
    )
    names = ("x", "y", "z")[: draw(st.integers(1, 3))]
    made: list[Node] = []
    for i in range(draw(st.integers(1, nodes))):
        sets: dict[str, tuple[str, ...]] = {}
        if draw(st.integers(0, 4)):
            sets["rack"] = (draw(st.sampled_from(("r0", "r1"))),)
        domains = draw(st.lists(st.sampled_from(("u0", "u1", "u2")), unique=True, max_size=2))
        if domains:
            sets["domain"] = tuple(domains)
        capacity = Resources.of(
            draw(st.integers(1, 5)), f"{draw(st.integers(2, 6))}GiB", gpus=draw(st.integers(0, 2))
        )
        made.append(Node(f"n{i}", capacity, sets, schedulable=draw(st.integers(0, 9)) > 0))
    old: list[Container] = []
    placed: dict[ContainerId, str] = {}
    for i in range(draw(st.integers(0, running))):
        owner = draw(st.sampled_from(("old", "x")))
        container = Container.of(f"{owner}/was/{i}", draw(tags), Resources.of(0.5, "1GiB"))
        old.append(container)
        placed[container.id] = draw(st.sampled_from(made)).name
    known = (*names, "old")
    standing = tuple(
        draw(rules(draw(st.sampled_from((None, "old"))), known, groups))
        for _ in range(draw(st.integers(0, 2)))
    )
    left = containers
    apps = []
    for name in names:
        groups_of = []
        for g in range(draw(st.integers(1, 2))):
            count = draw(st.integers(0, min(left, 3)))
            left -= count
            groups_of.append(GroupSpec(f"g{g}", count, draw(amounts), draw(tags)))
        own = tuple(draw(rules(name, known, groups)) for _ in range(draw(st.integers(0, 2))))
        apps.append(AppSpec(name, tuple(groups_of), rules=own))
    return Cluster(tuple(made), tuple(old), placed, standing), tuple(apps)


def after(cluster: Cluster, apps: Sequence[AppSpec], plan: Plan) -> Cluster:
    """The cluster as the plan leaves it, with the rules of all apps."""
    assignments = {c: n for each in plan.apps for c, n in each.assignments.items()}
    containers = [c for each in apps for c in each.containers()]
    return with_assignments(cluster, containers, assignments, [r for a in apps for r in a.rules])


def hard_misses(judgement: Judgement) -> dict[tuple[str, ContainerId], float]:
    worst: dict[tuple[str, ContainerId], float] = {}
    for miss in judgement.hard:
        key = (miss.constraint, miss.container)
        worst[key] = max(worst.get(key, 0.0), miss.extent)
    return worst


def problems_of(cluster: Cluster, apps: Sequence[AppSpec], plan: Plan) -> list[str]:
    """Everything that is wrong with a plan, judged by the reference checker alone."""
    wrong = []
    for spec, each in zip(apps, plan.apps, strict=True):
        wanted = {c.id for c in spec.containers() if c.id not in cluster.placed}
        if set(each.assignments) != (wanted if each.placed else set()):
            wrong.append(f"{spec.name}: placed in part")
        if not each.placed and not each.reasons:
            wrong.append(f"{spec.name}: left out without a reason")
    end = after(cluster, apps, plan)
    every_rule = [*cluster.rules, *(r for a in apps for r in a.rules)]
    taken = {node for each in plan.apps for node in each.assignments.values()}
    for node in end.nodes:
        if node.name not in taken:
            continue
        if not node.schedulable:
            wrong.append(f"{node.name} is drained and got something")
        needed = {
            name
            for each in apps
            for c in each.containers()
            if end.placed.get(c.id) == node.name and c.id not in cluster.placed
            for name in c.resources.names()
        }
        if any(end.free[node.name].get(name) < 0 for name in needed):
            wrong.append(f"{node.name} is overfilled")
    before = hard_misses(judge(cluster, every_rule))
    for key, extent in hard_misses(judge(end)).items():
        if extent > before.get(key, 0.0) + 1e-9:
            wrong.append(f"hard rule newly missed: {key} by {extent}")
    return wrong


def every_placement(
    cluster: Cluster, apps: Sequence[AppSpec]
) -> Iterator[Mapping[ContainerId, str]]:
    """All assignments of all subsets of apps, identical containers taken once."""
    options = []
    names = [node.name for node in cluster.nodes if node.schedulable]
    for spec in apps:
        per_group = []
        for group in spec.groups:
            idents = [ContainerId(spec.name, group.name, i) for i in range(group.count)]
            choices = itertools.combinations_with_replacement(names, group.count)
            per_group.append([dict(zip(idents, choice, strict=True)) for choice in choices])
        whole = [
            {k: v for part in parts for k, v in part.items()}
            for parts in itertools.product(*per_group)
        ]
        options.append([{}, *whole] if any(g.count for g in spec.groups) else [{}])
    for chosen in itertools.product(*options):
        yield {k: v for part in chosen for k, v in part.items()}


def best_of_all(cluster: Cluster, apps: Sequence[AppSpec], settings: Settings) -> tuple[float, ...]:
    """What the best valid placement is worth: in ordered mode the parts in order."""
    best: tuple[float, ...] | None = None
    for assignments in every_placement(cluster, apps):
        plan = evaluate(cluster, apps, assignments, algorithm="all", settings=settings)
        if any("overfilled" in w or "hard" in w for w in problems_of(cluster, apps, plan)):
            continue
        found = value_of(cluster, apps, plan, settings)
        if best is None or found > best:
            best = found
    assert best is not None
    return best


def value_of(
    cluster: Cluster, apps: Sequence[AppSpec], plan: Plan, settings: Settings
) -> tuple[float, ...]:
    if not settings.ordered:
        return (round(plan.objective, 7),)
    judgement = judge(after(cluster, apps, plan))
    placed = sum(each.placed for each in plan.apps)
    weights = settings.weights
    rest = plan.objective - weights.placed * placed / len(apps)
    if judgement.instances:
        rest += weights.violations * judgement.weighted / judgement.instances
    return (placed, -round(judgement.weighted, 7), round(rest, 7))
