"""Messages between an agent and the master.

Every field is checked for type and bounds when a message is decoded, so that what is used later
is known to be well formed. Times are seconds; ``monotonic`` ones are the sender's own clock.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

PROTOCOL = 1
"""Version of these messages; a peer that speaks another is refused with both versions named."""

MAX_MESSAGE = 8 * 2**20
"""Bytes; a longer message is dropped before it is decoded."""

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Text: TypeAlias = Annotated[str, Meta(max_length=65_536)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e12)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1e12)]

ContainerState: TypeAlias = Literal[
    "starting", "running", "suspended", "backing-off", "stopping", "ended"
]
ExitKind: TypeAlias = Literal["exited", "signal", "oom", "lost", "launch-failed", "stopped"]


class Exit(Struct, frozen=True):
    """How a container ended. ``lost`` is one whose end nobody saw."""

    kind: ExitKind
    code: int | None = None
    signal: int | None = None
    detail: Text = ""


class Usage(Struct, frozen=True):
    """What a container has used: seconds of cpu since its start, bytes held now, processes now."""

    cpu_seconds: Seconds = 0.0
    memory: Count = 0
    pids: Count = 0


class ContainerReport(Struct, frozen=True):
    """All that an agent knows of one container. ``incarnation`` grows with each placement."""

    container: Name
    incarnation: Count
    state: ContainerState
    pid: int | None = None
    port: int | None = None
    started_at: Annotated[float, Meta(ge=-1e12, le=1e12)] | None = None
    restarts: Count = 0
    exit: Exit | None = None
    usage: Usage = Usage()


class Pressure(Struct, frozen=True):
    """Share of the last ten seconds in which some task waited for it (PSI ``some avg10``/100)."""

    cpu: Share | None = None
    memory: Share | None = None
    io: Share | None = None


class NodeSample(Struct, frozen=True):
    """Figures of a node: cores busy, bytes of memory in use and in all."""

    cpus_used: Share = 0.0
    memory_used: Count = 0
    memory_total: Count = 0
    pressure: Pressure = Pressure()


class ExecutorSample(Struct, frozen=True):
    """Figures of an executor since its last heartbeat; None where it could not be measured."""

    container: Name
    memory_share: Share | None = None
    spilled: Count | None = None
    gc_share: Share | None = None
    running: Count = 0
    suspending: Count = 0
    suspended: Count = 0
    suspended_memory: Count = 0


class Hello(Struct, frozen=True, tag="hello"):
    """First message of a connection. ``session`` is drawn anew by each start of an agent.

    ``epoch`` is the highest master epoch that the agent has obeyed.
    """

    protocol: int
    node: Name
    session: Name
    boot_id: Name
    address: Name
    version: Name
    epoch: Count
    capacity: dict[Name, Count]
    attributes: dict[Name, Text]
    groups: dict[Name, list[Name]]
    unenforced: list[Text]
    containers: list[ContainerReport]


class Heartbeat(Struct, frozen=True, tag="heartbeat"):
    """Figures of the node and all that runs on it; ``seq`` grows by one within a session."""

    session: Name
    seq: Count
    node: NodeSample
    containers: list[ContainerReport]
    executors: list[ExecutorSample]


class Report(Struct, frozen=True, tag="report"):
    """A change of one container; sent again until a ``Confirm`` covers ``seq``."""

    session: Name
    seq: Count
    report: ContainerReport


class Done(Struct, frozen=True, tag="done"):
    """Answer to an order; ``error`` is empty where it was carried out."""

    order: Count
    container: Name
    error: Text = ""


class LogChunk(Struct, frozen=True, tag="log-chunk"):
    """Answer to ``ReadLog``. ``ended`` when the container writes no more."""

    request: Count
    data: bytes
    next_offset: Count
    ended: bool
    error: Text = ""


class Bye(Struct, frozen=True, tag="bye"):
    """The agent stops in good order; its containers go on."""

    session: Name


FromAgent: TypeAlias = Hello | Heartbeat | Report | Done | LogChunk | Bye


class Welcome(Struct, frozen=True, tag="welcome"):
    """Answer to ``Hello``. Orders of a lower epoch are refused from now on.

    ``api`` is the address of the HTTP API that containers are told, empty where there is none.
    """

    protocol: int
    epoch: Count
    heartbeat_interval: Seconds
    cluster: Name
    api: Text = ""


class Refused(Struct, frozen=True, tag="refused"):
    """The agent may not take part, and why."""

    reason: Text


class JobAccess(Struct, frozen=True):
    """How a container takes part in jobs: the job service's address, which carries its public
    key, the container's own secret key, and by identity the public keys that may fetch from it.
    """

    address: Text
    key: Annotated[str, Meta(min_length=40, max_length=40)]
    peers: dict[Name, Name] = {}

    def __repr__(self) -> str:
        return f"JobAccess(address={self.address!r})"


class Start(Struct, frozen=True, tag="start"):
    """Run a container. Starting an incarnation that runs or has run changes nothing.

    Order numbers grow within an epoch; of two orders for a container the one with the lower
    ``(epoch, order)`` is overtaken, whenever it arrives. ``token`` reads the app's own state over
    the HTTP API; the container finds it in the file ``COLCHIS_TOKEN_FILE``. ``jobs`` is for
    executors, and for containers that submit jobs.
    """

    epoch: Count
    order: Count
    container: Name
    incarnation: Count
    command: Annotated[list[Text], Meta(min_length=1, max_length=4096)]
    env: dict[Name, Text]
    resources: dict[Name, Count]
    restart: Literal["always", "on-failure", "never"]
    executor: bool = False
    token: Text = ""
    jobs: JobAccess | None = None


class Stop(Struct, frozen=True, tag="stop"):
    """End a container: SIGTERM, ``grace`` seconds later SIGKILL to all that is left in it."""

    epoch: Count
    order: Count
    container: Name
    incarnation: Count
    grace: Seconds


class Suspend(Struct, frozen=True, tag="suspend"):
    """Take a whole container off its cores, with its memory kept."""

    epoch: Count
    order: Count
    container: Name
    incarnation: Count


class Resume(Struct, frozen=True, tag="resume"):
    """Give a suspended container its cores back."""

    epoch: Count
    order: Count
    container: Name
    incarnation: Count


class Confirm(Struct, frozen=True, tag="confirm"):
    """The master has kept all reports of ``session`` up to ``seq``."""

    epoch: Count
    session: Name
    seq: Count


class ReadLog(Struct, frozen=True, tag="read-log"):
    """Bytes of a container's output from ``offset`` on; a negative one counts from the end."""

    epoch: Count
    request: Count
    container: Name
    offset: int
    limit: Annotated[int, Meta(ge=1, le=2**20)]


FromMaster: TypeAlias = Welcome | Refused | Start | Stop | Suspend | Resume | Confirm | ReadLog
