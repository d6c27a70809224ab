"""Containers that have to leave their place: by a drained node, or for a changed spec.

A container is ended and then placed anew, its destination known to exist unless its spec changed;
of an app only a share is away at a time. Containers of batch apps are left on a drained node until
they end by themselves: what they have done would be lost.
"""

from colchis.model.app import Kind
from colchis_master.core.allocator import Allocator
from colchis_master.core.containers import Containers, same_but_count
from colchis_master.core.entries import AppEntry, ContainerEntry
from colchis_master.core.lifecycle import HELD, ContainerState
from colchis_master.core.state import State

GRACE = 10.0
AGAIN = 1.0
"""Seconds between looks for what has to move."""


class Moves:
    """Moves containers of ``state``, a few at a time."""

    def __init__(self, state: State, containers: Containers, allocator: Allocator) -> None:
        self._state = state
        self._containers = containers
        self._allocator = allocator
        self._next = 0.0

    def tick(self, now: float) -> None:
        """Begin the moves for which there is leave."""
        if now < self._next:
            return
        self._next = now + AGAIN
        drained = {node.name for node in self._state.nodes.values() if node.drained}
        for app in self._state.apps.values():
            if app.stopping:
                continue
            due = [
                entry
                for entry in app.containers.values()
                if entry.state in HELD
                and entry.state is not ContainerState.STOPPING
                and (
                    entry.revision != app.revision
                    or (entry.node in drained and app.spec.kind is Kind.SERVICE)
                )
            ]
            if due:
                self._move(app, due)

    def _move(self, app: AppEntry, due: list[ContainerEntry]) -> None:
        steady = (ContainerState.RUNNING, ContainerState.SUSPENDED)
        members = list(app.containers.values())
        away = sum(entry.state not in (*steady, ContainerState.ENDED) for entry in members)
        budget = max(1, int(len(members) * self._state.settings.away_share))
        due.sort(key=lambda entry: (entry.state in steady, str(entry.id)))
        for entry in due:
            costs = entry.state in steady
            if costs and away >= budget:
                return
            if entry.revision == app.revision and not self._has_destination(entry):
                continue
            entry.again = True
            away += costs
            self._state.emit("move", f"{entry.id} leaves {entry.node}", container=entry)
            self._containers.stop(entry, GRACE)

    def _has_destination(self, entry: ContainerEntry) -> bool:
        ledger = self._state.ledger
        home = ledger.home[entry.id]
        with ledger.trial():
            ledger.remove(entry.id)
            node, reason = self._allocator.choose(entry.container)
            ledger.add(entry.container, home)
        entry.note = f"cannot leave {home}: {reason}" if node is None else ""
        return node is not None


def follow(app: AppEntry, entry: ContainerEntry) -> None:
    """A container whose group is the same in the app's new spec is of the new revision."""
    if same_but_count(app.specs[entry.revision], app.spec, entry.id.group):
        entry.revision = app.revision
        entry.group = app.spec.group(entry.id.group)
