"""What one more container of a group would mean for each node's resources."""

import numpy as np

from colchis_master.lra.families import Ints
from colchis_master.lra.problem import Problem


class View:
    """Kept per group: room for how many, dominant share and fragmentation with one more."""

    def __init__(self, problem: Problem, group: int) -> None:
        self._problem = problem
        self._needs = problem.needs[group]
        self._needed = self._needs.tolist()
        self._capacity = problem.capacity_rows
        self._keep = problem.keep_free.tolist()
        self._schedulable = problem.schedulable
        self._wanted = np.flatnonzero(self._needs)
        self._count = problem.groups[group].count
        self.slots = np.zeros(problem.size, dtype=np.int64)
        self.fits = np.zeros(problem.size, dtype=np.bool_)
        self.spoils = np.zeros(problem.size, dtype=np.bool_)
        self.share = np.zeros(problem.size)
        self.seen = 0

    def update_one(self, free: Ints, touched: Ints, node: int) -> None:
        """As ``update``: most changes are of one node, for which arrays are slow."""
        held_free = free[node].tolist()
        slots = self._count if self._schedulable[node] else 0
        share = 0.0
        short = spoilt = False
        for held, needed, capacity, keep in zip(
            held_free, self._needed, self._capacity[node], self._keep, strict=True
        ):
            if needed:
                slots = min(slots, held // needed)
            share = max(share, (capacity - held + needed) / max(capacity, 1))
            short = short or held - needed < keep
            spoilt = spoilt or held < keep
        self.slots[node] = slots = max(slots, 0)
        self.fits[node] = slots > 0
        self.share[node] = share
        self.spoils[node] = short and not (spoilt and touched[node] > 0)

    def update(self, free: Ints, touched: Ints, nodes: Ints | slice) -> None:
        problem = self._problem
        free = free[nodes]
        left = free - self._needs
        slots = np.full(len(free), self._count, dtype=np.int64)
        for resource in self._wanted.tolist():
            slots = np.minimum(slots, free[:, resource] // self._needs[resource])
        slots[~problem.schedulable[nodes]] = 0
        self.slots[nodes] = slots = np.maximum(slots, 0)
        self.fits[nodes] = slots > 0
        used = problem.capacity[nodes] - left
        self.share[nodes] = (used / problem.divisors[nodes]).max(axis=1, initial=0.0)
        short = (left < problem.keep_free).any(axis=1)
        spoilt = (touched[nodes] > 0) & (free < problem.keep_free).any(axis=1)
        self.spoils[nodes] = short & ~spoilt
