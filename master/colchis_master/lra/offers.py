"""Which nodes the integer program is given.

Nodes that look alike (same sets, same counts of what the round's rules speak of) form a class. In
a class a node with at least as much free of everything can stand in for another, so one that is
outdone by as many others as containers are to be placed is never needed: leaving it out loses
nothing, unless machines or balance count. Where that still leaves too many, the most promising are
kept and the result is no longer proven by the program alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from colchis.model.constraints import NODE
from colchis_master.lra.families import Ints
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import State

COLUMNS_PER_SECOND = 2500
"""Size of a model that is worth starting on with a second left: HiGHS looks at the clock too
seldom in larger ones, and finds nothing in them in time."""


@dataclass(frozen=True, slots=True)
class Offer:
    """``exact`` where the best placement of all is among those on ``nodes``."""

    nodes: tuple[int, ...]
    exact: bool


def offer(
    problem: Problem, base: State, settings: Settings, plans: Iterable[State], seconds: float
) -> Offer:
    """The nodes to model in a time; those that the heuristics' plans use are always among them."""
    slots = np.array([base.slots(g) for g in range(len(problem.groups))], dtype=np.int64)
    slots = slots.reshape(len(problem.groups), problem.size)
    nodes = np.flatnonzero((slots > 0).any(axis=0))
    used = {node for plan in plans for _, node in plan.assigned}
    exact = True
    if len(nodes) > problem.total_new:
        nodes = _undominated(problem, base, settings, nodes)
    columns = _columns(problem, slots[:, nodes])
    most = COLUMNS_PER_SECOND * seconds
    if columns > most:
        exact = False
        nodes = _promising(problem, base, nodes, int(most * len(nodes) / columns))
    return Offer(tuple(sorted(used.union(nodes.tolist()))), exact)


def _columns(problem: Problem, slots: Ints) -> int:
    """About how many variables a model has: counts in unary where rules look at other containers
    than their subject's own."""
    columns = 0
    for group, most in enumerate(slots):
        unary = any(
            target.minimum or problem.counters[target.counter].kinds != family.kinds
            for family in (problem.live[i] for i in problem.families_of[group])
            for atom in family.atoms
            for target in atom.targets
        )
        columns += int((most > 0).sum() + (2 * most.sum() if unary else 0))
    return columns


def _features(problem: Problem, base: State) -> list[Ints]:
    """Everything but free capacity by which the rules tell nodes apart."""
    features: list[Ints] = []
    for number, family in enumerate(problem.live):
        for group in family.groups:
            set_group = problem.set_groups[group]
            if set_group.name == NODE:
                features.append(base.subjects[number])
                features += [
                    base.counts[c]
                    for c in sorted(family.counters)
                    if problem.counters[c].group == group
                ]
            elif set_group.single is not None:
                features.append(set_group.single)
            else:
                codes: dict[tuple[int, ...], int] = {}
                features.append(
                    np.array(
                        [codes.setdefault(sets, len(codes)) for sets in set_group.sets_of],
                        dtype=np.int64,
                    )
                )
    return features


def _classes(features: Sequence[Ints], nodes: Ints) -> Ints:
    """A class number for each of ``nodes``."""
    seen: dict[bytes, Ints] = {}
    for feature in features:
        column = feature[nodes]
        seen.setdefault(column.tobytes(), column)
    if not seen:
        return np.zeros(len(nodes), dtype=np.int64)
    _, classes = np.unique(np.array(list(seen.values())), axis=1, return_inverse=True)
    return classes.reshape(-1).astype(np.int64)


def node_classes(problem: Problem, base: State, settings: Settings) -> list[list[int]]:
    """Nodes that are the same in all that a round with rules per node can see."""
    features = _features(problem, base)
    features += [problem.free[:, r] for r in range(problem.free.shape[1])]
    features.append(problem.schedulable.astype(np.int64))
    if settings.weights.machines:
        features.append(problem.occupied.astype(np.int64))
    if settings.weights.balance:
        features += [problem.capacity[:, r] for r in range(problem.capacity.shape[1])]
    classes = _classes(features, np.arange(problem.size))
    members: dict[int, list[int]] = {}
    for node, number in enumerate(classes.tolist()):
        members.setdefault(number, []).append(node)
    return list(members.values())


def _undominated(problem: Problem, base: State, settings: Settings, nodes: Ints) -> Ints:
    features = _features(problem, base)
    weights = settings.weights
    if weights.machines:
        features.append(problem.occupied.astype(np.int64))
    if weights.balance:
        features += [problem.capacity[:, r] for r in range(problem.capacity.shape[1])]
        features += [problem.free[:, r] for r in range(problem.free.shape[1])]
    classes = _classes(features, nodes)
    kept: list[Ints] = []
    order = np.argsort(classes, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(classes[order])) + 1):
        if len(members) <= problem.total_new:
            kept.append(nodes[members])
            continue
        free = problem.free[nodes[members]]
        outdone = np.zeros(len(members), dtype=np.int64)
        for start in range(0, len(members), 256):
            block = free[start : start + 256]
            at_least = (free[None, :, :] >= block[:, None, :]).all(axis=2)
            same = (free[None, :, :] == block[:, None, :]).all(axis=2)
            earlier = (
                np.arange(len(members))[None, :] < np.arange(start, start + len(block))[:, None]
            )
            outdone[start : start + 256] = (at_least & (~same | earlier)).sum(axis=1)
        kept.append(nodes[members[outdone < problem.total_new]])
    return np.sort(np.concatenate(kept))


def _promising(problem: Problem, base: State, nodes: Ints, most: int) -> Ints:
    """For each group in turn, the nodes that cost it least and have most room."""
    used = problem.capacity - base.free
    share = (used / np.maximum(problem.capacity, 1)).max(axis=1, initial=0.0)
    rankings = []
    for group in range(len(problem.groups)):
        soft, own, others = base.costs(group)
        fits = base.slots(group)[nodes] > 0
        order = np.lexsort((share[nodes], soft[nodes] + 1e6 * (own + others)[nodes], ~fits))
        rankings.append(nodes[order][: int(fits.sum())])
    chosen: dict[int, None] = {}
    at = 0
    while len(chosen) < most and any(at < len(ranking) for ranking in rankings):
        for ranking in rankings:
            if at < len(ranking):
                chosen[int(ranking[at])] = None
        at += 1
    return np.array(sorted(chosen), dtype=np.int64)
