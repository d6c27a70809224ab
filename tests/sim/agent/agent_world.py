"""A node for the agent's core: processes, a disk, a master's view, all in memory.

Every instruction is carried out at once, its answer is delivered when the test says so, and the
agent can be killed after any instruction. Whatever must never happen is asserted as it happens.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from colchis.wire.messages import Confirm, Done, Exit, FromMaster, Hello, Report, Start, Welcome
from colchis_agent.core import AgentCore, NodeFacts
from colchis_agent.core import events as e
from colchis_agent.core.record import Record
from colchis_agent.driver.model import ContainerRef


@dataclass
class Life:
    """One launched process."""

    exit: Exit | None = None
    frozen: bool = False
    cleared: bool = False


@dataclass
class World:
    """``kill_after`` more instructions the agent is killed; None lets it live."""

    seed: int = 0
    epoch: int = 1
    keep_ended: float = 1e9
    now: float = 0.0
    kill_after: int | None = None
    records: dict[str, Record] = field(default_factory=dict)
    master: e.PersistMaster | None = None
    lives: dict[ContainerRef, Life] = field(default_factory=dict)
    launched: set[ContainerRef] = field(default_factory=set)
    pending: list[e.Event] = field(default_factory=list)
    sent: list[object] = field(default_factory=list)
    crashes: int = 0
    failing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.sessions = 0
        self.core = self.boot()

    def boot(self) -> AgentCore:
        """A new agent over what a former one left."""
        self.sessions += 1
        self.pending = []
        facts = NodeFacts("n1", f"session-{self.sessions}", "boot", "127.0.0.1", "0", {})
        self.core = AgentCore(facts, keep_ended=self.keep_ended)
        lives: dict[ContainerRef, e.AliveLife | e.EndedLife | None] = {
            ref: e.AliveLife(1, life.frozen) if life.exit is None else e.EndedLife(life.exit, 0)
            for ref, life in self.lives.items()
        }
        records = tuple(msgspec.structs.replace(record) for record in self.records.values())
        epoch, api = (self.master.epoch, self.master.api) if self.master else (0, "")
        self.tell(e.Adopted(records, lives, epoch, api))
        return self.core

    def tell(self, event: e.Event) -> None:
        """One event, and all that it leads to, unless the agent is killed on the way."""
        for instruction in self.core.handle(event, self.now):
            if self.kill_after is not None:
                self.kill_after -= 1
                if self.kill_after < 0:
                    self.kill_after = None
                    self.crashes += 1
                    self.boot()
                    return
            self.obey(instruction)
        self.check()

    def connect(self) -> None:
        """A connection on which the master welcomes the agent."""
        self.tell(e.Disconnected())
        self.tell(e.Connected())
        self.say(Welcome(1, self.epoch, 1.0, "lab"))

    def say(self, *messages: FromMaster) -> None:
        for message in messages:
            self.tell(e.Received(message, 20000))

    def obey(self, instruction: e.Instruction) -> None:
        match instruction:
            case e.Persist(record):
                self.records[record.container] = record
            case e.PersistMaster():
                assert self.master is None or instruction.epoch >= self.master.epoch
                self.master = instruction
            case e.Forget(container):
                self.records.pop(container)
                self.launched -= {ref for ref in self.launched if ref.container == container}
            case e.Launch(ref):
                self.launch(ref)
            case e.Freeze(ref, operation):
                if self.alive(ref):
                    self.lives[ref].frozen = True
                    self.pending.append(e.Frozen(ref, operation))
            case e.Thaw(ref, operation):
                if self.alive(ref):
                    self.lives[ref].frozen = False
                    self.pending.append(e.Thawed(ref, operation))
            case e.Terminate(ref):
                if self.alive(ref) and self.random.random() < 0.5:
                    self.end(ref, Exit("signal", signal=15))
            case e.Kill(ref):
                if self.alive(ref):
                    self.end(ref, Exit("signal", signal=9))
            case e.Clear(ref):
                assert not self.alive(ref), "an ended life was still running"
                if ref in self.lives:
                    self.lives[ref].cleared = True
            case e.Discard(ref):
                self.lives.pop(ref, None)
            case e.Send(message):
                self.sent.append(message)
            case _:
                pass

    def launch(self, ref: ContainerRef) -> None:
        if ref.container in self.failing:
            self.pending.append(e.LaunchFailed(ref, "no such driver"))
            return
        assert self.records[ref.container].ref == ref, "launched before it was written down"
        if ref not in self.lives:
            assert ref not in self.launched, f"{ref} was launched twice"
            self.launched.add(ref)
            self.lives[ref] = Life()
        self.pending.append(e.Launched(ref, 1, 0.0))

    def alive(self, ref: ContainerRef) -> bool:
        return ref in self.lives and self.lives[ref].exit is None

    def end(self, ref: ContainerRef, how: Exit) -> None:
        """A process ends by itself."""
        self.lives[ref].exit = how
        self.pending.append(e.Exited(ref, how, 0))

    def check(self) -> None:
        alive = [ref.container for ref in self.lives if self.alive(ref)]
        assert len(alive) == len(set(alive)), "a container runs twice"

    def settle(self, seconds: float = 300.0) -> None:
        """Deliver every answer and let time pass until nothing is left to do by then."""
        end = self.now + seconds
        while True:
            while self.pending:
                self.tell(self.pending.pop(0))
            due = self.core.next_deadline()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.tell(e.Tick())
        self.now = end

    def confirm(self) -> None:
        """The master confirms all it got of this session."""
        session = self.core.facts.session
        seqs = [m.seq for m in self.sent if isinstance(m, Report) and m.session == session]
        if seqs:
            self.say(Confirm(self.epoch, session, max(seqs)))

    def of(self, kind: type) -> list[object]:
        return [message for message in self.sent if isinstance(message, kind)]

    def done(self) -> dict[int, str]:
        return {m.order: m.error for m in self.sent if isinstance(m, Done)}

    def states(self, container: str) -> list[str]:
        """Its reported states, without repetitions of a report."""
        seen: dict[tuple[str, int], str] = {}
        for m in self.sent:
            if isinstance(m, Report) and m.report.container == container:
                seen[m.session, m.seq] = m.report.state
        return list(seen.values())

    def exits(self, container: str) -> set[tuple[int, Exit]]:
        """Every end that was ever told, with its incarnation."""
        reports = [m.report for m in self.sent if isinstance(m, Report)]
        reports += [r for m in self.sent if isinstance(m, Hello) for r in m.containers]
        return {
            (r.incarnation, r.exit)
            for r in reports
            if r.container == container and r.state == "ended" and r.exit is not None
        }

    def running(self) -> set[str]:
        return {ref.container for ref in self.lives if self.alive(ref)}


def start(order: int, container: str = "app/web/0", **changes: Any) -> Start:
    """A start order."""
    plain = Start(1, order, container, 1, ["sleep", "1"], {}, {}, "on-failure")
    return msgspec.structs.replace(plain, **changes)


def shuffled(source: random.Random, items: Iterable[FromMaster]) -> list[FromMaster]:
    """The messages in some order, some of them twice."""
    result = [item for item in items for _ in range(source.choice((1, 1, 2)))]
    source.shuffle(result)
    return result
