"""Medea's heuristics (section 5.3 of the paper): one container at a time, in different orders.

Each puts a container where the weighted extents of all containers, its own and those it bears on,
grow least; then where fewest nodes are fragmented; then where most room is left. Hard rules bar a
node; where a rule asks for containers that may still come, they are given the benefit of the
doubt, and apps that miss a hard rule in the end are taken away again.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from colchis.model.constraints import NODE
from colchis_master.lra.families import Bools, Floats, Ints
from colchis_master.lra.local import draws, gathers_in
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State

Stop = Callable[[], bool]


def never_stop() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Style:
    """How a container chooses among nodes; ``pack`` prefers the fullest of equal nodes, ``skip``
    are live families it is blind to; with ``rng`` equal nodes are chosen from at random;
    without ``foresight`` neither fragmentation nor what is still to come is thought of."""

    pack: bool = False
    skip: frozenset[int] = frozenset()
    rng: random.Random | None = None
    foresight: bool = True


class Greedy:
    """Places containers of a problem one by one onto a state."""

    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        style: Style = Style(),
        stop: Stop = never_stop,
        state: State | None = None,
    ) -> None:
        self.problem = problem
        self.settings = settings
        self.style = style
        self.stop = stop
        self.state = State(problem) if state is None else state
        self._attracted = {
            number: at
            for number in range(len(problem.groups))
            if (at := gathers_in(problem, number))
        }
        """For groups that their own app's rules draw together, the node groups they gather in."""
        self._sorted = True

    def best_node(self, group: int) -> int | None:
        """Where one more container of a group goes best now, None where it cannot go."""
        state = self.state
        open_nodes = state.fits(group)
        if not open_nodes.any():
            return None
        soft, hard_own, hard_others = state.costs(group, self.style.skip)
        open_nodes &= hard_others <= EPSILON
        allowed = open_nodes & (hard_own <= EPSILON)
        if allowed.any():
            open_nodes = allowed
        elif not open_nodes.any():
            return None
        candidates = np.flatnonzero(open_nodes)
        return int(candidates[self._rank(group, candidates, soft, hard_own)])

    def _rank(self, group: int, candidates: Ints, soft: Floats, hard_own: Floats) -> int:
        problem, weights = self.problem, self.settings.weights
        state = self.state
        rest = np.zeros(len(candidates))
        if self.style.foresight:
            rest += weights.fragmentation * state.spoils(group)[candidates]
        if weights.machines:
            empty = ~problem.occupied[candidates] & (state.touched[candidates] == 0)
            rest += weights.machines * empty
        share = state.shares(group)[candidates]
        if weights.balance:
            used = problem.capacity[candidates] - state.free[candidates]
            before = (used / problem.divisors[candidates]).max(axis=1, initial=0.0)
            rest += weights.balance * (share**2 - before**2)
        cost = soft[candidates] + 1e6 * hard_own[candidates]
        if not self.settings.ordered and problem.instances:
            cost = weights.violations / problem.instances * cost + rest / problem.size
            keep = cost <= cost.min() + EPSILON
        else:
            keep = cost <= cost.min() + EPSILON
            keep &= rest <= rest[keep].min() + EPSILON
        rng = self.style.rng
        if (
            self.style.foresight
            and group in self._attracted
            and (rng is None or rng.random() < 0.6)
        ):
            keep = self._roomiest(group, candidates, keep)
        if rng is not None and rng.random() < 0.5:
            return rng.choice(np.flatnonzero(keep).tolist())
        return self._among_equals(group, candidates, np.flatnonzero(keep))

    def _among_equals(self, group: int, candidates: Ints, equals: Ints) -> int:
        """One of ``equals``, which are places in ``candidates`` at which nothing else differs."""
        share = self.state.shares(group)[candidates[equals]]
        return int(equals[(-share if self.style.pack else share).argmin()])

    def _roomiest(self, group: int, candidates: Ints, keep: Bools) -> Bools:
        """Of equally good nodes, those in sets with room for most containers of the app."""
        problem = self.problem
        slots = np.zeros(problem.size)
        for number in problem.groups_of[problem.groups[group].app]:
            slots += self._comfortable(number)
        for at in self._attracted[group]:
            set_group = problem.set_groups[at]
            if set_group.single is None:
                continue
            room = np.bincount(
                np.maximum(set_group.single, 0), weights=slots, minlength=len(set_group.sets)
            )
            ours = np.minimum(room[set_group.single[candidates]], problem.total_new)
            best = ours[keep].max()
            keep = keep & (ours >= best - EPSILON)
        return keep

    def _comfortable(self, group: int) -> Floats:
        """How many containers of a group each node has room for without missing rules other than
        those that draw it to others."""
        problem, state = self.problem, self.state
        exempt = problem.families_of[group] if group in self._attracted else ()
        room = np.minimum(state.slots(group), state.room(group)).astype(np.float64)
        for number in state.wide_families_of[group]:
            family = problem.live[number]
            if len(family.alternatives) != 1 or draws(family):
                continue
            room[state.own(number) > EPSILON] = 0.0
            for atom in family.atoms:
                if problem.set_groups[atom.group].name != NODE:
                    continue
                for target in atom.targets:
                    if target.own and target.maximum is not None:
                        left = target.maximum + 1 - state.counts[target.counter]
                        room = np.minimum(room, np.maximum(left, 0))
        for number, family, bumped in state.wide_inflicting[group]:
            if number not in exempt:
                room[state.inflicted(number, family, bumped) > EPSILON] = 0.0
        return room

    def place_app(self, app: int) -> bool:
        """All containers of an app, or none."""
        for group in self.inner_order(app):
            if not self._place_group(group):
                self.state.take(app)
                return False
        return True

    def _place_group(self, group: int) -> bool:
        for _ in range(self.problem.groups[group].count):
            node = None if self.stop() else self.best_node(group)
            if node is None:
                return False
            self.state.place(group, node)
        return True

    def inner_order(self, app: int) -> list[int]:
        """The groups of an app, those that others want to be near first."""
        problem = self.problem
        own = problem.groups_of[app]
        if not self._sorted:
            return own
        wanted = {
            g: {
                other
                for i in problem.families_of[g]
                for atom in problem.live[i].atoms
                for target in atom.targets
                if target.minimum > 0
                for other in own
                if other != g and target.counter in problem.counters_of[other]
            }
            for g in own
        }
        ordered: list[int] = []
        remaining = dict.fromkeys(own)
        while remaining:
            first = next(iter(remaining))
            ready = (g for g in remaining if remaining.keys().isdisjoint(wanted[g]))
            nxt = next(ready, first)
            ordered.append(nxt)
            del remaining[nxt]
        return ordered

    def serial(self) -> State:
        """Apps in order of submission."""
        return self._in_order(range(len(self.problem.apps)))

    def _in_order(self, apps: Iterable[int]) -> State:
        for app in apps:
            if self.stop():
                break
            self.place_app(app)
        return self.finish()

    def as_submitted(self) -> State:
        """Apps, and their groups within them, in order of submission."""
        self._sorted = False
        return self.serial()

    def tag_popularity(self) -> State:
        """Containers whose tags occur in most rules first, whatever their app."""
        popularity = self._popularity()
        return self._mixed(sorted(range(len(popularity)), key=lambda g: -popularity[g]))

    def _popularity(self) -> list[int]:
        """For each group, how many rules ask something of its containers or count them.

        A rule that does both counts once; alike rules of several apps count each, as their apps
        all have to get on with these containers.
        """
        problem = self.problem
        counting: dict[tuple[int, ...], set[int]] = {}
        found = []
        for number, group in enumerate(problem.groups):
            families = tuple(i for i, _, _ in problem.inflicting[number])
            rules = counting.get(families)
            if rules is None:
                rules = {rule for i in families for rule in problem.live[i].askers.values()}
                counting[families] = rules
            asked = {problem.live[i].askers[group.kind] for i in problem.families_of[number]}
            found.append(len(rules) + len(asked - rules))
        return found

    def popular_apps(self) -> State:
        """Whole apps, those whose containers occur in most rules first: what others have to make
        way for is then there before them."""
        popularity = self._popularity()
        most = [max((popularity[g] for g in own), default=0) for own in self.problem.groups_of]
        return self._in_order(sorted(range(len(most)), key=lambda app: -most[app]))

    def _mixed(self, order: list[int]) -> State:
        failed: set[int] = set()
        for group in order:
            app = self.problem.groups[group].app
            if app in failed or self.stop():
                continue
            if not self._place_group(group):
                failed.add(app)
                self.state.take(app)
        return self.finish()

    def node_candidates(self) -> State:
        """Containers with the fewest nodes that satisfy them first, counted anew as it goes."""
        problem = self.problem
        remaining = {g: group.count for g, group in enumerate(problem.groups)}
        room: dict[int, tuple[tuple[int, ...], int]] = {}
        while remaining and not self.stop():
            for group in remaining:
                seen = tuple(self.state.count_version[c] for c in self._watched(group))
                known = room.get(group)
                if known is None or known[0] != seen:
                    room[group] = (seen, self._candidates(group))
            group = min(remaining, key=lambda g: (room[g][1], g))
            node = self.best_node(group)
            app = problem.groups[group].app
            if node is None:
                self.state.take(app)
                for own in problem.groups_of[app]:
                    remaining.pop(own, None)
                room.clear()
                continue
            self.state.place(group, node)
            remaining[group] -= 1
            if not remaining[group]:
                del remaining[group]
        return self.finish()

    def _watched(self, group: int) -> list[int]:
        problem = self.problem
        return sorted({c for i in problem.families_of[group] for c in problem.live[i].counters})

    def _candidates(self, group: int) -> int:
        soft, hard_own, hard_others = self.state.costs(group)
        good = self.state.fits(group) & (soft <= EPSILON) & (hard_own + hard_others <= EPSILON)
        return int(good.sum())

    def finish(self) -> State:
        """Take away apps that are incomplete or miss hard rules; give those another try."""
        self._drop_incomplete()
        self.drop_breaching()
        placed = self.state.placed_apps()
        for app in range(len(self.problem.apps)):
            if self.stop():
                break
            if app not in placed:
                self._retry(app)
        return self.state

    def _retry(self, app: int) -> None:
        if self.place_app(app) and self.state.hard_breaches():
            self.state.take(app)

    def _drop_incomplete(self) -> None:
        placed = self.state.placed_apps()
        for app in {self.problem.groups[g].app for g, _ in self.state.assigned} - placed:
            self.state.take(app)

    def drop_breaching(self) -> None:
        """Take away whole apps until no hard rule is broken that was not broken before."""
        problem, state = self.problem, self.state
        while breaches := state.hard_breaches():
            number, nodes = breaches[0]
            family = problem.live[number]
            at = set(nodes.tolist())
            own = [
                g for g, n in state.assigned if n in at and problem.groups[g].kind in family.kinds
            ]
            culprits = own or [
                g for g, _ in state.assigned if family.counters.intersection(problem.counters_of[g])
            ]
            state.take(problem.groups[culprits[-1]].app)


