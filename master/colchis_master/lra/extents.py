"""Extents of a family over all nodes at once, from the counts per node set."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from colchis.model.constraints import NODE
from colchis_master.lra.families import CountedAtom, CountedTarget, Family, Floats, Ints, SetGroup
from colchis_master.lra.problem import Problem

_NONE: frozenset[int] = frozenset()
Counts = Sequence[Ints] | Mapping[int, Ints]


def target_extent(target: CountedTarget, counts: Ints) -> Floats:
    """Extents of a target for numbers of *other* containers."""
    extent: Floats | None = None
    if target.minimum > 0:
        extent = np.maximum(target.minimum - counts, 0) / target.minimum
    if target.maximum is not None:
        over = np.maximum(counts - target.maximum, 0) / max(1, target.maximum)
        extent = over if extent is None else extent + over
    return np.zeros(counts.shape) if extent is None else extent


def set_extents(
    atom: CountedAtom,
    counts: Counts,
    *,
    placed: bool,
    bumped: Collection[int] = _NONE,
    at: Ints | None = None,
) -> Floats:
    """Extents of an atom in each set of its group, or in the sets ``at``; ``placed`` where the
    subject is among those counted; counters in ``bumped`` are taken as one higher."""
    total: Floats | None = None
    for target in atom.targets:
        shift = int(target.counter in bumped) - (target.own if placed else 0)
        held = counts[target.counter]
        if at is not None:
            held = held[at]
        extent = target_extent(target, held + shift if shift else held)
        total = extent if total is None else total + extent
    assert total is not None
    return total


def to_nodes(group: SetGroup, per_set: Floats, at: Ints | None = None) -> Floats:
    """The least over the sets that hold each node, or each of ``at``; 1 where there is none."""
    if group.name == NODE:
        return per_set if at is None else per_set[at]
    if group.single is not None:
        home = group.single if at is None else group.single[at]
        if len(per_set) == 0:
            return np.ones(len(home))
        if len(group.entry_node) == group.nodes:
            return per_set[home]
        return np.where(home >= 0, per_set[home], 1.0)
    least = np.full(group.nodes, np.inf)
    np.minimum.at(least, group.entry_node, per_set[group.entry_set])
    least[np.isinf(least)] = 1.0
    return least if at is None else least[at]


def node_extents(
    problem: Problem,
    family: Family,
    counts: Counts,
    *,
    placed: bool,
    bumped: Collection[int] = _NONE,
    at: Ints | None = None,
) -> Floats:
    """How far a container of the family misses its rule on each node, or on the nodes ``at``."""
    best: Floats | None = None
    for all_of in family.alternatives:
        total: Floats | None = None
        for atom in all_of:
            group = problem.set_groups[atom.group]
            if at is not None and group.name == NODE:
                extent = set_extents(atom, counts, placed=placed, bumped=bumped, at=at)
            else:
                extent = to_nodes(
                    group, set_extents(atom, counts, placed=placed, bumped=bumped), at
                )
            total = extent if total is None else total + extent
        if total is None:
            return np.zeros(problem.size if at is None else len(at))
        best = total if best is None else np.minimum(best, total)
    assert best is not None
    return best
