"""A placement in the making: counts kept up to date, and what one more container would cost."""

import itertools
from functools import cached_property

import numpy as np

from colchis.model.constraints import NODE
from colchis_master.lra.extents import node_extents, set_extents, to_nodes
from colchis_master.lra.families import Bools, Family, Floats, Ints
from colchis_master.lra.local import EPSILON as EPSILON
from colchis_master.lra.local import Counts, LocalCosts, is_local
from colchis_master.lra.problem import Problem
from colchis_master.lra.view import View

KEPT = 1 << 23
"""Nodes times groups whose costs are kept, which bounds the memory."""


class _Touched:
    """What a container of a group changes: rows of counts per node, other counters, families that
    have it as subject, and all families whose extents may be other ones then."""

    def __init__(self, problem: Problem, per_node: Counts, group: int) -> None:
        counters = problem.counters_of[group]
        row_of = per_node.row_of
        self.rows = np.array([row_of[c] for c in counters if c in row_of], dtype=np.int64)
        self.wide = [c for c in counters if c not in row_of]
        self.counters = np.array(counters, dtype=np.int64)
        self.families = np.array(problem.families_of[group], dtype=np.int64)
        self.affected = {i for i, _, _ in problem.inflicting[group]}
        self.affected.update(problem.families_of[group])


