"""Baselines to compare with: Kubernetes' way of placing, and YARN's.

They are blind to what they do not understand, but hard rules bind them as they bind everyone.
"""

import random

import numpy as np

from colchis.model.resources import CPUS, MEMORY
from colchis_master.lra.families import Family, Floats, Ints
from colchis_master.lra.greedy import Greedy, Stop, Style
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State

ZONE = "zone"
"""The node group that stands for Kubernetes' zones; it knows hosts and these, nothing else."""

HOST_SKEW = 3
ZONE_SKEW = 5
"""Most skew of Kubernetes' default spreading, over hosts and over zones."""


def understood_by_kubernetes(family: Family) -> bool:
    """Affinity (at least one) and anti-affinity (none at all), no alternatives."""
    if len(family.alternatives) != 1:
        return False
    return all(
        (target.minimum == 1 and target.maximum is None)
        or (target.minimum == 0 and target.maximum == 0)
        for atom in family.atoms
        for target in atom.targets
    )


class Kubernetes(Greedy):
    """Containers in order of submission, with no view of those to come (Medea, section 7).

    Of nodes on which the rules that are understood are missed equally, the one with the highest
    sum of what Kubernetes' default scores give, each a whole number up to 100 with its default
    weight: spread of the group's members over hosts and zones (``PodTopologySpread`` with the
    constraints that hold where a pod names none: its weight is 2), free resources
    (``NodeResourcesFit``, least allocated) and even use of cores and memory
    (``NodeResourcesBalancedAllocation``). Of equal sums one at random.
    """

    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        rng: random.Random,
        stop: Stop,
        blind_to: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(problem, settings, Style(skip=blind_to, foresight=False), stop)
        self._random = rng
        self._zone = _zones(problem)
        self._scored = [i for i, name in enumerate(problem.resources) if name in (CPUS, MEMORY)]
        self.state.members = _members(problem)

    def _among_equals(self, group: int, candidates: Ints, equals: Ints) -> int:
        nodes = candidates[equals]
        problem = self.problem
        score = 2 * self._spread(group, nodes)
        if self._scored:
            left = self.state.free[nodes] - problem.needs[group]
            free = (left / problem.divisors[nodes])[:, self._scored]
            score += np.floor(100 * free.mean(axis=1)) + np.floor(100 * (1 - free.std(axis=1)))
        best = np.flatnonzero(score == score.max())
        return int(equals[self._random.choice(best.tolist())])

    def _spread(self, group: int, nodes: Ints) -> Floats:
        """As Kubernetes' ``podtopologyspread/scoring.go`` computes it, 0 to 100."""
        members = self.state.members[group]
        raw = members[nodes] * np.log(len(nodes) + 2) + (HOST_SKEW - 1)
        zone = self._zone[nodes]
        named = zone >= 0
        if named.any():
            inside = self._zone >= 0
            per_zone = np.bincount(self._zone[inside], weights=members[inside])
            weight = np.log(len(np.unique(zone[named])) + 2)
            raw[named] += per_zone[zone[named]] * weight + (ZONE_SKEW - 1)
        most, fewest = raw.max(), raw.min()
        return np.asarray(np.floor(100 * (most + fewest - raw) / most), dtype=np.float64)


def _zones(problem: Problem) -> Ints:
    """The number of each node's zone, -1 for none; of several the first."""
    numbers: dict[str, int] = {}
    found = []
    for node in problem.nodes:
        zones = node.sets_of(ZONE)
        found.append(numbers.setdefault(zones[0], len(numbers)) if zones else -1)
    return np.array(found, dtype=np.int64)


def _members(problem: Problem) -> dict[int, Ints]:
    """For each group of the round, how many containers of it run on each node."""
    found = {g: np.zeros(problem.size, dtype=np.int64) for g in range(len(problem.groups))}
    by_name = {
        (problem.apps[group.app].name, group.spec.name): g for g, group in enumerate(problem.groups)
    }
    for container, node in zip(problem.running, problem.container_node.tolist(), strict=True):
        number = by_name.get((container.app, container.id.group))
        if number is not None:
            found[number][node] += 1
    return found


def j_kube(problem: Problem, settings: Settings, rng: random.Random, stop: Stop) -> State:
    """Placing as Kubernetes does, blind to rules that it cannot express."""
    blind_to = frozenset(
        i for i, family in enumerate(problem.live) if not understood_by_kubernetes(family)
    )
    return Kubernetes(problem, settings, rng, stop, blind_to).as_submitted()


def j_kube_plus(problem: Problem, settings: Settings, rng: random.Random, stop: Stop) -> State:
    """As ``j_kube``, with cardinality understood."""
    return Kubernetes(problem, settings, rng, stop).as_submitted()


class AnyRoom(Greedy):
    """YARN without constraints: any node with room, at random."""

    def __init__(
        self, problem: Problem, settings: Settings, rng: random.Random, stop: Stop
    ) -> None:
        super().__init__(problem, settings, Style(), stop)
        self._rng = rng

    def best_node(self, group: int) -> int | None:
        open_nodes = self.state.fits(group)
        if any(family.hard for family in self.problem.live):
            _, hard_own, hard_others = self.state.costs(group)
            open_nodes &= hard_others <= EPSILON
            allowed = open_nodes & (hard_own <= EPSILON)
            open_nodes = allowed if allowed.any() else open_nodes
        candidates = np.flatnonzero(open_nodes)
        if not len(candidates):
            return None
        return int(candidates[self._rng.randrange(len(candidates))])


def yarn(problem: Problem, settings: Settings, rng: random.Random, stop: Stop) -> State:
    """Capacity only."""
    return AnyRoom(problem, settings, rng, stop).as_submitted()
