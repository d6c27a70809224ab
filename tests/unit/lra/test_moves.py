"""The search by moves of single containers, against the reference checker."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.medea.violations import interacting
from benchmarks.placement.clusters import Shape, make_cluster
from colchis_master.lra import Settings, evaluate, schedule
from colchis_master.lra.greedy import Greedy, worth
from colchis_master.lra.moves import Mover
from colchis_master.lra.problem import Problem
from colchis_master.lra.reasons import assignments_of
from tests.unit.lra.lra_cases import R_MIN, Round, problems_of, rounds


@given(
    case=rounds(),
    mode=st.sampled_from(("ordered", "weighted")),
    seed=st.integers(0, 3),
    moves=st.integers(0, 30),
)
@settings(max_examples=200)
def test_moves_keep_the_laws_and_make_no_plan_worse(
    case: Round, mode: str, seed: int, moves: int
) -> None:
    cluster, apps = case
    chosen = Settings(mode=mode, r_min=R_MIN)
    problem = Problem(cluster, apps, R_MIN)
    state = Greedy(problem, chosen).serial()
    before, placed = worth(state, chosen), state.placed_apps()
    looks = itertools.count()
    mover = Mover(problem, chosen, state, random.Random(seed), lambda: next(looks) >= moves)
    mover.run(lambda: False, 20)
    assert worth(state, chosen) >= before
    assert state.placed_apps() == placed
    reasons = {spec.name: ("left out",) for spec in apps}
    plan = evaluate(
        cluster,
        apps,
        assignments_of(problem, state),
        algorithm="ilp",
        settings=chosen,
        reasons=reasons,
    )
    assert problems_of(cluster, apps, plan) == []


@pytest.mark.parametrize(
    ("load", "count", "seed"), [(0.5, 5, 0), (0.7, 5, 0), (0.9, 10, 0), (0.9, 10, 2)]
)
def test_no_rule_is_missed_where_none_need_be(load: float, count: int, seed: int) -> None:
    rng = random.Random(seed)
    cluster = make_cluster(Shape(400, load), rng)
    apps = interacting(count, 10, rng)
    plan = schedule(
        cluster,
        apps,
        settings=Settings(gap=0.01),
        clock=lambda: 0.0,
        rng=random.Random(seed),
    )
    assert problems_of(cluster, apps, plan) == []
    assert all(each.placed for each in plan.apps)
    assert plan.violations == ()
    assert plan.optimal
