"""The master's core: takes events in, returns what is to be done, and does nothing itself."""

from collections.abc import Callable, Iterable

from colchis_master.core.allocator import Allocator
from colchis_master.core.apps import Apps
from colchis_master.core.census import Census
from colchis_master.core.containers import Containers
from colchis_master.core.copies import Copies
from colchis_master.core.events import (
    AddRules,
    Event,
    Instruction,
    LinkLost,
    MakeMoves,
    Planned,
    Received,
    Remove,
    RemoveRule,
    SetDrained,
    SetSuspended,
    Submit,
    Tick,
)
from colchis_master.core.moves import Moves
from colchis_master.core.nodes import Nodes
from colchis_master.core.rebalance import Rebalance
from colchis_master.core.records import Record
from colchis_master.core.restore import restore
from colchis_master.core.room import Room
from colchis_master.core.rounds import Rounds
from colchis_master.core.settings import ASLEEP, CoreSettings
from colchis_master.core.state import State


class MasterCore:
    """``handle`` takes one event; ``now`` is monotonic, in seconds.

    ``epoch`` must be higher than that of any master before. ``spare_unknown`` leaves containers
    running that no record speaks of: for a master whose journal was damaged.
    """

    def __init__(self, epoch: int, settings: CoreSettings, *, spare_unknown: bool = False) -> None:
        self.state = State(epoch, settings)
        self.state.spare_unknown = spare_unknown
        self.allocator = Allocator(self.state)
        self.containers = Containers(self.state)
        self.nodes = Nodes(self.state, self.containers, self.allocator)
        self.room = Room(self.state, self.containers)
        self.rounds = Rounds(self.state, self.allocator, self.room)
        self.copies = Copies(self.state, self.containers, self.allocator)
        self.moves = Moves(self.state, self.containers, self.allocator, self.copies)
        self.rebalance = Rebalance(self.state, self.copies)
        self.apps = Apps(self.state, self.containers)
        self.census = Census(self.state)
        self._last: float | None = None
        self._handlers: dict[type, Callable[..., None]] = {
            Received: self.nodes.received,
            LinkLost: lambda e, _: self.nodes.link_lost(e),
            Tick: self._tick,
            Planned: self.rounds.planned,
            Submit: self._submit,
            Remove: lambda e, _: self.apps.remove(e),
            SetSuspended: lambda e, _: self.apps.set_suspended(e),
            SetDrained: lambda e, _: self.apps.set_drained(e),
            AddRules: self.apps.add_rules,
            RemoveRule: lambda e, _: self.apps.remove_rule(e),
            MakeMoves: self.rebalance.start,
        }

    def restore(self, records: Iterable[Record], now: float, wall: float) -> list[str]:
        """First of all: take up what a former master kept. Returns what was left out, in words."""
        self.state.wall = wall
        self._last = now
        return restore(self.state, records, now, wall)

    def handle(self, now: float, event: Event) -> list[Instruction]:
        """Take one event in; the instructions are to be carried out in order."""
        if self._last is not None and now - self._last > ASLEEP:
            self.nodes.slept(now - self._last)
        self._last = now
        self.state.begin()
        self._handlers[type(event)](event, now)
        self.copies.follow(now)
        self.room.follow()
        self.containers.flush(now, all_due=isinstance(event, Tick))
        return self.state.take()

    def _tick(self, event: Tick, now: float) -> None:
        state = self.state
        state.wall = event.wall
        self.nodes.tick(now)
        for rule in state.constraints.expire(now):
            if rule.app is None:
                state.forget(f"rule {rule.label}")
            state.emit("rule", f"the rule {rule.label} has expired", app=rule.app or "")
        self.moves.tick(now)
        self.rebalance.tick(now)
        self.room.tick(now)
        self.rounds.tick(now)
        self.census.follow()

    def _submit(self, event: Submit, now: float) -> None:
        self.apps.submit(event, now)
        self.rounds.place_singly(now, {spec.name for spec in event.apps})
