"""One container as the core sees it, and when its orders are answered."""

from dataclasses import dataclass, field
from enum import StrEnum

from colchis.wire.messages import ContainerReport, Usage
from colchis_agent.core.lifecycle import ALIVE, REPORTED, Phase
from colchis_agent.core.record import Record, Want


class Goal(StrEnum):
    """What an order waits for before it is answered."""

    STARTED = "started"
    ENDED = "ended"
    SUSPENDED = "suspended"
    RESUMED = "resumed"


@dataclass(slots=True)
class Waiting:
    """An order that has not been answered."""

    order: int
    goal: Goal
    incarnation: int


@dataclass(slots=True)
class Live:
    """A container: its record and what need not survive the agent."""

    record: Record
    pid: int | None = None
    deadline: float | None = None
    running_since: float | None = None
    ended_at: float | None = None
    operation: int = 0
    failure: str = ""
    waiting: list[Waiting] = field(default_factory=list)

    def report(self, usage: Usage = Usage()) -> ContainerReport:  # noqa: B008 - it is immutable
        """What the master is told of it."""
        record = self.record
        return ContainerReport(
            container=record.container,
            incarnation=record.incarnation,
            state=REPORTED[record.phase],
            pid=self.pid if record.phase in ALIVE else None,
            port=record.port,
            started_at=record.started_at,
            restarts=record.restarts,
            exit=record.exit,
            usage=usage,
        )

    def answer(self, waiting: Waiting) -> str | None:
        """Empty once the goal is reached, the reason where it will not be, None until then."""
        record = self.record
        phase = record.phase
        if waiting.goal is Goal.ENDED:
            return "" if phase is Phase.ENDED or record.incarnation > waiting.incarnation else None
        if waiting.goal is Goal.STARTED:
            if waiting.incarnation <= record.floor:
                return "it has been stopped"
            if phase is Phase.STARTING or waiting.incarnation > record.incarnation:
                return None
            failed = record.exit is not None and record.exit.kind == "launch-failed"
            return record.exit.detail if failed and record.exit and phase not in ALIVE else ""
        if phase in (Phase.STOPPING, Phase.ENDED) or record.incarnation != waiting.incarnation:
            return "it has ended"
        if self.failure:
            return self.failure
        if waiting.goal is Goal.SUSPENDED:
            if record.want is not Want.SUSPEND:
                return "a resumption has overtaken it"
            return "" if phase in (Phase.SUSPENDED, Phase.HELD) else None
        if record.want is not Want.RUN:
            return "a suspension has overtaken it"
        return "" if phase in (Phase.STARTING, Phase.RUNNING, Phase.BACKING_OFF) else None