class State:
    """What runs, together with what a heuristic has placed so far."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.free = problem.free.copy(order="K")
        self._per_node = Counts(problem)
        row_of = self._per_node.row_of
        self.counts: list[Ints] = [
            self._per_node.held[row_of[number]] if number in row_of else counts.copy()
            for number, counts in enumerate(problem.live_counts)
        ]
        self.subjects: list[Ints] = list(self._per_node.subjects)
        self.count_version = np.zeros(len(problem.counters), dtype=np.int64)
        self.subject_version = np.zeros(len(problem.live), dtype=np.int64)
        self.assigned: dict[tuple[int, int], int] = {}
        """(number of the group in the problem, node) to how many containers."""
        self.members: dict[int, Ints] = {}
        """How many of a group's containers each node holds, for the groups that are entered."""
        self._assigned_of = [0] * len(problem.groups)
        self._misses: dict[int, tuple[float, Ints]] = {}
        self._stale = set(range(len(problem.live)))
        """Live families whose misses have to be worked out anew."""
        self.touched = np.zeros(problem.size, dtype=np.int64)
        self._log: list[int] = []
        """Nodes in the order of changes to them."""
        self._views: dict[tuple[int, ...], View] = {}
        self._local: dict[tuple[int, frozenset[int]], LocalCosts] = {}
        self._own: dict[int, tuple[tuple[int, ...], Floats]] = {}
        self._inflicted: dict[tuple[int, frozenset[int]], tuple[tuple[int, ...], Floats]] = {}
        self.baseline = {
            i: node_extents(problem, family, self.counts, placed=True)
            for i, family in enumerate(problem.live)
            if family.hard
        }
        """Extents of hard families before the round, for containers that run on each node."""

    def place(self, group: int, node: int, times: int = 1) -> None:
        """Put ``times`` containers of a group on a node; take away where it is negative."""
        problem = self.problem
        key = (group, node)
        self.assigned[key] = self.assigned.get(key, 0) + times
        if not self.assigned[key]:
            del self.assigned[key]
        if group in self.members:
            self.members[group][node] += times
        self._assigned_of[group] += times
        self.free[node] -= problem.needs[group] * times
        self.touched[node] += times
        self._log.append(node)
        touched = self._touches[group]
        self._per_node.held[touched.rows, node] += times
        for counter in touched.wide:
            set_group = problem.set_groups[problem.counters[counter].group]
            counts = self.counts[counter]
            if set_group.single is not None:
                name = set_group.single[node]
                if name >= 0:
                    counts[name] += times
            else:
                counts[list(set_group.sets_of[node])] += times
        self.count_version[touched.counters] += 1
        self._per_node.subjects[touched.families, node] += times
        self.subject_version[touched.families] += 1
        self._stale |= touched.affected

    @cached_property
    def _touches(self) -> list["_Touched"]:
        return [
            _Touched(self.problem, self._per_node, group)
            for group in range(len(self.problem.groups))
        ]

    def take(self, app: int) -> dict[tuple[int, int], int]:
        """Take an app's containers away; returns where they were."""
        own = set(self.problem.groups_of[app])
        held = {key: times for key, times in self.assigned.items() if key[0] in own}
        for (group, node), times in held.items():
            self.place(group, node, -times)
        return held

    def put(self, held: dict[tuple[int, int], int]) -> None:
        for (group, node), times in held.items():
            self.place(group, node, times)

    def _view(self, group: int) -> View:
        """What one more container of a group would mean for each node, brought up to date where
        nodes have changed."""
        alike = self._alike[group]
        view = self._views.get(alike)
        if view is None:
            view = self._views[alike] = View(self.problem, group)
            view.update(self.free, self.touched, slice(None))
        elif view.seen == len(self._log) - 1:
            view.update_one(self.free, self.touched, self._log[-1])
        elif view.seen < len(self._log):
            view.update(self.free, self.touched, self._changed(view.seen))
        view.seen = len(self._log)
        return view

    @cached_property
    def _alike(self) -> list[tuple[int, ...]]:
        """Groups of the same size and needs have the same key."""
        needs = self.problem.needs.tolist()
        return [(group.count, *needs[g]) for g, group in enumerate(self.problem.groups)]

    def _changed(self, seen: int) -> Ints:
        """Nodes that have changed since the log was so long."""
        changed = self._log[seen:]
        if len(changed) == 1:
            return np.array(changed, dtype=np.int64)
        return np.array(sorted(set(changed)), dtype=np.int64)

    def local(self, group: int, skip: frozenset[int] = frozenset()) -> LocalCosts:
        """What one more container of a group costs by the rules that are per node."""
        key = (group, skip)
        costs = self._local.get(key)
        if costs is None:
            while self._local and (len(self._local) + 1) * self.problem.size > KEPT:
                del self._local[next(iter(self._local))]
            costs = LocalCosts(self.problem, self._per_node, group, skip)
            self._local[key] = costs
            costs.begin(self.counts)
        elif costs.seen < len(self._log):
            costs.update(self.counts, self._changed(costs.seen))
        costs.seen = len(self._log)
        return costs

    def room(self, group: int) -> Ints:
        """How many containers of a group each node takes before they miss rules that are per node,
        or make others miss them; see ``LocalCosts``."""
        return self.local(group).with_room(self.counts)

    def fits(self, group: int) -> Bools:
        """Schedulable nodes with room for one more container of a group."""
        return self._view(group).fits.copy()

    def shares(self, group: int) -> Floats:
        """Each node's dominant share with one more container of a group."""
        return self._view(group).share

    def spoils(self, group: int) -> Bools:
        """Nodes that one more container would leave with less than is to be kept free, and that
        have not been spoilt yet."""
        return self._view(group).spoils

    def slots(self, group: int) -> Ints:
        """How many containers of a group each node has room for, at most as many as there are."""
        return self._view(group).slots

    def own(self, number: int) -> Floats:
        """Extents of a new container of live family ``number`` on each node (not counted yet)."""
        family = self.problem.live[number]
        version = tuple(self.count_version[c] for c in family.counters)
        known = self._own.get(number)
        if known is None or known[0] != version:
            known = (version, node_extents(self.problem, family, self.counts, placed=False))
            self._own[number] = known
        return known[1]

    def inflicted(self, number: int, family: Family, bumped: frozenset[int]) -> Floats:
        """By how much one more container, counted in ``bumped``, would change the extents of the
        placed containers of a family, summed, for each node it might be put on."""
        version = (
            self.subject_version[number],
            *(self.count_version[c] for c in family.counters),
        )
        key = (number, bumped)
        known = self._inflicted.get(key)
        if known is None or known[0] != version:
            known = (version, self.change(self.subjects[number], family, bumped))
            self._inflicted[key] = known
        return known[1]

    def change(self, subjects: Ints, family: Family, bumped: frozenset[int]) -> Floats:
        """The same for some of a family's containers, so many ``subjects`` on each node."""
        problem = self.problem
        total = np.zeros(problem.size)
        at = subjects.nonzero()[0]
        if not len(at):
            return total
        held = subjects[at]
        current = node_extents(problem, family, self.counts, placed=True, at=at)
        groups = sorted({problem.counters[c].group for c in bumped})
        changes: dict[int, Floats] = {}
        for group in groups:
            own = frozenset(c for c in bumped if problem.counters[c].group == group)
            set_group = problem.set_groups[group]
            if set_group.single is None:
                total += self._overlapping(subjects, family, own, group)
                continue
            after = node_extents(problem, family, self.counts, placed=True, bumped=own, at=at)
            changes[group] = change = held * (after - current)
            if not change.any():
                continue
            if set_group.name == NODE:
                total[at] += change
                continue
            home = set_group.single[at]
            inside = home >= 0
            sums = np.bincount(home[inside], weights=change[inside], minlength=len(set_group.sets))
            total += np.where(set_group.single >= 0, sums[set_group.single], 0.0)
        if len(changes) >= 2 and len(family.groups) >= 2:
            self._correct_pairs(subjects, family, bumped, changes, current, at, total)
        return total

    def _correct_pairs(
        self,
        subjects: Ints,
        family: Family,
        bumped: frozenset[int],
        changes: dict[int, Floats],
        current: Floats,
        at: Ints,
        total: Floats,
    ) -> None:
        """Where a subject shares sets of two groups with the newcomer, both counts rise."""
        problem = self.problem
        groups = sorted(changes)
        for first, second in itertools.combinations(groups, 2):
            one, two = problem.set_groups[first].single, problem.set_groups[second].single
            assert one is not None and two is not None
            both = frozenset(c for c in bumped if problem.counters[c].group in (first, second))
            after = node_extents(problem, family, self.counts, placed=True, bumped=both, at=at)
            joint = np.zeros(problem.size)
            joint[at] = subjects[at] * (after - current)
            joint[at] -= changes[first] + changes[second]
            inside = (one >= 0) & (two >= 0)
            codes = np.where(inside, one * (two.max() + 1) + two, 0)
            _, place = np.unique(codes, return_inverse=True)
            sums = np.bincount(place, weights=np.where(inside, joint, 0.0))
            total += np.where(inside, sums[place], 0.0)

    def _overlapping(
        self, subjects: Ints, family: Family, bumped: frozenset[int], group: int
    ) -> Floats:
        """As ``change`` for a group whose sets overlap, each set taken by itself: exact where
        the subjects and the newcomer share one set, an estimate else."""
        problem = self.problem
        set_group = problem.set_groups[group]
        sums = np.zeros(len(set_group.sets))
        for all_of in family.alternatives:
            for atom in all_of:
                if atom.group != group:
                    continue
                now = set_extents(atom, self.counts, placed=True)
                least = to_nodes(set_group, now)
                then = set_extents(atom, self.counts, placed=True, bumped=bumped)
                after = then[set_group.entry_set]
                before = now[set_group.entry_set]
                held = least[set_group.entry_node]
                falls = np.minimum(after - held, 0.0)
                rises = np.where(before <= held, np.maximum(after - held, 0.0), 0.0)
                change = (falls + rises) * subjects[set_group.entry_node]
                sums += np.bincount(
                    set_group.entry_set, weights=change, minlength=len(set_group.sets)
                )
        spread = np.zeros(problem.size)
        np.add.at(spread, set_group.entry_node, sums[set_group.entry_set])
        return spread

    def costs(
        self, group: int, skip: frozenset[int] = frozenset()
    ) -> tuple[Floats, Floats, Floats]:
        """For one more container of a group on each node: the change of the weighted extents, what
        it would miss of hard rules itself, and by how much it would worsen those of others.
        Live families in ``skip`` do not count towards the first."""
        problem = self.problem
        local = self.local(group, skip)
        soft = local.soft.copy()
        hard_own = local.hard_own.copy()
        hard_others = local.hard_others.copy()
        for number in self.wide_families_of[group]:
            family = problem.live[number]
            own = self.own(number)
            if number not in skip:
                soft += family.weight * own
            if family.hard:
                hard_own += own
        for number, family, bumped in self.wide_inflicting[group]:
            change = self.inflicted(number, family, bumped)
            if number not in skip:
                soft += family.weight * change
            if family.hard:
                hard_others += np.maximum(change, 0.0)
        return soft, hard_own, hard_others

    @cached_property
    def wide_families_of(self) -> list[list[int]]:
        """The families of each group that look further than one node."""
        problem = self.problem
        wide = [not is_local(problem, family) for family in problem.live]
        return [[i for i in own if wide[i]] for own in problem.families_of]

    @cached_property
    def wide_inflicting(self) -> list[list[tuple[int, Family, frozenset[int]]]]:
        """Of the families that count each group's containers, those that look further."""
        problem = self.problem
        wide = [not is_local(problem, family) for family in problem.live]
        return [[each for each in own if wide[each[0]]] for own in problem.inflicting]

    def weighted_extent(self) -> float:
        """Weighted extents of all live families."""
        total = 0.0
        for number, family in enumerate(self.problem.live):
            if family.weight:
                total += family.weight * self.misses(number)[0]
        return total

    def misses(self, number: int) -> tuple[float, Ints]:
        """The extents of all containers of a live family together, and the nodes of those that
        miss its rule."""
        if number in self._stale:
            subjects = self.subjects[number]
            at = subjects.nonzero()[0]
            if len(at):
                family = self.problem.live[number]
                extents = node_extents(self.problem, family, self.counts, placed=True, at=at)
                self._misses[number] = float(subjects[at] @ extents), at[extents > EPSILON]
            else:
                self._misses[number] = 0.0, at
            self._stale.discard(number)
        return self._misses[number]

    def hard_breaches(self) -> list[tuple[int, Ints]]:
        """Live hard families and the nodes on which a new container of theirs misses the rule, or
        a running one misses it by more than before the round."""
        found = []
        for number, baseline in self.baseline.items():
            subjects = self.subjects[number]
            if not subjects.any():
                continue
            family = self.problem.live[number]
            extents = node_extents(self.problem, family, self.counts, placed=True)
            new = self._new_subjects(number)
            broken = ((new > 0) & (extents > EPSILON)) | (
                (subjects > new) & (extents > baseline + EPSILON)
            )
            if broken.any():
                found.append((number, np.flatnonzero(broken)))
        return found

    def _new_subjects(self, number: int) -> Ints:
        new = np.zeros(self.problem.size, dtype=np.int64)
        family = self.problem.live[number]
        for (group, node), times in self.assigned.items():
            if self.problem.groups[group].kind in family.kinds:
                new[node] += times
        return new

    def placed_apps(self) -> set[int]:
        """Apps all of whose containers are assigned."""
        return {
            app
            for app, own in enumerate(self.problem.groups_of)
            if all(self._assigned_of[g] == self.problem.groups[g].count for g in own)
        }
