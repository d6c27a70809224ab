"""What no placement can better, known without a search."""

import heapq
from functools import cached_property

import numpy as np

from colchis_master.lra.extents import to_nodes
from colchis_master.lra.greedy import node_loads
from colchis_master.lra.problem import CountedTarget, Family, Floats, Ints, Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import State


class Bounds:
    """What is proven of a round without a search, worked out once."""

    def __init__(self, problem: Problem, settings: Settings, base: State) -> None:
        self.problem = problem
        self.settings = settings
        self._base = base

    @cached_property
    def apps(self) -> int:
        return most_apps(self.problem, self._base)

    def extent(self, placed: set[int]) -> float:
        """Of plans that place ``placed``; a bound of all plans where some apps are left out."""
        return self._all if len(placed) == len(self.problem.apps) else self._none

    @cached_property
    def _all(self) -> float:
        return least_extent(self.problem, self._base, set(range(len(self.problem.apps))))

    @cached_property
    def _none(self) -> float:
        return least_extent(self.problem, self._base, set())

    @cached_property
    def rest(self) -> float:
        return most_rest(self.problem, self.settings)

    def prepare(self) -> None:
        """Work all of them out, for a plan whose time is short afterwards."""
        _ = self.apps, self._all, self._none, self.rest


def most_apps(problem: Problem, base: State) -> int:
    """Apps that have room when each is alone, as many of them as all free capacity together could
    hold, the smallest first, by each resource alone."""
    demands = [
        sum((problem.needs[g] * problem.groups[g].count for g in own), 0 * problem.keep_free)
        for own in problem.groups_of
        if all(int(base.slots(g).sum()) >= problem.groups[g].count for g in own)
    ]
    if not demands:
        return 0
    free = np.maximum(problem.free[problem.schedulable], 0).sum(axis=0)
    held = np.sort(np.array(demands), axis=0).cumsum(axis=0) <= free
    # Where nothing of a resource is needed its running total cannot be what stops an app.
    held |= np.sort(np.array(demands), axis=0) == 0
    return int(held.sum(axis=0).min()) if held.shape[1] else len(demands)


def least_extent(problem: Problem, base: State, apps: set[int]) -> float:
    """A lower bound on the weighted extents of live families when ``apps`` are placed.

    Each family by itself. Where a rule limits how many of its own subjects a set holds, the cost
    of a set is convex in their number, and the least is found by giving each subject in turn to
    the set where it adds least. Elsewhere each container alone, with counts as kind to it as the
    round's containers could make them.
    """
    coming = [
        sum(g.count for g in problem.groups if g.kind in counter.kinds)
        for counter in problem.counters
    ]
    total = 0.0
    open_nodes = [base.slots(g) > 0 for g in range(len(problem.groups))]
    for number, family in enumerate(problem.live):
        if not family.weight:
            continue
        spread = _least_spread(problem, base, number, apps)
        if spread is not None:
            total += family.weight * spread
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


def _least_spread(problem: Problem, base: State, number: int, apps: set[int]) -> float | None:
    """The least extents of a family that only limits how many of its own subjects a set holds;
    None where it is no such family. Others that it counts can only add to them."""
    family = problem.live[number]
    if len(family.alternatives) != 1 or len(family.alternatives[0]) != 1:
        return None
    atom = family.alternatives[0][0]
    group = problem.set_groups[atom.group]
    if len(atom.targets) != 1 or group.single is None:
        return None
    target = atom.targets[0]
    if target.minimum or target.maximum is None or not target.own:
        return None
    counted = base.counts[target.counter]
    subjects = base.subjects[number]
    running = group.per_set(subjects)
    most, scale = target.maximum, max(1, target.maximum)
    outside = float(subjects[group.single < 0].sum())

    def cost(name: int, new: int) -> float:
        others = max(int(counted[name]) + new - 1 - most, 0)
        return (int(running[name]) + new) * others / scale

    over = np.maximum(counted - 1 - most, 0)
    total = outside + float((running * over).sum()) / scale
    slots = np.zeros(problem.size, dtype=np.int64)
    count = 0
    for g, new in enumerate(problem.groups):
        if new.kind in family.kinds and new.app in apps:
            slots += base.slots(g)
            count += new.count
    if not count:
        return total
    room = group.per_set(slots)
    unharmed = np.minimum(room, np.maximum(most + 1 - counted, 0))
    if int(unharmed.sum()) >= count:
        return total
    queue = [(cost(name, 1) - cost(name, 0), 1, name) for name in np.flatnonzero(room).tolist()]
    nowhere = int(slots[group.single < 0].sum())
    if nowhere:
        queue.append((1.0, 0, -1))
    heapq.heapify(queue)
    for _ in range(count):
        if not queue:
            break
        extra, there, name = queue[0]
        total += extra
        if name < 0:
            nowhere -= 1
            if not nowhere:
                heapq.heappop(queue)
        elif there < int(room[name]):
            step = cost(name, there + 1) - cost(name, there)
            heapq.heapreplace(queue, (step, there + 1, name))
        else:
            heapq.heappop(queue)
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
