"""Requests and what comes of them in a healthy cluster."""

from functools import partial

from colchis.model.app import AppSpec, GroupSpec, Kind, Restart
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis_master.core.apps import app_state
from colchis_master.core.events import (
    AddRules,
    Remove,
    SetDrained,
    SetSuspended,
)
from colchis_master.core.settings import CoreSettings
from tests.sim.master.support import all_are, is_running, spec, submit, up
from tests.sim.master.world import Network, World


def test_batch_containers_do_not_wait_for_a_round() -> None:
    world = World(settings=CoreSettings(interval=3600.0))
    world.run(5)
    submit(world, spec("job", kind=Kind.BATCH, count=6, rules=("{job, {job, 0, 1}, node}",)))
    nodes = [str(node) for node, _ in world.placements().values()]
    assert sorted(nodes) == sorted([*world.agents, *nodes[4:]])
    assert max(map(nodes.count, nodes)) == 2


def test_what_can_never_fit_is_refused_at_once() -> None:
    world = World()
    world.run(3)
    answer = submit(world, spec(cpus=64))
    assert answer.body["apps"] == [{"app": "web", "state": "refused"}]
    assert "needs 64 cpus, 8 cpus free" in world.core.state.apps["web"].reasons[0]
    assert submit(world, spec(cpus=1)).status == 0
    world.run_until(lambda: is_running(world))


def test_what_must_wait_says_why_and_goes_on_when_it_can() -> None:
    world = World(nodes=2)
    up(world, spec("big", count=2, cpus=6))
    submit(world, spec(count=1, cpus=4), spec("job", count=1, cpus=4, kind=Kind.BATCH))
    world.run(10)
    assert app_state(world.core.state.apps["web"]) == "pending"
    assert world.core.state.apps["web"].reasons
    assert "needs 4 cpus, 2 cpus free" in world.core.state.apps["job"].reasons[0]
    world.ask(lambda n: Remove(n, "big", 1.0))
    world.run_until(lambda: is_running(world) and is_running(world, "job"))


def test_names_in_use_are_refused() -> None:
    world = World()
    up(world, spec())
    assert submit(world, spec("other"), spec()).status == 409
    assert "other" not in world.core.state.apps
    world.ask(lambda n: Remove(n, "web", 1.0))
    assert submit(world, spec(), update=True).status == 409
    world.run(20)
    assert "web" not in world.core.state.apps
    assert submit(world, spec()).status == 0


def test_a_drained_node_is_left_by_services_and_not_by_batch() -> None:
    world = World()
    up(world, spec(count=4, rules=("{web, {web, 0, 0}, node}",), hard=False))
    up(world, spec("job", count=4, kind=Kind.BATCH, rules=("{job, {job, 0, 0}, node}",)))
    world.ask(lambda n: SetDrained(n, "n2", True))
    world.run(30)
    assert is_running(world)
    on_node = {str(e.id).split("/")[0] for e in world.core.state.held["n2"]}
    assert on_node == {"job"}
    submit(world, spec("new", count=4))
    world.run_until(lambda: is_running(world, "new"))
    assert {str(e.id).split("/")[0] for e in world.core.state.held["n2"]} == {"job"}


def test_scaling_leaves_the_others_alone() -> None:
    world = World()
    before = up(world, spec(count=4))
    submit(world, spec(count=6), update=True)
    world.run_until(lambda: len(world.placements()) == 6 and is_running(world))
    assert before.items() <= world.placements().items()
    submit(world, spec(count=1), update=True)
    world.run_until(lambda: len(world.running()) == 1)
    assert world.placements() == {"web/g/0": before["web/g/0"]}


def test_suspension_is_ordered_until_it_is_done() -> None:
    world = World(network=Network(drop=0.4))
    world.run(10)
    submit(world, spec())
    world.run_until(lambda: is_running(world), 300)
    for suspended in (True, False):
        world.ask(lambda n, wanted=suspended: SetSuspended(n, "web", wanted))  # type: ignore[misc]
        wanted = {"suspended" if suspended else "running"}
        world.run_until(partial(all_are, world, wanted))


def test_an_operators_hard_rule_holds_for_later_placements() -> None:
    world = World()
    before = up(world, spec(count=2))
    rule = Rule(parse_constraint("{web, {web, 0, 2}, node}"), name="apart", hard=True)
    world.ask(lambda n: AddRules(n, (rule,), world.now))
    submit(world, spec(count=10), update=True)
    world.run_until(lambda: len(world.placements()) == 10)
    placed = [node for node, _ in world.placements().values()]
    assert before.items() <= world.placements().items()
    assert max(map(placed.count, placed)) <= 3


def test_a_failed_batch_container_is_told() -> None:
    world = World()
    group = GroupSpec("g", 1, Resources.of(1), command=("x",), restart=Restart.NEVER)
    up(world, AppSpec("job", (group,), Kind.BATCH))
    for agent in world.agents.values():
        for one in agent.containers.values():
            agent.crash(one, world.now)
    world.run(5)
    assert app_state(world.core.state.apps["job"]) == "failed"
