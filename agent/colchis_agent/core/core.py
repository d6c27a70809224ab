"""The agent's decisions, without any I/O: events in, instructions out.

The core never sends what it does not know to be true, obeys no master of a lower epoch than it
has obeyed before, and does nothing at all because a master is silent: containers go on.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from colchis.wire.messages import (
    PROTOCOL,
    Bye,
    Confirm,
    Heartbeat,
    Hello,
    ReadLog,
    Refused,
    Resume,
    Start,
    Stop,
    Suspend,
    Usage,
    Welcome,
)
from colchis_agent.core.adoption import adopt
from colchis_agent.core.containers import Containers
from colchis_agent.core.events import (
    Adopted,
    Beat,
    Connected,
    Discard,
    Disconnected,
    Event,
    Exited,
    Frozen,
    Instruction,
    Launched,
    LaunchFailed,
    Leave,
    Notice,
    OperationFailed,
    ReadOutput,
    Received,
    Segment,
    Thawed,
    Tick,
)
from colchis_agent.core.lifecycle import ALIVE, Phase
from colchis_agent.core.outbox import Outbox
from colchis_agent.core.output import Output

HELLO_AGAIN = 2.0
REFUSED_AGAIN = 30.0
REPORT_AGAIN = 3.0
MOST_ENDED = 500


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What an agent says of itself; see ``Hello``. ``session`` is drawn anew by each start."""

    node: str
    session: str
    boot_id: str
    address: str
    version: str
    capacity: Mapping[str, int]
    attributes: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, list[str]] = field(default_factory=dict)
    unenforced: tuple[str, ...] = ()


