"""Rounds too large for one search: part by part, with a bound on the whole.

All apps are placed one by one first, popular ones before others, and if time allows in the order
of submission as well. In the time that is left the better of both plans is improved: by ruin and
recreate over the whole, and part by part, each placed anew while all others stay (a large
neighbourhood search over parts). Apps that want to be near each other stay in one part as far as
its size allows. What splitting may have lost is known all the same: the bounds of the round are
those of the unsplit one, and the gap is the distance of the whole plan from them.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from colchis.semantics.checker import with_assignments
from colchis_master.lra.bounds import Bounds
from colchis_master.lra.gaps import limits
from colchis_master.lra.greedy import Greedy, Stop, worth
from colchis_master.lra.ilp import CLOSE, PATIENT, RESERVE, Clock, Solution, solve
from colchis_master.lra.improve import Improver
from colchis_master.lra.problem import Problem
from colchis_master.lra.reasons import assignments_of
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import State

PART_APPS = 25
PART_CONTAINERS = 250
"""A part has no more apps, and no more containers unless one app alone has."""
LARGE = 2
"""A round is split where it has more than so many times as much as a part."""
JUDGING = 0.6
"""Times that compiling the round and its bounds took which judging the plan may take. It is 0.1 to
0.2 on a quiet machine."""
AGAIN = 3
"""Times that the first heuristic took which must be left for a second to be tried."""
SLICE = 1.0
"""Seconds below which it does not pay to place a part anew: compiling it takes a good deal."""

Held = dict[tuple[int, int], int]


def is_large(problem: Problem) -> bool:
    """Whether a round is better split. One app cannot be."""
    apps = sum(1 for own in problem.groups_of if own)
    return apps > 1 and (apps > LARGE * PART_APPS or problem.total_new > LARGE * PART_CONTAINERS)


def parts_of(
    problem: Problem, most_apps: int = PART_APPS, most_containers: int = PART_CONTAINERS
) -> list[list[int]]:
    """The apps that have something to be placed, in parts; those that are drawn to each other come
    one after another, so that they part company only where the size forces it."""
    parts: list[list[int]] = []
    room = 0
    for app in _drawn_order(problem):
        size = sum(problem.groups[g].count for g in problem.groups_of[app])
        if not parts or len(parts[-1]) >= most_apps or size > room:
            parts.append([])
            room = most_containers
        parts[-1].append(app)
        room -= size
    return parts


def _drawn_order(problem: Problem) -> list[int]:
    """Apps in the order of submission, each followed by those that it draws or is drawn to."""
    drawn: list[set[int]] = [set() for _ in problem.apps]
    for g, group in enumerate(problem.groups):
        for _, family, bumped in problem.inflicting[g]:
            targets = (target for atom in family.atoms for target in atom.targets)
            if not any(target.minimum and target.counter in bumped for target in targets):
                continue
            subjects = {other.app for other in problem.groups if other.kind in family.kinds} - {
                group.app
            }
            if len(subjects) <= PART_APPS:
                drawn[group.app] |= subjects
                for app in subjects:
                    drawn[app].add(group.app)
    order: dict[int, None] = {}
    for first, own in enumerate(problem.groups_of):
        waiting = [first] if own else []
        while waiting:
            app = waiting.pop()
            if app not in order:
                order[app] = None
                waiting += sorted(drawn[app], reverse=True)
    return list(order)


def solve_split(
    problem: Problem,
    settings: Settings,
    clock: Clock,
    started: float,
    parts: Sequence[Sequence[int]] | None = None,
) -> Solution:
    """The best placement found part by part within the time limit, and its gap to the bounds of
    the whole round."""
    bounds = Bounds(problem, settings, State(problem))
    bounds.prepare()
    prepared = clock()
    reserve = max(RESERVE * settings.time_limit, JUDGING * (prepared - started))
    end = started + settings.time_limit - reserve
    search = _Search(problem, settings, clock, end)
    wanted = CLOSE if settings.gap is None else settings.gap
    search.run(
        parts_of(problem) if parts is None else parts,
        lambda: limits(bounds, search.state).gap <= wanted,
    )
    gap = limits(bounds, search.state).gap
    apps_proven = len(search.state.placed_apps()) >= bounds.apps
    note = "a large round: searched part by part, which is not proven to be the best"
    return Solution(search.state, gap, gap == 0.0, (note,) if gap else (), apps_proven)


class _Search:
    """A whole plan in the making."""

    def __init__(self, problem: Problem, settings: Settings, clock: Clock, end: float) -> None:
        self._problem = problem
        self._settings = settings
        self._clock = clock
        self._end = end
        self._improve_until = end
        self._rng = random.Random(0)
        self.state = State(problem)
        self._new_rules = problem.rules[len(problem.cluster.rules) :]
        self._group_of = {
            (group.app, group.spec.name): number for number, group in enumerate(problem.groups)
        }

    def run(self, parts: Sequence[Sequence[int]], good_enough: Stop) -> None:
        """Place all apps quickly, then better the plan until the time is over."""
        self._place(good_enough)
        improver = Improver(
            self._problem, self._settings, self.state, self._rng, self._improved_enough
        )
        before: tuple[float, ...] = ()
        best = worth(self.state, self._settings)
        while best > before and not self._late() and not good_enough():
            before = best
            now = self._clock()
            alone = (self._end - now) / 2 < SLICE
            self._improve_until = self._end if alone else now + (self._end - now) / 2
            improver.run(good_enough, PATIENT)
            best = self._part_by_part(parts, improver, good_enough)

    def _place(self, good_enough: Stop) -> None:
        begun = self._clock()
        self._greedy(self.state).popular_apps()
        took = self._clock() - begun
        if good_enough() or self._clock() + AGAIN * took > self._end:
            return
        other = self._greedy(State(self._problem)).serial()
        if worth(other, self._settings) > worth(self.state, self._settings):
            self.state = other

    def _greedy(self, state: State) -> Greedy:
        return Greedy(self._problem, self._settings, stop=self._late, state=state)

    def _late(self) -> bool:
        return self._clock() > self._end

    def _improved_enough(self) -> bool:
        return self._clock() > self._improve_until

    def _part_by_part(
        self, parts: Sequence[Sequence[int]], improver: Improver, good_enough: Stop
    ) -> tuple[float, ...]:
        """Place anew the parts with apps that are not placed, miss rules or stand in the way of
        others; returns what the whole plan is worth then."""
        best = worth(self.state, self._settings)
        bad = improver.troubled() | (set(range(len(self._problem.apps))) - self.state.placed_apps())
        poor = [part for part in parts if bad.intersection(part)]
        # Where the time does not suffice for all, the order of submission is no reason to prefer.
        self._rng.shuffle(poor)
        for number, part in enumerate(poor):
            left = self._end - self._clock()
            if left < SLICE or good_enough():
                break
            best = self._anew(part, best, max(SLICE, left / (len(poor) - number)))
        return best

    def _anew(
        self, part: Sequence[int], best: tuple[float, ...], seconds: float
    ) -> tuple[float, ...]:
        """Place a part anew within so many seconds, while all others stay; returns what the whole
        plan is worth then."""
        before: Held = {}
        for app in part:
            before.update(self.state.take(app))
        after = self._solution(part, replace(self._settings, time_limit=seconds))
        self.state.put(after)
        found = worth(self.state, self._settings)
        if found >= best and not self.state.hard_breaches():
            return found
        for app in part:
            self.state.take(app)
        self.state.put(before)
        return best

    def _solution(self, part: Sequence[int], settings: Settings) -> Held:
        """Where a part goes beside all that is placed now."""
        whole = self._problem
        assignments = assignments_of(whole, self.state)
        containers = (
            container
            for app in self.state.placed_apps()
            for container in whole.apps[app].containers()
        )
        cluster = with_assignments(whole.cluster, containers, assignments, self._new_rules)
        problem = Problem(cluster, [whole.apps[app] for app in part], settings.keep_free)
        solution = solve(problem, settings, self._clock, self._clock(), self._end)
        found: Held = {}
        for (number, node), times in solution.state.assigned.items():
            group = problem.groups[number]
            found[self._group_of[part[group.app], group.spec.name], node] = times
        return found
