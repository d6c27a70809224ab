"""Random clusters, random work, random faults; then quiet, and everything must be as it should."""

import pytest

from colchis.model.app import AppSpec, GroupSpec, Kind, Restart
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis_master.core.apps import app_state
from colchis_master.core.events import (
    AddRules,
    MakeMoves,
    Remove,
    RemoveRule,
    SetDrained,
    SetSuspended,
    Submit,
)
from colchis_master.core.lifecycle import ContainerState
from colchis_master.core.settings import CoreSettings
from tests.sim.master.world import Network, World

CHAOS = 60.0
QUIET = 150.0
SEEDS = 240
CHUNK = 20
CONSTRAINTS = (
    "{web, {self/web, 0, 0}, node}",
    "{web, {web, 0, 2}, rack}",
    "{web, {db, 1, inf}, rack}",
    "{db, {others/web, 0, 1}, node}",
    "{web, {web, 0, 1}, node} | {web, {db, 1, inf}, node}",
)


class Story:
    """One seed's run. ``acknowledged`` and ``removed`` are what the master has promised."""

    def __init__(self, seed: int) -> None:
        self.world = World(
            seed, nodes=5, settings=CoreSettings(make_room=("never", "stop", "suspend")[seed % 3])
        )
        self.rng = self.world.rng
        self.acknowledged: set[str] = set()
        self.removed: set[str] = set()
        self.names = 0
        self.steps = (
            self.submit,
            self.submit,
            self.submit,
            self.update,
            self.remove,
            self.suspend,
            self.drain,
            self.rule,
            self.partition,
            self.partition,
            self.deafen,
            self.kill_agent,
            self.reboot,
            self.kill_master,
            self.crash,
            self.network,
            self.solver,
            self.sleep,
            self.jump,
            self.repair,
        )

    def spec(self, name: str) -> AppSpec:
        rng = self.rng
        batch = rng.random() < 0.35
        groups = tuple(
            GroupSpec(
                group,
                rng.randint(1, 4),
                Resources.of(cpus=rng.choice((0.5, 1, 2)), memory="1GiB"),
                frozenset({rng.choice(("web", "db"))}),
                ("serve",),
                {"BATCH": "1"} if batch else {},
                rng.choice(tuple(Restart)),
            )
            for group in ("a", "b")[: rng.randint(1, 2)]
        )
        rules = tuple(
            Rule(parse_constraint(text), app=name, hard=rng.random() < 0.5)
            for text in rng.sample(CONSTRAINTS, rng.randint(0, 2))
        )
        return AppSpec(name, groups, Kind.BATCH if batch else Kind.SERVICE, rules)

    def submit(self) -> None:
        self.names += 1
        name = f"app{self.names}"
        spec = self.spec(name)
        answer = self.world.ask(lambda n: Submit(n, (spec,), False, self.world.now))
        if answer is not None:
            assert answer.status == 0
            self.acknowledged.add(name)

    def update(self) -> None:
        if self.acknowledged:
            name = self.rng.choice(sorted(self.acknowledged))
            spec = self.spec(name)
            self.world.ask(lambda n: Submit(n, (spec,), True, self.world.now))

    def remove(self) -> None:
        if self.acknowledged:
            name = self.rng.choice(sorted(self.acknowledged))
            answer = self.world.ask(lambda n: Remove(n, name, self.rng.choice((0.0, 2.0))))
            self.acknowledged.discard(name)
            if answer is not None:
                assert answer.status == 0
                self.removed.add(name)

    def suspend(self) -> None:
        if self.acknowledged:
            name = self.rng.choice(sorted(self.acknowledged))
            suspended = self.rng.random() < 0.5
            self.world.ask(lambda n: SetSuspended(n, name, suspended))

    def drain(self) -> None:
        node = self.rng.choice(sorted(self.world.agents))
        drained = self.rng.random() < 0.5
        self.world.ask(lambda n: SetDrained(n, node, drained))

    def rule(self) -> None:
        rule = Rule(
            parse_constraint(self.rng.choice(CONSTRAINTS)),
            name="operators",
            hard=self.rng.random() < 0.3,
            expires=self.rng.choice((None, 20.0)),
        )
        if self.rng.random() < 0.5:
            self.world.ask(lambda n: AddRules(n, (rule,), self.world.now))
        else:
            self.world.ask(lambda n: RemoveRule(n, "operators"))

    def partition(self) -> None:
        node = self.rng.choice(sorted(self.world.agents))
        self.world.cut.add(node)
        self.world.at(self.rng.uniform(1, 25), lambda: self.world.cut.discard(node))

    def deafen(self) -> None:
        node = self.rng.choice(sorted(self.world.agents))
        self.world.deaf.add(node)
        self.world.at(self.rng.uniform(1, 20), lambda: self.world.deaf.discard(node))

    def kill_agent(self) -> None:
        agent = self.rng.choice(list(self.world.agents.values()))
        agent.up = False
        self.world.at(self.rng.uniform(0.5, 20), lambda: agent.begin(self.world.now))

    def reboot(self) -> None:
        self.rng.choice(list(self.world.agents.values())).reboot(self.world.now)

    def kill_master(self) -> None:
        if self.world.master is not None:
            self.world.kill_master()
            self.world.at(self.rng.uniform(0.1, 15), self._start_master)

    def _start_master(self) -> None:
        if self.world.master is None:
            self.world.start_master()

    def crash(self) -> None:
        agent = self.rng.choice(list(self.world.agents.values()))
        for one in list(agent.containers.values()):
            agent.crash(one, self.world.now)

    def network(self) -> None:
        self.world.network = Network(
            self.rng.choice((0.0, 0.1, 0.3)),
            self.rng.choice((0.0, 0.3)),
            self.rng.choice((0.02, 0.5, 3.0)),
        )

    def solver(self) -> None:
        self.world.solver_fails = self.rng.choice((0.0, 0.5))
        self.world.solver_lies = self.rng.choice((0.0, 0.5))

    def sleep(self) -> None:
        """The master is stopped, and then goes on."""
        master = self.world.master
        self.world.master = None
        self.world.at(self.rng.uniform(1, 20), lambda: self._wake(master))

    def _wake(self, master: object) -> None:
        if self.world.master is None:
            self.world.master = master  # type: ignore[assignment]  # the very one that slept

    def repair(self) -> None:
        if self.world.master is not None:
            moves = self.world.find_moves(4)
            self.world.ask(lambda n: MakeMoves(n, moves))

    def jump(self) -> None:
        self.world.wall_offset += self.rng.choice((-3600, 3600))

    def run(self) -> None:
        end = self.world.now + CHAOS
        while self.world.now < end:
            self.rng.choice(self.steps)()
            self.world.run(self.rng.uniform(0.1, 4.0))
        self.world.heal()
        self.world.run(QUIET)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_after_any_faults_all_is_as_it_should_be(first: int) -> None:
    for seed in range(first, first + CHUNK):
        story = Story(seed)
        story.run()
        judge_end(story, seed)


