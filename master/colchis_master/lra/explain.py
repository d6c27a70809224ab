"""Why a container is, or is not, where it is: every node judged for one container."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.constraints import Rule
from colchis.model.resources import Resources, format_amount
from colchis.semantics.checker import Counts, describe_misses, rule_extent
from colchis_master.lra.askers import inflicted
from colchis_master.lra.families import Bools
from colchis_master.lra.problem import Problem
from colchis_master.lra.reasons import never_reasons, nodes_in_words
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State


class UnknownContainerError(KeyError):
    """No app, asked for or running, has such a container."""

    def __init__(self, name: ContainerId) -> None:
        super().__init__(f"no app has a container {name}")

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """One node for one container.

    ``fits`` speaks of capacity, ``satisfied`` of the rules that have the container as subject;
    ``breaks`` names rules of other containers that it would make worse there. ``cost`` is the
    change of the cluster's weighted extents, ``allowed`` whether it might be placed there at all.
    """

    node: str
    fits: bool
    satisfied: bool
    reasons: tuple[str, ...]
    schedulable: bool
    breaks: tuple[str, ...]
    cost: float
    allowed: bool

    def to_contract(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "fits": self.fits,
            "satisfied": self.satisfied,
            "reasons": list(self.reasons),
            "schedulable": self.schedulable,
            "breaks": list(self.breaks),
            "cost": self.cost,
            "allowed": self.allowed,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """All nodes for one container, and in plain words what stands in its way.

    ``placed_on`` is where it runs, ``best`` the node of least cost that may take it, ``never``
    whether it could not even be placed on the emptied cluster, ``changes`` what would have to
    change for it to be placed, or to be placed without a miss.
    """

    container: ContainerId
    nodes: tuple[NodeVerdict, ...]
    summary: tuple[str, ...]
    never: bool
    placed_on: str | None
    best: str | None
    changes: tuple[str, ...]

    def to_contract(self) -> dict[str, Any]:
        """The JSON that ``colchis explain -o json`` prints."""
        return {
            "container": str(self.container),
            "nodes": [node.to_contract() for node in self.nodes],
            "summary": list(self.summary),
            "never": self.never,
            "placed_on": self.placed_on,
            "best": self.best,
            "changes": list(self.changes),
        }


def explain(cluster: Cluster, apps: Sequence[AppSpec], container_id: ContainerId) -> Explanation:
    """Judge each node for one container of ``apps`` or of the cluster, the rest being as it is.

    A running container is judged as if it were taken off its node first. Raises
    UnknownContainerError.
    """
    container = _find(cluster, apps, container_id)
    home = cluster.placed.get(container_id)
    others = _without(cluster, container_id)
    spec = next((app for app in apps if app.name == container.app), None)
    known = set(cluster.rules)
    rules = (*cluster.rules, *(r for r in (spec.rules if spec else ()) if r not in known))
    bearing = [rule for rule in rules if rule.has_subject(container.tags, container.app)]
    effects = _Effects(others, container, rules)
    counts = Counts(others)
    verdicts = []
    lacking: dict[str, list[Rule]] = {}
    broken: dict[str, dict[str, bool]] = {}
    for index, node in enumerate(others.nodes):
        free = others.free[node.name]
        short = container.resources.shortages(free)
        missed = [
            rule for rule in bearing if rule_extent(counts, others, rule, container, node.name) > 0
        ]
        lacking[node.name] = missed
        broken[node.name] = effects.breaks(index)
        reasons = list(short)
        if not node.schedulable:
            reasons.append(f"{node.name} is drained and takes nothing new")
        for rule in missed:
            reasons += describe_misses(others, rule, container, node.name)
        verdicts.append(
            NodeVerdict(
                node.name,
                not short,
                not missed,
                tuple(reasons),
                node.schedulable,
                tuple(broken[node.name]),
                effects.cost(index),
                not short
                and node.schedulable
                and not any(rule.hard for rule in missed)
                and not any(broken[node.name].values()),
            )
        )
    allowed = [verdict for verdict in verdicts if verdict.allowed]
    best = min(allowed, key=lambda verdict: verdict.cost, default=None)
    return Explanation(
        container_id,
        tuple(verdicts),
        _summary(container, others, verdicts, lacking, broken),
        effects.never(),
        home,
        None if best is None else best.node,
        _changes(container, others, verdicts, lacking, broken, best),
    )


def _find(cluster: Cluster, apps: Iterable[AppSpec], name: ContainerId) -> Container:
    for container in cluster.containers:
        if container.id == name:
            return container
    for app in apps:
        for group in app.groups:
            if (app.name, group.name) == (name.app, name.group) and name.index < group.count:
                return app.container(group, name.index)
    raise UnknownContainerError(name)


def _without(cluster: Cluster, name: ContainerId) -> Cluster:
    if name not in cluster.placed:
        return cluster
    return Cluster(
        cluster.nodes,
        tuple(c for c in cluster.containers if c.id != name),
        {ident: node for ident, node in cluster.placed.items() if ident != name},
        cluster.rules,
    )


class _Effects:
    """What the container would do to the extents of all, on each node."""

    def __init__(self, others: Cluster, container: Container, rules: tuple[Rule, ...]) -> None:
        own_tags = container.tags - container.id.tags()
        group = GroupSpec(container.id.group, 1, container.resources, own_tags)
        # The group is given one container of index 0, which may run already: its siblings are
        # renamed out of the way, since only tags and apps matter here.
        placed = {ContainerId(i.app, f"{i.group}+", i.index): n for i, n in others.placed.items()}
        running = tuple(
            Container(ContainerId(c.id.app, f"{c.id.group}+", c.id.index), c.tags, c.resources)
            for c in others.containers
        )
        cluster = Cluster(others.nodes, running, placed, rules)
        bound = tuple(rule for rule in rules if rule.app == container.app)
        spec = AppSpec(container.app, (group,), rules=bound)
        self._settings = Settings()
        self._problem = Problem(cluster, [spec], Resources())
        state = State(self._problem)
        self._cost, _, _ = state.costs(0)
        self._broken: list[tuple[str, bool, Bools]] = []
        for number, family, bumped in self._problem.inflicting[0]:
            self._broken += [
                (label, family.hard, change > EPSILON)
                for label, change in inflicted(state, number, family, bumped)
            ]

    def cost(self, node: int) -> float:
        return round(float(self._cost[node]), 9)

    def breaks(self, node: int) -> dict[str, bool]:
        """Names of the rules of others that it would make worse, and whether one is hard."""
        found: dict[str, bool] = {}
        for label, hard, where in self._broken:
            if where[node]:
                found[label] = found.get(label, False) or hard
        return found

    def never(self) -> bool:
        return bool(never_reasons(self._problem, 0, self._settings))


def _summary(
    container: Container,
    cluster: Cluster,
    verdicts: Sequence[NodeVerdict],
    lacking: dict[str, list[Rule]],
    broken: dict[str, dict[str, bool]],
) -> tuple[str, ...]:
    """The reasons grouped: how many nodes share each."""
    grouped: dict[str, int] = {}
    for verdict in verdicts:
        texts = list(container.resources.shortages(cluster.free[verdict.node]))
        if not verdict.schedulable:
            texts.append("drained, takes nothing new")
        texts += [
            f"{_rule(rule.label, rule.hard)} would be missed" for rule in lacking[verdict.node]
        ]
        texts += [
            f"{_rule(label, hard)} of others would be missed by more"
            for label, hard in broken[verdict.node].items()
        ]
        for text in dict.fromkeys(texts):
            grouped[text] = grouped.get(text, 0) + 1
    good = sum(v.fits and v.satisfied and v.allowed and not v.breaks for v in verdicts)
    lines = [f"{nodes_in_words(good)}: fits and satisfies every rule"] if good else []
    lines += [
        f"{nodes_in_words(count)}: {text}"
        for text, count in sorted(grouped.items(), key=lambda item: -item[1])
    ]
    return tuple(lines)


def _changes(
    container: Container,
    cluster: Cluster,
    verdicts: Sequence[NodeVerdict],
    lacking: dict[str, list[Rule]],
    broken: dict[str, dict[str, bool]],
    best: NodeVerdict | None,
) -> tuple[str, ...]:
    """What would have to change on the node that is closest to taking it."""
    if best is not None and best.satisfied and not best.breaks:
        return ()
    if best is None:
        if not verdicts:
            return ("a node would have to join the cluster",)
        best = min(
            verdicts,
            key=lambda v: (
                _lack(container, cluster, cluster.node[v.node]),
                len(lacking[v.node]) + len(v.breaks),
            ),
        )
    node = cluster.node[best.node]
    changes = [
        f"{node.name}: {format_amount(name, amount - cluster.free[node.name].get(name))} more "
        "would have to be free"
        for name, amount in container.resources.amounts
        if amount > cluster.free[node.name].get(name)
    ]
    if not node.schedulable:
        changes.append(f"{node.name} would have to be undrained")
    for rule in lacking[node.name]:
        changes += [
            f"this would have to change: {text}"
            for text in describe_misses(cluster, rule, container, node.name)
        ]
    changes += [
        f"{node.name}: {_rule(label, hard)} of others would have to be relaxed"
        for label, hard in broken[node.name].items()
    ]
    return tuple(changes)


def _rule(label: str, hard: bool) -> str:
    return f"hard rule {label}" if hard else f"rule {label}"


def _lack(container: Container, cluster: Cluster, node: Node) -> float:
    """How much a node lacks, as a share of what is needed; a drained node lacks all."""
    free = cluster.free[node.name]
    shares = [
        max(0.0, (amount - free.get(name)) / amount) for name, amount in container.resources.amounts
    ]
    return float(np.max([0.0, *shares])) + (0.0 if node.schedulable else 1.0)
