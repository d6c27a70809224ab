"""What the scenarios have in common."""

from colchis.model.app import AppSpec, GroupSpec, Kind
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis_master.core.apps import app_state
from colchis_master.core.events import (
    Answer,
    Submit,
)
from tests.sim.master.world import World


def spec(
    name: str = "web",
    count: int = 4,
    cpus: float = 1,
    kind: Kind = Kind.SERVICE,
    rules: tuple[str, ...] = (),
    hard: bool = True,
    command: str = "serve",
) -> AppSpec:
    group = GroupSpec("g", count, Resources.of(cpus, "1GiB"), frozenset({name}), (command,))
    found = tuple(Rule(parse_constraint(text), app=name, hard=hard) for text in rules)
    return AppSpec(name, (group,), kind, found)


def submit(world: World, *specs: AppSpec, update: bool = False) -> Answer:
    answer = world.ask(lambda n: Submit(n, specs, update, world.now))
    assert answer is not None
    return answer


def is_running(world: World, name: str = "web") -> bool:
    app = world.core.state.apps.get(name)
    return app is not None and app_state(app) == "running"


def up(world: World, *specs: AppSpec) -> dict[str, tuple[str | None, int]]:
    """All of them run; where, and as which incarnation."""
    world.run(2)
    submit(world, *specs)
    world.run_until(lambda: all(is_running(world, one.name) for one in specs))
    return world.placements()


def all_are(world: World, wanted: set[str]) -> bool:
    """Whether these are the states of containers, on their nodes and as the master knows them."""
    there = {one.state for a in world.agents.values() for one in a.containers.values()}
    return there == wanted == {e.state.value for e in world.core.state.containers.values()}
