"""Hundreds of random worlds with faults; an independent audit finds every law kept."""

from collections import Counter

import pytest

from colchis_master.tasks.policies import POLICIES
from tests.sim.tasks.world import World


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("block", range(5))
def test_every_law_holds_in_random_worlds(policy: str, block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        try:
            World(policy, seed).run()
        except AssertionError as error:
            raise AssertionError(f"policy {policy}, seed {seed}: {error}") from error


def test_slot_that_comes_for_a_task_which_has_got_another_is_for_others() -> None:
    World("random", 20131).run()


def test_the_worlds_are_eventful() -> None:
    seen: Counter[str] = Counter()
    for seed in range(40):
        world = World("lma", seed)
        world.run()
        seen += world.audit.orders
    for order in ("Launch", "Suspend", "Resume", "Kill"):
        assert seen[order] > 20, seen
    for state in ("running", "suspending", "suspended"):
        assert seen[f"Adopted {state}"] > 4, seen


def test_a_world_repeats_itself_from_its_seed() -> None:
    first, second = World("random", 7), World("random", 7)
    first.run()
    second.run()
    assert first.audit.orders == second.audit.orders
    assert first.now == second.now
