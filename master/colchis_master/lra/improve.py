"""Large neighbourhood search: take some apps away and place them anew, keep what is better.

Ruin and recreate (Schrimpf et al., 2000) with whole apps: those that miss rules, stand in the way
of others, fragment nodes or could not be placed go first.
"""

import random
from functools import cached_property

import numpy as np

from colchis_master.lra.greedy import Greedy, Stop, Style, worth
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import State


class Improver:
    """Betters a state in place."""

    def __init__(
        self, problem: Problem, settings: Settings, state: State, rng: random.Random, stop: Stop
    ) -> None:
        self._problem = problem
        self._settings = settings
        self._rng = rng
        self._stop = stop
        self._greedy = Greedy(problem, settings, Style(rng=rng), stop, state)
        self._state = state

    def run(self, good_enough: Stop, patience: int) -> State:
        """Search until the plan is good enough, time is up, or ``patience`` tries in a row gained
        nothing."""
        best = worth(self._state, self._settings)
        idle = 0
        while idle < patience and not self._stop() and not good_enough():
            found = self._try(best)
            if found is None:
                break
            idle = 0 if found > best else idle + 1
            best = max(best, found)
        return self._state

    def _try(self, best: tuple[float, ...]) -> tuple[float, ...] | None:
        """One ruin and recreate; returns what the state is worth afterwards."""
        state = self._state
        placed = state.placed_apps()
        waiting = [a for a in range(len(self._problem.apps)) if a not in placed]
        troubled = sorted(self.troubled() & placed)
        if not troubled and not waiting:
            return None
        chosen = self._choose(troubled, sorted(placed))
        held = {app: state.take(app) for app in chosen}
        order = [*chosen, *waiting]
        self._rng.shuffle(order)
        before_style = self._greedy.style
        self._greedy.style = Style(pack=self._rng.random() < 0.3, rng=self._rng)
        done = [app for app in order if self._greedy.place_app(app)]
        self._greedy.style = before_style
        found = worth(state, self._settings)
        if found >= best and not state.hard_breaches():
            return found
        for app in done:
            state.take(app)
        for parts in held.values():
            state.put(parts)
        return best

    def _choose(self, troubled: list[int], placed: list[int]) -> list[int]:
        rng = self._rng
        pool = troubled or placed
        if not pool:
            return []
        first = rng.choice(pool)
        chosen = [first]
        others = [app for app in self._near[first] if app in placed and app != first]
        for _ in range(rng.choice((0, 1, 1, 2))):
            pick = rng.choice(others or placed)
            if pick not in chosen:
                chosen.append(pick)
        return chosen

    @cached_property
    def _near(self) -> list[list[int]]:
        """Apps whose containers bear on one another's rules."""
        problem = self._problem
        subjects: list[set[int]] = [set() for _ in problem.live]
        for group, families in zip(problem.groups, problem.families_of, strict=True):
            for number in families:
                subjects[number].add(group.app)
        near: list[set[int]] = [set() for _ in problem.apps]
        for g, group in enumerate(problem.groups):
            for number, _, _ in problem.inflicting[g]:
                near[group.app] |= subjects[number]
                for app in subjects[number]:
                    near[app].add(group.app)
        return [sorted(apps - {app}) for app, apps in enumerate(near)]

    def troubled(self) -> set[int]:
        """Apps that have to do with a miss, or else with fragmented nodes."""
        problem, state = self._problem, self._state
        apps_on: dict[int, list[int]] = {}
        for group, node in state.assigned:
            apps_on.setdefault(node, []).append(group)
        found: set[int] = set()
        for number, family in enumerate(problem.live):
            if not family.weight:
                continue
            for node in state.misses(number)[1].tolist():
                found.update(
                    problem.groups[g].app
                    for g in apps_on.get(node, ())
                    if problem.groups[g].kind in family.kinds
                    or family.counters.intersection(problem.counters_of[g])
                )
        if found:
            return found
        short = (state.touched > 0) & (state.free < problem.keep_free).any(axis=1)
        for node in np.flatnonzero(short).tolist():
            found.update(problem.groups[g].app for g in apps_on[node])
        return found
