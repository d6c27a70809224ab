"""Moves in a running cluster: the new one is there before the old one goes."""

import pytest

from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis_master.core.events import (
    AddRules,
    MakeMoves,
    Move,
    Remove,
    SetDrained,
    SetSuspended,
)
from colchis_master.core.settings import CoreSettings
from tests.sim.master.support import is_running, run_whole, spec, submit, up
from tests.sim.master.world import World


def add_rule(world: World, text: str, name: str = "rule", hard: bool = False) -> None:
    rule = Rule(parse_constraint(text), name=name, hard=hard)
    answer = world.ask(lambda n: AddRules(n, (rule,), world.now))
    assert answer is not None
    assert answer.status == 0


def move(world: World, limit: int = 10) -> tuple[Move, ...]:
    """Find moves and have them made."""
    moves = world.find_moves(limit)
    answer = world.ask(lambda n: MakeMoves(n, moves))
    assert answer is not None
    assert answer.status == 0
    return moves


def settle(world: World, members: int) -> None:
    """Until all moves are done; all the while every member of the app runs somewhere."""
    run_whole(world, lambda: not world.core.rebalance.under_way, members)


def missed(world: World) -> int:
    return len(world.core.state.constraints.violations())


def test_missed_rules_are_repaired_by_few_moves_with_known_destinations() -> None:
    world = World()
    before = up(world, spec(count=4))
    assert len({node for node, _ in before.values()}) == 1
    add_rule(world, "{web, {web, 0, 1}, node}")
    assert missed(world) == 4
    assert world.placements() == before
    moves = move(world)
    settle(world, members=4)
    assert not missed(world)
    assert len(before.items() & world.placements().items()) == 2
    for one in moves:
        assert world.placements()[str(one.container)][0] == one.target
    world.run(15)
    assert {name: where[0] for name, where in world.running().items()} == world.placements()


def test_moves_are_no_more_than_asked_for() -> None:
    world = World()
    up(world, spec(count=8))
    add_rule(world, "{web, {web, 0, 0}, node}")
    assert len(move(world, 3)) == 3


def test_of_an_app_only_so_many_move_at_once() -> None:
    world = World(settings=CoreSettings(away_share=0.25))
    up(world, spec(count=8))
    add_rule(world, "{web, {web, 0, 1}, node}")
    move(world)
    most = 0
    while world.core.rebalance.under_way:
        most = max(most, len(world.core.state.copies))
        world.run(0.1)
    assert most == 2
    assert not missed(world)


def test_a_killed_master_goes_on_with_moves_that_have_begun() -> None:
    for pause in (0.0, 0.2, 0.5, 1.0):
        world = World()
        up(world, spec(count=2))
        add_rule(world, "{web, {web, 0, 0}, node}")
        move(world)
        world.run(pause)
        world.kill_master()
        world.run(1)
        world.start_master()
        world.run(3)
        settle(world, members=2)
        world.run(15)
        assert not missed(world)
        assert {name: where[0] for name, where in world.running().items()} == world.placements()


def test_a_copy_that_does_not_come_to_run_is_given_up() -> None:
    world = World()
    before = up(world, spec(count=2))
    add_rule(world, "{web, {web, 0, 0}, node}")
    [one] = move(world)
    world.deaf.add(one.target)
    world.run_until(
        lambda: (not world.core.rebalance._queue and not world.core.state.copies) or True
    )
    world.run(75)
    assert world.placements().items() >= before.items()
    world.deaf.clear()
    settle(world, members=2)
    assert world.placements() == before
    assert "did not come to run" in world.core.state.containers[one.container].note


def test_a_move_that_is_no_longer_right_is_dropped_with_its_reason() -> None:
    world = World()
    before = up(world, spec(count=2))
    add_rule(world, "{web, {web, 0, 0}, node}")
    moves = world.find_moves(1)
    world.ask(lambda n: SetDrained(n, moves[0].target, True))
    world.ask(lambda n: MakeMoves(n, moves))
    assert not world.core.rebalance.under_way
    assert world.placements() == before
    told = [one.text for one in world.emitted if one.event == "move"]
    assert "no longer fits" in told[-1]


@pytest.mark.parametrize("hard", [False, True])
def test_no_move_makes_it_worse(hard: bool) -> None:
    world = World()
    up(world, spec(count=2))
    moves = [Move(e.id, str(e.node), f"n{i}") for e in world.core.state.placed() for i in range(4)]
    home = str(next(iter(world.placements().values()))[0])
    add_rule(world, "{web, {web, 1, inf}, node}", hard=hard)
    before = world.placements()
    world.ask(lambda n: MakeMoves(n, tuple(m for m in moves if m.target != home)))
    world.run(20)
    assert world.placements() == before
    told = [one.text for one in world.emitted if one.event == "move"]
    assert len(told) == 6
    assert all("would be missed" in text for text in told)


def test_what_is_suspended_or_ends_meanwhile_is_not_moved() -> None:
    world = World()
    before = up(world, spec(count=2))
    add_rule(world, "{web, {web, 0, 0}, node}")
    move(world)
    assert len(world.core.state.copies) == 1
    world.ask(lambda n: SetSuspended(n, "web", True))
    world.run(20)
    assert not world.core.rebalance.under_way
    assert world.placements() == before
    world.ask(lambda n: SetSuspended(n, "web", False))
    world.run_until(lambda: is_running(world))
    move(world)
    world.ask(lambda n: Remove(n, "web", 1.0))
    world.run(20)
    assert not world.core.state.containers
    assert not world.running()


def test_an_update_while_members_move_is_carried_out() -> None:
    world = World()
    up(world, spec(count=2))
    add_rule(world, "{web, {web, 0, 0}, node}")
    move(world)
    submit(world, spec(count=3, cpus=2), update=True)
    world.run(60)
    assert is_running(world)
    assert sorted(map(len, world.running().values())) == [1, 1, 1]
    assert not world.core.rebalance.under_way


def test_the_master_moves_by_itself_above_a_threshold_only() -> None:
    for threshold, repaired in ((None, False), (0.9, False), (0.2, True)):
        world = World(settings=CoreSettings(rebalance_threshold=threshold))
        up(world, spec(count=2), spec("other", count=2))
        add_rule(world, "{web, {web, 0, 0}, node}")
        world.run(60)
        assert bool(missed(world)) is not repaired
