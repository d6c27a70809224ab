"""What is known of a round without a search, against the best of all placements."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings

from colchis.model.cluster import Cluster, Container, Node
from colchis.model.resources import Resources
from colchis.semantics.checker import judge, with_assignments
from colchis_master.lra import Settings, ilp, schedule
from colchis_master.lra.bounds import least_extent
from colchis_master.lra.gaps import relative
from colchis_master.lra.problem import Problem
from colchis_master.lra.state import State
from tests.unit.lra.lra_cases import (
    R_MIN,
    Round,
    app,
    every_placement,
    problems_of,
    rounds,
    rule,
    solve,
)


@given(case=rounds(nodes=3, containers=4, running=4))
@settings(max_examples=150)
def test_no_placement_of_all_apps_misses_less_than_the_bound(case: Round) -> None:
    cluster, apps = case
    problem = Problem(cluster, apps, R_MIN)
    bound = least_extent(problem, State(problem), set(range(len(apps))))
    containers = [c for each in apps for c in each.containers()]
    own = [r for each in apps for r in each.rules]
    for assignments in every_placement(cluster, apps):
        if len(assignments) != problem.total_new:
            continue
        end = with_assignments(cluster, containers, assignments, own)
        used = set(assignments.values())
        if any(v < 0 for node in used for _, v in end.free[node].amounts):
            continue
        # Rules that the round cannot change are not part of the bound.
        assert judge(end).weighted >= bound - 1e-9


def test_what_new_containers_must_do_to_running_ones_is_known_without_a_solver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six noisy containers: n0 takes two without harm; n1 to n3 hold 1, 2 and 3 containers that
    suffer from each, and have room for two each."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("no solver is needed")

    monkeypatch.setattr(ilp, "Solver", fail)
    nodes = tuple(Node(f"n{i}", Resources.of(2 + i, "64GiB")) for i in range(4))
    quiet = [Container.of(f"q/g/{i}", {"quiet"}, Resources.of(1, "1GiB")) for i in range(6)]
    homes = ("n1", "n2", "n2", "n3", "n3", "n3")
    cluster = Cluster(
        nodes,
        tuple(quiet),
        {c.id: node for c, node in zip(quiet, homes, strict=True)},
        (rule("{quiet, {noisy, 0, 0}, node}"),),
    )
    apps = [app("x", {"g": (6, {"noisy"})})]
    plan = schedule(
        cluster,
        apps,
        settings=Settings(gap=0.0, r_min=Resources()),
        clock=lambda: 0.0,
        rng=random.Random(0),
    )
    assert problems_of(cluster, apps, plan) == []
    assert plan.totals.extent == pytest.approx(2 * 1 + 2 * 2)
    assert plan.optimal


@pytest.mark.parametrize("weight", [1e-3, 1.0, 3.0, 1e3, 1e6, 1e9])
def test_a_weight_however_large_or_small_leaves_a_proven_plan_proven(weight: float) -> None:
    """Of four that want two others each in their rack, one has to miss that wholly: HiGHS proves
    it as closely as its tolerances allow."""
    nodes = tuple(
        Node(f"n{i}", Resources.of(4, "64GiB"), {"rack": (f"r{i % 2}",)}) for i in range(3)
    )
    four = app("y", {"g": (4, {"y"})})
    heavy = rule("{y, {y, 2, 2}, rack}", "y", weight=weight)
    plan = solve(Cluster(nodes), replace(four, rules=(heavy,)))
    assert plan.totals.extent == 1.0
    assert (plan.optimal, plan.gap) == (True, 0.0)


def test_a_miss_beside_one_that_weighs_a_millionfold_is_not_overlooked() -> None:
    assert relative(1.0, 1e6 + 1.0, 1e6) > 0
