"""The ``ilp`` algorithm: heuristics, bounds, and the integer program where they do not meet."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colchis_master.lra.bounds import Bounds, least_extent, most_rest
from colchis_master.lra.configurations import Configurations, TooManyError
from colchis_master.lra.gaps import TOLERANCE, Limits, limits, relative
from colchis_master.lra.greedy import Greedy, Style, rest_worth, worth
from colchis_master.lra.highs import Answer, NoSolutionError, SolverFailedError
from colchis_master.lra.improve import Improver
from colchis_master.lra.model import Model
from colchis_master.lra.moves import Mover
from colchis_master.lra.offers import offer
from colchis_master.lra.problem import Problem
from colchis_master.lra.program import OutOfTimeError
from colchis_master.lra.settings import Settings
from colchis_master.lra.solver import Solver
from colchis_master.lra.state import State

Clock = Callable[[], float]
_Row = tuple[list[tuple[Any, float]], float]
"""Terms that come to at most a limit."""
SMALL = 600
"""Columns up to which a proven optimum is asked for where no gap is set."""
CLOSE = 0.01
"""The gap that is good enough beyond."""
HASTY, PATIENT = 8, 30
"""Tries without a gain after which the search for a better heuristic plan ends."""
HASTY_MOVES, PATIENT_MOVES = 60, 200
"""Moves of single containers without a gain after which that search ends."""
PERSISTENT = 3
"""Turns of all these searches without a gain after which they are given up."""
PRESOLVE = 8
"""Times that building a model took which its solution takes at least: where less is left it is
not begun, for the time is better spent on more of the heuristics' searches."""
RESERVE = 0.06
"""Share of the time limit kept for judging the plan."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A placement, how far it may be from the best, and what happened. ``apps_proven`` says
    whether no placement holds more apps (ordered mode)."""

    state: State
    gap: float
    optimal: bool
    notes: tuple[str, ...] = ()
    apps_proven: bool = False


def heuristic_plans(bounds: Bounds, clock: Clock, started: float, end: float) -> list[State]:
    """Plans of the heuristics, best first; the search for more stops at a plan that meets the
    bounds, or after half of the time limit. The first may take until ``end``."""
    problem, settings = bounds.problem, bounds.settings

    def late() -> bool:
        return clock() > end

    def stop() -> bool:
        return clock() - started > 0.5 * settings.time_limit

    plain, packing = Style(), Style(pack=True)
    runs: list[tuple[Style, Callable[[Greedy], State]]] = [
        (plain, Greedy.serial),
        (plain, Greedy.tag_popularity),
        (plain, Greedy.node_candidates),
        (packing, Greedy.serial),
        (packing, Greedy.tag_popularity),
        (plain, Greedy.as_submitted),
    ]
    rng = random.Random(0)
    states: list[State] = []

    def good_enough() -> bool:
        return limits(bounds, states[0]).gap <= (settings.gap or 0.0)

    for style, run in runs:
        if states and stop():
            break
        states.append(run(Greedy(problem, settings, style, stop if states else late)))
        states.sort(key=lambda state: worth(state, settings), reverse=True)
        if len(states) == 1:
            Mover(problem, settings, states[0], rng, stop).run(good_enough, HASTY_MOVES)
            Improver(problem, settings, states[0], rng, stop).run(good_enough, HASTY)
        if good_enough():
            return states
    Improver(problem, settings, states[0], rng, stop).run(good_enough, PATIENT)
    Mover(problem, settings, states[0], rng, stop).run(good_enough, PATIENT_MOVES)
    return states


def solve(
    problem: Problem,
    settings: Settings,
    clock: Clock,
    started: float,
    end: float | None = None,
) -> Solution:
    """The best placement found within the time limit. Never raises for the solver's sake: where it
    fails, the best heuristic plan stands, and the notes say why. The first heuristic may take
    until ``end``, otherwise most of the time limit."""
    deadline = started + settings.time_limit
    if end is None:
        end = started + 0.8 * settings.time_limit
    base = State(problem)
    bounds = Bounds(problem, settings, base)
    plans = heuristic_plans(bounds, clock, started, end)
    best = plans[0]
    found = limits(bounds, best)
    wanted = settings.gap
    if found.gap <= (wanted or 0.0):
        return Solution(best, found.gap, found.gap == 0.0, (), found.gap == 0.0)
    try:
        return _search(bounds, clock, deadline, plans, base, found)
    except Exception as error:  # a failing solver must not stop the round
        note = f"the solver failed ({type(error).__name__}: {error}); this is a heuristic's plan"
        return Solution(best, found.gap, False, (note,))


