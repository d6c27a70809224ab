"""A placement in the making: counts kept up to date, and what one more container would cost."""

import itertools

import numpy as np

from colchis.model.constraints import NODE
from colchis_master.lra.extents import node_extents, set_extents, to_nodes
from colchis_master.lra.families import Bools, Family, Floats, Ints
from colchis_master.lra.problem import Problem

EPSILON = 1e-9


class _View:
    """Kept per group: room for how many, dominant share and fragmentation with one more."""

    def __init__(self, problem: Problem, group: int) -> None:
        self._needs = problem.needs[group]
        self._wanted = np.flatnonzero(self._needs)
        self._count = problem.groups[group].count
        self.slots = np.zeros(problem.size, dtype=np.int64)
        self.fits = np.zeros(problem.size, dtype=np.bool_)
        self.spoils = np.zeros(problem.size, dtype=np.bool_)
        self.share = np.zeros(problem.size)
        self.seen = 0

    def update(self, state: "State", nodes: Ints | slice) -> None:
        problem = state.problem
        free = state.free[nodes]
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
        spoilt = (state.touched[nodes] > 0) & (free < problem.keep_free).any(axis=1)
        self.spoils[nodes] = short & ~spoilt


class State:
    """What runs, together with what a heuristic has placed so far."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.free = problem.free.copy(order="K")
        self.counts: list[Ints] = [counts.copy() for counts in problem.live_counts]
        self.subjects: list[Ints] = [subjects.copy() for subjects in problem.live_subjects]
        self.count_version = [0] * len(problem.counters)
        self.subject_version = [0] * len(problem.live)
        self.assigned: dict[tuple[int, int], int] = {}
        """(number of the group in the problem, node) to how many containers."""
        self.members: dict[int, Ints] = {}
        """How many of a group's containers each node holds, for the groups that are entered."""
        self.touched = np.zeros(problem.size, dtype=np.int64)
        self._log: list[int] = []
        """Nodes in the order of changes to them."""
        self._views: dict[int, _View] = {}
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
        self.free[node] -= problem.needs[group] * times
        self.touched[node] += times
        self._log.append(node)
        for counter in problem.counters_of[group]:
            set_group = problem.set_groups[problem.counters[counter].group]
            counts = self.counts[counter]
            if set_group.single is not None:
                name = set_group.single[node]
                if name >= 0:
                    counts[name] += times
            else:
                counts[list(set_group.sets_of[node])] += times
            self.count_version[counter] += 1
        for family in problem.families_of[group]:
            self.subjects[family][node] += times
            self.subject_version[family] += 1

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

    def _view(self, group: int) -> "_View":
        """What one more container of a group would mean for each node, brought up to date where
        nodes have changed."""
        view = self._views.get(group)
        if view is None:
            view = self._views[group] = _View(self.problem, group)
            view.update(self, slice(None))
        elif view.seen < len(self._log):
            changed = self._log[view.seen :]
            view.update(self, np.array(sorted(set(changed)), dtype=np.int64))
        view.seen = len(self._log)
        return view

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
            known = (version, self._compute_inflicted(number, family, bumped))
            self._inflicted[key] = known
        return known[1]

    def _compute_inflicted(self, number: int, family: Family, bumped: frozenset[int]) -> Floats:
        problem = self.problem
        subjects = self.subjects[number]
        total = np.zeros(problem.size)
        at = np.flatnonzero(subjects)
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
                total += self._overlapping(number, family, own, group)
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
            self._correct_pairs(number, family, bumped, changes, current, at, total)
        return total

    def _correct_pairs(
        self,
        number: int,
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
            joint[at] = self.subjects[number][at] * (after - current)
            joint[at] -= changes[first] + changes[second]
            inside = (one >= 0) & (two >= 0)
            codes = np.where(inside, one * (two.max() + 1) + two, 0)
            _, place = np.unique(codes, return_inverse=True)
            sums = np.bincount(place, weights=np.where(inside, joint, 0.0))
            total += np.where(inside, sums[place], 0.0)

    def _overlapping(
        self, number: int, family: Family, bumped: frozenset[int], group: int
    ) -> Floats:
        """As ``inflicted`` for a group whose sets overlap, each set taken by itself: exact where
        the subjects and the newcomer share one set, an estimate else."""
        problem = self.problem
        set_group = problem.set_groups[group]
        subjects = self.subjects[number]
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
        soft = np.zeros(problem.size)
        hard_own = np.zeros(problem.size)
        hard_others = np.zeros(problem.size)
        for number in problem.families_of[group]:
            family = problem.live[number]
            own = self.own(number)
            if number not in skip:
                soft += family.weight * own
            if family.hard:
                hard_own += own
        for number, family, bumped in self.problem.inflicting[group]:
            change = self.inflicted(number, family, bumped)
            if number not in skip:
                soft += family.weight * change
            if family.hard:
                hard_others += np.maximum(change, 0.0)
        return soft, hard_own, hard_others

    def weighted_extent(self) -> float:
        """Weighted extents of all live families."""
        total = 0.0
        for number, family in enumerate(self.problem.live):
            subjects = self.subjects[number]
            if family.weight and subjects.any():
                extents = node_extents(self.problem, family, self.counts, placed=True)
                total += family.weight * float(subjects @ extents)
        return total

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
        per_group = [0] * len(self.problem.groups)
        for (group, _), times in self.assigned.items():
            per_group[group] += times
        return {
            app
            for app, own in enumerate(self.problem.groups_of)
            if all(per_group[g] == self.problem.groups[g].count for g in own)
        }
