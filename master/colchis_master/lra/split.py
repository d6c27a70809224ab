"""Rounds too large for one search: part by part, with a bound on the whole.

All apps are placed one by one first. In the time that is left they are placed anew part by part
while all others stay (a large neighbourhood search over parts); what is better is kept. Apps that
want to be near each other stay in one part as far as its size allows. What splitting may have lost
is known all the same: the bounds of the round are those of the unsplit one, and the gap is the
distance of the whole plan from them.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from colchis.semantics.checker import with_assignments
from colchis_master.lra.bounds import Bounds
from colchis_master.lra.greedy import Greedy, Stop, worth
from colchis_master.lra.ilp import CLOSE, RESERVE, Clock, Solution, limits, solve
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
JUDGING = 1.5
"""Times that compiling the round and its bounds took which judging the plan may take."""

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
        self.state = State(problem)
        self._new_rules = problem.rules[len(problem.cluster.rules) :]
        self._group_of = {
            (group.app, group.spec.name): number for number, group in enumerate(problem.groups)
        }

    def run(self, parts: Sequence[Sequence[int]], good_enough: Stop) -> None:
        """Place all apps quickly, then better the parts until the time is over."""
        Greedy(self._problem, self._settings, stop=self._late, state=self.state).serial()
        best = worth(self.state, self._settings)
        gained = True
        while gained and not good_enough():
            gained = False
            poor = self._poor(parts)
            for number, part in enumerate(poor):
                if self._late():
                    return
                found = self._anew(part, best, len(poor) - number)
                gained |= found > best
                best = found

    def _late(self) -> bool:
        return self._clock() > self._end

    def _poor(self, parts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """Parts with apps that are not placed, miss rules or stand in the way of others."""
        improver = Improver(self._problem, self._settings, self.state, random.Random(0), self._late)
        placed = self.state.placed_apps()
        troubled = improver.troubled()
        return [part for part in parts if any(app in troubled or app not in placed for app in part)]

    def _anew(self, part: Sequence[int], best: tuple[float, ...], slices: int) -> tuple[float, ...]:
        """Place a part anew in one of ``slices`` of the time left, while all others stay; returns
        what the whole plan is worth then."""
        before: Held = {}
        for app in part:
            before.update(self.state.take(app))
        seconds = max(1e-3, (self._end - self._clock()) / slices)
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
