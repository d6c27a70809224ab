"""Bounded rebalancing of what runs: moves with known destinations, each no worse than before.

A move creates a copy of a container on its destination and deletes the old one once the copy runs,
so that no member of an app is ever away. A move is proposed only if the destination holds the copy
beside all that is there, no hard rule is newly missed while both exist, and afterwards the weighted
extents are less, or no more with the rest of the objective better, and no more containers miss a
rule than before.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import Cluster, Container, ContainerId
from colchis.model.resources import Resources
from colchis_master.lra.extents import node_extents
from colchis_master.lra.greedy import rest_worth
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State

CROWDED = 20
"""Nodes looked at for moves that better balance, fragmentation or machines."""


@dataclass(frozen=True, slots=True)
class Move:
    """Create ``container`` on ``target``, then delete it on ``source``; and what the cluster comes
    to after it: misses of rules and their weighted extents. ``reason`` is for people."""

    container: ContainerId
    source: str
    target: str
    violations: int
    extent: float
    reason: str = ""

    def to_contract(self) -> dict[str, Any]:
        return {
            "container": str(self.container),
            "from": self.source,
            "to": self.target,
            "reason": self.reason,
            "violations": self.violations,
            "extent": self.extent,
        }


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves to be made in order; misses and weighted extents before the first."""

    moves: tuple[Move, ...]
    violations: int
    extent: float

    def to_contract(self) -> dict[str, Any]:
        """The JSON that a rebalancing plan is printed as."""
        return {
            "moves": [move.to_contract() for move in self.moves],
            "violations_before": self.violations,
            "violations_after": self.moves[-1].violations if self.moves else self.violations,
            "extent_before": self.extent,
            "extent_after": self.moves[-1].extent if self.moves else self.extent,
        }


def rebalance(
    cluster: Cluster,
    settings: Settings,
    max_moves: int,
    *,
    per_app: int | Mapping[str, int] | None = None,
    movable: Collection[ContainerId] | None = None,
) -> Moves:
    """At most ``max_moves`` moves, best first; ``per_app`` bounds those of any one app (a number
    for all, or by name). Only containers in ``movable`` are moved, all where it is None."""
    board = _Board(cluster, settings, movable)
    violations, extent = board.misses()
    made: list[Move] = []
    spent: dict[str, int] = {}
    while len(made) < max_moves:
        move = board.best_move(lambda app: _left(per_app, app) - spent.get(app, 0) > 0)
        if move is None:
            break
        made.append(move)
        spent[move.container.app] = spent.get(move.container.app, 0) + 1
    return Moves(tuple(made), violations, extent)


def _left(per_app: int | Mapping[str, int] | None, app: str) -> float:
    if per_app is None:
        return float("inf")
    if isinstance(per_app, int):
        return per_app
    return per_app.get(app, float("inf"))


