"""What no placement can better, known without a search."""

import numpy as np

from colchis_master.lra.extents import to_nodes
from colchis_master.lra.greedy import node_loads
from colchis_master.lra.problem import CountedTarget, Family, Floats, Ints, Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import State


def most_apps(problem: Problem, base: State) -> int:
    """Apps each group of which has room for all its containers when it is alone."""
    return sum(
        all(int(base.slots(g).sum()) >= problem.groups[g].count for g in own)
        for own in problem.groups_of
    )


def least_extent(problem: Problem, base: State, apps: set[int]) -> float:
    """A lower bound on the weighted extents of live families when ``apps`` are placed: each
    container alone, with counts as kind to it as the round's containers could make them."""
    coming = [
        sum(g.count for g in problem.groups if g.kind in counter.kinds)
        for counter in problem.counters
    ]
    total = 0.0
    open_nodes = [base.slots(g) > 0 for g in range(len(problem.groups))]
    for number, family in enumerate(problem.live):
        if not family.weight:
            continue
        subjects = base.subjects[number]
        if subjects.any():
            kindest = _kindest(problem, base, family, coming, placed=True)
            total += family.weight * float(subjects @ kindest)
        for g, group in enumerate(problem.groups):
            if group.kind in family.kinds and group.app in apps and open_nodes[g].any():
                kindest = _kindest(problem, base, family, coming, placed=False)
                total += family.weight * group.count * float(kindest[open_nodes[g]].min())
    return total


def _kindest(
    problem: Problem, base: State, family: Family, coming: list[int], *, placed: bool
) -> Floats:
    best: Floats | None = None
    for all_of in family.alternatives:
        total = np.zeros(problem.size)
        for atom in all_of:
            per_set: Floats | None = None
            for target in atom.targets:
                more = coming[target.counter] - (0 if placed else target.own)
                shift = target.own if placed else 0
                extent = _kindest_target(target, base.counts[target.counter] - shift, more)
                per_set = extent if per_set is None else per_set + extent
            assert per_set is not None
            total += to_nodes(problem.set_groups[atom.group], per_set)
        best = total if best is None else np.minimum(best, total)
    assert best is not None
    return best


def _kindest_target(target: CountedTarget, low: Ints, more: int) -> Floats:
    extent = np.zeros(low.shape)
    if target.minimum:
        extent += np.maximum(target.minimum - (low + max(more, 0)), 0) / target.minimum
    if target.maximum is not None:
        extent += np.maximum(low - target.maximum, 0) / max(1, target.maximum)
    return extent


def most_rest(problem: Problem, settings: Settings) -> float:
    """The most that fragmentation, machines and balance can be worth together."""
    weights = settings.weights
    if not problem.size:
        return 0.0
    most = weights.fragmentation
    most -= weights.machines * float(problem.occupied.sum()) / problem.size
    if weights.balance:
        most -= weights.balance * float(node_loads(problem, problem.free).sum()) / problem.size
    return most
