"""Rules over a life: with an end, of the operator's, about what is not there yet, and groups that
change; after each change it is known what is missed."""

from dataclasses import replace

import pytest

from colchis.model.app import AppSpec, Kind
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis_master.core.events import AddRules, Remove, RemoveRule, Submit
from tests.sim.master.support import is_running, spec, submit, up
from tests.sim.master.world import World, check_violations

PAIR = "{web, {web, 0, 1}, node}"
ALONE = "{web, {web, 0, 0}, node}"


def add(
    world: World, text: str, name: str, hard: bool = False, expires: float | None = None
) -> None:
    rule = Rule(parse_constraint(text), name=name, hard=hard, expires=expires)
    answer = world.ask(lambda n: AddRules(n, (rule,), world.now + world.wall_offset))
    assert answer is not None
    assert answer.status == 0


def missed(world: World) -> list[str]:
    """Names of the rules that are missed, one for each container."""
    check_violations(world.core)
    return [one.constraint for one in world.core.state.constraints.violations()]


def fullest(world: World) -> int:
    nodes = [node for node, _ in world.placements().values()]
    return max(map(nodes.count, nodes))


def restart(world: World) -> None:
    world.kill_master()
    world.run(1)
    world.start_master()
    world.run(3)


def with_rules(app: AppSpec, *rules: Rule) -> AppSpec:
    return replace(app, rules=tuple(replace(rule, app=app.name) for rule in rules))


@pytest.mark.parametrize("restarted", [False, True])
def test_an_operators_rule_ends_by_itself(restarted: bool) -> None:
    world = World()
    up(world, spec(count=3))
    add(world, ALONE, "short", expires=30.0)
    assert missed(world) == ["short"] * 3
    world.run(10)
    if restarted:
        restart(world)
    assert missed(world) == ["short"] * 3
    world.run(30)
    assert missed(world) == []
    assert world.core.state.constraints.rules == ()
    restart(world)
    assert world.core.state.constraints.rules == ()


@pytest.mark.parametrize("restarted", [False, True])
def test_an_apps_rule_ends_so_long_after_it_was_last_set(restarted: bool) -> None:
    world = World()
    short = Rule(parse_constraint(ALONE), hard=True, expires=60.0)
    world.run(2)
    world.ask(lambda n: submit_event(world, n, with_rules(spec(count=2), short)))
    world.run(40)
    again = Rule(parse_constraint(PAIR), hard=True, expires=60.0)
    world.ask(lambda n: submit_event(world, n, with_rules(spec(count=2), again), update=True))
    world.run(40)
    if restarted:
        restart(world)
    assert [str(rule.constraint) for rule in world.core.state.constraints.rules] == [PAIR]
    world.run(30)
    assert world.core.state.constraints.rules == ()


def submit_event(world: World, number: int, app: AppSpec, update: bool = False) -> Submit:
    return Submit(number, (app,), update, world.now + world.wall_offset)


def test_what_waits_for_a_rule_is_placed_when_it_has_ended() -> None:
    world = World(nodes=2)
    add(world, ALONE, "short", hard=True, expires=40.0)
    world.run(2)
    submit(world, spec(count=3))
    world.run(20)
    assert not world.placements()
    world.run_until(lambda: is_running(world))


@pytest.mark.parametrize(("apps", "operators"), [(PAIR, ALONE), (ALONE, PAIR)])
def test_an_operators_rule_tightens_and_never_loosens(apps: str, operators: str) -> None:
    world = World()
    add(world, operators, "operators", hard=True)
    world.run(2)
    submit(world, spec(count=4, rules=(apps,)))
    world.run_until(lambda: is_running(world))
    assert fullest(world) == 1
    world.ask(lambda n: RemoveRule(n, "operators"))
    submit(world, spec(count=6, rules=(apps,)), update=True)
    world.run(20)
    assert fullest(world) == (2 if apps == PAIR else 1)
    assert is_running(world) == (apps == PAIR)


def test_rules_of_what_is_not_there_yet() -> None:
    world = World()
    up(world, spec("web", count=2, rules=("{web, {noisy, 0, 0}, node}",)))
    assert missed(world) == []
    homes = {node for node, _ in world.placements().values()}
    submit(world, spec("noisy", count=8))
    world.run_until(lambda: is_running(world, "noisy"))
    noisy = {node for name, (node, _) in world.placements().items() if name.startswith("noisy")}
    assert not noisy & homes
    add(world, "{web, {cache, 1, inf}, rack}", "near")
    assert missed(world) == ["near"] * 2
    submit(world, spec("cache", count=1))
    world.run_until(lambda: is_running(world, "cache"))
    assert missed(world) == []
    world.ask(lambda n: Remove(n, "cache", 0.0))
    world.run(10)
    assert missed(world) == ["near"] * 2
    world.ask(lambda n: Remove(n, "web", 0.0))
    world.run(10)
    assert missed(world) == []
    assert len(world.core.state.constraints.rules) == 1


def test_rules_bind_batch_containers_and_count_them() -> None:
    world = World()
    up(world, spec("job", count=4, kind=Kind.BATCH, rules=("{job, {job, 0, 0}, node}",)))
    assert fullest(world) == 1
    submit(world, spec("web", count=1, rules=("{web, {job, 0, 0}, node}",)))
    world.run(15)
    assert not is_running(world)
    add(world, "{job, {job, 3, 3}, cluster}", "four")
    assert missed(world) == []
    world.agents["n0"].up = False
    world.run_until(lambda: len(missed(world)) == 3)


def test_groups_of_a_node_change_while_it_runs() -> None:
    world = World(nodes=4, racks=2)
    up(world, spec(count=4, rules=("{web, {web, 0, 0}, node}", "{web, {web, 0, 1}, rack}")))
    before = world.placements()
    assert missed(world) == []
    agent = world.agents["n0"]
    agent.groups = {"rack": ["r1"]}
    agent.connect(world.now)
    world.run(2)
    rack = "{web, {web, 0, 1}, rack}"
    assert missed(world) == [rack] * 3
    assert world.placements() == before
    agent.groups = {}
    agent.connect(world.now)
    world.run(2)
    assert missed(world) == [rack]
    restart(world)
    assert missed(world) == [rack]
    agent.groups = {"rack": ["r0"]}
    agent.connect(world.now)
    world.run(2)
    assert missed(world) == []


def test_a_lost_node_and_what_it_leads_to() -> None:
    world = World(nodes=2)
    up(world, spec(count=2, rules=("{web, {web, 1, 1}, cluster}", ALONE), hard=False))
    assert missed(world) == []
    world.agents["n0"].up = False
    world.run_until(lambda: len({node for node, _ in world.placements().values()}) == 1)
    world.run_until(lambda: is_running(world))
    assert missed(world) == [ALONE] * 2


def test_a_rule_over_a_node_group_that_no_node_has_is_in_force_and_told_of() -> None:
    world = World()
    up(world, spec(rules=("{web, {web, 0, 9}, rack}", "{web, {web, 0, 9}, racks}"), hard=False))
    add(world, "{web, {web, 0, 9}, zone}", "far")
    told = [(e.app, e.text) for e in world.emitted if e.event == "rule" and "no node" in e.text]
    known = "known: cluster, node, rack"
    assert told == [
        (
            "web",
            "the rule {web, {web, 0, 9}, racks}: no node has a group of type 'racks'; " + known,
        ),
        ("", f"the rule far: no node has a group of type 'zone'; {known}"),
    ]
    assert sorted(set(missed(world))) == ["far", "{web, {web, 0, 9}, racks}"]
