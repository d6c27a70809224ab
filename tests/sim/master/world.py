"""A cluster under a virtual clock: one master, its journal, modelled agents, a bad network."""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, ContainerId
from colchis.model.plan import AppPlan, Plan, Totals
from colchis.semantics.checker import judge
from colchis.wire.messages import FromAgent, FromMaster
from colchis_master.constraints.ledger import Ledger
from colchis_master.core.apps import app_state
from colchis_master.core.core import MasterCore
from colchis_master.core.events import (
    Answer,
    Emit,
    Event,
    FindMoves,
    LinkLost,
    MakeMoves,
    Move,
    Persist,
    Planned,
    Received,
    Send,
    Solve,
    Tick,
)
from colchis_master.core.lifecycle import HELD, ContainerState, NodeState
from colchis_master.core.records import Forgotten, Record
from colchis_master.core.settings import CoreSettings
from colchis_master.lra import Settings, rebalance
from tests.sim.master.agents import ModelAgent

CAPACITY = {"cpus": 8_000, "memory": 16 * 2**30}
STEP = 0.1
LOOK = 25
"""After each so-manieth event the rules missed are held against the reference checker."""


@dataclass
class Network:
    """How messages fare: each is dropped, doubled and delayed at random."""

    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.02


class World:
    """Everything happens through ``run``; ``now`` is monotonic time, ``wall`` jumps with it."""

    def __init__(
        self,
        seed: int = 0,
        nodes: int = 4,
        *,
        racks: int = 2,
        settings: CoreSettings | None = None,
        network: Network | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 1_000.0
        self.wall_offset = 1.7e9
        self.network = network or Network()
        self.settings = settings or CoreSettings()
        self.journal: dict[str, Record] = {}
        self.epoch = 0
        self.cut: set[str] = set()
        """Nodes whose messages do not arrive, either way."""
        self.deaf: set[str] = set()
        """Nodes that hear nothing from the master but are heard."""
        self.answers: dict[int, Answer] = {}
        self.emitted: list[Emit] = []
        self.solver_fails = 0.0
        self.solver_lies = 0.0
        self.crash_before_send = 0.0
        self.master: MasterCore | None = None
        self._requests = itertools.count(1)
        self._looks = itertools.count(1)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._missed: tuple[tuple[int, int], dict[tuple[str, ContainerId], float]] = ((0, -1), {})
        self.agents: dict[str, ModelAgent] = {}
        for i in range(nodes):
            groups = {"rack": [f"r{i % racks}"]}
            agent = ModelAgent(f"n{i}", dict(CAPACITY), groups, self.rng, self._from_agent)
            self.agents[agent.node] = agent
            agent.connect(self.now)
        self.start_master()
        self._every(STEP, self._step_agents)
        self._every(1.0, self._beat)
        self._every(0.5, self._tick)

    def at(self, delay: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._count), what))

    def _every(self, period: float, what: Callable[[], None]) -> None:
        def again() -> None:
            what()
            self.at(period, again)

        self.at(self.rng.uniform(0, period), again)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, what = heapq.heappop(self._queue)
            what()
        self.now = end

    def run_until(self, reached: Callable[[], bool], seconds: float = 120.0) -> None:
        end = self.now + seconds
        while not reached():
            assert self.now < end, "it did not come to that"
            self.run(0.5)

    def _step_agents(self) -> None:
        for agent in self.agents.values():
            if agent.up:
                agent.step(self.now)

    def _beat(self) -> None:
        for agent in self.agents.values():
            if agent.up:
                agent.beat()

    def _tick(self) -> None:
        self.give(Tick(self.now + self.wall_offset))

    def start_master(self) -> None:
        self.epoch += 1
        self.master = MasterCore(self.epoch, self.settings)
        assert not self.master.restore(
            list(self.journal.values()), self.now, self.now + self.wall_offset
        )
        self._keep([i.record for i in self.master.state.take() if isinstance(i, Persist)])

    def kill_master(self) -> None:
        self.master = None

    @property
    def core(self) -> MasterCore:
        assert self.master is not None
        return self.master

    def ask(self, make: Callable[[int], Event]) -> Answer | None:
        """The master's answer, None where there was none (it died, or is not there)."""
        number = next(self._requests)
        self.give(make(number))
        return self.answers.get(number)

    def give(self, event: Event) -> None:
        master = self.master
        if master is None:
            return
        before = self._hard_misses(master)
        instructions = master.handle(self.now, event)
        self._keep([one.record for one in instructions if isinstance(one, Persist)])
        if self.crash_before_send and self.rng.random() < self.crash_before_send:
            self.kill_master()
            self.at(self.rng.uniform(0.5, 3.0), self.start_master)
            return
        placed = other = False
        for one in instructions:
            if isinstance(one, Send):
                self._to_agent(master, one)
            elif isinstance(one, Answer):
                self.answers[one.request] = one
            elif isinstance(one, Solve):
                self.at(self.rng.uniform(0.05, 1.0), partial(self._solve, master, one))
            elif isinstance(one, FindMoves):
                self.at(self.rng.uniform(0.05, 1.0), partial(self._move, master, one))
            elif isinstance(one, Emit):
                self.emitted.append(one)
                placed = placed or one.event in ("placed", "returned")
                other = other or one.event in ("node", "ended", "rule", "app")
        check(master)
        if next(self._looks) % LOOK == 0:
            check_violations(master)
        if placed and not other:
            after = self._hard_misses(master)
            for key, extent in after.items():
                assert extent <= before.get(key, 0.0) + 1e-9, f"a placement breaks {key}"

    def _keep(self, records: list[Record]) -> None:
        for record in records:
            if isinstance(record, Forgotten):
                self.journal.pop(record.key, None)
            else:
                self.journal[record.key] = record

    def _hard_misses(self, master: MasterCore) -> dict[tuple[str, ContainerId], float]:
        version = (id(master), master.state.ledger.version)
        if self._missed[0] != version:
            rules = [rule for rule in master.state.constraints.rules if rule.hard]
            hard = judge(master.state.cluster(), rules).hard if rules else ()
            self._missed = version, {(v.constraint, v.container): v.extent for v in hard}
        return self._missed[1]

    def _solve(self, asked: MasterCore, ask: Solve) -> None:
        if self.master is None:
            # Dead, or only asleep.
            self.at(0.5, partial(self._solve, asked, ask))
            return
        if self.master is not asked:
            return
        if self.rng.random() < self.solver_fails:
            self.give(Planned(ask.round, None, "the solver crashed"))
        else:
            lies = self.rng.random() < self.solver_lies
            self.give(Planned(ask.round, greedy(ask.cluster, ask.apps, self.rng, lies)))

    def find_moves(self, limit: int) -> tuple[Move, ...]:
        return found_moves(self.core.rebalance.question(limit))

    def _move(self, asked: MasterCore, ask: FindMoves) -> None:
        if self.master is asked:
            self.give(MakeMoves(0, found_moves(ask)))

    def _from_agent(self, agent: ModelAgent, message: FromAgent) -> None:
        link = agent.link
        self._carry(
            lambda: self.give(Received(agent.node, link, message)),
            lambda: agent.node in self.cut or self.master is None,
        )

    def _to_agent(self, master: MasterCore, sent: Send) -> None:
        agent = self.agents[sent.node]
        if sent.link != agent.link and self.rng.random() < 0.5:
            self.at(0.0, lambda: self.give(LinkLost(sent.node, sent.link)))
            return
        message: FromMaster = sent.message

        def arrive() -> None:
            if agent.up:
                agent.receive(message, self.now)

        self._carry(arrive, lambda: sent.node in self.cut or sent.node in self.deaf)

    def _carry(self, arrive: Callable[[], None], lost: Callable[[], bool]) -> None:
        copies = 2 if self.rng.random() < self.network.double else 1
        for _ in range(copies):
            if self.rng.random() >= self.network.drop:
                delay = self.rng.uniform(0.001, self.network.delay)
                self.at(delay, lambda: None if lost() else arrive())

    def heal(self) -> None:
        """The network is well, everybody is up, the solver is honest."""
        self.network = Network()
        self.cut.clear()
        self.deaf.clear()
        self.solver_fails = self.solver_lies = self.crash_before_send = 0.0
        if self.master is None:
            self.start_master()
        for agent in self.agents.values():
            agent.finishing = False
            if not agent.up:
                agent.begin(self.now)

    def running(self) -> dict[str, list[tuple[str, int]]]:
        """Node and incarnation of every live process, by container."""
        found: dict[str, list[tuple[str, int]]] = {}
        for agent in self.agents.values():
            for one in agent.containers.values():
                if one.alive:
                    found.setdefault(one.name, []).append((agent.node, one.incarnation))
        return found

    def placements(self) -> dict[str, tuple[str | None, int]]:
        return {
            str(e.id): (e.node, e.incarnation)
            for e in self.core.state.containers.values()
            if e.state in HELD
        }


