"""The door to all algorithms: a snapshot and apps in, a plan out."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster
from colchis.model.plan import Plan
from colchis_master.lra import baselines
from colchis_master.lra.evaluate import to_plan
from colchis_master.lra.greedy import Greedy, Stop, worth
from colchis_master.lra.ilp import solve
from colchis_master.lra.problem import Problem
from colchis_master.lra.reasons import Reasons, assignments_of, never_reasons
from colchis_master.lra.settings import Settings
from colchis_master.lra.singly import with_single_members
from colchis_master.lra.split import is_large, solve_split
from colchis_master.lra.state import State

Clock = Callable[[], float]
Heuristic = Callable[[Problem, Settings, random.Random, Stop], State]
MAX_EXPLAINED = 50

HEURISTICS: Mapping[str, Heuristic] = {
    "serial": lambda p, s, rng, stop: Greedy(p, s, stop=stop).serial(),
    "tag-popularity": lambda p, s, rng, stop: Greedy(p, s, stop=stop).tag_popularity(),
    "node-candidates": lambda p, s, rng, stop: Greedy(p, s, stop=stop).node_candidates(),
    "j-kube": baselines.j_kube,
    "j-kube++": baselines.j_kube_plus,
    "yarn": baselines.yarn,
}
ALGORITHMS: tuple[str, ...] = ("ilp", *HEURISTICS)


class UnknownAlgorithmError(ValueError):
    """A name that is none of ``ALGORITHMS``."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is no algorithm; write one of {', '.join(ALGORITHMS)}")


def schedule(
    cluster: Cluster,
    apps: Sequence[AppSpec],
    *,
    algorithm: str = "ilp",
    settings: Settings,
    clock: Clock,
    rng: random.Random,
    begun: Collection[str] = (),
) -> Plan:
    """Where the containers of ``apps`` that do not run yet go.

    Each app is placed wholly or not at all; one that is left out carries its reasons, and ``never``
    where no state of these nodes could hold it. Of the apps ``begun`` what fits is placed if not
    all does. Raises UnknownAlgorithmError.
    """
    started = clock()
    if algorithm not in ALGORITHMS:
        raise UnknownAlgorithmError(algorithm)
    problem = Problem(cluster, apps, settings.keep_free)
    gap: float | None = None
    optimal = False
    notes: tuple[str, ...] = ()
    if algorithm == "ilp":
        search = solve_split if is_large(problem) else solve
        solution = search(problem, settings, clock, started)
        state, gap, optimal, notes = (
            solution.state,
            solution.gap,
            solution.optimal,
            solution.notes,
        )
    else:
        end = started + settings.time_limit
        state = HEURISTICS[algorithm](problem, settings, rng, lambda: clock() > end)
    if not settings.ordered:
        end = started + 0.9 * settings.time_limit
        state = _without_losses(problem, state, settings, lambda: clock() > end)
    assignments = assignments_of(problem, state)
    hurry = clock() - started > 0.8 * settings.time_limit
    reasons, never = _why_not(problem, state, settings, hurry)
    plan = to_plan(problem, assignments, algorithm, settings, reasons, never)
    plan = replace(plan, gap=gap, optimal=optimal, notes=notes)
    plan = with_single_members(problem, plan, begun, settings)
    return replace(plan, seconds=clock() - started)


def _without_losses(problem: Problem, state: State, settings: Settings, late: Stop) -> State:
    """In the weighted sum an app may cost more than it is worth: leave such apps out."""
    for app in sorted(state.placed_apps()):
        if late():
            break
        before = worth(state, settings)
        held = state.take(app)
        if worth(state, settings) <= before or state.hard_breaches():
            state.put(held)
    return state


def _why_not(
    problem: Problem, state: State, settings: Settings, hurry: bool
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    placed = state.placed_apps()
    explain = Reasons(problem, state, settings)
    reasons: dict[str, tuple[str, ...]] = {}
    never = set()
    left = [app for app in range(len(problem.apps)) if app not in placed]
    for app in left[:MAX_EXPLAINED]:
        name = problem.apps[app].name
        impossible = never_reasons(problem, app, settings, hurry=hurry)
        if impossible:
            never.add(name)
            reasons[name] = impossible
        elif hurry and app != left[0]:
            reasons[name] = (f"{name}: the time limit left no room to place or explain it",)
        else:
            reasons[name] = explain.waiting(app)
    for app in left[MAX_EXPLAINED:]:
        reasons[problem.apps[app].name] = (
            f"one of {len(left)} apps that could not be placed; explain says why",
        )
    return reasons, frozenset(never)
