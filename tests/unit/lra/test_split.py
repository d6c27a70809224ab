"""Rounds that are placed in parts, against the reference checker and the best of all placements."""

import itertools
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, Node
from colchis.model.resources import Resources
from colchis_master.lra import Settings, evaluate, schedule
from colchis_master.lra.bounds import Bounds
from colchis_master.lra.gaps import limits, relative
from colchis_master.lra.problem import Problem
from colchis_master.lra.reasons import assignments_of
from colchis_master.lra.split import is_large, solve_split
from colchis_master.lra.state import State
from tests.unit.lra.lra_cases import R_MIN, Round, app, best_of_all, problems_of, rounds, value_of


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by a step each time it is looked at."""
    ticks = itertools.count()
    return lambda: next(ticks) * step


@given(
    case=rounds(nodes=3, containers=4, running=3),
    mode=st.sampled_from(("ordered", "weighted")),
)
@settings(max_examples=60)
def test_no_more_is_lost_by_splitting_than_the_gap_says(case: Round, mode: str) -> None:
    cluster, apps = case
    chosen = Settings(mode=mode, time_limit=60, gap=0.0, r_min=R_MIN)
    problem = Problem(cluster, apps, R_MIN)
    alone = [[number] for number, own in enumerate(problem.groups_of) if own]
    found = solve_split(problem, chosen, time.monotonic, time.monotonic(), alone)
    assignments = assignments_of(problem, found.state)
    reasons = {spec.name: ("left out",) for spec in apps}
    plan = evaluate(cluster, apps, assignments, algorithm="ilp", settings=chosen, reasons=reasons)
    assert problems_of(cluster, apps, plan) == []
    best = best_of_all(cluster, apps, chosen)
    value = value_of(cluster, apps, plan, chosen)
    if found.gap == 0:
        assert value == pytest.approx(best, abs=1e-6)
        return
    extent = limits(Bounds(problem, chosen, State(problem)), found.state).extent
    proven = (found.apps_proven, found.state.weighted_extent() <= extent + 1e-7, False)
    for number, (reached, most) in enumerate(zip(value, best, strict=True)):
        if most > reached + 1e-6:
            assert relative(most - reached, reached, most) <= found.gap + 1e-6
            return
        # The gap speaks of the first part in the order that is not proven.
        if mode == "ordered" and not proven[number]:
            return


def many(*rules: str, hard: bool = False) -> Round:
    """60 pairs of apps, more than one search is for, in the order of all firsts, all seconds."""
    nodes = tuple(
        Node(f"n{i}", Resources.of(8, "32GiB"), {"rack": (f"r{i // 5}",)}) for i in range(20)
    )
    firsts = [
        app(f"a{i}", {"g": (1, {"a"})}, *(rule.format(i) for rule in rules), hard=hard)
        for i in range(60)
    ]
    seconds: list[AppSpec] = [app(f"b{i}", {"g": (1, {"b"})}) for i in range(60)]
    return Cluster(nodes), (*firsts, *seconds)


def test_apps_that_need_each_other_are_placed_though_submitted_far_apart() -> None:
    cluster, apps = many("{{a, {{app/b{}/b, 1, inf}}, node}}", hard=True)
    assert is_large(Problem(cluster, apps, R_MIN))
    plan = schedule(
        cluster,
        apps,
        settings=Settings(time_limit=600),
        clock=time.monotonic,
        rng=random.Random(0),
    )
    assert problems_of(cluster, apps, plan) == []
    assert all(each.placed for each in plan.apps)
    assert plan.gap is not None and plan.gap <= 0.01


def test_a_large_round_that_cannot_keep_all_rules_says_how_far_it_may_be_from_the_best() -> None:
    cluster, apps = many("{{a, {{others/a, 0, 0}}, rack}}")
    plan = schedule(
        cluster,
        apps,
        settings=Settings(time_limit=60),
        clock=ticking(0.1),
        rng=random.Random(0),
    )
    assert problems_of(cluster, apps, plan) == []
    assert all(each.placed for each in plan.apps)
    # 60 in four racks: 15 in each miss a rule by 14 others, and no spreading does better.
    assert plan.totals.extent == pytest.approx(60 * 14)
    assert plan.gap is not None and 0 < plan.gap <= 1


@pytest.mark.parametrize("mode", ["ordered", "weighted"])
def test_the_time_limit_is_kept(mode: str) -> None:
    cluster, apps = many("{{a, {{others/a, 0, 0}}, rack}}")
    limit = 6.0
    clock = ticking(0.05)
    plan = schedule(
        cluster,
        apps,
        settings=Settings(mode=mode, time_limit=limit),
        clock=clock,
        rng=random.Random(0),
    )
    assert clock() <= 1.1 * limit
    assert problems_of(cluster, apps, plan) == []
    assert 0 < sum(each.placed for each in plan.apps) < len(apps)
    assert plan.gap is not None and plan.gap > 0