def found_moves(ask: FindMoves) -> tuple[Move, ...]:
    found = rebalance(ask.cluster, Settings(), ask.limit, movable=ask.movable)
    return tuple(Move(m.container, m.source, m.target, m.reason) for m in found.moves)


def check(master: MasterCore) -> None:
    """What holds between any two events: the indexes agree and no node is overfilled."""
    state = master.state
    held = {entry for entry in state.containers.values() if entry.state in HELD}
    assert {entry.id: entry.node for entry in held} == state.ledger.home
    assert {entry for entries in state.held.values() for entry in entries} == held
    assert state.pending == {
        e for e in state.containers.values() if e.state is ContainerState.PENDING
    }
    assert {ident for app in state.apps.values() for ident in app.containers} == set(
        state.containers
    )
    nodes = set(state.nodes.values())
    assert state.ready == {node for node in nodes if node.state is NodeState.READY}
    assert state.heard.keys() == {node for node in nodes if node.state is not NodeState.LOST}
    apps, entries = state.apps.values(), state.containers.values()
    assert master.census.apps() == Counter(app_state(app) for app in apps)
    assert master.census.containers() == Counter(entry.state.value for entry in entries)
    assert list(state.heard) == sorted(state.heard, key=lambda node: node.heard)
    assert state.drained == {node.name for node in nodes if node.drained}
    assert state.outdated >= {
        app.name
        for app in state.apps.values()
        if any(entry.revision != app.revision for entry in app.containers.values())
    }
    for node in state.ledger.nodes:
        assert min(state.ledger.free(node).values()) >= 0, f"{node} is overfilled"


