"""What no placement can better, known without a search."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from colchis_master.lra.extents import to_nodes
from colchis_master.lra.families import CountedTarget, Family, Floats, Ints, SetGroup
from colchis_master.lra.greedy import node_loads
from colchis_master.lra.problem import Problem
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

    Each family by itself. Where a rule only limits how many containers a set holds, the cost of a
    set is convex in their number, and the least is found by giving each container in turn to the
    set where it adds least. Elsewhere each container alone, with counts as kind to it as the
    round's containers could make them.
    """
    of_kind: dict[int, list[int]] = {}
    for g, group in enumerate(problem.groups):
        of_kind.setdefault(group.kind, []).append(g)

    def of_kinds(kinds: Collection[int]) -> list[int]:
        return sorted(g for kind in problem.new_kinds.intersection(kinds) for g in of_kind[kind])

    coming = [
        sum(problem.groups[g].count for g in of_kinds(counter.kinds))
        for counter in problem.counters
    ]
    total = 0.0
    open_nodes = [base.slots(g) > 0 for g in range(len(problem.groups))]
    for number, family in enumerate(problem.live):
        if not family.weight:
            continue
        cap = _cap(problem, base, number)
        if cap is not None:
            total += family.weight * _least_capped(problem, base, cap, apps)
            if cap.target.own:
                continue
        elif base.subjects[number].any():
            kindest = _kindest(problem, base, family, coming, placed=True)
            total += family.weight * float(base.subjects[number] @ kindest)
        for g in of_kinds(family.kinds):
            group = problem.groups[g]
            if group.app in apps and open_nodes[g].any():
                kindest = _kindest(problem, base, family, coming, placed=False)
                total += family.weight * group.count * float(kindest[open_nodes[g]].min())
    return total


@dataclass(frozen=True, slots=True)
class _Cap:
    """A rule that limits how many containers of one counter each set holds, and nothing else;
    what is counted and the rule's subjects are given for each set, as they run now."""

    target: CountedTarget
    most: int
    group: SetGroup
    kinds: Collection[int]
    """Of the new containers that are looked at: subjects that count each other, or else those that
    are counted."""
    counted: Ints
    running: Ints
    outside: int
    """Running subjects in no set."""

    def cost(self, new: Ints) -> Floats:
        """Extents in each set with so many new containers: of all subjects where these count each
        other, of the running ones else. Convex and never falling in their number."""
        own = self.target.own
        subjects = self.running + (new if own else 0)
        over = np.maximum(self.counted + new - own - self.most, 0)
        cost: Floats = subjects * over / max(1, self.most)
        return cost


def _cap(problem: Problem, base: State, number: int) -> _Cap | None:
    """What a live family is as a ``_Cap``; None where it is none."""
    family = problem.live[number]
    if len(family.alternatives) != 1 or len(family.alternatives[0]) != 1:
        return None
    atom = family.alternatives[0][0]
    group = problem.set_groups[atom.group]
    if len(atom.targets) != 1 or group.single is None:
        return None
    target = atom.targets[0]
    if target.minimum or target.maximum is None:
        return None
    subjects = base.subjects[number]
    return _Cap(
        target,
        target.maximum,
        group,
        family.kinds if target.own else problem.counters[target.counter].kinds,
        base.counts[target.counter],
        group.per_set(subjects),
        int(subjects[group.single < 0].sum()),
    )


def _least_capped(problem: Problem, base: State, cap: _Cap, apps: set[int]) -> float:
    """The least extents that placing ``apps`` leaves, wherever their containers go."""
    new = [
        g for g, group in enumerate(problem.groups) if group.kind in cap.kinds and group.app in apps
    ]
    count = sum(problem.groups[g].count for g in new)
    slots = _room(problem, base, new)
    room = cap.group.per_set(slots)
    assert cap.group.single is not None
    in_no_set = int(slots[cap.group.single < 0].sum())
    held = np.zeros(len(room), dtype=np.int64)
    total = cap.outside + float(cap.cost(held).sum())
    if not cap.target.own:
        count -= in_no_set
    unharmed = np.where(
        (cap.running == 0) & (not cap.target.own),
        room,
        np.clip(cap.most + cap.target.own - cap.counted, 0, room),
    )
    count -= int(unharmed.sum())
    if count <= 0:
        return total
    steps = [np.ones(in_no_set if cap.target.own else 0)]
    held = unharmed
    while len(sets := np.flatnonzero(held < room)):
        before = cap.cost(held)
        held = held + (held < room)
        steps.append((cap.cost(held) - before)[sets])
        if len(steps) > count:
            break  # More of them in any one set than there are would be needless.
    every = np.sort(np.concatenate(steps))
    return total + float(every[:count].sum())


def _room(problem: Problem, base: State, groups: list[int]) -> Ints:
    """At most so many containers of the groups together fit each node."""
    slots = sum((base.slots(g) for g in groups), np.zeros(problem.size, dtype=np.int64))
    if not groups:
        return slots
    least = problem.needs[groups].min(axis=0)
    for resource in np.flatnonzero(least).tolist():
        slots = np.minimum(slots, np.maximum(problem.free[:, resource], 0) // least[resource])
    return slots


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
