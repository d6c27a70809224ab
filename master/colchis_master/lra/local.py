"""What rules over single nodes make one more container cost, kept up to date node by node.

A container that is placed changes these costs on its own node only. So what a group's next
container would cost is worked out for all nodes once, and afterwards where something changed.
Rules of one target, which are most, are worked out for all families at once.
"""

from collections.abc import Sequence

import numpy as np

from colchis.model.constraints import NODE
from colchis_master.lra.extents import node_extents
from colchis_master.lra.families import CountedTarget, Family, Floats, Ints
from colchis_master.lra.problem import Problem

EPSILON = 1e-9
BLOCK = 1 << 19
"""Pairs of a family and a node that are worked on at once, which bounds the memory."""
FEW = 32
"""Nodes up to which it is quicker not to look first which families matter."""
_NEVER = np.iinfo(np.int64).max // 4


def is_local(problem: Problem, family: Family) -> bool:
    """Whether all that a family asks concerns its containers' own nodes."""
    return all(problem.set_groups[group].name == NODE for group in family.groups)


class Counts:
    """Numbers per node of containers that counters count and that are subjects of live families,
    as rows of two arrays; ``row_of`` says which row is a counter's."""

    def __init__(self, problem: Problem) -> None:
        per_node = [
            number
            for number, counter in enumerate(problem.counters)
            if len(problem.live_counts[number]) and problem.set_groups[counter.group].name == NODE
        ]
        self.row_of = {number: row for row, number in enumerate(per_node)}
        self.held = _stacked([problem.live_counts[number] for number in per_node], problem.size)
        self.subjects = _stacked(problem.live_subjects, problem.size)


def _stacked(rows: Sequence[Ints], size: int) -> Ints:
    if not rows:
        return np.zeros((0, size), dtype=np.int64)
    return np.stack(rows)


class _Table:
    """Families of one target each, by column."""

    def __init__(self, counts: Counts, found: Sequence[tuple[int, Family, float, bool]]) -> None:
        targets = [_only_target(family) for _, family, _, _ in found]
        self.families = np.array([number for number, _, _, _ in found], dtype=np.int64)
        self.rows = np.array([counts.row_of[t.counter] for t in targets], dtype=np.int64)
        self.own = np.array([t.own for t in targets], dtype=np.int64)[:, None]
        self.least = np.array([t.minimum for t in targets], dtype=np.int64)[:, None]
        self.most = np.array(
            [_NEVER if t.maximum is None else t.maximum for t in targets], dtype=np.int64
        )[:, None]
        self.below = np.maximum(self.least, 1)
        self.above = np.maximum(self.most, 1)
        self.weight = np.array([weight for _, _, weight, _ in found], dtype=np.float64)
        self.hard = np.array([family.hard for _, family, _, _ in found], dtype=np.float64)
        self.any_hard = bool(self.hard.any())
        self.counted = np.array([counted for _, _, _, counted in found], dtype=np.bool_)

    def extents(self, held: Ints) -> Floats:
        """Of a newcomer, by the numbers of containers there."""
        short = np.maximum(self.least - held, 0) / self.below
        over: Floats = np.maximum(held - self.most, 0) / self.above
        over += short
        return over

    def changes(self, held: Ints, subjects: Ints, at: Ints | slice) -> Floats:
        """For the families ``at``, of the extents of all subjects there together, when one more
        container is counted."""
        others = held - self.own[at]
        change: Floats = (others >= self.most[at]) / self.above[at]
        change -= (others < self.least[at]) / self.below[at]
        change *= subjects
        return change


def _only_target(family: Family) -> CountedTarget:
    return family.alternatives[0][0].targets[0]


def _has_one_target(family: Family) -> bool:
    alternatives = family.alternatives
    return (
        len(alternatives) == 1
        and len(alternatives[0]) == 1
        and len(alternatives[0][0].targets) == 1
    )


def draws(family: Family) -> bool:
    """Whether a family asks for others to be near."""
    return any(target.minimum for atom in family.atoms for target in atom.targets)


def gathers_in(problem: Problem, group: int) -> list[int]:
    """The node groups in which a group's rules draw it to containers of the round."""
    found = {
        atom.group
        for number in problem.families_of[group]
        for atom in problem.live[number].atoms
        for target in atom.targets
        if target.minimum and problem.counters[target.counter].kinds & problem.new_kinds
    }
    return sorted(found)


def exempted(problem: Problem, group: int) -> frozenset[int]:
    """Families that do not limit how many containers of a group come together."""
    own = problem.families_of[group]
    return frozenset(own) if gathers_in(problem, group) else frozenset()


