"""Containers that have to leave their place: by a drained node, or for a changed spec.

The new one runs before the old one goes where another node has room for it and no rule is missed
further for that; else a container is ended and then placed anew. Of an app only a share is on its
way, or away, at a time. Containers of batch apps are left on a drained node until they end by
themselves: what they have done would be lost.
"""

from colchis.model.app import Kind
from colchis_master.constraints.choice import choose
from colchis_master.constraints.counts import EPSILON
from colchis_master.core.allocator import Allocator
from colchis_master.core.containers import Containers, same_but_count
from colchis_master.core.copies import GRACE, Copies
from colchis_master.core.entries import AppEntry, ContainerEntry
from colchis_master.core.lifecycle import HELD, ContainerState
from colchis_master.core.state import State

AGAIN = 1.0
"""Seconds between looks for what has to move."""

TRIES = 8
"""Nodes on which a copy is tried."""

_STEADY = (ContainerState.RUNNING, ContainerState.SUSPENDED)


class Moves:
    """Moves containers of ``state``, a few at a time."""

    def __init__(
        self, state: State, containers: Containers, allocator: Allocator, copies: Copies
    ) -> None:
        self._state = state
        self._containers = containers
        self._allocator = allocator
        self._copies = copies
        self._next = 0.0

    def tick(self, now: float) -> None:
        """Begin the moves for which there is leave."""
        if now < self._next:
            return
        self._next = now + AGAIN
        drained = self._state.drained
        apps = self._state.apps
        # To look at all containers would take many milliseconds.
        leaving = {e.id.app for name in drained for e in self._state.held.get(name, ())}
        for app in map(apps.__getitem__, sorted(self._state.outdated | leaving)):
            if all(entry.revision == app.revision for entry in app.containers.values()):
                self._state.outdated.discard(app.name)
            if app.stopping:
                continue
            due = [
                entry
                for entry in app.containers.values()
                if entry.state in HELD
                and entry.state not in (ContainerState.STOPPING, ContainerState.UNCONFIRMED)
                and not entry.is_copy
                and entry.id not in self._state.copies
                and (
                    entry.revision != app.revision
                    or (entry.node in drained and app.spec.kind is Kind.SERVICE)
                )
            ]
            if due:
                self._move(app, due, now)

    def _move(self, app: AppEntry, due: list[ContainerEntry], now: float) -> None:
        under_way = self._copies.under_way(app) + sum(
            entry.state not in (*_STEADY, ContainerState.ENDED)
            for entry in app.containers.values()
            if not entry.is_copy
        )
        limit = self._copies.limit(app)
        due.sort(key=lambda entry: (entry.state in _STEADY, str(entry.id)))
        for entry in due:
            changed = entry.revision != app.revision
            if entry.state not in _STEADY:
                if changed or self._has_destination(entry):
                    self._stop(entry, f"it is {entry.state}")
                continue
            if under_way >= limit:
                return
            objection = self._copies.objection(entry)
            if not objection:
                failure = self._copies.failure(entry)
                if failure is not None and now < failure.again:
                    continue
                objection = self._begin(app, entry, failure.node if failure else "", now)
                if not objection:
                    under_way += 1
                    continue
                if self._copies.under_way(app):
                    # What is on its way leaves room behind.
                    return
            if changed or self._has_destination(entry):
                self._stop(entry, objection)
                under_way += 1

    def _begin(self, app: AppEntry, entry: ContainerEntry, failed: str, now: float) -> str:
        """Start a copy, not on the node ``failed`` if another will do, or say what is against
        it."""
        ledger = self._state.ledger
        home = ledger.home[entry.id]
        wanted = app.spec.container(app.spec.group(entry.id.group), entry.id.index)
        stays = not self._state.nodes[home].drained
        with ledger.trial():
            ledger.remove(entry.id)
            here = ledger.cost(wanted, home) if stays and ledger.fits(wanted, home) else None
            found = self._allocator.ranked(wanted, (home,))
            ledger.add(entry.container, home)
        if not found:
            return "no other node has room for it"
        found.sort(key=lambda one: one[1] == failed)
        reason = "rules would be missed further elsewhere"
        for cost, node in found[:TRIES]:
            if here is None or cost <= here + EPSILON:
                reason = self._copies.begin(entry, node, now)
                if not reason:
                    why = "for its changed spec" if stays else f"{home} is drained"
                    text = f"{entry.id} moves from {home} to {node}: {why}"
                    self._state.emit("move", text, container=entry)
                    return ""
        return reason

    def _stop(self, entry: ContainerEntry, why: str) -> None:
        entry.again = True
        text = f"{entry.id} leaves {entry.node} before it runs elsewhere: {why}"
        self._state.emit("move", text, container=entry)
        self._containers.stop(entry, GRACE)

    def _has_destination(self, entry: ContainerEntry) -> bool:
        ledger = self._state.ledger
        home = ledger.home[entry.id]
        with ledger.trial():
            ledger.remove(entry.id)
            node, reason = choose(ledger, entry.container)
            ledger.add(entry.container, home)
        entry.note = f"cannot leave {home}: {reason}" if node is None else ""
        return node is not None


def follow(app: AppEntry, entry: ContainerEntry) -> None:
    """A container whose group is the same in the app's new spec is of the new revision."""
    if same_but_count(app.specs[entry.revision], app.spec, entry.id.group):
        entry.revision = app.revision
        entry.group = app.spec.group(entry.id.group)
