"""The integer program of Medea (section 5.2 of the paper), with identical containers as one
integer per node and extents per family and cell.

A *cell* is a set of nodes that lie in the same sets of every node group that a rule speaks of, so
that all subjects of a family in it miss the rule by the same extent E. The cost of a cell is E
times its number of subjects: a constant times E for running ones, and for new ones Σ_j e_j with
e_j >= E - M (1 - y_j), where y_1 >= y_2 >= ... say in unary how many there are. Where a rule only
limits how many of the very same containers a set holds, that cost is a convex function of their
number and needs no y.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pulp

from colchis_master.lra.families import CountedAtom, CountedTarget, Family, Ints
from colchis_master.lra.greedy import load_segments, node_loads
from colchis_master.lra.problem import Problem
from colchis_master.lra.program import Linear, Rows, constant
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import State


@dataclass
class Cell:
    """Nodes in the same sets of a family's groups; ``nodes`` are those offered."""

    sets: tuple[tuple[int, ...], ...]
    running: int = 0
    baseline: float = 0.0
    nodes: list[int] = field(default_factory=list)


class Model:
    """The program for a problem, restricted to ``offered`` nodes. Raises OutOfTimeError as soon as
    ``late`` says that there is no time left for it."""

    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        offered: Sequence[int],
        late: Callable[[], bool] = lambda: False,
    ) -> None:
        self.problem = problem
        self.settings = settings
        self.base = State(problem)
        self.rows = Rows(late)
        self.x: dict[tuple[int, int], pulp.LpVariable] = {}
        self._upper: dict[tuple[int, int], int] = {}
        self._groups_at: dict[int, list[int]] = {n: [] for n in offered}
        for group in range(len(problem.groups)):
            slots = self.base.slots(group)
            for node in offered:
                most = int(slots[node])
                if most > 0:
                    self.x[group, node] = self.rows.integer(most)
                    self._upper[group, node] = most
                    self._groups_at[node].append(group)
        self._nodes_of: dict[int, list[int]] = {g: [] for g in range(len(problem.groups))}
        for group, node in self.x:
            self._nodes_of[group].append(node)
        self.placed = [self.rows.binary() for _ in problem.apps]
        self.spoilt: dict[int, pulp.LpVariable] = {}
        self.extent: list[tuple[pulp.LpVariable, float]] = []
        self.extent_constant = 0.0
        self.rest: list[tuple[pulp.LpVariable, float]] = []
        """Costs (to be minimised) besides apps placed and extents, with ``rest_constant``."""
        self.rest_constant = 0.0
        self._members_of: dict[int, dict[int, list[int]]] = {}
        self._held: dict[tuple[int, int], Linear] = {}
        self._unary: dict[tuple[int, tuple[int, ...]], list[pulp.LpVariable]] = {}
        self._any: dict[tuple[int, tuple[int, ...]], pulp.LpVariable] = {}
        self._loads = node_loads(problem, problem.free)
        self._all_or_nothing()
        self._capacities()
        for number, family in enumerate(problem.live):
            self._family(number, family)

    def assigned(self, columns: Sequence[float]) -> dict[tuple[int, int], int]:
        """The assignments that a solution stands for."""
        found = {key: round(columns[v.index]) for key, v in self.x.items()}
        return {key: times for key, times in found.items() if times}

    def start(self, assigned: Mapping[tuple[int, int], int]) -> dict[int, float]:
        """Values of the integer variables for a plan; none where the plan uses other nodes."""
        if any(key not in self.x for key in assigned):
            return {}
        return {v.index: float(assigned.get(key, 0)) for key, v in self.x.items()}

    def _all_or_nothing(self) -> None:
        for number, group in enumerate(self.problem.groups):
            terms = [(self.x[number, node], 1.0) for node in self._nodes_of[number]]
            self.rows.equal([*terms, (self.placed[group.app], -float(group.count))], 0)

    def _capacities(self) -> None:
        problem, weights = self.problem, self.settings.weights
        units = [
            max(1, math.gcd(*(int(v) for v in problem.needs[:, r])))
            for r in range(len(problem.resources))
        ]
        for node, groups in self._groups_at.items():
            if not groups:
                continue
            if weights.fragmentation:
                spoilt = self.spoilt[node] = self.rows.binary()
                self.rest.append((spoilt, weights.fragmentation / problem.size))
            held = [(self.x[g, node], 1.0) for g in groups]
            most = float(min(problem.total_new, sum(self._upper[g, node] for g in groups)))
            for r, unit in enumerate(units):
                free, keep = int(problem.free[node, r]), int(problem.keep_free[r])
                terms = [
                    (self.x[g, node], float(problem.needs[g, r] // unit))
                    for g in groups
                    if problem.needs[g, r]
                ]
                room = free // unit
                if terms and (not weights.fragmentation or free < keep):
                    self.rows.at_most(terms, room)
                if not weights.fragmentation:
                    continue
                if free < keep:
                    self.rows.at_most([*held, (spoilt, -most)], 0)
                elif terms:
                    calm = (free - keep) // unit
                    self.rows.at_most([*terms, (spoilt, float(calm - room))], calm)
            if weights.machines and not problem.occupied[node]:
                used = self.rows.binary()
                self.rest.append((used, weights.machines / problem.size))
                self.rows.at_most([*held, (used, -most)], 0)
            if weights.balance:
                self._balance(node, groups)

    def _balance(self, node: int, groups: list[int]) -> None:
        problem = self.problem
        load = self.rows.real()
        weight = self.settings.weights.balance / problem.size
        self.rest_constant -= weight * float(self._loads[node])
        self.rest.append((load, weight))
        for r in range(len(problem.resources)):
            capacity = int(problem.capacity[node, r])
            if not capacity:
                continue
            used = (capacity - int(problem.free[node, r])) / capacity
            terms = [(self.x[g, node], int(problem.needs[g, r]) / capacity) for g in groups]
            for slope, offset in load_segments():
                self.rows.at_least(
                    [(load, 1.0), *((v, -slope * share) for v, share in terms)],
                    slope * used + offset,
                )

    def _members(self, group: int) -> dict[int, list[int]]:
        """The offered nodes of each set of a node group."""
        known = self._members_of.get(group)
        if known is None:
            known = self._members_of[group] = {}
            sets_of = self.problem.set_groups[group].sets_of
            for node in self._groups_at:
                for name in sets_of[node]:
                    known.setdefault(name, []).append(node)
        return known

    def _held_in(self, counter: int, name: int) -> Linear:
        """How many containers of a counter a set will hold."""
        known = self._held.get((counter, name))
        if known is not None:
            return known
        problem = self.problem
        members = self._members(problem.counters[counter].group).get(name, [])
        base = float(self.base.counts[counter][name])
        terms: list[tuple[pulp.LpVariable, float]] = []
        most = 0.0
        for number, new in enumerate(problem.groups):
            if new.kind not in problem.counters[counter].kinds:
                continue
            inside = [n for n in members if (number, n) in self.x]
            terms += [(self.x[number, n], 1.0) for n in inside]
            most += min(new.count, sum(self._upper[number, n] for n in inside))
        if len(terms) > 3:
            total = self.rows.real(most)
            self.rows.equal([*terms, (total, -1.0)], 0)
            terms = [(total, 1.0)]
        found = Linear(tuple(terms), base, base, base + most)
        self._held[counter, name] = found
        return found

    def _target(self, target: CountedTarget, name: int) -> Linear:
        held = self._held_in(target.counter, name)
        low, high = held.low - target.own, held.high - target.own
        top = math.inf if target.maximum is None else target.maximum
        if low >= target.minimum and high <= top:
            return constant(0.0)
        if not held.terms:
            return constant(_miss(target, low))
        extent = self.rows.real()
        least = 0.0 if high >= target.minimum and low <= top else math.inf
        most = 0.0
        offset = held.constant - target.own
        if target.minimum and low < target.minimum:
            scale = 1.0 / target.minimum
            self.rows.at_least(
                [(extent, 1.0), *((v, f * scale) for v, f in held.terms)],
                (target.minimum - offset) * scale,
            )
            most = max(most, (target.minimum - low) * scale)
        if target.maximum is not None and high > target.maximum:
            scale = 1.0 / max(1, target.maximum)
            self.rows.at_least(
                [(extent, 1.0), *((v, -f * scale) for v, f in held.terms)],
                (offset - target.maximum) * scale,
            )
            most = max(most, (high - target.maximum) * scale)
        if least:
            least = min(_miss(target, low), _miss(target, high))
        return Linear(((extent, 1.0),), 0.0, least, most)

    def _least(self, options: list[Linear]) -> Linear:
        """The least of several extents (a choice by binaries where it is not known)."""
        if not options:
            return constant(1.0)
        high = min(option.high for option in options)
        kept = [option for option in options if option.low <= high]
        fixed = [option for option in kept if not option.terms]
        if fixed:
            best = min(fixed, key=lambda option: option.constant)
            kept = [o for o in kept if o.terms and o.low < best.constant] + [best]
        if len(kept) == 1:
            return kept[0]
        extent = self.rows.real()
        choices = []
        for option in kept:
            chosen = self.rows.binary()
            choices.append((chosen, 1.0))
            self.rows.at_least(
                [(extent, 1.0), *((v, -f) for v, f in option.terms), (chosen, -option.high)],
                option.constant - option.high,
            )
        self.rows.equal(choices, 1)
        return Linear(((extent, 1.0),), 0.0, min(option.low for option in kept), high)

    def _cell_extent(self, family: Family, cell: Cell) -> Linear:
        alternatives = []
        for all_of in family.alternatives:
            total = constant(0.0)
            for atom in all_of:
                sets = cell.sets[family.groups.index(atom.group)]
                options = [self._atom_in(atom, name) for name in sets]
                total = total.plus(self._least(options))
            alternatives.append(total)
        return self._least(alternatives)

    def _atom_in(self, atom: CountedAtom, name: int) -> Linear:
        total = constant(0.0)
        for target in atom.targets:
            total = total.plus(self._target(target, name))
        return total

    def _cells(self, number: int, family: Family) -> list[Cell]:
        problem = self.problem
        sets_of = [problem.set_groups[group].sets_of for group in family.groups]
        cells: dict[tuple[tuple[int, ...], ...], Cell] = {}
        subjects = self.base.subjects[number]
        baseline = self.base.baseline.get(number)
        for node in np.flatnonzero(subjects).tolist():
            key = tuple(sets[node] for sets in sets_of)
            cell = cells.setdefault(key, Cell(key))
            cell.running += int(subjects[node])
            if baseline is not None:
                cell.baseline = float(baseline[node])
        mine = [g for g, group in enumerate(problem.groups) if group.kind in family.kinds]
        offered: Ints = np.unique(
            np.array([n for g in mine for n in self._nodes_of[g]], dtype=np.int64)
        )
        for node in offered.tolist():
            key = tuple(sets[node] for sets in sets_of)
            cells.setdefault(key, Cell(key)).nodes.append(node)
        return list(cells.values())

    def _family(self, number: int, family: Family) -> None:
        mine = [g for g, group in enumerate(self.problem.groups) if group.kind in family.kinds]
        for cell in self._cells(number, family):
            if not family.hard and len(mine) == 1 and self._convex(family, cell, mine[0]):
                continue
            extent = self._cell_extent(family, cell)
            if extent.high <= 0:
                continue
            if cell.running:
                self._charge(extent, family.weight * cell.running)
                if family.hard and extent.high > cell.baseline:
                    if not extent.terms:
                        continue
                    self.rows.at_most(extent.terms, cell.baseline - extent.constant)
            for group in mine:
                self._new_subjects(family, cell, group, extent)

    def _new_subjects(self, family: Family, cell: Cell, group: int, extent: Linear) -> None:
        nodes = tuple(n for n in cell.nodes if (group, n) in self.x)
        if not nodes:
            return
        if family.hard:
            if not extent.terms or extent.low > 0:
                for node in nodes:
                    self.rows.at_most([(self.x[group, node], 1.0)], 0)
                return
            some = self._some(group, nodes)
            self.rows.at_most([*extent.terms, (some, extent.high)], extent.high - extent.constant)
            return
        if not family.weight:
            return
        if not extent.terms:
            for node in nodes:
                self.extent.append((self.x[group, node], family.weight * extent.constant))
            return
        for present in self._count_in(group, nodes):
            missed = self.rows.real()
            self.extent.append((missed, family.weight))
            self.rows.at_least(
                [
                    (missed, 1.0),
                    *((v, -f) for v, f in extent.terms),
                    (present, -extent.high),
                ],
                extent.constant - extent.high,
            )
            if extent.low > 0:
                self.rows.at_least([(missed, 1.0), (present, -extent.low)], 0)

    def _charge(self, extent: Linear, weight: float) -> None:
        self.extent_constant += extent.constant * weight
        if weight:
            self.extent += [(v, f * weight) for v, f in extent.terms]

    def _most_in(self, group: int, nodes: tuple[int, ...]) -> int:
        count = self.problem.groups[group].count
        return min(count, sum(self._upper[group, node] for node in nodes))

    def _some(self, group: int, nodes: tuple[int, ...]) -> pulp.LpVariable:
        """1 where any container of the group is on these nodes."""
        key = (group, nodes)
        if key not in self._any:
            most = self._most_in(group, nodes)
            if most == 1 and len(nodes) == 1:
                self._any[key] = self.x[group, nodes[0]]
            else:
                some = self._any[key] = self.rows.binary()
                self.rows.at_most(
                    [*((self.x[group, n], 1.0) for n in nodes), (some, -float(most))], 0
                )
        return self._any[key]

    def _count_in(self, group: int, nodes: tuple[int, ...]) -> list[pulp.LpVariable]:
        """How many containers of the group are on these nodes, in unary."""
        key = (group, nodes)
        if key not in self._unary:
            most = self._most_in(group, nodes)
            if most == 1 and len(nodes) == 1:
                self._unary[key] = [self.x[group, nodes[0]]]
            else:
                unary = self._unary[key] = [self.rows.binary() for _ in range(most)]
                self.rows.equal(
                    [*((self.x[group, n], 1.0) for n in nodes), *((y, -1.0) for y in unary)], 0
                )
                for one, two in itertools.pairwise(unary):
                    self.rows.at_least([(one, 1.0), (two, -1.0)], 0)
        return self._unary[key]

    def _convex(self, family: Family, cell: Cell, group: int) -> bool:
        """Cost of a cell whose rule limits how many of these very containers a set holds."""
        if len(family.alternatives) != 1 or len(family.alternatives[0]) != 1:
            return False
        atom = family.alternatives[0][0]
        if len(atom.targets) != 1 or len(cell.sets[0]) != 1:
            return False
        target, name = atom.targets[0], cell.sets[0][0]
        if target.minimum or target.maximum is None or not target.own:
            return False
        problem = self.problem
        counted = [
            g
            for g, new in enumerate(problem.groups)
            if new.kind in problem.counters[target.counter].kinds
        ]
        if counted != [group]:
            return False
        if problem.set_groups[atom.group].single is None:
            return False
        nodes = [n for n in cell.nodes if (group, n) in self.x]
        base = int(self.base.counts[target.counter][name])
        most = self._most_in(group, tuple(nodes))

        def cost(number: int) -> float:
            others = base + number - 1
            return family.weight * (cell.running + number) * _miss(target, max(others, 0))

        self.extent_constant += cost(0)
        if cost(most) <= cost(0):
            return True
        charge = self.rows.real()
        self.extent.append((charge, 1.0))
        terms = [(self.x[group, n], 1.0) for n in nodes]
        for number in range(most):
            slope = cost(number + 1) - cost(number)
            if slope > 0:
                offset = cost(number) - cost(0) - slope * number
                self.rows.at_least([(charge, 1.0), *((v, -slope * f) for v, f in terms)], offset)
        return True


def _miss(target: CountedTarget, count: float) -> float:
    missed = 0.0
    if target.minimum and count < target.minimum:
        missed += (target.minimum - count) / target.minimum
    if target.maximum is not None and count > target.maximum:
        missed += (count - target.maximum) / max(1, target.maximum)
    return missed
