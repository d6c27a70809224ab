"""What a compiled round consists of: node groups, counters, what rules ask, what is placed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from colchis.model.app import GroupSpec
from colchis.model.constraints import NODE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SetGroup:
    """A node group. ``entry_node``/``entry_set`` list its memberships, sorted by node;
    ``single`` maps each node to its set (-1: none) where no node is in several sets."""

    name: str
    sets: tuple[str, ...]
    entry_node: Ints
    entry_set: Ints
    single: Ints | None
    nodes: int

    def per_set(self, per_node: NDArray[np.generic]) -> Ints:
        """Sums of a number per node over each set."""
        if self.name == NODE:
            return per_node.astype(np.int64)
        weights = per_node[self.entry_node]
        return np.bincount(self.entry_set, weights=weights, minlength=len(self.sets)).astype(
            np.int64
        )

    @cached_property
    def sets_of(self) -> tuple[tuple[int, ...], ...]:
        """The sets of each node."""
        found: list[list[int]] = [[] for _ in range(self.nodes)]
        for node, name in zip(self.entry_node.tolist(), self.entry_set.tolist(), strict=True):
            found[node].append(name)
        return tuple(tuple(sets) for sets in found)


@dataclass(frozen=True, slots=True)
class CountedTarget:
    """A target whose tags are counter ``counter``; ``own`` is 1 where the subject itself is in
    that counter, and is not to be counted."""

    counter: int
    own: int
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class CountedAtom:
    group: int
    targets: tuple[CountedTarget, ...]


@dataclass(frozen=True, eq=False)
class Family:
    """What rule ``rule`` asks of containers of ``kinds``: the atoms that have them as subject.

    Where rules that ask the same of different kinds are one family, ``askers`` names each kind's.
    """

    rule: int
    weight: float
    hard: bool
    alternatives: tuple[tuple[CountedAtom, ...], ...]
    kinds: set[int] = field(default_factory=set)
    askers: dict[int, int] = field(default_factory=dict)

    @cached_property
    def counters(self) -> frozenset[int]:
        return frozenset(t.counter for a in self.atoms for t in a.targets)

    @cached_property
    def groups(self) -> tuple[int, ...]:
        return tuple(sorted({atom.group for atom in self.atoms}))

    @property
    def atoms(self) -> Iterable[CountedAtom]:
        return (atom for all_of in self.alternatives for atom in all_of)

    @property
    def trivial(self) -> bool:
        """Satisfied whatever happens."""
        return any(not all_of for all_of in self.alternatives)


@dataclass(frozen=True, slots=True)
class Counter:
    """How many containers of ``kinds`` each set of node group ``group`` holds."""

    group: int
    kinds: frozenset[int]


@dataclass(frozen=True, slots=True)
class Group:
    """The containers of one group of an app that are still to be placed."""

    app: int
    spec: GroupSpec
    indices: tuple[int, ...]
    kind: int

    @property
    def count(self) -> int:
        return len(self.indices)
