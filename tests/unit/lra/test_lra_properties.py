"""Every algorithm against the reference checker, and the ILP against all placements."""

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colchis.model.cluster import Cluster
from colchis.semantics.checker import judge
from colchis_master.lra import ALGORITHMS, Settings, Weights, schedule
from colchis_master.lra.offers import offer
from colchis_master.lra.problem import Problem
from colchis_master.lra.state import State
from tests.unit.lra.lra_cases import (
    R_MIN,
    Round,
    after,
    best_of_all,
    problems_of,
    rounds,
    value_of,
)

MODES = st.sampled_from(("ordered", "weighted"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(case=rounds(), mode=MODES, seed=st.integers(0, 3))
@settings(max_examples=40)
def test_plans_keep_the_laws(algorithm: str, case: Round, mode: str, seed: int) -> None:
    cluster, apps = case
    plan = schedule(
        cluster,
        apps,
        algorithm=algorithm,
        settings=Settings(mode=mode, time_limit=60, r_min=R_MIN),
        clock=time.monotonic,
        rng=random.Random(seed),
    )
    assert problems_of(cluster, apps, plan) == []
    assert not any("fail" in note for note in plan.notes)
    verdict = judge(after(cluster, apps, plan))
    assert sorted(map(repr, plan.violations)) == sorted(map(repr, verdict.violations))
    assert plan.totals.subjects == verdict.subjects
    assert plan.totals.violating == verdict.violating
    assert plan.totals.extent == pytest.approx(verdict.extent)


@given(
    case=rounds(nodes=3, containers=4, running=3),
    mode=MODES,
    weights=st.sampled_from((Weights(), Weights(), Weights(machines=0.2, balance=0.3))),
)
@settings(max_examples=300)
def test_ilp_is_as_good_as_the_best_of_all_placements(
    case: Round, mode: str, weights: Weights
) -> None:
    cluster, apps = case
    chosen = Settings(mode=mode, time_limit=60, gap=0.0, weights=weights, r_min=R_MIN)
    plan = schedule(cluster, apps, settings=chosen, clock=time.monotonic, rng=random.Random(0))
    best = best_of_all(cluster, apps, chosen)
    assert value_of(cluster, apps, plan, chosen) == pytest.approx(best, abs=1e-6)
    assert plan.optimal
    assert plan.gap == 0.0


@given(case=rounds(nodes=6, containers=2, running=3, extras=False), mode=MODES)
@settings(max_examples=150)
def test_leaving_out_nodes_that_others_outdo_loses_nothing(case: Round, mode: str) -> None:
    cluster, apps = case
    chosen = Settings(mode=mode, time_limit=60, gap=0.0, r_min=R_MIN)
    problem = Problem(cluster, apps, R_MIN)
    offered = offer(problem, State(problem), chosen, [], 60.0)
    kept = {cluster.nodes[n].name for n in offered.nodes}
    assert offered.exact
    narrowed = tuple(
        node if node.name in kept else replace(node, schedulable=False) for node in cluster.nodes
    )
    fewer = Cluster(narrowed, cluster.containers, cluster.placed, cluster.rules)
    assert best_of_all(fewer, apps, chosen) == pytest.approx(
        best_of_all(cluster, apps, chosen), abs=1e-9
    )


@given(case=rounds(nodes=3, containers=4, running=3, groups=("node",)), mode=MODES)
@settings(max_examples=150)
def test_configurations_find_the_best_of_all_placements(case: Round, mode: str) -> None:
    cluster, apps = case
    chosen = Settings(mode=mode, time_limit=60, gap=0.0, r_min=R_MIN)
    plan = schedule(cluster, apps, settings=chosen, clock=time.monotonic, rng=random.Random(0))
    best = best_of_all(cluster, apps, chosen)
    assert value_of(cluster, apps, plan, chosen) == pytest.approx(best, abs=1e-6)
    assert plan.optimal
