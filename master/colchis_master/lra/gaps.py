"""How far a plan is from what no plan can better."""

from dataclasses import dataclass

from colchis_master.lra.bounds import Bounds
from colchis_master.lra.greedy import rest_worth, worth
from colchis_master.lra.state import State

TOLERANCE = 2e-7
"""What HiGHS's proofs are short of at most: it gives up on what betters a plan by less than its
feasibility tolerance of 1e-7."""
RELATIVE = 1e-9
"""The same as a share, for sums so large that their digits say no more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is proven without a search, beside what a plan reaches."""

    apps: int
    extent: float
    rest: float
    gap: float
    total: float
    """Bound on the weighted sum."""


def limits(bounds: Bounds, state: State) -> Limits:
    """Bounds for the mode, and the gap of a plan to them: that of the first part of the strict
    order that is not proven, or of the weighted sum."""
    problem, settings = bounds.problem, bounds.settings
    apps = bounds.apps
    placed = state.placed_apps()
    ordered = settings.ordered
    extent = bounds.extent(placed if ordered else set())
    rest = bounds.rest
    k, m = max(1, len(problem.apps)), max(1, problem.instances)
    weights = settings.weights
    total = weights.placed * apps / k + rest
    if not ordered:
        total -= weights.violations * (extent + problem.settled_extent) / m
        reached = worth(state, settings)[0]
        gap = relative(total - reached, reached, total)
    elif len(placed) < apps:
        gap = relative(apps - len(placed), len(placed), apps)
    else:
        missed = state.weighted_extent()
        gap = relative(missed - extent, missed, extent)
        if not gap:
            reached = rest_worth(state, settings)
            gap = relative(rest - reached, reached, rest)
    return Limits(apps, extent, rest, gap, total)


def relative(distance: float, value: float, bound: float) -> float:
    """The distance of a value from its bound, as a share of the larger of the two, or of itself
    where they differ in sign; differences within tolerance are none."""
    if distance <= max(TOLERANCE, RELATIVE * max(abs(value), abs(bound))):
        return 0.0
    return distance / max(abs(value), abs(bound), distance)