def worth(state: State, settings: Settings) -> tuple[float, ...]:
    """What a placement is worth in the mode, to be compared; more is better."""
    problem, weights = state.problem, settings.weights
    apps = state.placed_apps()
    placed = len(apps)
    extent = state.weighted_extent()
    rest = rest_worth(state, settings)
    if settings.ordered:
        return (float(placed), -round(extent, 9), round(rest, 12))
    k = max(1, len(problem.apps))
    m = max(1, problem.instances_with(apps))
    missed = (extent + problem.settled_extent) / m
    return (weights.placed * placed / k - weights.violations * missed + rest,)


def rest_worth(state: State, settings: Settings) -> float:
    """Fragmentation, machines and balance, weighted."""
    problem, weights = state.problem, settings.weights
    if not problem.size:
        return 0.0
    short = (state.free < problem.keep_free).any(axis=1)
    spoilt = int(((state.touched > 0) & short).sum())
    rest = weights.fragmentation * (problem.size - spoilt) / problem.size
    if weights.machines:
        used = int((problem.occupied | (state.touched > 0)).sum())
        rest -= weights.machines * used / problem.size
    if weights.balance:
        rest -= weights.balance * float(node_loads(problem, state.free).sum()) / problem.size
    return rest


SEGMENTS = 8


def load_segments() -> list[tuple[float, float]]:
    """Slopes and offsets of the straight pieces that stand for the square of a share."""
    pieces = []
    for i in range(SEGMENTS):
        low, high = i / SEGMENTS, (i + 1) / SEGMENTS
        pieces.append((low + high, -low * high))
    return pieces


def node_loads(problem: Problem, free: Ints) -> Floats:
    """The square of each node's dominant share, in straight pieces (so that the ILP agrees)."""
    capacity = problem.capacity
    share = np.where(capacity > 0, (capacity - free) / np.maximum(capacity, 1), 0.0)
    dominant = share.max(axis=1) if share.shape[1] else np.zeros(problem.size)
    loads = np.zeros(problem.size)
    for slope, offset in load_segments():
        loads = np.maximum(loads, slope * dominant + offset)
    return loads