class AgentCore:
    """``handle`` takes one event; ``now`` is monotonic, in seconds.

    The record and output of an ended container are kept for ``keep_ended`` seconds after the
    master has confirmed its end.
    """

    def __init__(self, facts: NodeFacts, *, keep_ended: float = 3600.0) -> None:
        self.facts = facts
        self.epoch = 0
        self.connected = False
        self.welcomed = False
        self.heartbeat_interval = 1.0
        self.counts: Counter[str] = Counter()
        self.out = Output(Outbox(facts.session, REPORT_AGAIN))
        self.containers = Containers(self.out)
        self._keep_ended = keep_ended
        self._beats = 0
        self._hello_due: float | None = None
        news = self.containers
        self._handlers: dict[type, Callable[..., None]] = {
            Adopted: self._adopted,
            Connected: self._connect,
            Disconnected: self._disconnect,
            Received: self._received,
            Launched: lambda e, now: news.launched(e.ref, e.pid, e.at, now),
            LaunchFailed: lambda e, now: news.launch_failed(e.ref, e.message, now),
            Exited: lambda e, now: news.exited(e.ref, e.exit, e.log_end, now),
            Frozen: lambda e, now: news.frozen(e.ref, e.operation, now),
            Thawed: lambda e, now: news.thawed(e.ref, e.operation, now),
            OperationFailed: lambda e, now: news.operation_failed(
                e.ref, e.operation, e.message, now
            ),
            Beat: self._beat,
            Tick: self._tick,
            Leave: self._leave,
        }

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event in; the instructions are to be carried out in order."""
        self._handlers[type(event)](event, now)
        return self.out.take()

    def next_deadline(self) -> float | None:
        """When a ``Tick`` is due at the latest, or None."""
        times = [live.deadline for live in self.containers.live.values()]
        if self.connected:
            times.append(self._hello_due)
        if self.welcomed:
            times.append(self.out.outbox.deadline)
        return min((time for time in times if time is not None), default=None)

    @property
    def alive(self) -> int:
        """How many containers may have a process."""
        return sum(live.record.phase in ALIVE for live in self.containers.live.values())

    @property
    def ports(self) -> frozenset[int]:
        """Ports given to containers that have not ended."""
        return frozenset(
            live.record.port
            for live in self.containers.live.values()
            if live.record.port is not None and live.record.phase is not Phase.ENDED
        )

    def _adopted(self, event: Adopted, now: float) -> None:
        self.epoch = event.epoch
        self.containers.api = event.api
        adopt(self.containers, self.out, event, now)

    def _connect(self, _: Connected, now: float) -> None:
        self.connected = True
        self.welcomed = False
        self._hello(now)

    def _disconnect(self, _: Disconnected, now: float) -> None:
        if self.welcomed:
            self.out.emit(Notice("warning", "the master is out of reach; containers go on"))
        self.connected = self.welcomed = False
        self._hello_due = None

    def _hello(self, now: float) -> None:
        facts = self.facts
        self._hello_due = now + HELLO_AGAIN
        self.out.send(
            Hello(
                protocol=PROTOCOL,
                node=facts.node,
                session=facts.session,
                boot_id=facts.boot_id,
                address=facts.address,
                version=facts.version,
                epoch=self.epoch,
                capacity=dict(facts.capacity),
                attributes=dict(facts.attributes),
                groups=dict(facts.groups),
                unenforced=list(facts.unenforced),
                containers=[
                    live.report()
                    for live in self.containers.live.values()
                    if not live.record.settled
                ],
            )
        )

    def _beat(self, event: Beat, _: float) -> None:
        if not self.welcomed:
            return
        self._beats += 1
        reports = [
            live.report(event.usage.get(name, Usage()))
            for name, live in self.containers.live.items()
            if not live.record.settled
        ]
        self.out.send(
            Heartbeat(self.facts.session, self._beats, event.node, reports, list(event.executors))
        )

    def _received(self, event: Received, now: float) -> None:
        message = event.message
        if isinstance(message, Refused):
            self.welcomed = False
            self._hello_due = now + REFUSED_AGAIN
            self.out.emit(Notice("error", "the master refuses us", {"reason": message.reason}))
        elif isinstance(message, Welcome):
            self._welcome(message, now)
        elif not self._obeyed(message.epoch):
            self.counts["old epoch"] += 1
            error = f"epoch {message.epoch} is over; this node obeys epoch {self.epoch}"
            self.out.emit(Notice("warning", "an order of an old master was refused"))
            if isinstance(message, Start | Stop | Suspend | Resume):
                self.out.done(message.order, message.container, error)
        elif isinstance(message, Start):
            self.containers.start(message, event.port, now)
        elif isinstance(message, Stop):
            self.containers.stop(message, now)
        elif isinstance(message, Suspend):
            self.containers.suspend(message, now)
        elif isinstance(message, Resume):
            self.containers.resume(message, now)
        elif isinstance(message, Confirm):
            self._confirm(message)
        else:
            self._read_log(message)

    def _obeyed(self, epoch: int) -> bool:
        """Whether a master of this epoch is obeyed; from then on no older one is."""
        if epoch > self.epoch:
            self.epoch = epoch
            self.out.master(epoch, self.containers.api)
        return epoch >= self.epoch

    def _welcome(self, message: Welcome, now: float) -> None:
        if message.protocol != PROTOCOL:
            text = f"the master speaks protocol {message.protocol}, this agent {PROTOCOL}"
            self.out.emit(Notice("error", text))
            self._hello_due = now + REFUSED_AGAIN
        elif not self._obeyed(message.epoch):
            self.counts["old epoch"] += 1
            self.out.emit(Notice("error", "an old master welcomes us; it is not obeyed"))
            self._hello_due = now + REFUSED_AGAIN
        else:
            self.welcomed = True
            self._hello_due = None
            self.heartbeat_interval = max(message.heartbeat_interval, 0.05)
            if message.api != self.containers.api:
                self.containers.api = message.api
                self.out.master(self.epoch, message.api)
            fields: dict[str, object] = {"cluster": message.cluster, "epoch": message.epoch}
            self.out.emit(Notice("info", "welcomed by the master", fields))
            for report in self.out.outbox.again(now):
                self.out.send(report)

    def _confirm(self, message: Confirm) -> None:
        if message.session != self.facts.session:
            return
        for report in self.out.outbox.confirm(message.seq):
            live = self.containers.live.get(report.container)
            if (
                live is not None
                and report.state == "ended"
                and live.record.phase is Phase.ENDED
                and live.record.incarnation == report.incarnation
            ):
                live.record.settled = True
                self.out.change(live)

    def _read_log(self, message: ReadLog) -> None:
        live = self.containers.live.get(message.container)
        segments: list[Segment] = []
        if live is not None:
            record = live.record
            if record.former is not None and record.former_base is not None:
                segments.append(Segment(record.former, record.former_base))
            segments.append(Segment(record.ref, record.log_base))
        ended = live is None or live.record.phase is Phase.ENDED
        self.out.emit(
            ReadOutput(message.request, tuple(segments), message.offset, message.limit, ended)
        )

    def _tick(self, _: Tick, now: float) -> None:
        self.containers.tick(now)
        if self._hello_due is not None and now >= self._hello_due and self.connected:
            self._hello(now)
        if self.welcomed and self.out.outbox.due(now):
            for report in self.out.outbox.again(now):
                self.out.send(report)
        self._forget_old(now)

    def _forget_old(self, now: float) -> None:
        ended = [
            live
            for live in self.containers.live.values()
            if live.record.settled and live.ended_at is not None
        ]
        ended.sort(key=lambda live: live.ended_at or 0.0)
        surplus = max(0, len(ended) - MOST_ENDED)
        for place, live in enumerate(ended):
            if place >= surplus and now - (live.ended_at or 0.0) < self._keep_ended:
                break
            record = live.record
            for ref in filter(None, (record.former, record.ref)):
                self.out.emit(Discard(ref))
            self.out.forget(record.container)
            del self.containers.live[record.container]

    def _leave(self, event: Leave, now: float) -> None:
        if event.stop_containers:
            self.containers.stop_all(event.grace, now)
        else:
            self.out.send(Bye(self.facts.session))
