"""What the scenarios have in common."""

from collections.abc import Callable

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


def members_running(world: World, name: str = "web") -> int:
    """How many members of an app have a process that runs."""
    return len(
        {
            one.name
            for agent in world.agents.values()
            for one in agent.containers.values()
            if one.state == "running" and one.name.startswith(f"{name}/")
        }
    )


def run_whole(world: World, reached: Callable[[], bool], members: int, name: str = "web") -> None:
    """Until it has come to that; all the while every member of the app runs somewhere."""
    end = world.now + 300
    while not reached():
        assert world.now < end, "it did not come to that"
        world.run(0.1)
        assert members_running(world, name) == members


def all_are(world: World, wanted: set[str]) -> bool:
    """Whether these are the states of containers, on their nodes and as the master knows them."""
    there = {one.state for a in world.agents.values() for one in a.containers.values()}
    return there == wanted == {e.state.value for e in world.core.state.containers.values()}
