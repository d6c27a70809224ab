"""Bounded rebalancing of what runs: moves with known destinations, each no worse than before.

A move creates a copy of a container on its destination and deletes the old one once the copy runs,
so that no member of an app is ever away. A move is proposed only if the destination holds the copy
beside all that is there, no hard rule is newly missed while both exist, and afterwards the weighted
extents are less, or no more with the rest of the objective better, and no more containers miss a
rule than before.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import Cluster, Container, ContainerId
from colchis.model.resources import Resources
from colchis_master.lra.askers import by_label
from colchis_master.lra.extents import node_extents
from colchis_master.lra.families import Floats
from colchis_master.lra.greedy import Stop, never_stop, rest_worth
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State

FAILURES = 100
"""Containers that cannot be moved to any good after which a pass over the others ends."""

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
    stop: Stop = never_stop,
) -> Moves:
    """At most ``max_moves`` moves, the most useful first as far as that is known beforehand.

    ``per_app`` bounds those of any one app (a number for all, or by name). Only containers in
    ``movable`` are moved, all where it is None. Once ``stop`` says so, no more are looked for.
    """
    board = _Board(cluster, settings, movable)
    violations, extent = board.misses()
    made: list[Move] = []
    spent: dict[str, int] = {}

    def allowed(app: str) -> bool:
        within = len(made) < max_moves and not stop()
        return within and _left(per_app, app) > spent.get(app, 0)

    def take(move: Move) -> None:
        made.append(move)
        spent[move.container.app] = spent.get(move.container.app, 0) + 1

    while board.better(allowed, take):
        pass
    return Moves(tuple(made), violations, extent)


def _left(per_app: int | Mapping[str, int] | None, app: str) -> float:
    if per_app is None:
        return float("inf")
    if isinstance(per_app, int):
        return per_app
    return per_app.get(app, float("inf"))


@dataclass(frozen=True, slots=True)
class _Misses:
    """Of one rule: subjects that miss it, their extents, and by node where it is hard."""

    count: int
    extent: float
    hard: Floats | None

    def hard_at(self, node: int) -> bool:
        """Whether a hard rule is missed by a subject there."""
        return self.hard is not None and bool(self.hard[node] > EPSILON)

    def worse_than(self, other: "_Misses") -> bool:
        """Whether a hard rule is missed on some node further than in ``other``."""
        if self.hard is None:
            return False
        were = 0.0 if other.hard is None else other.hard
        return bool((self.hard > were + EPSILON).any())


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
        self._related_to: dict[int, list[int]] = {}
        self._count, self._extent = self.misses()

    def misses(self) -> tuple[int, float]:
        """Pairs of a container and a rule that it misses, and the weighted extents."""
        found = self._judge(range(len(self._problem.live)))
        return sum(one.count for one in found.values()), self._weighted(found)

    def _weighted(self, found: Mapping[int, "_Misses"]) -> float:
        live = self._problem.live
        return round(sum(live[n].weight * one.extent for n, one in found.items()), 9)

    def _judge(self, numbers: Iterable[int]) -> dict[int, "_Misses"]:
        """How these rules fare; extents by node of the hard ones, where they have subjects."""
        found = {}
        for number in numbers:
            family = self._problem.live[number]
            subjects = self._state.subjects[number]
            if not subjects.any():
                found[number] = _Misses(0, 0.0, None)
                continue
            extents = node_extents(self._problem, family, self._state.counts, placed=True)
            at = subjects > 0
            found[number] = _Misses(
                int(subjects[at & (extents > EPSILON)].sum()),
                float(subjects @ extents),
                np.where(at, extents, 0.0) if family.hard else None,
            )
        return found

    def _related(self, group: int) -> list[int]:
        """Rules that a group's containers are subjects of, or counted by."""
        known = self._related_to.get(group)
        if known is None:
            kind = self._problem.groups[group].kind
            counted = self._problem.counters_of[group]
            known = self._related_to[group] = [
                number
                for number, family in enumerate(self._problem.live)
                if kind in family.kinds or family.counters.intersection(counted)
            ]
        return known

    def _reason(self, before: Mapping[int, "_Misses"], now: Mapping[int, "_Misses"]) -> str:
        """Which rules are missed less than before, in words."""
        gains: dict[str, list[float]] = {}
        for number, was in before.items():
            less = now[number].extent
            if less < was.extent - EPSILON:
                labels = " and ".join(by_label(self._problem, self._problem.live[number]))
                sums = gains.setdefault(labels, [0.0, 0.0])
                sums[0] += was.extent
                sums[1] += less
        if not gains:
            return "the rest of the objective is better"
        return "; ".join(
            f"{label}: missed by {a:g}, then by {b:g}" for label, (a, b) in gains.items()
        )

    def better(self, allowed: Callable[[str], bool], take: Callable[[Move], None]) -> bool:
        """Make moves that mend what is missed or, where there are none, better the rest; whether
        there were any. Each is handed to ``take`` once it is made."""
        return (self._count > 0 and self._pass(self._missing(), allowed, take)) or self._pass(
            self._crowded(), allowed, take
        )

    def _pass(
        self,
        candidates: list[tuple[int, int]],
        allowed: Callable[[str], bool],
        take: Callable[[Move], None],
    ) -> bool:
        """One look at each of these: those first that promise most as things stand now."""

        def may_move(group: int, source: int) -> bool:
            app = self._problem.apps[self._problem.groups[group].app].name
            return bool(self._ids.get((group, source))) and allowed(app)

        promising = []
        for group, source in candidates:
            if may_move(group, source):
                found = self._destinations(group, source)
                if found:
                    promising.append((found[0][0], group, source))
        made, failures = False, 0
        for _, group, source in sorted(promising):
            # What was moved before may have changed where this one goes best, or that it goes.
            while may_move(group, source):
                move = self._move(group, source)
                if move is None:
                    failures += 1
                    break
                take(move)
                made = True
            if failures >= FAILURES:
                break
        return made

    def _move(self, group: int, source: int) -> Move | None:
        rest = rest_worth(self._state, self._settings)
        for _, target in self._destinations(group, source):
            move = self._try(group, source, target, rest)
            if move is not None:
                return move
        return None

    def _destinations(self, group: int, source: int) -> list[tuple[float, int]]:
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
        return [(float(cost[node]), int(node)) for node in best]

    def _try(self, group: int, source: int, target: int, rest: float) -> Move | None:
        state, related = self._state, self._related(group)
        before = self._judge(related)
        state.place(group, target)
        between = self._judge(related)
        state.place(group, source, -1)
        after = self._judge(related)
        more = sum(after[n].count - before[n].count for n in related)
        gain = self._weighted(before) - self._weighted(after)
        better = gain > EPSILON or (
            gain >= -EPSILON and rest_worth(state, self._settings) > rest + 1e-9
        )
        kind = self._problem.groups[group].kind
        own = [n for n in related if kind in self._problem.live[n].kinds]
        # A place where it would miss a hard rule itself would not be given to it.
        hardened = any(
            any(step[n].worse_than(before[n]) for n in related)
            or any(step[n].hard_at(target) for n in own)
            for step in (between, after)
        )
        if more > 0 or not better or hardened:
            state.place(group, source)
            state.place(group, target, -1)
            return None
        self._count += more
        self._extent = round(self._extent - gain, 9)
        ident = self._ids[group, source].pop()
        self._ids.setdefault((group, target), []).append(ident)
        nodes = self._problem.nodes
        return Move(
            ident,
            nodes[source].name,
            nodes[target].name,
            self._count,
            self._extent,
            self._reason(before, after),
        )

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