def check_violations(master: MasterCore) -> None:
    """What the master says is missed is what the reference checker finds."""
    found = master.state.constraints.violations()
    expected = judge(master.state.cluster()).violations
    assert sorted(map(str, found)) == sorted(map(str, expected))


def greedy(cluster: Cluster, apps: tuple[AppSpec, ...], rng: random.Random, lies: bool) -> Plan:
    """A plan without a solver; ``lies``: nonsense that the master has to catch."""
    ledger = Ledger()
    for node in cluster.nodes:
        ledger.put_node(node)
    for container in cluster.containers:
        ledger.add(container, cluster.placed[container.id])
    for rule in cluster.rules:
        ledger.add_rule(rule)
    names = [node.name for node in cluster.nodes]
    plans = []
    for app in apps:
        wanted = [c for c in app.containers() if c.id not in cluster.placed]
        assigned: dict[ContainerId, str] = {}
        for container in wanted:
            if lies and names:
                assigned[container.id] = rng.choice(names)
                continue
            costs = [(ledger.cost(container, n), n) for n in ledger.room(container)]
            free = [(cost, name) for cost, name in costs if cost is not None]
            if not free:
                break
            _, name = min(free)
            assigned[container.id] = name
            ledger.add(container, name)
        whole = len(assigned) == len(wanted)
        if not whole:
            for ident in assigned:
                ledger.remove(ident)
        none: Mapping[ContainerId, str] = {}
        plans.append(
            AppPlan(app.name, whole, assigned if whole else none, () if whole else ("no room",))
        )
    return Plan("greedy", "ordered", tuple(plans), (), Totals(0, 0, 0, 0, 0.0, 0), 0.0)