class LocalCosts:
    """Of one more container of a group on each node, by local families alone.

    ``soft`` is the change of the weighted extents (without families in ``skip``), ``hard_own``
    what the container itself would miss of hard rules, ``hard_others`` by how much it would worsen
    those of others. ``room`` is how many containers of the group come before a rule is missed that
    limits them, or others; not counting those that bring a group together that is drawn to its
    own app.
    """

    def __init__(
        self,
        problem: Problem,
        counts: Counts,
        group: int,
        skip: frozenset[int] = frozenset(),
    ) -> None:
        self._problem = problem
        self._counts = counts
        own = [(i, problem.live[i]) for i in problem.families_of[group]]
        own = [(i, family) for i, family in own if is_local(problem, family)]
        inflicting = [
            (i, family, bumped)
            for i, family, bumped in problem.inflicting[group]
            if is_local(problem, family)
        ]

        exempt = exempted(problem, group)

        def weight(number: int, family: Family) -> float:
            return 0.0 if number in skip else family.weight

        def limits(family: Family) -> bool:
            return len(family.alternatives) == 1 and not draws(family)

        self._own = _Table(
            counts, [(i, f, weight(i, f), limits(f)) for i, f in own if _has_one_target(f)]
        )
        self._capped = np.flatnonzero(
            self._own.counted & (self._own.own[:, 0] > 0) & (self._own.most[:, 0] < _NEVER)
        )
        self._others = _Table(
            counts,
            [(i, f, weight(i, f), i not in exempt) for i, f, _ in inflicting if _has_one_target(f)],
        )
        self._own_rest = [(f, weight(i, f), limits(f)) for i, f in own if not _has_one_target(f)]
        self._others_rest = [
            (i, f, bumped, weight(i, f), i not in exempt)
            for i, f, bumped in inflicting
            if not _has_one_target(f)
        ]
        self.soft = np.zeros(problem.size)
        self.hard_own = np.zeros(problem.size)
        self.hard_others = np.zeros(problem.size)
        self.room = np.zeros(problem.size, dtype=np.int64)
        self._with_room = False
        self.seen = 0
        self._width = max(1, BLOCK // (1 + len(own) + len(inflicting)))

    def with_room(self, node_counts: Sequence[Ints]) -> Ints:
        """``room``, which is kept from the first time on that it is asked for."""
        if not self._with_room:
            self._with_room = True
            self.begin(node_counts)
        return self.room

    def begin(self, node_counts: Sequence[Ints]) -> None:
        """Work the costs of all nodes out; ``node_counts`` are the counts by counter."""
        for start in range(0, self._problem.size, self._width):
            end = min(start + self._width, self._problem.size)
            self._update(node_counts, np.arange(start, end), slice(start, end))

    def update(self, node_counts: Sequence[Ints], nodes: Ints) -> None:
        """As ``begin`` for a few nodes."""
        for start in range(0, len(nodes), self._width):
            some = nodes[start : start + self._width]
            self._update(node_counts, some, some)

    def _update(self, node_counts: Sequence[Ints], nodes: Ints, where: Ints | slice) -> None:
        """``where`` says the same as ``nodes``, in the way that is quickest to look up."""
        per_node = self._counts
        soft, hard_own, hard_others = np.zeros((3, len(nodes)))
        room = np.full(len(nodes), _NEVER)
        own = self._own
        if len(own.rows):
            held = _block(per_node.held, own.rows, where)
            extents = own.extents(held)
            soft += own.weight @ extents
            if own.any_hard:
                hard_own += own.hard @ extents
            if self._with_room:
                room[(extents[own.counted] > EPSILON).any(axis=0)] = 0
                for i in self._capped.tolist():
                    room = np.minimum(room, np.maximum(own.most[i, 0] + 1 - held[i], 0))
        others = self._others
        if len(others.rows):
            subjects = _block(per_node.subjects, others.families, where)
            at: Ints | slice = slice(None)
            if len(nodes) > FEW:
                # Most families have no subjects yet, or none left.
                at = np.flatnonzero(subjects.any(axis=1))
                subjects = subjects[at]
            held = _block(per_node.held, others.rows[at], where)
            changes = others.changes(held, subjects, at)
            soft += others.weight[at] @ changes
            if others.any_hard:
                hard_others += others.hard[at] @ np.maximum(changes, 0.0)
            if self._with_room:
                room[(changes[others.counted[at]] > EPSILON).any(axis=0)] = 0
        for family, weight, counted in self._own_rest:
            extent = node_extents(self._problem, family, node_counts, placed=False, at=nodes)
            soft += weight * extent
            hard_own += family.hard * extent
            if counted:
                room[extent > EPSILON] = 0
                for atom in family.atoms:
                    for target in atom.targets:
                        if target.own and target.maximum is not None:
                            left = target.maximum + 1 - node_counts[target.counter][where]
                            room = np.minimum(room, np.maximum(left, 0))
        for number, family, bumped, weight, counted in self._others_rest:
            there = per_node.subjects[number][where]
            if not there.any():
                continue
            problem = self._problem
            now = node_extents(problem, family, node_counts, placed=True, at=nodes)
            after = node_extents(problem, family, node_counts, placed=True, bumped=bumped, at=nodes)
            change = there * (after - now)
            soft += weight * change
            hard_others += family.hard * np.maximum(change, 0.0)
            if counted:
                room[change > EPSILON] = 0
        self.soft[where] = soft
        self.hard_own[where] = hard_own
        self.hard_others[where] = hard_others
        self.room[where] = room


def _block(table: Ints, rows: Ints, where: Ints | slice) -> Ints:
    found: Ints = table[rows, where] if isinstance(where, slice) else table[rows[:, None], where]
    return found
