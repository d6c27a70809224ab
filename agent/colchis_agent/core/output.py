"""Collects what one event leads to, in an order that a crash at any point cannot spoil.

First everything is written down, then it is done, then it is told: what was begun is found again
after a crash, and what was told is true.
"""

from typing import Protocol

import msgspec

from colchis.wire.messages import ContainerReport, Done, FromAgent
from colchis_agent.core.events import Forget, Instruction, Persist, PersistMaster, Send
from colchis_agent.core.outbox import Outbox
from colchis_agent.core.record import Record


class Kept(Protocol):
    """A container as far as this module needs it."""

    record: Record

    def report(self) -> ContainerReport:
        """What the master is told of it."""


class Output:
    """``outbox`` keeps the reports until they are confirmed."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._master: PersistMaster | None = None
        self._changed: dict[str, Kept] = {}
        self._effects: list[Instruction] = []
        self._messages: list[FromAgent] = []

    def change(self, live: Kept) -> None:
        """The record is to be written down, as it is when the event has been handled."""
        self._changed[live.record.container] = live

    def master(self, epoch: int, api: str) -> None:
        """Write down what the master told of itself."""
        self._master = PersistMaster(epoch, api)

    def emit(self, instruction: Instruction) -> None:
        """Do this once everything is written down."""
        self._effects.append(instruction)

    def forget(self, container: str) -> None:
        """Remove the record, after all else."""
        self._changed.pop(container, None)
        self._effects.append(Forget(container))

    def send(self, message: FromAgent) -> None:
        """Tell the master."""
        self._messages.append(message)

    def report(self, live: Kept, now: float) -> None:
        """Tell the master how a container is now, until it confirms."""
        self.send(self.outbox.add(live.report(), now))

    def done(self, order: int, container: str, error: str) -> None:
        """Answer an order."""
        self.send(Done(order, container, error))

    def take(self) -> list[Instruction]:
        """Everything collected, in order; nothing is left."""
        taken: list[Instruction] = [self._master] if self._master else []
        taken += [Persist(msgspec.structs.replace(live.record)) for live in self._changed.values()]
        taken += self._effects
        taken += [Send(message) for message in self._messages]
        self._master = None
        self._changed, self._effects, self._messages = {}, [], []
        return taken