def _search(
    bounds: Bounds,
    clock: Clock,
    deadline: float,
    plans: list[State],
    base: State,
    found: Limits,
) -> Solution:
    problem, settings = bounds.problem, bounds.settings
    large = problem.size * len(problem.groups) > SMALL
    if settings.gap is None and large and found.gap <= CLOSE:
        return Solution(plans[0], found.gap, found.gap == 0.0)
    reserve = RESERVE * settings.time_limit
    if deadline - clock() < reserve:
        return _without_solver(bounds, plans[0], clock, deadline - reserve)
    begun = clock()
    built_by = begun + 0.5 * (deadline - reserve - begun)
    try:
        model, exact, small = _program(
            problem, settings, base, plans, deadline - begun, lambda: clock() > built_by
        )
    except OutOfTimeError:
        return _without_solver(bounds, plans[0], clock, deadline - reserve)
    built = clock() - begun
    if not isinstance(model, Configurations) and deadline - reserve - clock() < PRESOLVE * built:
        return _without_solver(bounds, plans[0], clock, deadline - reserve)
    gap = settings.gap
    if gap is None:
        gap = 0.0 if small else CLOSE
    with Solver(model, deadline - reserve, deadline, clock) as solver:
        solver.start_from(plans[0].assigned, plans[0].placed_apps())
        phases = _Phases(problem, settings, model, solver, plans[0], found, exact, gap)
        return phases.ordered() if settings.ordered else phases.weighted()


def _program(
    problem: Problem,
    settings: Settings,
    base: State,
    plans: list[State],
    seconds: float,
    late: Callable[[], bool],
) -> tuple[Model | Configurations, bool, bool]:
    """The program for a round, whether the best placement is certainly in it, and whether it is
    small enough to be solved to the end."""
    try:
        return Configurations(problem, settings, late), True, True
    except TooManyError:
        pass
    offered = offer(problem, base, settings, plans, seconds)
    small = offered.exact and len(offered.nodes) * len(problem.groups) <= SMALL
    return Model(problem, settings, offered.nodes, late), offered.exact, small


def _without_solver(bounds: Bounds, state: State, clock: Clock, end: float) -> Solution:
    """A plan bettered by more of the heuristics' searches, in time that is too short to solve."""
    problem, settings = bounds.problem, bounds.settings
    rng = random.Random(1)

    def stop() -> bool:
        return clock() > end

    def good_enough() -> bool:
        return limits(bounds, state).gap <= (settings.gap or 0.0)

    idle = 0
    while idle < PERSISTENT and not stop() and not good_enough():
        before = worth(state, settings)
        Mover(problem, settings, state, rng, stop).run(good_enough, PATIENT_MOVES)
        Improver(problem, settings, state, rng, stop).run(good_enough, PATIENT)
        idle = 0 if worth(state, settings) > before else idle + 1
    gap = limits(bounds, state).gap
    note = "the time limit left no room for the solver; this is a heuristic's plan"
    return Solution(state, gap, gap == 0.0, (note,) if gap else (), gap == 0.0)


