"""The reference checker: extents of misses, as defined by the constraint language.

It follows the definition word for word and shares nothing with the schedulers, so that it can
judge their plans.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from colchis.model.cluster import Cluster, Container, ContainerId
from colchis.model.constraints import CLUSTER, NODE, Atom, Rule, Scope, TagExpr
from colchis.model.plan import Violation


class Counts:
    """γ: how many containers of a cluster match an expression in a node set."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[tuple[TagExpr, str, str, str], int] = {}

    def of(self, expr: TagExpr, group: str, name: str, subject: Container) -> int:
        """Containers other than ``subject`` in set ``name`` of ``group`` that match ``expr``."""
        scoped = any(ref.scope in (Scope.SELF, Scope.OTHERS) for ref in expr.refs)
        key = (expr, group, name, subject.app if scoped else "")
        if key not in self._known:
            self._known[key] = sum(
                expr.matches(container.tags, container.app, subject.app)
                for node in self._cluster.members.get(group, {}).get(name, ())
                for container in self._cluster.on_node[node]
            )
        return self._known[key] - self._is_counted(expr, group, name, subject)

    def _is_counted(self, expr: TagExpr, group: str, name: str, subject: Container) -> bool:
        home = self._cluster.placed.get(subject.id)
        return (
            home is not None
            and name in self._cluster.node[home].sets_of(group)
            and expr.matches(subject.tags, subject.app, subject.app)
        )


def atom_extent(
    counts: Counts, cluster: Cluster, atom: Atom, subject: Container, node: str
) -> float:
    """How far ``subject``, if it were on ``node``, misses ``atom``."""
    if not atom.subject.matches(subject.tags, subject.app, subject.app):
        return 0.0
    return min(
        (
            sum(
                target.extent(counts.of(target.expr, atom.group, name, subject))
                for target in atom.targets
            )
            for name in cluster.node[node].sets_of(atom.group)
        ),
        default=1.0,
    )


def rule_extent(
    counts: Counts, cluster: Cluster, rule: Rule, subject: Container, node: str
) -> float:
    """How far ``subject``, if it were on ``node``, misses ``rule``; 0 where it is no subject.

    The subject itself is never counted, wherever it is now.
    """
    if not rule.has_subject(subject.tags, subject.app):
        return 0.0
    return min(
        sum(atom_extent(counts, cluster, atom, subject, node) for atom in all_of)
        for all_of in rule.constraint.alternatives
    )


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every miss in a cluster and the number of containers that some rule has as subject."""

    violations: tuple[Violation, ...]
    hard: tuple[Violation, ...]
    subjects: int
    violating: int
    extent: float
    weighted: float
    instances: int
    """Pairs of a rule and a subject of it that is placed: the m of the objective."""


def judge(cluster: Cluster, rules: Iterable[Rule] | None = None) -> Judgement:
    """All rules (the cluster's own where none are given) over all placed containers."""
    rules = tuple(cluster.rules if rules is None else rules)
    counts = Counts(cluster)
    violations: list[Violation] = []
    hard: list[Violation] = []
    subjects: set[ContainerId] = set()
    weighted = 0.0
    instances = 0
    for container in cluster.containers:
        node = cluster.placed[container.id]
        for rule in rules:
            if not rule.has_subject(container.tags, container.app):
                continue
            subjects.add(container.id)
            instances += 1
            extent = rule_extent(counts, cluster, rule, container, node)
            if extent > 0:
                violation = Violation(rule.label, container.app, container.id, extent)
                violations.append(violation)
                weighted += rule.weight * extent
                if rule.hard:
                    hard.append(violation)
    return Judgement(
        tuple(violations),
        tuple(hard),
        len(subjects),
        len({violation.container for violation in violations}),
        sum(violation.extent for violation in violations),
        weighted,
        instances,
    )


def with_assignments(
    cluster: Cluster,
    containers: Iterable[Container],
    assignments: Mapping[ContainerId, str],
    rules: Iterable[Rule] = (),
) -> Cluster:
    """The cluster after those of ``containers`` that are assigned a node run there."""
    new = tuple(container for container in containers if container.id in assignments)
    return Cluster(
        cluster.nodes,
        cluster.containers + new,
        {**cluster.placed, **{container.id: assignments[container.id] for container in new}},
        cluster.rules + tuple(rules),
    )


def describe_misses(cluster: Cluster, rule: Rule, subject: Container, node: str) -> tuple[str, ...]:
    """Why ``subject`` on ``node`` misses ``rule``: every bound missed, with numbers.

    Where the rule has alternatives, the reasons of each are given, since any one would do.
    """
    counts = Counts(cluster)
    if rule_extent(counts, cluster, rule, subject, node) == 0:
        return ()
    reasons: list[str] = []
    for all_of in rule.constraint.alternatives:
        for atom in all_of:
            if atom_extent(counts, cluster, atom, subject, node) > 0:
                reasons += [
                    f"{rule.label}: {text}"
                    for text in _atom_misses(counts, cluster, atom, subject, node)
                ]
    return tuple(dict.fromkeys(reasons))


def _atom_misses(
    counts: Counts, cluster: Cluster, atom: Atom, subject: Container, node: str
) -> list[str]:
    sets = cluster.node[node].sets_of(atom.group)
    if not sets:
        return [f"{node} is in no set of {atom.group}"]
    texts = []
    for name in sets:
        where = f"on {node}" if atom.group == NODE else f"in {atom.group} {name}"
        if atom.group == CLUSTER:
            where = "in the cluster"
        for target in atom.targets:
            count = counts.of(target.expr, atom.group, name, subject)
            tagged = f"{count} container{'' if count == 1 else 's'} tagged {target.expr} {where}"
            if count < target.minimum:
                texts.append(f"{tagged}, at least {target.minimum} needed")
            elif target.maximum is not None and count > target.maximum:
                texts.append(f"{tagged}, at most {target.maximum} allowed")
    return texts