class _Board:
    """The cluster as a state in which every running container can be taken up."""

    def __init__(
        self, cluster: Cluster, settings: Settings, movable: Collection[ContainerId] | None
    ) -> None:
        self._settings = settings
        may_move = None if movable is None else frozenset(movable)
        groups: dict[str, dict[tuple[str, frozenset[str], Resources], list[Container]]] = {}
        for container in cluster.containers:
            key = (container.id.group, container.tags, container.resources)
            groups.setdefault(container.app, {}).setdefault(key, []).append(container)
        apps = [
            AppSpec(
                name,
                tuple(
                    GroupSpec(group, len(members), resources, tags)
                    for (group, tags, resources), members in own.items()
                ),
            )
            for name, own in groups.items()
        ]
        bare = Cluster(cluster.nodes, rules=cluster.rules)
        self._problem = Problem(bare, apps, settings.keep_free)
        self._state = State(self._problem)
        self._ids: dict[tuple[int, int], list[ContainerId]] = {}
        members = [m for own in groups.values() for m in own.values()]
        for group, found in enumerate(members):
            for container in found:
                node = self._problem.index[cluster.placed[container.id]]
                self._state.place(group, node)
                if may_move is None or container.id in may_move:
                    self._ids.setdefault((group, node), []).append(container.id)

    def misses(self) -> tuple[int, float]:
        """Pairs of a container and a rule that it misses, and the weighted extents."""
        found = self._by_family()
        extent = sum(
            family.weight * missed
            for family, (_, missed) in zip(self._problem.live, found, strict=True)
        )
        return sum(count for count, _ in found), round(extent, 9)

    def _by_family(self) -> list[tuple[int, float]]:
        """Of each rule the containers that miss it, and their extents."""
        found = []
        for number, family in enumerate(self._problem.live):
            subjects = self._state.subjects[number]
            if not subjects.any():
                found.append((0, 0.0))
                continue
            extents = node_extents(self._problem, family, self._state.counts, placed=True)
            found.append((int(subjects[extents > EPSILON].sum()), float(subjects @ extents)))
        return found

    def _reason(self, before: list[tuple[int, float]]) -> str:
        """Which rules are missed less than before, in words."""
        gains: dict[str, list[float]] = {}
        now = self._by_family()
        for family, (_, was), (_, less) in zip(self._problem.live, before, now, strict=True):
            if less < was - EPSILON:
                sums = gains.setdefault(self._problem.rules[family.rule].label, [0.0, 0.0])
                sums[0] += was
                sums[1] += less
        if not gains:
            return "the rest of the objective is better"
        return "; ".join(
            f"{label}: missed by {a:g}, then by {b:g}" for label, (a, b) in gains.items()
        )

    def _hard(self) -> dict[int, Any]:
        """Extents of hard rules on each node, where there are subjects of theirs."""
        return {
            number: np.where(
                self._state.subjects[number] > 0,
                node_extents(self._problem, family, self._state.counts, placed=True),
                0.0,
            )
            for number, family in enumerate(self._problem.live)
            if family.hard
        }

    def best_move(self, allowed: Callable[[str], bool]) -> Move | None:
        """Make the move that gains most, and return it."""
        violations, extent = self.misses()
        rest = rest_worth(self._state, self._settings)
        candidates = self._missing() if extent > 0 or violations else []
        if not candidates:
            candidates = self._crowded()
        options: list[tuple[float, int, int, int]] = []
        for group, source in candidates:
            if not self._ids.get((group, source)):
                continue
            if not allowed(self._problem.apps[self._problem.groups[group].app].name):
                continue
            options += self._destinations(group, source)
        options.sort()
        for _, group, source, target in options[:100]:
            move = self._try(group, source, target, violations, extent, rest)
            if move is not None:
                return move
        return None

    def _destinations(self, group: int, source: int) -> list[tuple[float, int, int, int]]:
        """The most promising nodes for a container, by what the cluster's extents would gain."""
        state, problem = self._state, self._problem
        state.place(group, source, -1)
        soft, hard_own, hard_others = state.costs(group)
        fits = state.fits(group)
        share = state.shares(group).copy()
        here = float(soft[source]) + 1e6 * float(hard_own[source])
        state.place(group, source)
        fits[source] = False
        fits &= hard_others <= EPSILON
        cost = soft + 1e6 * hard_own - here + 1e-3 * share / problem.size
        nodes = np.flatnonzero(fits)
        if not len(nodes):
            return []
        best = nodes[np.argsort(cost[nodes], kind="stable")[:3]]
        return [(float(cost[node]), group, source, int(node)) for node in best]

    def _try(
        self, group: int, source: int, target: int, violations: int, extent: float, rest: float
    ) -> Move | None:
        state = self._state
        hard = self._hard()
        by_family = self._by_family()
        state.place(group, target)
        between = self._hard()
        state.place(group, source, -1)
        afterwards = self._hard()
        found, less = self.misses()
        better = less < extent - EPSILON or (
            less <= extent + EPSILON and rest_worth(state, self._settings) > rest + 1e-9
        )
        worse_hard = any(
            (step[number] > hard[number] + EPSILON).any()
            for step in (between, afterwards)
            for number in hard
        )
        if found > violations or not better or worse_hard:
            state.place(group, source)
            state.place(group, target, -1)
            return None
        ident = self._ids[group, source].pop()
        self._ids.setdefault((group, target), []).append(ident)
        nodes = self._problem.nodes
        reason = self._reason(by_family)
        return Move(ident, nodes[source].name, nodes[target].name, found, less, reason)

    def _missing(self) -> list[tuple[int, int]]:
        """Containers (group, node) that miss a rule, or are counted where one is missed."""
        problem, state = self._problem, self._state
        found: dict[tuple[int, int], None] = {}
        for number, family in enumerate(problem.live):
            subjects = state.subjects[number]
            extents = node_extents(problem, family, state.counts, placed=True)
            missing = np.flatnonzero((subjects > 0) & (extents > EPSILON))
            if not len(missing):
                continue
            at = set(missing.tolist())
            near = {
                (group, name)
                for group in family.groups
                for node in at
                for name in problem.set_groups[group].sets_of[node]
            }
            for group, node in state.assigned:
                kind = problem.groups[group].kind
                subject = node in at and kind in family.kinds
                counted = family.counters.intersection(problem.counters_of[group]) and any(
                    (g, name) in near
                    for g in family.groups
                    for name in problem.set_groups[g].sets_of[node]
                )
                if subject or counted:
                    found[group, node] = None
        return list(found)

    def _crowded(self) -> list[tuple[int, int]]:
        """Containers on the nodes that are fullest, or that keep too little free."""
        state, problem = self._state, self._problem
        weights = self._settings.weights
        if not (weights.balance or weights.machines or weights.fragmentation):
            return []
        used = (problem.capacity - state.free) / np.maximum(problem.capacity, 1)
        share = used.max(axis=1, initial=0.0)
        short = (state.free < problem.keep_free).any(axis=1) & (state.touched > 0)
        order = np.argsort(-(share + 10.0 * short), kind="stable")[:CROWDED]
        if weights.machines > max(weights.balance, weights.fragmentation):
            occupied = np.flatnonzero(state.touched > 0)
            order = occupied[np.argsort(share[occupied], kind="stable")[:CROWDED]]
        nodes = set(order.tolist())
        return [(group, node) for group, node in state.assigned if node in nodes]
