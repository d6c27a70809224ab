"""What the agent's core takes in, and what it tells the shell around it to do."""

from dataclasses import dataclass, field
from typing import Literal

from colchis.wire.messages import (
    ExecutorSample,
    Exit,
    FromAgent,
    FromMaster,
    NodeSample,
    Start,
    Usage,
)
from colchis_agent.core.record import Record
from colchis_agent.driver.model import ContainerRef


@dataclass(frozen=True, slots=True)
class AliveLife:
    """A life that the driver found running. ``frozen``: all of it is off the cpu."""

    pid: int | None
    frozen: bool


@dataclass(frozen=True, slots=True)
class EndedLife:
    """A life that the driver found ended; ``log_end`` bytes of output were written."""

    exit: Exit
    log_end: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """First event: what a former agent recorded, and what the driver finds of it.

    None is a life that was to be launched and was not.
    """

    records: tuple[Record, ...]
    lives: dict[ContainerRef, AliveLife | EndedLife | None]
    epoch: int = 0
    api: str = ""


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection to the master is there; both have proved their keys."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to the master is gone."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the master. ``port`` is one that is free on this host, for a start."""

    message: FromMaster
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    """The main process of a life exists; ``at`` is wall-clock time, for people."""

    ref: ContainerRef
    pid: int | None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """The driver could not launch a life; the same life may be tried again."""

    ref: ContainerRef
    message: str


@dataclass(frozen=True, slots=True)
class Exited:
    """A life is over."""

    ref: ContainerRef
    exit: Exit
    log_end: int = 0


@dataclass(frozen=True, slots=True)
class Frozen:
    """Every process of the life is off the cpu, by the ``Freeze`` with this number."""

    ref: ContainerRef
    operation: int


@dataclass(frozen=True, slots=True)
class Thawed:
    """The life has its cpus back, by the ``Thaw`` with this number."""

    ref: ContainerRef
    operation: int


@dataclass(frozen=True, slots=True)
class OperationFailed:
    """A ``Freeze`` or ``Thaw`` was not carried out."""

    ref: ContainerRef
    operation: int
    message: str


@dataclass(frozen=True, slots=True)
class Beat:
    """It is time for a heartbeat, with these figures; ``usage`` by container."""

    node: NodeSample
    usage: dict[str, Usage] = field(default_factory=dict)
    executors: tuple[ExecutorSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; due at ``AgentCore.next_deadline``."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The agent is about to stop; ``stop_containers`` ends them first, with that grace."""

    stop_containers: bool
    grace: float = 10.0


Event = (
    Adopted
    | Connected
    | Disconnected
    | Received
    | Launched
    | LaunchFailed
    | Exited
    | Frozen
    | Thawed
    | OperationFailed
    | Beat
    | Tick
    | Leave
)


@dataclass(frozen=True, slots=True)
class PersistMaster:
    """Keep what the master told of itself on disk before anything that follows."""

    epoch: int
    api: str


@dataclass(frozen=True, slots=True)
class Persist:
    """Keep the record on disk before anything that follows."""

    record: Record


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the record of a container."""

    container: str


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a life unless it was started before, and watch it; answered in any case."""

    ref: ContainerRef
    start: Start
    port: int | None
    api: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Wait for the end of a life that already runs."""

    ref: ContainerRef


@dataclass(frozen=True, slots=True)
class Freeze:
    """Take a life off the cpu; answered by ``Frozen`` once that is done."""

    ref: ContainerRef
    operation: int


@dataclass(frozen=True, slots=True)
class Thaw:
    """Give a life its cpus back; answered by ``Thawed``."""

    ref: ContainerRef
    operation: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask a life to end, thawing it for that."""

    ref: ContainerRef


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill all of a life."""

    ref: ContainerRef


@dataclass(frozen=True, slots=True)
class Clear:
    """Kill what is left of an ended life and remove its cgroup; its log stays."""

    ref: ContainerRef


@dataclass(frozen=True, slots=True)
class Discard:
    """Kill what is left of a life and remove all that is kept of it."""

    ref: ContainerRef


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the master, or drop it where there is no connection."""

    message: FromAgent


@dataclass(frozen=True, slots=True)
class Segment:
    """A life's output, whose first byte is byte ``base`` of the container's output."""

    ref: ContainerRef
    base: int


@dataclass(frozen=True, slots=True)
class ReadOutput:
    """Read from these lives, oldest first, and answer with a ``LogChunk``."""

    request: int
    segments: tuple[Segment, ...]
    offset: int
    limit: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the operator may want to read."""

    level: Literal["info", "warning", "error"]
    text: str
    fields: dict[str, object] = field(default_factory=dict)


Instruction = (
    PersistMaster
    | Persist
    | Forget
    | Launch
    | Watch
    | Freeze
    | Thaw
    | Terminate
    | Kill
    | Clear
    | Discard
    | Send
    | ReadOutput
    | Notice
)
