"""What a placement in the making says of the next container, as placements come and go."""

import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from colchis.model.cluster import Cluster, Node
from colchis.model.resources import Resources
from colchis_master.lra.greedy import Greedy
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import State
from tests.unit.lra.lra_cases import R_MIN, Round, app, rounds

CASES = rounds(running=3, groups=("node", "node", "rack", "cluster"))
SEEDS = st.integers(0, 1 << 16)


def problem_of(case: Round) -> Problem:
    """The problem of a case that has something to place."""
    problem = Problem(*case, R_MIN)
    assume(problem.groups)
    return problem


@given(
    case=CASES,
    seed=SEEDS,
    steps=st.integers(1, 12),
)
@settings(max_examples=150)
def test_what_is_kept_is_what_a_fresh_look_gives(case: Round, seed: int, steps: int) -> None:
    problem, rng = problem_of(case), random.Random(seed)
    state = State(problem)
    greedy = Greedy(problem, Settings(r_min=R_MIN), state=state)
    for _ in range(steps):
        if state.assigned and rng.random() < 0.3:
            state.take(rng.randrange(len(problem.apps)))
        else:
            state.place(rng.randrange(len(problem.groups)), rng.randrange(problem.size))
        # One group is looked at after every change, others after several.
        for group in {0, rng.randrange(len(problem.groups))}:
            greedy.best_node(group)
            state.costs(group)
    fresh = State(problem)
    fresh.put(state.assigned)
    assert state.weighted_extent() == pytest.approx(fresh.weighted_extent())
    assert state.placed_apps() == fresh.placed_apps()
    for number in range(len(problem.live)):
        assert state.misses(number)[1].tolist() == fresh.misses(number)[1].tolist()
    for group in range(len(problem.groups)):
        for kept, looked in zip(state.costs(group), fresh.costs(group), strict=True):
            assert kept == pytest.approx(looked)
        assert state.room(group).tolist() == fresh.room(group).tolist()
        assert state.slots(group).tolist() == fresh.slots(group).tolist()
        assert state.fits(group).tolist() == fresh.fits(group).tolist()
        assert state.spoils(group).tolist() == fresh.spoils(group).tolist()
        assert state.shares(group) == pytest.approx(fresh.shares(group))


@given(
    case=CASES,
    seed=SEEDS,
    steps=st.integers(0, 8),
)
@settings(max_examples=150)
def test_costs_are_what_the_next_container_changes(case: Round, seed: int, steps: int) -> None:
    problem, rng = problem_of(case), random.Random(seed)
    state = State(problem)
    for _ in range(steps):
        state.place(rng.randrange(len(problem.groups)), rng.randrange(problem.size))
        state.costs(0)
    before = state.weighted_extent()
    for group in range(len(problem.groups)):
        soft, _, _ = state.costs(group)
        changes = np.zeros(problem.size)
        for node in range(problem.size):
            state.place(group, node)
            fresh = State(problem)
            fresh.put(state.assigned)
            changes[node] = fresh.weighted_extent() - before
            state.place(group, node, -1)
        assert soft == pytest.approx(changes, abs=1e-9)


def test_popular_apps_are_placed_before_those_that_have_to_make_way() -> None:
    assert_noisy_is_placed_first("{noisy, {noisy, 0, 2}, node}")


def test_alike_rules_of_several_apps_make_a_tag_as_popular_as_others() -> None:
    assert_noisy_is_placed_first()


def assert_noisy_is_placed_first(*its_rules: str) -> None:
    """Two apps avoid the tag of a third, which finds no node of its own where it comes last."""
    cluster = Cluster(tuple(Node(f"n{i}", Resources.of(8, "32GiB")) for i in range(2)))
    shy = [app(f"shy{i}", {"g": (1, {"shy"})}, "{shy, {noisy, 0, 0}, node}") for i in range(2)]
    noisy = app("noisy", {"g": (1, {"noisy"})}, *its_rules)
    problem = Problem(cluster, [*shy, noisy], R_MIN)
    assert Greedy(problem, Settings()).serial().weighted_extent() > 0
    for popular_first in (Greedy.popular_apps, Greedy.tag_popularity):
        placed = popular_first(Greedy(problem, Settings()))
        assert placed.placed_apps() == {0, 1, 2}
        assert placed.weighted_extent() == 0