class _Phases:
    """The parts of the objective in strict order, or their sum at once."""

    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        model: Model | Configurations,
        solver: Solver,
        best: State,
        found: Limits,
        exact: bool,
        gap: float,
    ) -> None:
        self._problem = problem
        self._settings = settings
        self._model = model
        self._solver = solver
        self._best = best
        self._found = found
        self._exact = exact
        self._gap = gap
        self._gaps: list[float] = []
        self._notes: list[str] = []
        self._apps_proven = False

    def ordered(self) -> Solution:
        model, solver = self._model, self._solver
        apps = [(v, -1.0) for v in model.placed]
        if len(self._best.placed_apps()) < self._found.apps and not self._phase(
            apps, 0.0, -float(self._found.apps), lambda: -float(len(self._best.placed_apps()))
        ):
            return self._solution()
        self._apps_proven = not any(self._gaps)
        solver.keep_at_most(apps, -float(len(self._best.placed_apps())))
        placed = self._best.placed_apps()
        certain = placed if len(placed) == len(self._problem.apps) else set()
        least = least_extent(self._problem, model.base, certain)
        if (
            model.extent
            and self._best.weighted_extent() > least + TOLERANCE
            and not self._phase(model.extent, model.extent_constant, least, self._best_extent)
        ):
            return self._solution()
        if model.extent:
            limit = self._best.weighted_extent() - model.extent_constant
            solver.keep_at_most(model.extent, limit + 1e-6)
        rest = -self._found.rest
        if model.rest and -rest_worth(self._best, self._settings) > rest + TOLERANCE:
            self._phase(
                model.rest,
                rest + model.rest_constant,
                rest,
                lambda: -rest_worth(self._best, self._settings),
            )
        return self._solution()

    def _best_extent(self) -> float:
        return self._best.weighted_extent()

    def _phase(
        self,
        terms: list[tuple[Any, float]],
        constant: float,
        floor: float,
        value: Callable[[], float],
    ) -> bool:
        """Minimise one part; whether the next may be taken up. ``value`` is what the best plan
        comes to in it, ``floor`` a bound known beforehand."""
        answer = self._solver.minimise(terms, self._gap)
        bound = floor
        if answer is not None:
            self._adopt(self._model.assigned(answer.columns))
            if self._exact:
                bound = max(bound, answer.bound + constant)
        self._gaps.append(relative(value() - bound, value(), bound))
        if answer is None or not answer.finished:
            self._notes.append("the time limit ended the search before the best plan was proven")
            return False
        return True

    def _adopt(self, assigned: dict[tuple[int, int], int]) -> None:
        state = State(self._problem)
        for (group, node), times in assigned.items():
            state.place(group, node, times)
        needed = np.zeros(state.free.shape, dtype=np.bool_)
        for group, node in assigned:
            needed[node] |= self._problem.needs[group] > 0
        if (needed & (state.free < 0)).any():
            raise SolverFailedError("the solver's plan overfills a node")
        if state.hard_breaches():
            raise SolverFailedError("the solver's plan breaks a hard rule")
        if worth(state, self._settings) >= worth(self._best, self._settings):
            self._best = state

    def _solution(self) -> Solution:
        gap = next((gap for gap in self._gaps if gap > 0), 0.0)
        return Solution(self._best, gap, gap == 0.0, tuple(self._notes), self._apps_proven)

    def weighted(self) -> Solution:
        """The weighted sum. Its m counts placed containers only, which makes it a ratio: with the
        m of a round wholly placed the program bounds it from above, and a plan that meets this
        bound is the best. Until then sets of apps are tried in the order of their bounds."""
        ceiling = self._ceiling()
        value = worth(self._best, self._settings)[0]
        gap = relative(ceiling - value, value, ceiling)
        if gap > self._gap:
            self._notes.append("the time limit ended the search before the best plan was proven")
        return Solution(self._best, gap, gap == 0.0, tuple(self._notes))

    def _ceiling(self) -> float:
        """Improve the best plan; returns a proven bound on the weighted sum."""
        known = self._found.total
        all_instances = self._problem.instances
        others: list[_Row] = []
        """Rows that leave out the sets of apps looked at so far."""
        highest = -math.inf
        """Bound over those sets."""
        while True:
            try:
                answer = self._best_sum(all_instances, others)
            except NoSolutionError:
                return max(highest, worth(self._best, self._settings)[0])
            if answer is None or not self._exact:
                return known
            placed = {
                app for app, v in enumerate(self._model.placed) if answer.columns[v.index] > 0.5
            }
            ceiling = self._sum_bound(answer, all_instances)
            instances = self._problem.instances_with(placed)
            if instances == all_instances:
                return min(known, max(highest, ceiling))
            again = self._best_sum(instances, self._just(placed))
            if again is None:
                return min(known, max(highest, ceiling))
            highest = max(highest, self._sum_bound(again, instances))
            if not answer.finished or ceiling <= worth(self._best, self._settings)[0] + TOLERANCE:
                return min(known, max(highest, ceiling))
            others.append(self._not_just(placed))

    def _best_sum(self, instances: int, rows: Sequence[_Row]) -> Answer | None:
        """The best weighted sum with an m, adopted where it is better."""
        answer = self._solver.minimise(self._sum_terms(instances), self._gap, rows)
        if answer is not None:
            self._adopt(self._model.assigned(answer.columns))
        return answer

    def _just(self, placed: set[int]) -> list[_Row]:
        """Rows that place just these apps."""
        signs = [-1.0 if app in placed else 1.0 for app in range(len(self._model.placed))]
        return [
            ([(v, sign)], min(sign, 0.0)) for v, sign in zip(self._model.placed, signs, strict=True)
        ]

    def _not_just(self, placed: set[int]) -> _Row:
        """A row that any other set of apps keeps."""
        terms = [(v, 1.0 if app in placed else -1.0) for app, v in enumerate(self._model.placed)]
        return terms, len(placed) - 1.0

    def _sum_bound(self, answer: Answer, instances: int) -> float:
        return -answer.bound + self._sum_constant(instances)

    def _sum_terms(self, instances: int) -> list[tuple[Any, float]]:
        weights, model = self._settings.weights, self._model
        k, m = max(1, len(self._problem.apps)), max(1, instances)
        return [
            *((v, -weights.placed / k) for v in model.placed),
            *((v, f * weights.violations / m) for v, f in model.extent),
            *model.rest,
        ]

    def _sum_constant(self, instances: int) -> float:
        weights = self._settings.weights
        constant = self._model.extent_constant + self._problem.settled_extent
        missed = weights.violations / max(1, instances) * constant
        return most_rest(self._problem, self._settings) - self._model.rest_constant - missed
