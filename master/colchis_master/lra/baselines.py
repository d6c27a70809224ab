"""Baselines to compare with: Kubernetes' way of placing, and YARN's.

They are blind to what they do not understand, but hard rules bind them as they bind everyone.
"""

import random

import numpy as np

from colchis_master.lra.greedy import Greedy, Stop, Style
from colchis_master.lra.problem import Family, Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State


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


def j_kube(problem: Problem, settings: Settings, stop: Stop) -> State:
    """Placing as Kubernetes does: containers in order of submission with no view of those to come,
    blind to rules it cannot express; of equally good nodes the least allocated (Medea, section
    7)."""
    skip = frozenset(
        i for i, family in enumerate(problem.live) if not understood_by_kubernetes(family)
    )
    return Greedy(problem, settings, Style(skip=skip, foresight=False), stop).as_submitted()


def j_kube_plus(problem: Problem, settings: Settings, stop: Stop) -> State:
    """As ``j_kube``, with cardinality understood."""
    return Greedy(problem, settings, Style(foresight=False), stop).as_submitted()


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
