"""What the master's core takes in, and what it tells the shell around it to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, ContainerId
from colchis.model.constraints import Rule
from colchis.model.plan import Plan
from colchis.wire.messages import FromAgent, FromMaster
from colchis_master.core.records import Record


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the agent of ``node``, as its key says; ``link`` tells connections apart."""

    node: str
    link: str
    message: FromAgent


@dataclass(frozen=True, slots=True)
class LinkLost:
    """A message could not be sent: this connection of ``node`` is gone."""

    node: str
    link: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; due at least every ``core.TICK`` seconds. ``wall`` is for people."""

    wall: float


@dataclass(frozen=True, slots=True)
class Planned:
    """The answer to ``Solve`` number ``round``; None where the solver failed, with ``error``.

    It may come in parts of some apps each, so that others need not wait while all are admitted;
    ``more`` is set for all parts but the last.
    """

    round: int
    plan: Plan | None
    error: str = ""
    more: bool = False


@dataclass(frozen=True, slots=True)
class Submit:
    """Run these apps; where ``update`` is set, change those of the same names that run."""

    request: int
    apps: tuple[AppSpec, ...]
    update: bool
    wall: float


@dataclass(frozen=True, slots=True)
class Remove:
    """End an app; ``grace`` seconds between SIGTERM and SIGKILL."""

    request: int
    app: str
    grace: float


@dataclass(frozen=True, slots=True)
class SetSuspended:
    """Suspend or resume an app, one of its groups, or these of its containers."""

    request: int
    app: str
    suspended: bool
    containers: tuple[str, ...] | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class SetDrained:
    """Place nothing new on a node and move its services away, or take that back."""

    request: int
    node: str
    drained: bool


@dataclass(frozen=True, slots=True)
class AddRules:
    """The operator's rules come into force."""

    request: int
    rules: tuple[Rule, ...]
    wall: float


@dataclass(frozen=True, slots=True)
class RemoveRule:
    """A rule of the operator, by its name or canonical text, is in force no longer."""

    request: int
    name: str


@dataclass(frozen=True, slots=True)
class Move:
    """A container is to leave ``source`` for ``target``; ``reason`` is for people."""

    container: ContainerId
    source: str
    target: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MakeMoves:
    """Make these moves in this order, in place of any that are not begun; 0 is nobody's request."""

    request: int
    moves: tuple[Move, ...]


Request = Submit | Remove | SetSuspended | SetDrained | AddRules | RemoveRule | MakeMoves
Event = Received | LinkLost | Tick | Planned | Request


@dataclass(frozen=True, slots=True)
class Persist:
    """Keep this; it must be durable before any instruction that follows is carried out."""

    record: Record


@dataclass(frozen=True, slots=True)
class Send:
    """Send to an agent over this connection, or drop it where that is gone."""

    node: str
    link: str
    message: FromMaster


@dataclass(frozen=True, slots=True)
class Solve:
    """Plan a round; answered by ``Planned``."""

    round: int
    cluster: Cluster
    apps: tuple[AppSpec, ...]


@dataclass(frozen=True, slots=True)
class FindMoves:
    """Look for at most ``limit`` moves of ``movable`` containers that make the placement better;
    if there are any, ``MakeMoves`` is the answer."""

    cluster: Cluster
    movable: frozenset[ContainerId]
    limit: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request; ``status`` is 0 for success, else the HTTP status of ``error``."""

    request: int
    body: Mapping[str, Any] = field(default_factory=dict)
    status: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Emit:
    """Something that happened, for people and programs that follow the cluster.

    ``id`` is that of the core's event that led to it.
    """

    event: str
    id: str
    text: str
    app: str = ""
    container: str = ""
    node: str = ""


Instruction = Persist | Send | Solve | FindMoves | Answer | Emit
