"""All that the master knows, and the instructions that its present event has led to."""

from collections.abc import Iterator
from dataclasses import replace

from colchis.model.app import AppSpec
from colchis.model.cluster import COPIES, Cluster, Container, ContainerId
from colchis.model.resources import CPUS
from colchis.specs import rule_to_plain
from colchis.wire.messages import FromMaster
from colchis_master.constraints.ledger import Ledger
from colchis_master.constraints.manager import Active, ConstraintManager
from colchis_master.core.entries import AppEntry, ContainerEntry, NodeEntry
from colchis_master.core.events import Answer, Emit, FindMoves, Instruction, Persist, Send, Solve
from colchis_master.core.lifecycle import (
    ContainerState,
    ContainerStep,
    NodeState,
    NodeStep,
    container_after,
    node_after,
)
from colchis_master.core.records import AppRecord, Forgotten, Record, RuleRecord
from colchis_master.core.settings import CoreSettings

_OF_PROCESS = (
    "node",
    "incarnation",
    "revision",
    "group",
    "state",
    "report",
    "report_seq",
    "absent",
    "running_since",
    "failures",
)
"""What of a container's entry is its process's."""


class State:
    """Changed through its methods, so that ledger and journal follow every change.

    Durable records come before all else that one event leads to; of several records with the same
    key the last is kept.
    """

    def __init__(self, epoch: int, settings: CoreSettings) -> None:
        self.epoch = epoch
        self.settings = settings
        self.spare_unknown = False
        self.constraints = ConstraintManager()
        self.nodes: dict[str, NodeEntry] = {}
        self.heard: dict[NodeEntry, None] = {}
        """Nodes that are not lost, in the order in which they were last heard."""
        self.ready: set[NodeEntry] = set()
        self.drained: set[str] = set()
        self.apps: dict[str, AppEntry] = {}
        self.outdated: set[str] = set()
        """Apps that may have containers of an earlier revision."""
        self.containers: dict[ContainerId, ContainerEntry] = {}
        self.altered: set[str] = set()
        """Apps of which something may have changed that their state depends on."""
        self.copies: dict[ContainerId, ContainerEntry] = {}
        """By the container that is moved: its copy before, its former place after the change."""
        self.displaced: set[ContainerEntry] = set()
        """Containers that are, or are to be, suspended to make room."""
        self.active: set[ContainerEntry] = set()
        """Containers with an order under way."""
        self.touched: set[ContainerEntry] = set()
        """Containers changed by the present event, for which an order may be due."""
        self.pending: set[ContainerEntry] = set()
        self.held: dict[str, set[ContainerEntry]] = {}
        """By node, those that take room there."""
        self.rule_since: dict[str, float] = {}
        self.wall = 0.0
        self.cause = ""
        self._incarnations = 0
        self._orders = 0
        self._events = 0
        self._records: dict[str, Record] = {}
        self._out: list[Instruction] = []

    @property
    def ledger(self) -> Ledger:
        return self.constraints.ledger

    def begin(self) -> None:
        """A new event; what it leads to carries its id."""
        self._events += 1
        self.cause = f"{self.epoch}-{self._events}"

    def take(self) -> list[Instruction]:
        """The instructions of this event, in order; nothing is left."""
        taken: list[Instruction] = [Persist(record) for record in self._records.values()]
        taken += self._out
        self._records, self._out = {}, []
        return taken

    def persist(self, record: Record) -> None:
        self._records.pop(record.key, None)
        self._records[record.key] = record
        if isinstance(record, AppRecord):
            self.altered.add(record.app)

    def forget(self, key: str) -> None:
        self.persist(Forgotten(key))

    def send(self, node: NodeEntry, message: FromMaster) -> None:
        if node.link:
            self._out.append(Send(node.name, node.link, message))

    def send_to(self, node: str, link: str, message: FromMaster) -> None:
        """To a connection that is not (yet) a node's."""
        self._out.append(Send(node, link, message))

    def solve(self, number: int, cluster: Cluster, apps: tuple[AppSpec, ...]) -> None:
        self._out.append(Solve(number, cluster, apps))

    def find_moves(self, question: FindMoves) -> None:
        self._out.append(question)

    def answer(self, request: int, body: dict[str, object]) -> None:
        self._out.append(Answer(request, body))

    def refuse(self, request: int, status: int, error: str) -> None:
        self._out.append(Answer(request, status=status, error=error))

    def emit(
        self,
        event: str,
        text: str,
        *,
        app: str = "",
        container: ContainerEntry | None = None,
        node: str = "",
    ) -> None:
        if container is not None:
            app, node = container.id.app, node or container.node or ""
        name = container.name if container is not None else ""
        self._out.append(Emit(event, self.cause, text, app, name, node))

    def next_incarnation(self) -> int:
        """Higher than any before, in this epoch or an earlier one."""
        self._incarnations += 1
        return (self.epoch << 24) + self._incarnations

    def next_order(self) -> int:
        self._orders += 1
        return self._orders

    def hear(self, node: NodeEntry, now: float) -> None:
        """A node is alive."""
        node.heard = now
        self.heard.pop(node, None)
        self.heard[node] = None

    def step_node(self, node: NodeEntry, step: NodeStep) -> None:
        before = node.state
        node.state = node_after(before, step)
        if node.state is not before:
            (self.ready.add if node.state is NodeState.READY else self.ready.discard)(node)
            if node.state is NodeState.LOST:
                self.heard.pop(node, None)
            self.emit("node", f"node {node.name} is {node.state}", node=node.name)
            self.sync_node(node)

    def sync_node(self, node: NodeEntry) -> None:
        """Let the ledger know how the node is now; a lost one counts for nothing."""
        (self.drained.add if node.drained else self.drained.discard)(node.name)
        if node.state is NodeState.LOST:
            self.ledger.drop_node(node.name)
        else:
            self.ledger.put_node(node.model())

    def step(self, entry: ContainerEntry, step: ContainerStep, *, keep: bool = True) -> None:
        """Move a container along its table; ``keep`` writes it down where it matters later."""
        before = entry.state
        entry.state = container_after(before, step)
        self.index(entry)
        if entry.state is not before and keep:
            self.persist(entry.record())

    def place(self, entry: ContainerEntry, node: str) -> None:
        """Put a pending container on a node, as a new incarnation; its start order is due.

        The ledger has it there already.
        """
        entry.node = node
        entry.incarnation = self.next_incarnation()
        entry.former = entry.report = entry.exit = entry.order = None
        entry.report_seq, entry.absent, entry.note, entry.reasons = -1, 0, "", ()
        self.step(entry, ContainerStep.PLACE)
        self.emit("placed", f"{entry.name} is placed on {node}", container=entry)

    def unplace(self, entry: ContainerEntry) -> None:
        """It takes no room any more."""
        self.ledger.remove(entry.id)
        if entry.node is not None and entry.node in self.held:
            self.held[entry.node].discard(entry)
        entry.order = None
        entry.displaced = entry.released = False
        self.displaced.discard(entry)
        self.active.discard(entry)
        self.touched.discard(entry)

    def displace(self, entry: ContainerEntry) -> None:
        """It is to be suspended; until it is it keeps its cores."""
        entry.displaced = True
        entry.order = None
        self.displaced.add(entry)
        self.touched.add(entry)

    def release(self, entry: ContainerEntry) -> None:
        """Its cores are others'."""
        entry.released = True
        self._charge(entry)

    def take_back(self, entry: ContainerEntry) -> bool:
        """Whether there is room for its cores again, so that it goes on."""
        node = entry.node or ""
        cores = self.ledger.free(node).get(CPUS, 0)
        if entry.released and entry.container.resources.millicpus > cores:
            return False
        entry.displaced = entry.released = False
        entry.order = None
        self.displaced.discard(entry)
        self._charge(entry)
        self.touched.add(entry)
        return True

    def _charge(self, entry: ContainerEntry) -> None:
        self.ledger.remove(entry.id)
        self.ledger.add(entry.charged(), entry.node or "")
        self.persist(entry.record())

    def index(self, entry: ContainerEntry) -> None:
        """Keep the sets of containers by state."""
        self.altered.add(entry.id.app)
        if entry.state is ContainerState.PENDING:
            self.pending.add(entry)
        else:
            self.pending.discard(entry)
        if entry.node is not None and entry.state not in (
            ContainerState.PENDING,
            ContainerState.ENDED,
        ):
            self.held.setdefault(entry.node, set()).add(entry)
            self.touched.add(entry)

    def add_container(self, app: AppEntry, container: Container) -> ContainerEntry:
        """A member that is still to be placed."""
        ident = container.id
        entry = ContainerEntry(ident, app.revision, app.spec.group(ident.group), container)
        app.containers[ident] = self.containers[ident] = entry
        self.index(entry)
        self.persist(entry.record())
        return entry

    def add_copy(self, entry: ContainerEntry) -> ContainerEntry:
        """A second one of a container, by its app's present spec, still to be placed.

        It is gone when it ends.
        """
        ident = replace(entry.id, index=entry.id.index + COPIES)
        app = self.apps[ident.app]
        group = app.spec.group(ident.group)
        container = app.spec.container(group, ident.index)
        copy = ContainerEntry(ident, app.revision, group, container, wanted=False)
        app.containers[ident] = self.containers[ident] = self.copies[entry.id] = copy
        self.index(copy)
        return copy

    def exchange(self, entry: ContainerEntry, copy: ContainerEntry) -> None:
        """From now on the copy's process is the member, and the member's the one too many."""
        for one in (entry, copy):
            self.ledger.remove(one.id)
            self.held[one.node or ""].discard(one)
            one.order = None
        for name in _OF_PROCESS:
            mine, its = getattr(entry, name), getattr(copy, name)
            setattr(entry, name, its)
            setattr(copy, name, mine)
        container = replace(copy.container, id=entry.id)
        copy.container = replace(entry.container, id=copy.id)
        entry.container = container
        for one in (entry, copy):
            self.ledger.add(one.container, one.node or "")
            self.index(one)
            self.persist(one.record())

    def drop_container(self, entry: ContainerEntry) -> None:
        """Forget a container that is nowhere."""
        self.unplace(entry)
        self.pending.discard(entry)
        self.containers.pop(entry.id, None)
        self.altered.add(entry.id.app)
        if self.copies.get(entry.original) is entry:
            del self.copies[entry.original]
        app = self.apps.get(entry.id.app)
        if app is not None:
            app.containers.pop(entry.id, None)
        self.forget(f"container {entry.id}")

    def drop_app(self, app: AppEntry) -> None:
        """Forget an app none of whose containers runs."""
        for entry in list(app.containers.values()):
            self.drop_container(entry)
        self.constraints.set_app(app.name, (), 0.0)
        self.ledger.forget_app(app.name)
        del self.apps[app.name]
        self.outdated.discard(app.name)
        self.altered.add(app.name)
        self.forget(f"app {app.name}")

    def add_rule(self, active: Active, since: float) -> None:
        rule = active.rule
        self.rule_since[rule.label] = since
        self.persist(RuleRecord(rule.label, rule_to_plain(rule), since))

    def placed(self) -> Iterator[ContainerEntry]:
        """Containers that take room on a node."""
        for entries in self.held.values():
            yield from entries

    def cluster(self) -> Cluster:
        """An immutable snapshot: nodes that are not lost, what is placed there, rules in force."""
        return self.ledger.cluster()
