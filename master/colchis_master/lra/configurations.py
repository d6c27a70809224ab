"""The integer program by node configurations, where all rules of a round are per node.

A configuration is what one node is given: so many containers of each group. What it misses, and
whether it fits, is known beforehand, so the program only chooses how many nodes of each class take
each configuration: its size depends on the number of classes, not of nodes, and its relaxation is
tight (Gilmore and Gomory, 1961, for cutting stock).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pulp

from colchis.model.constraints import NODE
from colchis_master.lra.extents import target_extent
from colchis_master.lra.families import Bools, Family, Floats, Ints
from colchis_master.lra.greedy import load_segments, node_loads
from colchis_master.lra.offers import node_classes
from colchis_master.lra.problem import Problem
from colchis_master.lra.program import Rows
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State

MOST = 6000
"""Configurations beyond which the program by nodes is used."""

Assigned = dict[tuple[int, int], int]


class TooManyError(Exception):
    """The configurations are too many, or the rules not all per node."""


class Configurations:
    """The program; raises TooManyError where it does not suit the problem."""

    def __init__(
        self, problem: Problem, settings: Settings, late: Callable[[], bool] = lambda: False
    ) -> None:
        for family in problem.live:
            if any(problem.set_groups[group].name != NODE for group in family.groups):
                raise TooManyError
        self.problem = problem
        self.settings = settings
        self.base = State(problem)
        self.rows = Rows(late)
        self.placed = [self.rows.binary() for _ in problem.apps]
        self.extent: list[tuple[pulp.LpVariable, float]] = []
        self.extent_constant = 0.0
        self.rest: list[tuple[pulp.LpVariable, float]] = []
        self.rest_constant = 0.0
        self._classes: list[tuple[list[int], Ints, list[pulp.LpVariable]]] = []
        self._groups = len(problem.groups)
        self._loads = node_loads(problem, problem.free)
        self._slots = np.array(
            [self.base.slots(g) for g in range(self._groups)], dtype=np.int64
        ).reshape(self._groups, problem.size)
        self._fill()

    def _fill(self) -> None:
        problem = self.problem
        classes = node_classes(problem, self.base, self.settings)
        taken: list[list[tuple[pulp.LpVariable, float]]] = [[] for _ in range(self._groups)]
        total = 0
        for members in classes:
            node = members[0]
            configurations = self._enumerate(node, MOST - total)
            extents, allowed = self._extents(node, configurations)
            configurations, extents = configurations[allowed], extents[allowed]
            total += len(configurations)
            rest = self._rest(node, configurations)
            chosen = [self.rows.integer(len(members)) for _ in configurations]
            self._classes.append((members, configurations, chosen))
            self.rows.equal([(v, 1.0) for v in chosen], float(len(members)))
            for variable, extent, cost in zip(chosen, extents.tolist(), rest.tolist(), strict=True):
                if extent:
                    self.extent.append((variable, extent))
                if cost:
                    self.rest.append((variable, cost))
            for group in range(self._groups):
                held = configurations[:, group]
                taken[group] += [(chosen[i], float(held[i])) for i in np.flatnonzero(held)]
        for number, new in enumerate(problem.groups):
            self.rows.equal([*taken[number], (self.placed[new.app], -float(new.count))], 0)

    def _enumerate(self, node: int, most: int) -> Ints:
        """All configurations that fit on a node, the empty one first."""
        problem = self.problem
        found = np.zeros((1, self._groups), dtype=np.int64)
        for group in range(self._groups):
            slots = int(self._slots[group, node])
            if not slots:
                continue
            grown = np.repeat(found, slots + 1, axis=0)
            grown[:, group] = np.tile(np.arange(slots + 1), len(found))
            used = grown @ problem.needs
            found = grown[((used <= problem.free[node]) | (used == 0)).all(axis=1)]
            if len(found) > most:
                raise TooManyError
        return found

    def _extents(self, node: int, configurations: Ints) -> tuple[Floats, Bools]:
        """Weighted extents on a node with each configuration, and which break no hard rule."""
        problem = self.problem
        total = np.zeros(len(configurations))
        allowed = np.ones(len(configurations), dtype=np.bool_)
        for number, family in enumerate(problem.live):
            mine = [g for g, new in enumerate(problem.groups) if new.kind in family.kinds]
            new = configurations[:, mine].sum(axis=1)
            running = int(self.base.subjects[number][node])
            extent = self._family(family, node, configurations)
            total += family.weight * (running + new) * np.where(running + new > 0, extent, 0.0)
            if family.hard:
                allowed &= (new == 0) | (extent <= EPSILON)
                if running:
                    allowed &= extent <= self.base.baseline[number][node] + EPSILON
        return total, allowed

    def _family(self, family: Family, node: int, configurations: Ints) -> Floats:
        problem = self.problem
        best: Floats | None = None
        for all_of in family.alternatives:
            extent = np.zeros(len(configurations))
            for atom in all_of:
                for target in atom.targets:
                    kinds = problem.counters[target.counter].kinds
                    counted = [g for g, new in enumerate(problem.groups) if new.kind in kinds]
                    held = int(self.base.counts[target.counter][node]) - target.own
                    extent += target_extent(target, held + configurations[:, counted].sum(axis=1))
            best = extent if best is None else np.minimum(best, extent)
        assert best is not None
        return best

    def _rest(self, node: int, configurations: Ints) -> Floats:
        problem, weights = self.problem, self.settings.weights
        size = problem.size
        left = problem.free[node] - configurations @ problem.needs
        touched = configurations.any(axis=1)
        rest = weights.fragmentation / size * (touched & (left < problem.keep_free).any(axis=1))
        if weights.machines and not problem.occupied[node]:
            rest = rest + weights.machines / size * touched
        if weights.balance:
            capacity = problem.capacity[node]
            used = np.where(capacity > 0, (capacity - left) / np.maximum(capacity, 1), 0.0)
            share = used.max(axis=1, initial=0.0)
            load = np.zeros(len(configurations))
            for slope, offset in load_segments():
                load = np.maximum(load, slope * share + offset)
            rest = rest + weights.balance / size * (load - self._loads[node])
        result: Floats = rest.astype(np.float64)
        return result

    def assigned(self, columns: Sequence[float]) -> Assigned:
        """The assignments that a solution stands for."""
        found: Assigned = {}
        for members, configurations, chosen in self._classes:
            free = iter(members)
            for configuration, variable in zip(configurations, chosen, strict=True):
                groups = np.flatnonzero(configuration).tolist()
                if not groups:
                    continue
                for _ in range(round(columns[variable.index])):
                    node = next(free)
                    for group in groups:
                        found[group, node] = int(configuration[group])
        return found

    def start(self, assigned: Mapping[tuple[int, int], int]) -> dict[int, float]:
        """Values of the variables for a plan."""
        on_node: dict[int, Ints] = {}
        for (group, node), times in assigned.items():
            on_node.setdefault(node, np.zeros(self._groups, dtype=np.int64))[group] = times
        empty = np.zeros(self._groups, dtype=np.int64).tobytes()
        values: dict[int, float] = {}
        for members, configurations, chosen in self._classes:
            index = {row.tobytes(): v.index for row, v in zip(configurations, chosen, strict=True)}
            values.update((v.index, 0.0) for v in chosen)
            for node in members:
                key = on_node[node].tobytes() if node in on_node else empty
                if key not in index:
                    return {}
                values[index[key]] += 1.0
        return values