def judge_end(story: Story, seed: int) -> None:
    world = story.world
    state = world.core.state
    say = f"seed {seed}"
    assert story.acknowledged <= set(state.apps), say
    assert not story.removed & set(state.apps), say
    running = world.running()
    placed = world.placements()
    for name, where in running.items():
        assert len(where) == 1, f"{say}: {name} runs twice: {where}"
        assert placed.get(name) == where[0], f"{say}: {name} runs where it should not"
    settled = (
        ContainerState.PENDING,
        ContainerState.RUNNING,
        ContainerState.SUSPENDED,
        ContainerState.BACKING_OFF,
        ContainerState.ENDED,
        ContainerState.STARTING,
    )
    for entry in state.containers.values():
        assert entry.state in settled, f"{say}: {entry.id} is {entry.state}"
        if entry.state in (ContainerState.RUNNING, ContainerState.SUSPENDED):
            suspended = entry.state is ContainerState.SUSPENDED
            assert suspended == (entry.suspended or entry.displaced), f"{say}: {entry.id}"
            assert str(entry.id) in running, f"{say}: {entry.id} does not run"
        if entry.state is ContainerState.PENDING:
            app = state.apps[entry.id.app]
            assert app.reasons or entry.note, (
                f"{say}: {entry.id} waits for nothing, app is {app_state(app)}"
            )
