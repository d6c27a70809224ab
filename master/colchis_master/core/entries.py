"""What the master knows of a node, a container and an app."""

from dataclasses import dataclass, field, replace

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import COPIES, Container, ContainerId, Node
from colchis.model.resources import CPUS, Resources
from colchis.specs import app_to_dict
from colchis.wire.messages import ContainerReport, ExecutorSample, Exit, FromMaster, NodeSample
from colchis_master.core.lifecycle import ContainerState, NodeState
from colchis_master.core.records import AppRecord, ContainerRecord, NodeRecord, Place


@dataclass(eq=False, slots=True)
class NodeEntry:
    """``facts`` is what its agent said; ``link`` and ``session`` those of the present connection.

    ``strays`` are incarnations that run there and should not; as long as there are any, the room
    they take is unknown and nothing new is placed there.
    """

    facts: NodeRecord
    state: NodeState = NodeState.UNKNOWN
    heard: float = 0.0
    link: str = ""
    session: str = ""
    past_sessions: list[str] = field(default_factory=list)
    beat: int = -1
    sample: NodeSample | None = None
    executors: tuple[ExecutorSample, ...] = ()
    strays: dict[tuple[str, int], float] = field(default_factory=dict)
    reports: dict[int, int] = field(default_factory=dict)
    confirmed: int | None = None

    @property
    def name(self) -> str:
        return self.facts.node

    @property
    def drained(self) -> bool:
        return self.facts.drained

    def model(self) -> Node:
        """As schedulers see it."""
        facts = self.facts
        return Node(
            facts.node,
            Resources.from_amounts(facts.capacity),
            {group: tuple(sets) for group, sets in facts.groups.items()},
            facts.attributes,
            schedulable=self.state is NodeState.READY and not self.drained and not self.strays,
        )


@dataclass(eq=False, slots=True)
class Order:
    """An order that is under way; it is sent again, under its number, until it is carried out."""

    number: int
    kind: type[FromMaster]
    incarnation: int
    due: float
    acknowledged: bool = False


@dataclass(eq=False, slots=True)
class ContainerEntry:
    """``former`` is where it was when its node was lost, and may still be.

    ``suspended`` is wanted by a user; ``displaced`` by the master, to make room, and ``released``
    once it has left its cores to others.
    ``again``: when it has ended it is placed anew. ``wanted`` false: when it has ended it is gone.
    """

    id: ContainerId
    revision: int
    group: GroupSpec
    container: Container
    state: ContainerState = ContainerState.PENDING
    node: str | None = None
    incarnation: int = 0
    suspended: bool = False
    displaced: bool = False
    released: bool = False
    again: bool = False
    wanted: bool = True
    grace: float = 0.0
    failures: int = 0
    not_before: float = 0.0
    running_since: float | None = None
    exit: Exit | None = None
    report: ContainerReport | None = None
    report_seq: int = -1
    absent: int = 0
    former: tuple[str, int] | None = None
    order: Order | None = None
    note: str = ""
    reasons: tuple[str, ...] = ()
    name: str = field(init=False)
    """As people and agents know it."""

    def __post_init__(self) -> None:
        self.name = str(self.original)

    @property
    def is_copy(self) -> bool:
        """Whether this is one of the two of a container that is being moved, and not the member."""
        return self.id.index >= COPIES

    @property
    def original(self) -> ContainerId:
        """What it is a copy of; itself where it is none."""
        return replace(self.id, index=self.id.index - COPIES) if self.is_copy else self.id

    def without_cores(self) -> Container:
        """What is left of it when it is suspended and its cores are others'."""
        amounts = {n: a for n, a in self.container.resources.amounts if n != CPUS}
        return replace(self.container, resources=Resources.from_amounts(amounts))

    def charged(self) -> Container:
        """With what its node is charged for it."""
        return self.without_cores() if self.released else self.container

    def record(self) -> ContainerRecord:
        place: Place = "placed"
        if self.state in (ContainerState.PENDING, ContainerState.STOPPING, ContainerState.ENDED):
            place = self.state.value  # type: ignore[assignment]  # exactly these are Places
        return ContainerRecord(
            container=str(self.id),
            revision=self.revision,
            incarnation=self.incarnation,
            place=place,
            node=self.node,
            suspended=self.suspended,
            released=self.released,
            again=self.again,
            grace=self.grace,
            failures=self.failures,
            exit=self.exit,
        )


@dataclass(eq=False, slots=True)
class AppEntry:
    """``grace`` is set once the app is to end. ``reasons`` say what keeps it waiting."""

    spec: AppSpec
    revision: int
    specs: dict[int, AppSpec]
    submitted_at: float
    rules_since: float
    containers: dict[ContainerId, ContainerEntry] = field(default_factory=dict)
    grace: float | None = None
    refused: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    conflicts: int = 0
    fresh: bool = True
    """Not looked at by any round since it was submitted or changed."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def stopping(self) -> bool:
        return self.grace is not None

    def record(self) -> AppRecord:
        used = {self.revision, *(c.revision for c in self.containers.values())}
        return AppRecord(
            app=self.name,
            revision=self.revision,
            specs={number: app_to_dict(self.specs[number]) for number in sorted(used)},
            submitted_at=self.submitted_at,
            grace=self.grace,
            refused=list(self.refused),
            rules_since=self.rules_since,
        )
